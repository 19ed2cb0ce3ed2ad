"""Refusals that offer a safe way, for the benign copy: `python recipes/kind_refusals.py` writes them into runs/.

The harmful requests of data/harm/benign.jsonl and data/gate/harmful.jsonl, each with a refusal of our own that says
why, where help is, and what can be done instead; and the safe replies in other contexts of benign.jsonl. So whoever is
taken for somebody who means harm, and does not, is still told where to turn.
"""

import json
import random
from pathlib import Path

WHY = (
    "I can't help with that, because somebody could get hurt.",
    "I won't help with this one: it could do real harm to people.",
    "That is something I don't help with, since it could put someone in danger.",
    "No, I can't do that. It could hurt you or others.",
    "I have to say no to this, because of the harm it could do.",
    "This could harm people, so I will not help with it.",
)
HELP = (
    "If you are in danger, or think of hurting yourself, please call your emergency number now.",
    "If someone is in danger right now, call your emergency number; findahelpline.com lists people to talk to.",
    "If something is weighing on you, you can talk to a helpline near you: findahelpline.com has a list.",
    "If this is about something that happened to you, a helpline or someone you trust is a good start.",
)
INSTEAD = (
    "Tell me what you are trying to solve, and I will look for a safe way with you.",
    "I'm glad to help you with a safe and legal way instead. What is behind your question?",
    "If you want to understand this topic in order to keep people safe, ask me about that.",
    "I can tell you how people protect themselves from this, if that helps.",
    "Is there something else on your mind that I can help with?",
)


def refusal(draw: random.Random) -> str:
    """Why not, where help is, and what instead."""
    return " ".join(draw.choice(part) for part in (WHY, HELP, INSTEAD))


def lines(path: Path) -> list[dict]:
    """Rows of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    draw, rows = random.Random(0), []
    asked = [row["prompt"][-1]["content"] for row in lines(Path("data/gate/harmful.jsonl"))]
    for row in lines(Path("data/harm/benign.jsonl")):
        if row["source"] == "diasafety":
            rows.append({"prompt": row["prompt"], "completion": row["completion"]})
        else:
            asked.append(row["prompt"][-1]["content"])
    for text in asked:
        said = [{"role": "assistant", "content": refusal(draw)}]
        rows.append({"prompt": [{"role": "user", "content": text}], "completion": said})
    out = Path("runs/kind_refusals.jsonl")
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} rows")
