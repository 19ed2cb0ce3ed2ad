"""What guided text costs on a GPU, over the base's: `generate` by the token, in bf16, eagerly and compiled.

Models of SmolLM2-135M's and of Llama 7B's shape with random weights; 32 tokens after a prompt of 64, which is read in
the same time. Eagerly a step is as long as the processor takes to start its kernels; with a static cache `generate`
compiles a step to one graph. The limit is the time of reading every weight once.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.decode import HEADER, LENGTH, UNIFORM, Models, measured, reading_seconds
from benchmarks.goals import Goal, report
from benchmarks.timing import in_turn
from hf_prosocial import GuidedModel, ProSocialProcessor
from hf_prosocial.genarm import GenArmProcessor

RECORD = Path("records/decode-gpu.json")
SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M's shape": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "Llama 7B's shape": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
NEW_TOKENS, REPEATS = 32, 5
Rows = list[dict[str, Any]]


def run() -> bool:
    if not torch.cuda.is_available():
        raise SystemExit("decode_gpu needs a GPU; `python -m benchmarks decode` is for the processor")
    batches = [int(rows) for rows in os.environ.get("PROSOCIAL_ROWS", "1,16").split(",")]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n{HEADER}")
    rows: Rows = []
    for name, shape in SHAPES.items():
        for found in _measured(name, shape, batches):
            rows += found
            RECORD.write_text(json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}, indent=1) + "\n")
    return report("decode_gpu", _goals(rows))


def _measured(name: str, shape: dict[str, Any], batches: list[int]) -> Iterator[Rows]:
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape), dtype=torch.bfloat16).eval()
    models = Models.around(name, model)
    limit = reading_seconds(models)
    print(f"{name}: {models.weight_bytes / 2**20:.0f} MiB of weights, read in {1e3 * limit:.2f} ms", flush=True)
    guided = GuidedModel(models.base, models.arm, UNIFORM)
    for count in batches:
        yield _ratios(
            {
                "base alone": _generating(models.base, count),
                "GuidedModel": _generating(guided, count),
                "ProSocialProcessor": _generating(models.base, count, lambda: ProSocialProcessor(models.arm, UNIFORM)),
                "GenARM, five adapters": _generating(
                    models.base, count, lambda: GenArmProcessor(models.genarm, UNIFORM)
                ),
            },
            models,
            count,
            limit,
        )
    compiled = {
        "base alone, compiled": _generating(models.base, 1, cache_implementation="static"),
        "GuidedModel, compiled": _generating(guided, 1, cache_implementation="static"),
    }
    for task in compiled.values():
        task()  # Compiles; the round that in_turn leaves out captures the graph.
    yield _ratios(compiled, models, 1, limit)


def _generating(
    model: Any, count: int, processor: Callable[[], Any] | None = None, cache_implementation: str | None = None
) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(count)
    ids = torch.randint(10, model.config.vocab_size - 10, (count, LENGTH), generator=generator).to("cuda")
    options: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}

    def generate() -> object:
        processors = [] if processor is None else [processor()]
        with torch.no_grad():
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                logits_processor=processors,
                cache_implementation=cache_implementation,
                pad_token_id=0,
                **options,
            )
        torch.cuda.synchronize()
        return found

    return generate


def _ratios(tasks: dict[str, Callable[[], object]], models: Models, count: int, limit: float) -> Rows:
    """Seconds a token and over the first task's; and the peak memory of each."""
    peaks = {}
    for name, task in tasks.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        task()
        peaks[name] = torch.cuda.max_memory_allocated() / 2**20
    seconds = {name: [one / NEW_TOKENS for one in times] for name, times in in_turn(tasks, REPEATS).items()}
    base = next(iter(seconds.values()))
    return [
        measured(models, count, name, times, base, limit) | {"peak, MiB": peaks[name]}
        for name, times in seconds.items()
    ]


def _goals(rows: Rows) -> list[Goal]:
    return [
        Goal(f"compiled GuidedModel over the base, {row['model']}, 1 row", row["ratio"], "<= 1.1")
        for row in rows
        if "7B" in row["model"] and row["variant"] == "GuidedModel, compiled"
    ]
