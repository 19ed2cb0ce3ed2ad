"""`prosocial evaluate`: replies, scores, figures, report, each kept in one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_prosocial.files import sha256, write_text
from hf_prosocial.preference import OBJECTIVES, Preference

from .answers import Answers, answers_of, check_same_prompts
from .config import BenchmarkConfig, EvaluationConfig
from .generation import reply_to_all
from .multi_objective import edges, simplex_design
from .prompts import Prompt, read_prompts, spread
from .reply_store import ReplyStore
from .scoring import Scoring, as_scores, kept
from .variants import Variants

REPLIES, SCORES = "replies", "scores"


@dataclass(frozen=True)
class Benchmark:
    """Prompts, and the preferences that each is answered under."""

    config: BenchmarkConfig
    prompts: tuple[Prompt, ...]
    preferences: tuple[Preference, ...]


def objectives_of(config: EvaluationConfig, variants: Variants) -> tuple[str, ...]:
    """What preferences weigh: the guides' objectives, or the five where nothing guides."""
    guided = any(one.arm or one.genarm for one in config.variants.values())
    return variants.objectives() if guided else OBJECTIVES


def read_benchmarks(config: EvaluationConfig, objectives: Sequence[str]) -> dict[str, Benchmark]:
    """The prompts of every benchmark.

    Raises:
        OSError: no such file.
        ValueError: a file without a prompt, or a preference that is none.
    """
    found = {}
    for name, one in config.benchmarks.items():
        prompts = spread(read_prompts(one.file, name), one.count)
        found[name] = Benchmark(one, tuple(prompts), tuple(preferences_of(one.preferences, objectives)))
    return found


def preferences_of(said: Sequence[str], objectives: Sequence[str]) -> list[Preference]:
    """What the configuration's words mean, each preference once.

    Raises:
        ValueError: neither a word nor weights.
    """
    found: dict[Preference, None] = {}
    for one in said:
        if one == "uniform":
            chosen = [Preference.uniform(objectives=objectives)]
        elif one == "one_hot":
            chosen = [Preference.one_hot(name, objectives=objectives) for name in objectives]
        elif one == "edges":
            chosen = edges(objectives)
        elif one == "simplex":
            chosen = simplex_design(objectives)
        else:
            chosen = [Preference.parse(one, objectives=objectives)]
        found |= dict.fromkeys(chosen)
    return list(found)


def make_replies(
    config: EvaluationConfig, variants: Variants, benchmarks: Mapping[str, Benchmark], out: Path
) -> dict[str, list[Answers]]:
    """Each variant's replies to each benchmark: those that are kept in `out`, and the missing ones made.

    Returns:
        by benchmark, one `Answers` a variant, the reference first.

    Raises:
        ValueError: replies in `out` that were made with other settings.
    """
    found: dict[str, list[Answers]] = {name: [] for name in benchmarks}
    _ignore(out / REPLIES)
    for variant in [config.reference, *(name for name in config.variants if name != config.reference)]:
        opened = variants.open(variant)
        for name, benchmark in benchmarks.items():
            if variant not in config.answering(name):
                continue
            length = benchmark.config.max_new_tokens or config.max_new_tokens
            settings = opened.settings | {"prompts": sha256(benchmark.config.file), "max_new_tokens": length}
            store = ReplyStore(reply_file(out, variant, name), settings)
            replier = replace(opened.replier, max_new_tokens=length)
            reply_to_all(
                store,
                replier,
                benchmark.prompts,
                benchmark.preferences,
                new_tokens=length,
                batch_tokens=config.batch_tokens,
                description=f"{variant}, {name}",
            )
            found[name].append(answers_of(variant, store, replier, benchmark.prompts, benchmark.preferences))
    for answers in found.values():
        check_same_prompts(answers)
    return found


def score_replies(
    benchmarks: Mapping[str, Benchmark], answers: Mapping[str, Sequence[Answers]], scoring: Scoring, out: Path
) -> dict[str, list[Answers]]:
    """The same with rewards and labels, as each benchmark needs them.

    Raises:
        ValueError: rewards that are no numbers.
    """
    return {
        name: [_scored(one, benchmarks[name].config, scoring, out) for one in of_benchmark]
        for name, of_benchmark in answers.items()
    }


def reply_file(out: Path, variant: str, benchmark: str) -> Path:
    """Where a variant's replies to a benchmark are kept."""
    return out / REPLIES / variant / f"{benchmark}.jsonl"


def reply_hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every file of replies, by its path among them."""
    folder = out / REPLIES
    return {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.glob("*/*.jsonl"))}


def _scored(answers: Answers, benchmark: BenchmarkConfig, scoring: Scoring, out: Path) -> Answers:
    replies = sha256(reply_file(out, answers.variant, answers.benchmark))

    def said(kind: str, ask: Any) -> list[Any]:
        path = out / SCORES / kind / answers.variant / f"{answers.benchmark}.json"
        settings = {"scorer": scoring.identity(kind), "replies": replies}
        return kept(path, settings, lambda: ask(answers.each_prompt(), answers.replies))

    if benchmark.measures == "rewards":
        answers = answers.with_rewards(as_scores(said("rewards", scoring.reward_columns)))
    # High rewards of replies that turn people away are told from those of replies that answer.
    answers = replace(answers, refusal=answers.labelled(said("refusal", lambda *given: scoring.refusal(*given))))
    if benchmark.measures == "harm":
        answers = replace(answers, harm=answers.labelled(said("harm", lambda *given: scoring.harm(*given))))
    return answers


def _ignore(folder: Path) -> None:
    """Replies may be harmful: git leaves the folder alone."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ".gitignore", "*\n")
