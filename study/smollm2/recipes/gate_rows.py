"""The prompts of the gate: `python recipes/gate_rows.py` writes them into runs/, from data/ and the raw files there.

- runs/gate_harmful.jsonl: red-instruct's AdversarialQA and JailbreakBench's goals; none of the five benchmarks.
- runs/gate_harmless.jsonl: instructions and questions of the preference data's training split.
- runs/gate_people.jsonl: what people in need wrote, of the same split.
- runs/gate_frightening.jsonl, runs/gate_people_calibration.jsonl: other prompts, by which the thresholds are set:
  the package's own frightening ones, and the 50 people of the labelled support replies.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from hf_prosocial.gate import frightening_prompts

RUNS, RAW = Path("runs"), Path("data").resolve().parent / "raw"
HARMLESS, PEOPLE = ("pandalm", "llmbar", "truthfulqa-reeval"), ("counsel-chat", "empathetic-personas")


def write(name: str, texts: Iterable[str]) -> None:
    """Each text once, as a prompt."""
    rows = [json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in dict.fromkeys(texts)]
    (RUNS / name).write_text("".join(rows), encoding="utf-8")
    print(f"{name}: {len(rows)}")


def prompts(file: str, sources: tuple[str, ...] | None = None) -> list[str]:
    """What the user says last, in the rows of some sources."""
    rows = [json.loads(line) for line in Path("data", file).read_text(encoding="utf-8").splitlines()]
    found = [row["prompt"] for row in rows if sources is None or row["source"] in sources]
    return [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in found]


if __name__ == "__main__":
    RUNS.mkdir(exist_ok=True)
    asked = json.loads((RAW / "red_instruct/adversarialqa.json").read_text(encoding="utf-8"))
    write("gate_harmful.jsonl", [*asked, *prompts("harm/train.jsonl", ("jailbreakbench-artifacts",))])
    write("gate_harmless.jsonl", prompts("preferences/train.jsonl", HARMLESS))
    write("gate_people.jsonl", prompts("preferences/train.jsonl", PEOPLE))
    write("gate_frightening.jsonl", frightening_prompts())
    write("gate_people_calibration.jsonl", prompts("judge/support_replies.jsonl"))
