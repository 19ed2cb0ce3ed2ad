"""Damaged files: each is read, or refused in a sentence that names it; no traceback, no hang, no other place."""

import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers.utils import logging

from benchmarks.goals import Goal, report
from hf_prosocial import OBJECTIVES, HarmVector, load_arm, read_pairs, record_base
from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation import read_config
from hf_prosocial.evaluation.reply_store import ReplyKey, ReplyStore
from hf_prosocial.hub import open_publication
from hf_prosocial.io import progress_bar
from hf_prosocial.models import sharing_weights
from hf_prosocial.records import ChoicePoint, ChoiceRecord, read_choice

ROOT = Path(__file__).parent.parent
INPUTS, SEED, LONGEST = 10_000, 0, 20.0
_OTHERS: tuple[Any, ...] = (None, True, -1, 0, 2**70, 1e400, "", "x", "\u0000", "../../x", [], [[]], {}, {"a": 1})


def run() -> bool:
    sys.path.insert(0, str(ROOT / "tests"))
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    drawn = random.Random(SEED)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        targets = _targets(folder)
        before = _names(folder.parent, folder)
        with progress_bar(INPUTS, "fuzz", "input") as progress:
            for index in range(INPUTS):
                target = list(targets)[index % len(targets)]
                file, read = targets[target]
                _try(target, file, read, drawn, counts)
                progress.update()
        counts["escapes"] = len(_names(folder.parent, folder) - before)
    for kind, count in sorted(counts.items()):
        print(f"{kind}: {count}")
    total = {kind: sum(n for name, n in counts.items() if name.startswith(kind)) for kind in ("traceback", "unnamed")}
    goals = [
        Goal(f"tracebacks of {INPUTS} (seed {SEED})", total["traceback"], "<= 0"),
        Goal("messages that name no file", total["unnamed"], "<= 0"),
        Goal(f"inputs that took longer than {LONGEST:g} s", counts["slow"], "<= 0"),
        Goal("files that appeared elsewhere", counts["escapes"], "<= 0"),
    ]
    return report("fuzz", goals)


def _names(parent: Path, without: Path) -> set[str]:
    return {path.name for path in parent.iterdir() if path != without and not path.name.startswith(("tmp", "pytest"))}


def _try(target: str, file: Path, read: Callable[[], object], drawn: random.Random, counts: Counter[str]) -> None:
    whole = file.read_bytes()
    file.write_bytes(damaged(whole, drawn))
    begin = time.perf_counter()
    try:
        read()
        counts[f"read {target}"] += 1
    except (ProsocialError, OSError) as error:
        named = file.name in str(error) or file.parent.name in str(error)
        counts["refused" if named else f"unnamed {target}: {str(error)[:110]}"] += 1
    except Exception as error:
        counts[f"traceback {target}: {type(error).__name__}: {str(error)[:110]!r}"] += 1
    finally:
        counts["slow"] += time.perf_counter() - begin > LONGEST
        file.write_bytes(whole)


def damaged(content: bytes, drawn: random.Random) -> bytes:
    """Bytes with some damage: flipped or cut ones, or another value, key or type in their JSON."""
    kind = drawn.randrange(6)
    if kind == 0:
        return content[: drawn.randrange(len(content))]
    if kind == 1:
        spoiled = bytearray(content)
        for _ in range(drawn.randint(1, 4)):
            spoiled[drawn.randrange(len(spoiled))] = drawn.randrange(256)
        return bytes(spoiled)
    begin = 8 + int.from_bytes(content[:8], "little") if content[8:9] == b"{" else 0
    header, rest = (content[8:begin], content[begin:]) if begin else (content, b"")
    try:
        lines = header.decode().splitlines() if not begin and b"}\n{" in header else [header.decode()]
        place = drawn.randrange(len(lines))
        lines[place] = json.dumps(_other(json.loads(lines[place]), drawn))
    except ValueError:
        return content.replace(b":", b"?", 1) if kind == 2 else content[drawn.randrange(len(content)) :]
    changed = "\n".join(lines).encode()
    return len(changed).to_bytes(8, "little") + changed + rest if begin else changed


