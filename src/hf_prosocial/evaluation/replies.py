"""The second stage: every variant's replies to every benchmark, each made once and kept."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hf_prosocial.io import sha256, write_text

from .answers import Answers, answers_of, check_same_prompts
from .generation import reply_to_all
from .plan import Benchmark
from .reply_store import ReplyStore
from .variants import Variant

REPLIES = "replies"


def make_replies(
    benchmarks: Mapping[str, Benchmark], open_variant: Callable[[str], Variant], out: Path, *, batch_tokens: int
) -> dict[str, list[Answers]]:
    """Each variant's replies to each benchmark: those that are kept in `out`, and the missing ones made.

    Variants answer one after the other, so that one that is not open yet is opened once.

    Args:
        benchmarks: by name.
        open_variant: a variant by its name.
        out: the evaluation's folder.
        batch_tokens: the most tokens of a batch, padding and replies included.

    Returns:
        by benchmark, one `Answers` a variant, the reference first.

    Raises:
        ValueError: replies in `out` that were made with other settings.
    """
    found: dict[str, list[Answers]] = {name: [] for name in benchmarks}
    _ignore(out / REPLIES)
    for variant in dict.fromkeys(name for one in benchmarks.values() for name in one.variants):
        opened = open_variant(variant)
        for name, benchmark in benchmarks.items():
            if variant in benchmark.variants:
                found[name].append(_answers(opened, variant, benchmark, out, batch_tokens))
    for answers in found.values():
        check_same_prompts(answers)
    return found


def reply_file(out: Path, variant: str, benchmark: str) -> Path:
    """Where a variant's replies to a benchmark are kept."""
    return out / REPLIES / variant / f"{benchmark}.jsonl"


def reply_hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every file of replies, by its path among them."""
    folder = out / REPLIES
    return {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.glob("*/*.jsonl"))}


def _answers(opened: Variant, variant: str, benchmark: Benchmark, out: Path, batch_tokens: int) -> Answers:
    length = benchmark.max_new_tokens
    settings = opened.settings | {"prompts": benchmark.sha256, "max_new_tokens": length}
    store = ReplyStore(reply_file(out, variant, benchmark.name), settings)
    replier = replace(opened.replier, max_new_tokens=length)
    reply_to_all(
        store,
        replier,
        benchmark.prompts,
        benchmark.preferences,
        new_tokens=length,
        batch_tokens=batch_tokens,
        description=f"{variant}, {benchmark.name}",
    )
    return answers_of(variant, store, replier, benchmark.prompts, benchmark.preferences)


def _ignore(folder: Path) -> None:
    """Replies may be harmful: git leaves the folder alone."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ".gitignore", "*\n")
