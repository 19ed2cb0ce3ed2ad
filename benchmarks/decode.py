"""What a guided step costs, by every way of guiding, over a step of the base alone.

SmolLM2-135M-Instruct on the processor; `decode_gpu` tells whole texts on a GPU. A step decodes one token for each row,
64 of them after a prompt of 64; medians over steps in turn. The limit is the time of reading every weight once, at the
rate at which this machine reads memory in the same run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import DynamicCache, UnbatchedClassifierFreeGuidanceLogitsProcessor

from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn, median_ratio
from hf_prosocial import OBJECTIVES, GuidedModel, PBLoraConfig, Preference, ProSocialProcessor
from hf_prosocial.decoding.few_rows import FewRowsLinear
from hf_prosocial.genarm import GenArm, GenArmProcessor
from hf_prosocial.genarm.model import GenArmRecord
from hf_prosocial.models import CACHE, find_base, sharing_weights
from hf_prosocial.pblora.layer import PBLoraLayer

UNIFORM = Preference.uniform()
LENGTH, STEPS = 64, 64
TARGETS = ["q_proj", "k_proj", "v_proj"]
RECORD = Path("records/decode.json")
HEADER = (
    "| model | rows | variant | ms a step | over the base | over reading the weights once |\n|---|---|---|---|---|---|"
)
MEMORY = """
import ctypes, gc, sys
from pathlib import Path
from benchmarks.decode import Models, VARIANTS
models = Models.smollm2("float32")
gc.collect()
ctypes.CDLL("libc.so.6").malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")  # The peak counts from here on, not from loading.
step = VARIANTS[sys.argv[1]](models, 4)
for _ in range(8):
    step()
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(line.split()[1])
"""


@dataclass
class Models:
    """A base, and a PV-ARM, a GenARM and a PARM-like layer's model on the same weights."""

    name: str
    base: Any
    arm: Any
    built: Any
    genarm: GenArm

    @classmethod
    def smollm2(cls, dtype: str) -> "Models":
        model, _ = find_base().load(getattr(torch, dtype))
        return cls.around(f"SmolLM2-135M, {dtype}", model)

    @classmethod
    def around(cls, name: str, model: Any) -> "Models":
        return cls(name, model, _arm(model), _building(_arm(model)), _genarm(model))

    @property
    def weight_bytes(self) -> int:
        return sum(weight.nbytes for weight in self.base.parameters())


def _arm(model: Any) -> Any:
    arm = get_peft_model(sharing_weights(model), PBLoraConfig(target_modules=TARGETS, task_type="CAUSAL_LM")).eval()
    arm.requires_grad_(False)
    with torch.no_grad():
        for name, weight in arm.named_parameters():
            if "pblora_B" in name:
                weight.normal_(std=0.02)
    arm.set_preference(UNIFORM)
    return arm


def _genarm(model: Any) -> GenArm:
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM", init_lora_weights=False)
    arm = get_peft_model(sharing_weights(model), config, adapter_name=OBJECTIVES[0])
    for name in OBJECTIVES[1:]:
        arm.add_adapter(name, config)
    return GenArm(arm, GenArmRecord(OBJECTIVES))


