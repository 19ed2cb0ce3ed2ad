"""What one request to a server asks of guidance, checked before anything is generated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_prosocial.decoding import check_strength
from hf_prosocial.errors import ProsocialError
from hf_prosocial.preference import Preference

FIELDS = ("preference", "beta", "safe_set", "harm_scale")
_LEAST = 1e-30
_MOST = 100
# vLLM's own, which come by the same way.
_OTHERS = ("kv_transfer_params", "ec_transfer_params", "kv_cache_report_mode", "session_id")


@dataclass(frozen=True)
class GuidedRequest:
    """A preference, β, a safe set, and λ.

    Attributes:
        preference: over the ARM's objectives.
        beta: β; at 0 the base answers.
        safe_set: ε, or None.
        harm_scale: λ of the engine's harm vector; 0 subtracts nothing.
    """

    preference: Preference
    beta: float = 1.0
    safe_set: float | None = None
    harm_scale: float = 0.0

    @classmethod
    def parse(
        cls,
        given: Mapping[str, Any] | None,
        objectives: Sequence[str],
        default: "GuidedRequest | None" = None,
        *,
        has_vector: bool = False,
    ) -> "GuidedRequest":
        """Read the fields of a request: `preference` as text, `beta`, `safe_set` and `harm_scale` as numbers.

        Args:
            given: the fields, or None.
            objectives: of the ARM.
            default: for fields that are not given; without it, the uniform preference at β = 1. Where its β is 0, a
                preference without β is at β = 1.
            has_vector: whether the engine has a harm vector, so that λ may be other than 0.

        Raises:
            ProsocialError: a field that is unknown or cannot be honoured; the message says what would be.
        """
        given = dict(given or {})
        default = default or cls(Preference.uniform(objectives=objectives))
        unknown = sorted(set(given) - {*FIELDS, *_OTHERS})
        if unknown:
            raise ProsocialError(
                f"guidance knows the fields {', '.join(FIELDS)}, found {', '.join(map(repr, unknown))}"
            )
        text, beta = given.get("preference"), given.get("beta", default.beta)
        if "preference" in given and "beta" not in given:
            beta = beta or 1.0  # Whoever asks for a preference means it.
        safe_set, harm_scale = given.get("safe_set", default.safe_set), given.get("harm_scale", default.harm_scale)
        if "preference" in given and not isinstance(text, str):
            raise ProsocialError(
                f"a preference is given as text, as 'empathy=0.5,helpfulness=0.5', found {type(text).__name__}"
            )
        for name, value in (("beta", beta), ("safe_set", safe_set), ("harm_scale", harm_scale)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number or (name == "safe_set" and value is None)):
                raise ProsocialError(f"{name} is a number, found {value!r}")
        check_strength(beta, safe_set)
        if 0 < beta < _LEAST:
            raise ProsocialError(f"beta is 0 or at least {_LEAST:g}, found {beta!r}, which fp32 would take for 0")
        if not 0 <= harm_scale <= _MOST:
            raise ProsocialError(f"harm_scale is between 0 and {_MOST}, found {harm_scale!r}")
        if harm_scale and not has_vector:
            raise ProsocialError("harm_scale is λ of a harm vector, and this engine was started without one")
        try:
            preference = default.preference if text is None else Preference.parse(text, objectives=objectives)
        except ProsocialError as error:  # Its advice is for Python.
            raise ProsocialError(str(error).partition("; pass normalize")[0]) from error
        return cls(preference, float(beta), None if safe_set is None else float(safe_set), float(harm_scale))

    def fields(self) -> dict[str, Any]:
        """What `parse` reads as this request, to the last digit."""
        text = ",".join(f"{name}={weight!r}" for name, weight in self.preference.items())
        fields = {"preference": text, "beta": self.beta, "safe_set": self.safe_set}
        return fields | ({"harm_scale": self.harm_scale} if self.harm_scale else {})

    def salt(self) -> str:
        """Tells requests apart whose cached keys and values differ: preference and λ, for β and ε act on logits."""
        return f"preference:{self.fields()['preference']}|harm:{self.harm_scale!r}"
