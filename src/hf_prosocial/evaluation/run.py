"""`prosocial evaluate`: config → plan → replies → labels → figures → metrics → report, each made of the one before."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hf_prosocial.io import one_writer
from hf_prosocial.judges import ANSWERS, Endpoint, JudgeConfig, JudgeContext, PairwiseJudge
from hf_prosocial.models import SMOLLM2
from hf_prosocial.preference import OBJECTIVES, Preference
from hf_prosocial.records import METRICS, Metrics

from .answers import Answers
from .beforehand import check_beforehand, guides_objectives
from .capability import capability_of_all
from .config import EvaluationConfig
from .figures.signature import warn_of
from .labels import Judges, label_replies
from .measure import AllMeasured, measure
from .overhead import overheads
from .plan import Benchmark, plan_benchmarks
from .replies import make_replies, reply_hashes
from .report import write_report
from .variants import Generation, Variants
from .win_rates import WIN_RATE, win_rates

_VERSIONS = ("hf-prosocial", "torch", "transformers", "peft", "scipy", "scikit-learn", "moocore")


def evaluate(config: EvaluationConfig, out: str | Path) -> Metrics:
    """Make the replies that are missing, have them scored, and write the report.

    Args:
        config: from `read_config`.
        out: a folder. Replies and scores are kept in it (`replies` is ignored by git: they may be harmful); a run that
            was killed goes on, and one that is whole gives the same figures again.

    Returns:
        what metrics.json holds.

    Raises:
        ProsocialError, OSError: whatever is wrong with the configuration, the data, a model or a judge, or another
            evaluation at work in the folder; what was made is kept.
    """
    out = Path(out)
    generation = Generation(config.max_new_tokens, config.temperature, config.seed)
    objectives = guides_objectives(config.variants) or OBJECTIVES
    answering = {name: config.answering(name) for name in config.benchmarks}
    benchmarks = plan_benchmarks(config.benchmarks, answering, objectives, max_new_tokens=config.max_new_tokens)
    judges = Judges(
        _configs(config),
        JudgeContext(config.base, config.dtype, objectives, out / ANSWERS),
    )
    check_beforehand(config, benchmarks, judges)
    variants = Variants(config.base, config.dtype, config.variants, generation)
    with one_writer(out):
        replies = make_replies(benchmarks, variants.open, out, batch_tokens=config.batch_tokens)
        labelled = label_replies(benchmarks, replies, judges, out)
        measured = measure(
            benchmarks,
            labelled,
            objectives,
            harm_validated=_harm_validated(benchmarks, judges),
            not_measurable=judges.not_measurable() if _measured(benchmarks, "rewards") else {},
        )
        warn_of(measured.signatures)
        metrics = _metrics(config, variants, benchmarks, labelled, judges, measured, out)
        metrics.write(out / METRICS)
        write_report(metrics, out)
    return metrics


def _harm_validated(benchmarks: Mapping[str, Benchmark], judges: Judges) -> bool:
    """Asked only where harm is judged, for it reads the judge's record."""
    return _measured(benchmarks, "harm") and judges.harm_validated()


def _measured(benchmarks: Mapping[str, Benchmark], kind: str) -> bool:
    return any(one.config.measures == kind for one in benchmarks.values())


def _configs(config: EvaluationConfig) -> dict[str, JudgeConfig]:
    """Every judge of the recipe, by the name that it is asked by."""
    found: dict[str, JudgeConfig] = {"rewards": config.rewards, "harm": config.harm, "refusal": config.refusal}
    seconds = {"second_harm": config.second_harm, "second_refusal": config.second_refusal}
    return found | {name: one for name, one in seconds.items() if one is not None}


def _metrics(
    config: EvaluationConfig,
    variants: Variants,
    benchmarks: Mapping[str, Benchmark],
    answers: Mapping[str, list[Answers]],
    judges: Judges,
    measured: AllMeasured,
    out: Path,
) -> Metrics:
    uniform = Preference.uniform(objectives=judges.context.objectives)
    content = {
        "base": config.base or SMOLLM2,
        "reference": config.reference,
        "objectives": judges.context.objectives,
        "variants": {name: variants.open(name).settings for name in config.variants},
        "benchmarks": {name: asdict(one.config) | {"sha256": one.sha256} for name, one in benchmarks.items()},
        "prompts": {name: len(one.prompts) for name, one in benchmarks.items()},
        "preferences": {name: len(one.preferences) for name, one in benchmarks.items()},
        "judges": judges.described(),
        "figures": measured.figures,
        "differences": measured.differences,
        "signatures": measured.signatures,
        "win_rates": [],
        "replies": reply_hashes(out),
        "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
    }
    if config.win_rate is not None:
        judge = PairwiseJudge(Endpoint(config.win_rate, judges.context.folder / WIN_RATE))
        asked = [answers[name] for name, one in benchmarks.items() if uniform in one.preferences]
        content["win_rates"] = win_rates(judge, [one for one in asked if len(one) > 1], uniform)
    if config.capability is not None:
        read = [
            answers[name]
            for name, one in benchmarks.items()
            if one.config.measures == "rewards" and uniform in one.preferences
        ]
        content["capability"] = capability_of_all(config.capability, variants, config.reference, read, uniform, out)
    if config.overhead is not None:
        prompts = list(next(iter(benchmarks.values())).prompts)
        repliers = {name: variants.open(name).replier for name in config.variants}
        content["overhead"] = overheads(repliers, config.reference, prompts, uniform, config.overhead)
    return Metrics.parse({"format": Metrics.VERSION, **plain(content)}, out / METRICS)


def plain(content: object) -> Any:
    """Dataclasses as dictionaries and tuples as lists, all the way down."""
    if is_dataclass(content) and not isinstance(content, type):
        return plain(asdict(content))
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content
