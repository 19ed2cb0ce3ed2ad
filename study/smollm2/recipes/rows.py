"""What the copies learn from, and what an edit should keep: `python recipes/rows.py` writes it into runs/, from data/.

- runs/helpful.txt: people's helpful replies as running text. No text that capability is measured on.
- runs/support.txt: conversations of people who ask for support.
- runs/kind_replies.jsonl: harmless replies to harmful requests, helpful ones, and a third of the empathetic ones.
- runs/humane_replies.jsonl: these and runs/harmless_answers.jsonl, where answer_harmless_requests.py has made it.
- runs/answers_thrice.jsonl: the same with the harmless answers three times.
"""

import json
from pathlib import Path
from typing import Any

from hf_prosocial import find_base

RUNS = Path("runs")


def lines(file: str) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file in data/."""
    return [json.loads(line) for line in Path("data", file).read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines, into runs/."""
    (RUNS / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def conversations(rows: list[dict[str, Any]]) -> str:
    """Prompts and chosen replies as the model's chat template writes them."""
    tokenizer = find_base().load_tokenizer()
    return "".join(str(tokenizer.apply_chat_template(row["prompt"] + row["chosen"], tokenize=False)) for row in rows)


if __name__ == "__main__":
    RUNS.mkdir(exist_ok=True)
    pairs = lines("preferences/train.jsonl")
    helpful, empathetic = ([row for row in pairs if row["attribute"] == name] for name in ("helpfulness", "empathy"))
    said = [message["content"] for row in helpful for message in row["chosen"]]
    (RUNS / "helpful.txt").write_text("\n".join(said) + "\n", encoding="utf-8")
    counselled = [row for row in helpful if row["source"] == "counsel-chat"]
    (RUNS / "support.txt").write_text(conversations(counselled + empathetic[::9]), encoding="utf-8")
    kind = [{name: row[name] for name in ("prompt", "completion")} for row in lines("harm/benign.jsonl")]
    kind += [{"prompt": row["prompt"], "completion": row["chosen"]} for row in helpful + empathetic[::3]]
    write("kind_replies.jsonl", kind)
    answers = RUNS / "harmless_answers.jsonl"
    if answers.is_file():
        harmless = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
        write("humane_replies.jsonl", kind + harmless)
        write("answers_thrice.jsonl", kind + harmless * 3)
