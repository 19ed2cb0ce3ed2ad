"""Where a model's rotary frequencies change with the length of a sequence."""

from dataclasses import dataclass

from transformers import PreTrainedConfig


@dataclass(frozen=True)
class RotaryChange:
    """Keys of a sequence of up to `length` tokens are not those of a longer one.

    Attributes:
        length: tokens, padding included, as transformers counts them.
        once: beyond it there is one other set of frequencies (longrope); else they change with every token (dynamic).
    """

    length: int
    once: bool

    def parts(self, shorter: int, longer: int) -> bool:
        """Whether keys of the shorter length do not serve the longer one."""
        return shorter <= self.length < longer or (not self.once and longer > self.length and shorter < longer)


def rotary_change(config: PreTrainedConfig) -> RotaryChange | None:
    """The change that a configuration asks for; None where frequencies are fixed."""
    text = config.get_text_config(decoder=True).to_dict()
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kinds = list(rope.values()) if all(isinstance(one, dict) for one in rope.values()) else [rope]
    found = [one for one in kinds if str(one.get("rope_type", one.get("type"))) in ("longrope", "dynamic")]
    if not found:
        return None
    length = found[0].get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
    once = all(str(one.get("rope_type", one.get("type"))) == "longrope" for one in found)
    return RotaryChange(int(length or text["max_position_embeddings"]), once)
