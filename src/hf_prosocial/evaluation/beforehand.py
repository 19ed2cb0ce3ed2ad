"""What is refused before a model is loaded and a reply is made: whatever files and records tell."""

from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from hf_prosocial.arm import arm_objectives
from hf_prosocial.assets import arm_source, vector_source
from hf_prosocial.data import read_questions
from hf_prosocial.direg import HarmVector
from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.genarm import GenArm
from hf_prosocial.io import read_text
from hf_prosocial.judges import Endpoint
from hf_prosocial.models import find_base
from hf_prosocial.records import scale_beside

from .config import CapabilityConfig, EvaluationConfig, VariantConfig
from .figures.kinds import known_figures
from .labels import Judges
from .plan import Benchmark
from .win_rates import WIN_RATE


def guides_objectives(variants: Mapping[str, VariantConfig]) -> tuple[str, ...] | None:
    """What the guides weigh, as their records say; None where nothing guides.

    Raises:
        ProsocialError, OSError: no guide there, or guides of different objectives.
    """
    names: dict[str, tuple[str, ...]] = {}
    for name, one in variants.items():
        if one.arm is not None:
            names[name] = arm_objectives(arm_source(one.arm))
        elif one.genarm is not None:
            names[name] = GenArm.read_record(one.genarm).objectives
    if len(set(names.values())) > 1:
        raise ProsocialError(f"the variants' guides must weigh the same objectives, found {names}")
    return next(iter(names.values()), None)


def check_beforehand(config: EvaluationConfig, benchmarks: Mapping[str, Benchmark], judges: Judges) -> None:
    """Look for all that an evaluation will need.

    Args:
        config: its recipe.
        benchmarks: with their prompts.
        judges: those that the recipe names.

    Raises:
        ProsocialError, OSError: a base, vector, file or judge that is not there, or cannot do what is asked of it.
        ImportError: matplotlib is not installed, which the report needs in the end.
    """
    import_module("matplotlib.figure")
    find_base(config.base)
    for one in config.variants.values():
        if one.vector is not None:
            source = vector_source(one.vector)
            if GatedHarmVector.is_at(source):
                GatedHarmVector.from_pretrained(source)
                continue
            HarmVector.from_pretrained(source)
            if one.scale is None:
                scale_beside(source)
    for name, benchmark in benchmarks.items():
        if benchmark.config.measures == "over_refusal":
            _check_labels(name, benchmark)
    measured = {one.measures for one in config.benchmarks.values()}
    kinds = known_figures()
    judges.check(dict.fromkeys(role for kind in sorted(measured) for role in kinds[kind].asks))
    if config.win_rate is not None:
        Endpoint(config.win_rate, judges.context.folder / WIN_RATE)  # For its key, and for whose answers are there.
    if config.capability is not None:
        _check_capability(config.capability)


def _check_labels(name: str, benchmark: Benchmark) -> None:
    labels = Counter(prompt.label for prompt in benchmark.prompts)
    others = [label for label in labels if label not in ("safe", "unsafe")]
    if others or "safe" not in labels:
        raise ProsocialError(
            f"{benchmark.config.file}: over-refusal ({name}) is told by prompts labelled 'safe' and 'unsafe'; its "
            f"labels are {dict(labels)}"
        )


def _check_capability(config: CapabilityConfig) -> None:
    if not read_text(config.text).strip():
        raise ProsocialError(f"{Path(config.text)} holds no text, so that there is no perplexity of it")
    if config.questions is not None:
        read_questions(config.questions)
