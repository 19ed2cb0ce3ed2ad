"""The models behind an evaluation's variants: loaded once, edited and guided as each variant says."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from peft import PeftModel
from torch import nn

from hf_prosocial.arm import load_arm
from hf_prosocial.assets import arm_source, vector_source
from hf_prosocial.decoding import GatedModel, GuidedModel, GuidedPair
from hf_prosocial.direg import HarmVector
from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.genarm import GenArm, GuidedByGenArm
from hf_prosocial.models import base_parameters, find_base, preferred_device, tokenizer_hash, weight_hash
from hf_prosocial.preference import Preference
from hf_prosocial.records import scale_beside

from .config import VariantConfig
from .repliers import ChatReplier, guided_by


@dataclass(frozen=True)
class Variant:
    """A way to answer, ready to.

    Attributes:
        replier: how it answers.
        settings: what its replies follow from; hashes of all weights are among it.
    """

    replier: ChatReplier
    settings: dict[str, Any]
    model: Any
    guide: PeftModel | GenArm | None
    config: VariantConfig

    def likelihoods(self, preference: Preference) -> nn.Module:
        """The model whose logits are the variant's log-probabilities under a preference.

        Raises:
            ValueError: a variant with a system message, which has no likelihood of a bare text, or with a min_entropy.
        """
        config, guide = self.config, self.guide
        if config.in_words or config.system is not None:
            raise ProsocialError("a system message is part of a conversation; running text has no place for it")
        if config.min_entropy:
            raise ProsocialError("where guidance is left out token by token, a text's likelihood is not told yet")
        if guide is None:
            return self.model
        if isinstance(guide, GenArm):
            return GuidedByGenArm(self.model, guide, preference, config.beta, config.safe_set)
        if config.vector is not None or config.arm_base is not None:
            return GuidedPair(self.model, guide, preference, config.beta, config.safe_set)
        return GuidedModel(self.model, guide, preference, config.beta, config.safe_set)


@dataclass(frozen=True)
class Generation:
    """How all variants generate.

    Attributes:
        max_new_tokens: the most of a reply.
        temperature: of the base; guided variants sample at 1 + β times it. 0 is greedy.
        seed: of sampling.
    """

    max_new_tokens: int
    temperature: float
    seed: int


class Variants:
    """Opens an evaluation's variants, one base in memory, and an edited copy for each vector.

    Args:
        base: as `find_base` takes it.
        dtype: of the base.
        configs: the variants, by name.
        generation: how they generate.

    Raises:
        OSError: no such base.
    """

    def __init__(
        self, base: str | None, dtype: str, configs: Mapping[str, VariantConfig], generation: Generation
    ) -> None:
        self.configs = configs
        self._source, self._generation = base, generation
        self.base, self.tokenizer = find_base(base).load(dtype, device=preferred_device())
        self._opened: dict[str, Variant] = {}
        self._edited: dict[tuple[str, float], Any] = {}
        self._arm_bases: dict[str, Any] = {}
        self._guides: dict[tuple[str, str, int], PeftModel | GenArm] = {}

    def open(self, name: str) -> Variant:
        """A variant; what it needs is loaded and hashed once, and kept for the next.

        Raises:
            ValueError, OSError: a vector or guide that is not there or does not fit the base.
        """
        if name not in self._opened:
            self._opened[name] = self._made(name)
        return self._opened[name]

    def _made(self, name: str) -> Variant:
        chosen = self.configs[name]
        model, edit = self._model(chosen)
        guide, found = self._guide(chosen, model)
        options: dict[str, Any] = {"do_sample": False}
        if self._generation.temperature > 0:
            temperature = self._generation.temperature * chosen.neutral_temperature
            options = {"do_sample": True, "temperature": temperature}
        if guide is not None and isinstance(model, GatedModel):
            edit = edit | {"guidance": "β (1 − g)"}  # Replies that were made while it did not give way are others.
        strength = (chosen.beta, chosen.safe_set, chosen.min_entropy)
        replier = ChatReplier(
            model,
            self.tokenizer,
            self._generation.max_new_tokens,
            options,
            None if guide is None else guided_by(guide, self.tokenizer, *strength),
            chosen.in_words,
            self._generation.seed,
            chosen.system,
        )
        settings = {
            "variant": asdict(chosen) | edit,
            "weights": weight_hash(model, model.dtype),
            "guide": found,
            "tokenizer": tokenizer_hash(self.tokenizer),
            "chat_template": _text_hash(str(self.tokenizer.chat_template)),
            "generation": options | {"seed": self._generation.seed if self._generation.temperature > 0 else None},
        }
        return Variant(replier, settings, model, guide, chosen)

    def _model(self, chosen: VariantConfig) -> tuple[Any, dict[str, Any]]:
        if chosen.vector is None:
            return self.base, {}
        source = vector_source(chosen.vector)
        if GatedHarmVector.is_at(source):
            return self._gated(source, chosen)
        scale = scale_beside(source) if chosen.scale is None else chosen.scale
        if (source, scale) not in self._edited:
            # A vector is of the weights as they are on disk, so that the edit comes before the evaluation's dtype.
            exact, _ = find_base(self._source).load()
            HarmVector.from_pretrained(source).subtract_from(exact, scale)
            edited = copy.deepcopy(self.base)
            edited.load_state_dict(exact.state_dict())
            self._edited[source, scale] = edited
        return self._edited[source, scale], {"scale": scale}

    def _gated(self, source: str, chosen: VariantConfig) -> tuple[GatedModel, dict[str, Any]]:
        """θ_s(x), on the very memory of the base."""
        vector = GatedHarmVector.from_pretrained(source)
        if chosen.arm_on == "edited":
            raise ProsocialError("arm_on: edited needs one edited base, and a gated vector edits only for some prompts")
        if chosen.scale is not None:
            vector = vector.with_scale(chosen.scale)
        if (source, vector.scale) not in self._edited:
            self._edited[source, vector.scale] = GatedModel(self.base, vector, tokenizer=self.tokenizer)
        return self._edited[source, vector.scale], {"scale": vector.scale, "gated": vector.content_hash()}

    def _guide(self, chosen: VariantConfig, model: Any) -> tuple[PeftModel | GenArm | None, str | None]:
        if chosen.arm is None and chosen.genarm is None:
            return None, None
        # What the guide's own base is: PARM and this package's ARMs score relative to it.
        own = model if chosen.arm_on == "edited" else self._arm_base(chosen)
        source = str(chosen.genarm) if chosen.arm is None else arm_source(chosen.arm)
        key = ("genarm" if chosen.genarm else "arm", source, id(own))
        if key not in self._guides:
            load = GenArm.from_pretrained if chosen.genarm else load_arm
            self._guides[key] = load(source, own, tokenizer=self.tokenizer)
        guide = self._guides[key]
        return guide, _adapter_hash(guide.model if isinstance(guide, GenArm) else guide)

    def _arm_base(self, chosen: VariantConfig) -> Any:
        """What the ARM shares its weights with: the base, or a smaller model of its own."""
        if chosen.arm_base is None:
            return self.base
        if chosen.arm_base not in self._arm_bases:
            found, _ = find_base(chosen.arm_base).load(self.base.dtype, device=preferred_device())
            self._arm_bases[chosen.arm_base] = found
        return self._arm_bases[chosen.arm_base]


def _adapter_hash(model: PeftModel) -> str:
    """SHA-256 over the adapters' own parameters, names and values."""
    own = {id(weight) for weight in base_parameters(model).values()}
    digest = hashlib.sha256()
    for name, weight in sorted(model.named_parameters()):
        if id(weight) not in own:
            digest.update(f"{name} {tuple(weight.shape)}\n".encode())
            digest.update(weight.detach().float().contiguous().cpu().numpy())
    return digest.hexdigest()


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