class BuiltDelta(nn.Module):
    """A linear layer that builds W + ΔW(p) at every call, as PARM's layer does."""

    def __init__(self, layer: PBLoraLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        base: Any = self.layer.get_base_layer()
        return nn.functional.linear(x, base.weight + self.layer.get_delta_weight("default"), base.bias)


def _building(arm: Any) -> Any:
    for module in list(arm.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PBLoraLayer):
                setattr(module, name, BuiltDelta(child))
    return arm


def _ids(models: Models, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(10, models.base.config.vocab_size - 10, (rows, LENGTH + 200), generator=generator)
    return ids.to(models.base.device)


def _steps(model: Any, ids: Tensor) -> Iterator[Tensor]:
    """A model's logits at each further token, with a cache."""
    cache: Any = None if isinstance(model, GuidedModel) else DynamicCache(config=model.config)
    output = model(ids[:, :LENGTH], use_cache=True, logits_to_keep=1, **{CACHE: cache})
    for length in range(LENGTH, ids.shape[1]):
        token = ids[:, length : length + 1]
        output = model(token, use_cache=True, logits_to_keep=1, **{CACHE: output[CACHE]})
        yield output.logits[:, -1]


def alone(models: Models, rows: int) -> Callable[[], object]:
    steps = _steps(models.base, _ids(models, rows))
    return _without_gradients(lambda: next(steps))


def one_forward(models: Models, rows: int) -> Callable[[], object]:
    guided = GuidedModel(models.base, models.arm, UNIFORM)
    steps = _steps(guided, _ids(models, rows))
    return _without_gradients(lambda: next(steps))


def _processed(models: Models, rows: int, processor: Any) -> Callable[[], object]:
    ids = _ids(models, rows)
    steps = enumerate(_steps(models.base, ids), start=LENGTH + 1)

    def step() -> object:
        length, scores = next(steps)
        return processor(ids[:, :length], scores.float())

    return _without_gradients(step)


def two_models(models: Models, rows: int) -> Callable[[], object]:
    return _processed(models, rows, ProSocialProcessor(models.arm, UNIFORM))


def built_delta(models: Models, rows: int) -> Callable[[], object]:
    return _processed(models, rows, _Second(models.built, _ids(models, rows)))


def classifier_free(models: Models, rows: int) -> Callable[[], object]:
    ids: Any = _ids(models, rows)[:, : LENGTH + 1]
    return _processed(models, rows, UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, models.arm, ids))


def five_adapters(models: Models, rows: int) -> Callable[[], object]:
    return _processed(models, rows, GenArmProcessor(models.genarm, UNIFORM))


def recomputed(models: Models, rows: int) -> Callable[[], object]:
    ids = _ids(models, rows)[:, : LENGTH + 1]

    def step() -> object:
        base, arm = (model(ids, use_cache=False, logits_to_keep=1).logits for model in (models.base, models.arm))
        return (base.float().log_softmax(-1) + arm.float().log_softmax(-1)).log_softmax(-1)

    return _without_gradients(step)


class _Second:
    """A second model with a plain cache of its own, mixed in by the formula."""

    def __init__(self, model: Any, ids: Tensor) -> None:
        self.steps = _steps(model, ids)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        return (scores.log_softmax(-1) + next(self.steps).float().log_softmax(-1)).log_softmax(-1)


def _without_gradients(step: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return step()

    return run


VARIANTS: dict[str, Callable[[Models, int], Callable[[], object]]] = {
    "base alone": alone,
    "GuidedModel": one_forward,
    "ProSocialProcessor": two_models,
    "a layer that builds ΔW": built_delta,
    "transformers' CFG processor": classifier_free,
    "GenARM, five adapters": five_adapters,
    "recompute without a cache": recomputed,
}


def reading_seconds(models: Models) -> float:
    """The least time, of several, in which as many bytes as the weights have are read once."""
    weights = torch.ones(models.weight_bytes // 4, device=models.base.device)

    def read() -> None:
        weights.sum()
        if weights.is_cuda:
            torch.cuda.synchronize()

    return min(in_turn({"read": read}, 5)["read"])


def measure(models: Models, rows: int, limit: float) -> list[dict[str, Any]]:
    tasks = {name: variant(models, rows) for name, variant in VARIANTS.items()}
    slow = tasks.pop("recompute without a cache")
    seconds = in_turn(tasks, STEPS)
    seconds["recompute without a cache"] = in_turn({"slow": slow}, 1 if rows > 4 else 3)["slow"]
    base = seconds["base alone"]
    return [measured(models, rows, name, times, base[: len(times)], limit) for name, times in seconds.items()]


def measured(
    models: Models, rows: int, variant: str, seconds: list[float], base: list[float], limit: float
) -> dict[str, Any]:
    """A variant's row of the record, from its seconds a token and the base's in the same rounds; prints it."""
    ratio, own = median_ratio(seconds, base), median(seconds)
    print(f"| {models.name} | {rows} | {variant} | {1e3 * own:.2f} | {ratio:.2f} | {own / limit:.2f} |", flush=True)
    return {"model": models.name, "rows": rows, "variant": variant, "ratio": ratio, "seconds": own}


def few_rows() -> None:
    """What a GuidedModel's linear layers cost beside torch's: all of SmolLM2's, once, on the processor in fp32."""
    model, _ = find_base().load(torch.float32)
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    for rows in (2, 4, 8, 16, 64):
        inputs = {width: torch.randn(rows, width) for width in {layer.in_features for layer in layers}}

        def torchs(inputs: dict[int, Tensor] = inputs) -> None:
            for layer in layers:
                nn.Linear.forward(layer, inputs[layer.in_features])

        def ours(inputs: dict[int, Tensor] = inputs) -> None:
            for layer in layers:
                FewRowsLinear.forward(layer, inputs[layer.in_features])

        with torch.no_grad():
            seconds = in_turn({"torch": torchs, "ours": ours}, 9)
        shown = ", ".join(f"{name} {1e3 * median(found):.0f} ms" for name, found in seconds.items())
        print(f"all linear layers, {rows} rows: {shown}", flush=True)


def run() -> bool:
    few_rows()
    dtypes = os.environ.get("PROSOCIAL_DTYPES", "float32,bfloat16").split(",")
    batches = [int(rows) for rows in os.environ.get("PROSOCIAL_ROWS", "1,4,8,32").split(",")]
    print(HEADER)
    rows: list[dict[str, Any]] = []
    for dtype in dtypes:
        rows += _measure_all(Models.smollm2(dtype), batches)
    memory = {name: _peak_memory(name) for name in VARIANTS}
    for name, peak in memory.items():
        print(f"{name}, SmolLM2 in fp32, 4 rows: peak {peak:.0f} MiB RSS on the processor")
    RECORD.write_text(json.dumps({"steps": rows, "peak RSS, MiB": memory}, indent=1) + "\n")
    return report("decode", _goals(rows))


def _peak_memory(name: str) -> float:
    """MiB, of a process that decodes a few tokens on the processor."""
    done = subprocess.run([sys.executable, "-c", MEMORY, name], capture_output=True, check=True, text=True)
    return int(done.stdout.split()[-1]) / 1024


def _measure_all(models: Models, batches: list[int]) -> list[dict[str, Any]]:
    limit = reading_seconds(models)
    print(f"{models.name}: {models.weight_bytes / 2**20:.0f} MiB of weights, read in {1e3 * limit:.1f} ms")
    return [row for rows in batches for row in measure(models, rows, limit)]


def _goals(rows: list[dict[str, Any]]) -> list[Goal]:
    goals = []
    for row in rows:
        bound = {1: 1.4, 4: 1.25}.get(row["rows"])
        if row["variant"] == "GuidedModel" and bound and "float32" in row["model"]:
            figure = f"a step of GuidedModel over the base's, {row['model']}, {row['rows']} rows"
            goals.append(Goal(figure, row["ratio"], f"<= {bound}"))
    return goals
