"""The whole of `prosocial evaluate`, from a configuration to a report."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hf_prosocial.bases import SMOLLM2
from hf_prosocial.files import sha256, write_json
from hf_prosocial.preference import Preference

from .answers import Answers
from .capability import capability_figures, divergence
from .config import CapabilityConfig, EvaluationConfig
from .judges.asked import PairwiseJudge
from .judges.endpoint import Endpoint
from .measures.signatures import warn_of
from .measuring import measure
from .overhead import overheads
from .report import draw_all, write_page, write_results
from .runner import (
    SCORES,
    Benchmark,
    make_replies,
    objectives_of,
    read_benchmarks,
    reply_file,
    reply_hashes,
    score_replies,
)
from .scoring import ANSWERS, Scoring, kept
from .variants import Variants
from .win_rates import win_rates

METRICS, REPORT, PICTURES, RESULTS, CAPABILITY = "metrics.json", "report.html", "pictures", "eval_results", "capability"
LOCK = ".lock"
_VERSIONS = ("hf-prosocial", "torch", "transformers", "peft", "scipy", "scikit-learn", "moocore")


def evaluate(config: EvaluationConfig, out: str | Path) -> dict[str, Any]:
    """Make the replies that are missing, have them scored, and write the report.

    Args:
        config: from `read_config`.
        out: a folder. Replies and scores are kept in it (`replies` is ignored by git: they may be harmful); a run that
            was killed goes on, and one that is whole gives the same figures again.

    Returns:
        what metrics.json holds.

    Raises:
        ValueError, OSError: whatever is wrong with the configuration, the data, a model or a judge, or another
            evaluation at work in the folder; what was made is kept.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    # A lock of the operating system's, so that a killed run leaves none behind.
    lock = FileLock(out / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ValueError(
            f"another evaluation is writing into {out}, and both would make the same replies; wait for it, or choose "
            "another folder"
        ) from error
    try:
        return _evaluate(config, out)
    finally:
        lock.release()


def _evaluate(config: EvaluationConfig, out: Path) -> dict[str, Any]:
    variants = Variants(config)
    objectives = objectives_of(config, variants)
    benchmarks = read_benchmarks(config, objectives)
    answers = make_replies(config, variants, benchmarks, out)
    scoring = Scoring(config, objectives, out)
    scored = score_replies(benchmarks, answers, scoring, out)
    judged = any(one.config.measures == "harm" for one in benchmarks.values())
    validated = judged and scoring.harm_validation() is not None
    measured = measure(config, benchmarks, scored, objectives, validated=validated)
    warn_of(measured.signatures)
    metrics = _plain(
        {
            "base": config.base or SMOLLM2,
            "reference": config.reference,
            "objectives": objectives,
            "variants": {name: variants.open(name).settings for name in config.variants},
            "benchmarks": {
                name: asdict(one.config) | {"sha256": sha256(one.config.file)} for name, one in benchmarks.items()
            },
            "prompts": {name: len(one.prompts) for name, one in benchmarks.items()},
            "preferences": {name: len(one.preferences) for name, one in benchmarks.items()},
            "judges": {kind: scoring.described(kind) for kind in ("rewards", "harm", "refusal")},
            "figures": measured.figures,
            "differences": measured.differences,
            "signatures": measured.signatures,
            "win_rates": _win_rates(config, benchmarks, scored, out, objectives),
            "capability": _capability(config, variants, benchmarks, scored, out, objectives),
            "overhead": _overhead(config, variants, benchmarks, objectives),
            "replies": reply_hashes(out),
            "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
        }
    )
    write_json(out / METRICS, metrics)
    write_results(metrics, out / RESULTS)
    pictures = draw_all(metrics, out / PICTURES)
    write_page(metrics, [out / PICTURES / name for name in pictures], out / REPORT)
    return metrics


def _win_rates(
    config: EvaluationConfig,
    benchmarks: Mapping[str, Benchmark],
    answers: Mapping[str, list[Answers]],
    out: Path,
    objectives: tuple[str, ...],
) -> list[dict[str, Any]]:
    if config.win_rate is None:
        return []
    uniform = Preference.uniform(objectives=objectives)
    chosen = {name: answers[name] for name, one in benchmarks.items() if uniform in one.preferences}
    judge = PairwiseJudge(Endpoint(config.win_rate, out / ANSWERS / "win_rate.jsonl"))
    return win_rates(judge, {name: one for name, one in chosen.items() if len(one) > 1}, uniform)


def _capability(
    config: EvaluationConfig,
    variants: Variants,
    benchmarks: Mapping[str, Benchmark],
    answers: Mapping[str, list[Answers]],
    out: Path,
    objectives: tuple[str, ...],
) -> dict[str, Any]:
    chosen = config.capability
    if chosen is None:
        return {}
    uniform = Preference.uniform(objectives=objectives)
    with_rewards = [
        name for name, one in benchmarks.items() if one.config.measures == "rewards" and uniform in one.preferences
    ]
    shared = {
        "capability": asdict(chosen),
        "files": [sha256(chosen.text), sha256(chosen.questions)],
        "reference": variants.open(config.reference).settings,
    }
    found: dict[str, Any] = {}
    for variant in config.variants:
        if config.variants[variant].in_words:
            continue  # Words about a preference are part of a conversation; a bare text has no place for them.
        own = [one for name in with_rewards for one in answers[name] if one.variant == variant]
        read = own[0] if own and variant != config.reference else None
        replies = None if read is None else sha256(reply_file(out, variant, read.benchmark))
        preferences = [] if read is None else [str(preference) for preference in read.preferences]
        settings = shared | {
            "variant": variants.open(variant).settings,
            "replies": replies,
            "preferences of the divergence": preferences,
        }
        measured = partial(_capability_of, config, chosen, variants, variant, read, uniform)
        found[variant] = kept(out / SCORES / CAPABILITY / f"{variant}.json", settings, measured)
    return found


def _capability_of(
    config: EvaluationConfig,
    chosen: CapabilityConfig,
    variants: Variants,
    variant: str,
    read: Answers | None,
    uniform: Preference,
) -> dict[str, Any]:
    found = capability_figures(chosen, variants, variant, tuple(uniform))
    if read is not None:
        found |= divergence(variants, variant, config.reference, read)
    return _plain(found)


def _overhead(
    config: EvaluationConfig, variants: Variants, benchmarks: Mapping[str, Benchmark], objectives: tuple[str, ...]
) -> dict[str, Any]:
    if config.overhead is None:
        return {}
    length = config.overhead.new_tokens
    prompts = list(next(iter(benchmarks.values())).prompts[: config.overhead.prompts])
    repliers = {}
    for name in config.variants:
        opened = variants.open(name).replier
        # No reply ends early, so that all variants do the same work.
        options = {**opened.options, "min_new_tokens": length}
        repliers[name] = replace(opened, max_new_tokens=length, options=options)
    uniform = Preference.uniform(objectives=objectives)
    return overheads(repliers, config.reference, prompts, uniform, config.overhead)


def _plain(content: Any) -> Any:
    """Dataclasses as dictionaries and tuples as lists, all the way down."""
    if is_dataclass(content) and not isinstance(content, type):
        return _plain(asdict(content))
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content
