"""What one request to a server asks of guidance, checked before anything is generated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_prosocial.decoding import check_strength
from hf_prosocial.errors import ProsocialError
from hf_prosocial.preference import Preference

FIELDS = ("preference", "beta", "safe_set")
_LEAST = 1e-30
# vLLM's own, which come by the same way.
_OTHERS = ("kv_transfer_params", "ec_transfer_params", "kv_cache_report_mode", "session_id")


@dataclass(frozen=True)
class GuidedRequest:
    """A preference, β and a safe set.

    Attributes:
        preference: over the ARM's objectives.
        beta: β; at 0 the base answers.
        safe_set: ε, or None.
    """

    preference: Preference
    beta: float = 1.0
    safe_set: float | None = None

    @classmethod
    def parse(
        cls, given: Mapping[str, Any] | None, objectives: Sequence[str], default: "GuidedRequest | None" = None
    ) -> "GuidedRequest":
        """Read the fields of a request: `preference` as text, `beta` and `safe_set` as numbers.

        Args:
            given: the fields, or None.
            objectives: of the ARM.
            default: for fields that are not given; without it, the uniform preference at β = 1.

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
        safe_set = given.get("safe_set", default.safe_set)
        if "preference" in given and not isinstance(text, str):
            raise ProsocialError(
                f"a preference is given as text, as 'empathy=0.5,helpfulness=0.5', found {type(text).__name__}"
            )
        for name, value in (("beta", beta), ("safe_set", safe_set)):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number or (name == "safe_set" and value is None)):
                raise ProsocialError(f"{name} is a number, found {value!r}")
        check_strength(beta, safe_set)
        if 0 < beta < _LEAST:
            raise ProsocialError(f"beta is 0 or at least {_LEAST:g}, found {beta!r}, which fp32 would take for 0")
        try:
            preference = default.preference if text is None else Preference.parse(text, objectives=objectives)
        except ProsocialError as error:  # Its advice is for Python.
            raise ProsocialError(str(error).partition("; pass normalize")[0]) from error
        return cls(preference, float(beta), None if safe_set is None else float(safe_set))

    def fields(self) -> dict[str, Any]:
        """What `parse` reads as this request, to the last digit."""
        text = ",".join(f"{name}={weight!r}" for name, weight in self.preference.items())
        return {"preference": text, "beta": self.beta, "safe_set": self.safe_set}

    def salt(self) -> str:
        """Tells requests apart whose cached keys and values differ: the preference alone, for β and ε act on logits."""
        return f"preference:{self.fields()['preference']}"
