"""How far the sketch of a base is from its weights in other storage, and from a fine-tuned copy: where the border lies.

SmolLM2 is at hand as a 4-bit file alone. Weights that could have been its original are made from it: each entry moves
within its own step, which is what rounding took from it. They are then stored as bf16, fp16 and in llama.cpp's formats,
and fine-tuned: by the released ARM under one preference, merged, and by fractions of that; by the released harm vector.
"""

import copy
from typing import Any

import torch
from gguf import GGMLQuantizationType, quants
from torch import nn

from benchmarks.goals import Goal, report
from hf_prosocial import HarmVector, Preference, find_base, load_arm, released_arm, released_vector
from hf_prosocial.io import markdown_table
from hf_prosocial.models import Distance, ModelWeights, distance, sketch_of
from hf_prosocial.pblora import PBLoraLayer

FORMATS = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
SHARES = (1.0, 0.3, 0.1)


def run() -> bool:
    file, tokenizer = find_base().load()
    original = _original(file)
    same = _stored(file, original)
    others = _edited(file, original, tokenizer)
    for name, rows in (("the same weights", same), ("others", others)):
        heads = [name, "relative distance, L2", "outside", "of", "rounding over an even spread", "taken for the same"]
        print(f"\n{markdown_table(heads, [_row(*one) for one in rows])}")
    wrong = sum(not found.same for _, _, found in same)
    # A tenth of a LoRA moves weights by less than a thousandth of their length: below what a few hundred entries tell.
    taken = sum(found.same for said, _, found in others if not said.startswith("0.1"))
    goals = [Goal("the same weights refused", wrong, "<= 0"), Goal("other weights taken for the same", taken, "<= 0")]
    return report("same_weights", goals)


def _original(file: nn.Module) -> Any:
    """Weights that the 4-bit file (its embeddings are 8-bit) could have been rounded from."""
    torch.manual_seed(0)
    original = copy.deepcopy(file)
    for name, weight in original.named_parameters():
        if weight.ndim > 1:
            blocks = weight.data.view(-1, 32)
            low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
            eight = blocks.abs().amax(1, keepdim=True) / 127
            moved = (torch.rand_like(blocks) - 0.5) * (eight if "embed" in name else (high - low) / 15)
            moved[(blocks == low) | (blocks == high)] = 0
            weight.data = (blocks + moved).view_as(weight)
    return original


def _stored(file: Any, original: Any) -> list[tuple[str, float, Distance]]:
    cast = {name: copy.deepcopy(original).to(getattr(torch, name)) for name in ("bfloat16", "float16")}
    twice = copy.deepcopy(original).half().bfloat16()
    found = [_compared("the 4-bit file; original in fp32", file, original)]
    found += [_compared(f"the 4-bit file; original in {name}", file, one) for name, one in cast.items()]
    found += [_compared(f"original; in {name}", original, one) for name, one in cast.items()]
    found.append(_compared("original; in fp16, then bf16", original, twice, hashed=True))
    for name in FORMATS:
        quantised = _quantised(original, name)
        found.append(_compared(f"original; {name}", original, quantised, hashed=True))
        found.append(
            _compared(f"original in bf16; {name} in bf16", cast["bfloat16"], quantised.bfloat16(), hashed=True)
        )
    return found


def _edited(file: Any, original: Any, tokenizer: Any) -> list[tuple[str, float, Distance]]:
    found = []
    for share in SHARES:
        tuned = _fine_tuned(original, tokenizer, share)
        found.append(_compared(f"{share} of a LoRA: original; tuned", original, tuned, hashed=True))
        found.append(_compared(f"{share} of a LoRA: 4-bit file; tuned in bf16", file, copy.deepcopy(tuned).bfloat16()))
        on_file = _fine_tuned(file, tokenizer, share)
        found.append(_compared(f"{share} of a LoRA: 4-bit file; that tuned", file, on_file, hashed=True))
    vector = HarmVector.from_pretrained(released_vector())
    for name, base in (("4-bit file", file), ("original", original)):
        edited = copy.deepcopy(base)
        vector.subtract_from(edited, 1.8, allow_mismatch=True)
        found.append(_compared(f"harm vector: 4-bit file; {name} less 1.8 times", file, edited, hashed=base is file))
    return found


def _quantised(model: Any, name: str) -> Any:
    kind, found = GGMLQuantizationType[name], copy.deepcopy(model)
    for weight in found.parameters():
        if weight.ndim > 1:
            stored = quants.dequantize(quants.quantize(weight.data.numpy(), kind), kind)
            weight.data = torch.from_numpy(stored.copy()).float().view_as(weight)
    return found


def _fine_tuned(base: Any, tokenizer: Any, share: float) -> Any:
    """The released ARM under one preference, merged into a copy of a base."""
    tuned = copy.deepcopy(base)
    arm = load_arm(released_arm(), base, tokenizer=tokenizer, allow_mismatch=["base_weights"])
    weights = dict(tuned.named_parameters())
    for name, layer in arm.get_base_model().named_modules():
        if isinstance(layer, PBLoraLayer):
            delta = layer.get_delta_weight("default", Preference.one_hot("empathy").tensor())
            weights[f"{name}.weight"].data += share * delta
    return tuned


def _compared(said: str, recorded: Any, found: Any, *, hashed: bool = False) -> tuple[str, float, Distance]:
    pairs = [
        (one.detach(), other.detach()) for one, other in zip(recorded.parameters(), found.parameters(), strict=True)
    ]
    moved = sum(float((one.double() - other.double()).square().sum()) for one, other in pairs)
    length = sum(float(one.double().square().sum()) for one, _ in pairs)
    return (
        said,
        (moved / length) ** 0.5,
        distance(sketch_of(ModelWeights(recorded)), ModelWeights(found), hashed=hashed),
    )


def _row(said: str, relative: float, found: Distance) -> list[str]:
    rounding = "" if found.rounding is None else f"{found.rounding:.2f}"
    return [said, f"{relative:.5f}", str(found.outside), str(found.counted), rounding, "yes" if found.same else "no"]