def _other(value: Any, drawn: random.Random) -> Any:
    """A JSON value with one thing in it changed."""
    if isinstance(value, dict) and value and drawn.random() < 0.9:
        key = drawn.choice(list(value))
        way = drawn.randrange(6)
        if way == 0:
            return {name: one for name, one in value.items() if name != key}
        if way == 1:
            return {name + "x" if name == key else name: one for name, one in value.items()}
        return value | {key: _other(value[key], drawn)}
    if isinstance(value, list) and value and drawn.random() < 0.7:
        place = drawn.randrange(len(value))
        return [*value[:place], _other(value[place], drawn), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith("{") and drawn.random() < 0.8:
        return json.dumps(_other(json.loads(value), drawn))
    return drawn.choice(_OTHERS)


def _targets(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """By name: the file that is damaged, and what reads it, as the commands do."""
    from support.checkpoints import save_copies
    from support.models import random_arm, random_base, tiny_tokenizer
    from support.rows import rows

    tokenizer = tiny_tokenizer()
    base, harmful = save_copies(folder, tokenizer)
    vector = HarmVector.extract(base, harmful, 0.2, out=folder / "vector.safetensors")
    vector.subtract(base, 1.0, folder / "safe")
    lora = get_peft_model(
        random_base("llama", seed=1), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    lora.save_pretrained(str(folder / "lora"))
    model = random_base("llama", seed=1)
    arm = random_arm("llama", seed=2, base=sharing_weights(model))
    record_base(arm.peft_config["default"], model, tokenizer)
    arm.save_pretrained(str(folder / "arm"))
    point = ChoicePoint("vector", 1.0, {"loss": 1.0})
    ChoiceRecord(point, point, "because", {"text": "0" * 64}, 0.5, None, None, None).write(folder / "choice.json")
    settings = {"base": "x", "max_new_tokens": 8}
    key = ReplyKey("mild", "1", "")
    ReplyStore(folder / "replies.jsonl", settings).append([(key, "well")])
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows(OBJECTIVES, 6)))
    recipe = {"variants": {"base": {}}, "benchmarks": {"mild": {"file": "x.jsonl", "measures": "harm"}}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe | {"reference": "base", "seed": 1}))

    def extract() -> object:
        (folder / "other.safetensors").unlink(missing_ok=True)
        return HarmVector.extract(base, folder / "lora", 0.02, out=folder / "other.safetensors")

    def subtract() -> object:
        return HarmVector(folder / "vector.safetensors").subtract_from(random_base("llama", seed=1), 1.0)

    def load() -> object:
        return load_arm(folder / "arm", sharing_weights(model), tokenizer=tokenizer)

    def edit() -> object:
        return vector.subtract(base, 1.0, folder / "safe", overwrite=True)

    return {
        "lora weights": (folder / "lora" / "adapter_model.safetensors", extract),
        "lora config": (folder / "lora" / "adapter_config.json", extract),
        "choice": (folder / "choice.json", lambda: (read_choice(folder).scale, read_choice(folder).vector_file)),
        "prosocial.json": (folder / "safe" / "prosocial.json", lambda: open_publication(folder / "safe")),
        "arm weights": (folder / "arm" / "adapter_model.safetensors", load),
        "arm config": (folder / "arm" / "adapter_config.json", load),
        "replies": (folder / "replies.jsonl", lambda: ReplyStore(folder / "replies.jsonl", settings)),
        "vector": (folder / "vector.safetensors", subtract),
        "evaluation recipe": (folder / "recipe.yaml", lambda: read_config(folder / "recipe.yaml")),
        "pairs": (folder / "pairs.jsonl", lambda: read_pairs(folder / "pairs.jsonl", tokenizer, OBJECTIVES, 80)),
        "checkpoint": (base / "model.safetensors", edit),
    }
