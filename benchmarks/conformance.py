"""Every decoder family that can be built small, in every use: exact, or refused in a sentence. Writes the docs page."""

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from transformers.utils import logging

from benchmarks.goals import Goal, report
from hf_prosocial.io import markdown_table, progress_bar, write_text

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "conformance.md"
_BEGIN = """# Which models

transformers {version}, PEFT's PBLoRA on linear layers that see tokens by rows. Each family is a model of a few thousand
weights; each use is compared with its definition: scores with a recompute of every row from its first token, alone;
log-probabilities of pairs with each reply by itself; edits with θ − λτ. Written by `python -m benchmarks conformance`;
`make conformance` runs the same as tests, `make test` the twelve most used families.

- *packed*, *apart*: both replies of a pair are read in one row, or each in a row with its prompt.
- *one length*: exact for prompts of one length; padded ones are refused, because the model does not honour padding.
- a number: refused; the sentence stands below.

"""


def run() -> bool:
    sys.path.insert(0, str(ROOT / "tests"))
    from conformance.families import FAMILIES
    from conformance.uses import USES, outcome

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found: dict[str, dict[str, str]] = {}
    broken = []
    with progress_bar(len(FAMILIES) * len(USES), "conformance", "use") as progress, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for family in FAMILIES:
            found[family] = {}
            for use in USES:
                try:
                    found[family][use] = outcome(family, use)
                except Exception as error:
                    broken.append(f"{family}, {use}: {type(error).__name__}: {error}")
                    found[family][use] = f"WRONG: {type(error).__name__}"
                progress.update()
    write_text(PAGE, _page(found, list(USES)))
    for line in broken:
        print(line)
    guiding = [family for family, uses in found.items() if uses["guides (processor)"].startswith("exact")]
    goals = [
        Goal("uses that are wrong or end in a traceback", len(broken), "<= 0"),
        Goal("families that guide exactly", len(guiding), ">= 45"),
        Goal("families tried", len(found), ">= 60"),
    ]
    return report("conformance", goals)


def _page(found: dict[str, dict[str, str]], uses: list[str]) -> str:
    sentences: list[str] = []
    table = markdown_table(
        ["family", *uses],
        [[family, *(_cell(outcomes[use], sentences) for use in uses)] for family, outcomes in found.items()],
    )
    listed = "\n".join(f"{number}. {sentence}" for number, sentence in enumerate(sentences, start=1))
    return f"{_BEGIN.format(version=transformers.__version__)}{table}\n\n## Why not\n\n{listed}\n"


def _cell(outcome: str, sentences: list[str]) -> str:
    if outcome == "exact, prompts of one length":
        return "one length"
    if outcome in _RIGHT:
        return outcome
    sentence = outcome.removeprefix("refused: ").replace("<", "").replace(">", "")
    if sentence not in sentences:
        sentences.append(sentence)
    return str(sentences.index(sentence) + 1)


_RIGHT: Iterable[str] = ("exact", "packed", "apart")
