"""What `prosocial evaluate` reads: variants × preferences × benchmarks, and who scores the replies."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import given_fields, validated
from hf_prosocial.judges import (
    EmbeddedConfig,
    EndpointConfig,
    JudgeConfig,
    SentencesConfig,
    VoteConfig,
    WordsConfig,
    parse_judge,
)

from .figures.kinds import known_figures

_STRICT = ConfigDict(extra="forbid", protected_namespaces=())
AnyJudge = Annotated[JudgeConfig, PlainValidator(parse_judge)]
"""A mapping with a `kind` that is registered."""


def _voted() -> JudgeConfig:
    """Three judges of refusals, of which no two share a model."""
    return VoteConfig("vote", (WordsConfig("words"), SentencesConfig("sentences"), EmbeddedConfig("embedded")))


def _sentences() -> JudgeConfig:
    return SentencesConfig("sentences")


def _known(measures: str) -> str:
    if measures not in known_figures():
        raise ProsocialError(
            f"no kind of figures is called {measures!r}; there are {', '.join(sorted(known_figures()))}"
        )
    return measures


@dataclass(frozen=True)
class VariantConfig:
    """One way to answer; with nothing given, the base as it is.

    Attributes:
        vector: a harm vector that is subtracted: a file, directory, Hub id, "released" or "released-gated".
        scale: λ; by default what a gated vector itself, or the choice.json beside the vector says.
        arm: the PV-ARM that guides: a directory, Hub id or "released".
        arm_base: the smaller model that the ARM was trained on, where that is not the base; it has the base's tokens.
        arm_on: whether the ARM was trained on the base or on the base less the vector.
        genarm: a GenARM's directory, in place of an ARM.
        beta, safe_set: β and ε of the guidance.
        min_entropy: the arm is asked only where the base's next token has at least this entropy, in nats.
        in_words: whether the preference is told to the model in words.
        system: a system message before every prompt, in place of the template's own: what anyone can try first.
    """

    __pydantic_config__ = _STRICT
    vector: str | None = None
    scale: float | None = None
    arm: str | None = None
    arm_base: str | None = None
    arm_on: Literal["base", "edited"] = "base"
    genarm: str | None = None
    beta: float = 1.0
    safe_set: float | None = None
    min_entropy: float = 0.0
    in_words: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        if self.system is not None and (self.in_words or not self.system.strip()):
            raise ProsocialError("a system message is one's own text, or the preference in words (in_words), not both")
        if self.arm is not None and self.genarm is not None:
            raise ProsocialError("a variant is guided by an arm or by a genarm, not by both")
        if self.arm is None and self.genarm is None and (self.beta != 1.0 or self.safe_set is not None):
            raise ProsocialError("a beta or a safe_set, but neither an arm nor a genarm that it is the strength of")
        if self.min_entropy and self.arm is None:
            raise ProsocialError("a min_entropy, but no arm that it is asked by")
        if self.scale is not None and self.vector is None:
            raise ProsocialError(f"a scale of {self.scale:g}, but no vector")
        if self.arm_base is not None and (self.arm is None or self.arm_on == "edited"):
            raise ProsocialError("an arm_base is what an arm was trained on; it goes with an arm, and not with arm_on")
        if self.arm_on == "edited" and (self.vector is None or self.arm is None):
            raise ProsocialError("arm_on: edited needs a vector and an arm")

    @property
    def neutral_temperature(self) -> float:
        """1 + β, at which guidance by an ARM that has learned nothing is the model as it is; 1 without a guide."""
        return 1.0 if self.arm is None and self.genarm is None else 1.0 + self.beta


@dataclass(frozen=True)
class BenchmarkConfig:
    """Prompts, and what is measured on the replies to them.

    Attributes:
        file: JSON lines of `prompt`, and `category` and `label` where there are any.
        measures: "harm" (prompts that should not be complied with), "over_refusal" (prompts labelled safe or unsafe) or
            "rewards", or a kind that a plug-in registers.
        preferences: that each prompt is answered under: "uniform", "one_hot", "edges" (11 points for each pair of
            objectives), "simplex" (the even mixture of every subset), or weights as "empathy=0.7,truthfulness=0.3".
        count: no more than so many prompts, spread over the file.
        max_new_tokens: the most of a reply; by default the evaluation's.
        variants: that answer it; by default all. The reference always does.
    """

    __pydantic_config__ = _STRICT
    file: str
    measures: Annotated[str, AfterValidator(_known)]
    preferences: tuple[str, ...] = ("uniform",)
    count: Annotated[int, Field(ge=2)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    variants: tuple[str, ...] | None = None


@dataclass(frozen=True)
class CapabilityConfig:
    """Running text for perplexity, and questions for multiple choice where there are any; of counts, None is all."""

    __pydantic_config__ = _STRICT
    text: str
    questions: str | None = None
    text_tokens: int | None = None
    question_count: int | None = None


@dataclass(frozen=True)
class OverheadConfig:
    """Decoding overhead: so many prompts in a batch, tokens of each reply, and rounds."""

    __pydantic_config__ = _STRICT
    prompts: Annotated[int, Field(ge=1)] = 4
    new_tokens: Annotated[int, Field(ge=1)] = 32
    repeats: Annotated[int, Field(ge=1)] = 5


@dataclass(frozen=True)
class EvaluationConfig:
    """An evaluation.

    Attributes:
        base: as `find_base` takes it; None is SmolLM2-135M-Instruct.
        variants: by name.
        benchmarks: by name.
        reference: the variant that the others are compared with, and on whose replies rewards are z-scored.
        rewards, harm, refusal: who scores the replies; by default the heads that the package holds, and for refusals
            the vote of three judges.
        second_harm, second_refusal: who says the same once more, of another kind than the base; None asks nobody.
        win_rate: the judge that is shown two replies, in both orders; None leaves win rates out.
        capability: None leaves perplexity and multiple choice out.
        overhead: None leaves decoding overhead out; with it two runs differ in these figures.
        dtype: of the base.
        max_new_tokens: the most of a reply.
        batch_tokens: the most tokens of a batch, padding and replies included.
        temperature: of the base; guided variants sample at 1 + β times it, so that all have the same spread. 0 is
            greedy.
        seed: of sampling and of resampling.
        plugins: Python files that register kinds of judges or figures of one's own; run before the rest is read.
    """

    __pydantic_config__ = _STRICT
    variants: Annotated[dict[str, VariantConfig], Field(min_length=1)]
    benchmarks: Annotated[dict[str, BenchmarkConfig], Field(min_length=1)]
    reference: str
    base: str | None = None
    rewards: AnyJudge = field(default_factory=_sentences)
    harm: AnyJudge = field(default_factory=lambda: EmbeddedConfig("embedded"))
    refusal: AnyJudge = field(default_factory=_voted)
    second_harm: AnyJudge | None = field(default_factory=_sentences)
    second_refusal: AnyJudge | None = field(default_factory=_sentences)
    win_rate: EndpointConfig | None = None
    capability: CapabilityConfig | None = None
    overhead: OverheadConfig | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    batch_tokens: Annotated[int, Field(ge=1)] = 6144
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    seed: int = 0
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.reference not in self.variants:
            raise ProsocialError(f"the reference {self.reference!r} is none of the variants {list(self.variants)}")
        plain = self.variants[self.reference]
        if plain.arm or plain.genarm or plain.in_words:
            raise ProsocialError(f"the reference {self.reference!r} must heed no preference; leave guidance out of it")
        for name, benchmark in self.benchmarks.items():
            unknown = set(benchmark.variants or ()) - set(self.variants)
            if unknown:
                raise ProsocialError(f"{name} is to be answered by {sorted(unknown)}, which are no variants")
        for name in [*self.variants, *self.benchmarks]:
            if not name.isprintable() or not name.strip() or set(name) & set('/\\:*?"<>|') or name[0] in "._":
                raise ProsocialError(
                    f"{name!r} cannot name a folder and a line of a legend, as names of variants and benchmarks must: "
                    'they hold none of /\\:*?"<>| and begin with neither . nor _'
                )

    def answering(self, benchmark: str) -> list[str]:
        """The variants that answer a benchmark, the reference first."""
        chosen = self.benchmarks[benchmark].variants or tuple(self.variants)
        return [self.reference, *(name for name in self.variants if name in chosen and name != self.reference)]


def read_config(path: str | Path, options: Sequence[str] = ()) -> EvaluationConfig:
    """Read YAML, and options over it; relative paths in it are taken from the working directory, as of recipes.

    Args:
        path: the file.
        options: `--field value`, the value as YAML has it.

    Raises:
        ValueError: not a mapping, a key that nothing reads, or a value that cannot be; every one of them is named.
    """
    content = given_fields(["--config", str(path), *options], EvaluationConfig)
    plugins = content.get("plugins") or []
    if not isinstance(plugins, list) or not all(isinstance(one, str) for one in plugins):
        raise ProsocialError(f"{path}: plugins is a list of files, as [my_judges.py], found {plugins!r}")
    for plugin in plugins:
        run_plugin(plugin)
    return validated(EvaluationConfig, content, str(path))


def run_plugin(file: str | Path) -> None:
    """Run a Python file, for what it registers.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an error in it, which is named.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"no plug-in {path}")
    try:
        runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:
        raise ProsocialError(f"the plug-in {path} failed: {type(error).__name__}: {error}") from error
