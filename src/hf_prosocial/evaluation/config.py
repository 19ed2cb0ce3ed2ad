"""What `prosocial evaluate` reads: variants × preferences × benchmarks, and who scores the replies."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

_STRICT = ConfigDict(extra="forbid", protected_namespaces=())
RELEASED = "released"
"""As a vector, an ARM or heads: those that the package holds, of SmolLM2-135M-Instruct."""


@dataclass(frozen=True)
class VariantConfig:
    """One way to answer; with nothing given, the base as it is.

    Attributes:
        vector: a harm vector that is subtracted: a file, directory, Hub id or "released".
        scale: λ; by default what the vector's choice.json says.
        arm: the PV-ARM that guides: a directory, Hub id or "released".
        arm_on: whether the ARM was trained on the base or on the base less the vector.
        genarm: a GenARM's directory, in place of an ARM.
        beta, safe_set: β and ε of the guidance.
        in_words: whether the preference is told to the model in words.
    """

    __pydantic_config__ = _STRICT
    vector: str | None = None
    scale: float | None = None
    arm: str | None = None
    arm_on: Literal["base", "edited"] = "base"
    genarm: str | None = None
    beta: float = 1.0
    safe_set: float | None = None
    in_words: bool = False

    def __post_init__(self) -> None:
        if self.arm is not None and self.genarm is not None:
            raise ValueError("a variant is guided by an arm or by a genarm, not by both")
        if self.scale is not None and self.vector is None:
            raise ValueError(f"a scale of {self.scale:g}, but no vector")
        if self.arm_on == "edited" and (self.vector is None or self.arm is None):
            raise ValueError("arm_on: edited needs a vector and an arm")

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
            "rewards".
        preferences: that each prompt is answered under: "uniform", "one_hot", "edges" (11 points for each pair of
            objectives), "simplex" (the even mixture of every subset), or weights as "empathy=0.7,truthfulness=0.3".
        count: no more than so many prompts, spread over the file.
        max_new_tokens: the most of a reply; by default the evaluation's.
        variants: that answer it; by default all. The reference always does.
    """

    __pydantic_config__ = _STRICT
    file: str
    measures: Literal["harm", "over_refusal", "rewards"]
    preferences: tuple[str, ...] = ("uniform",)
    count: Annotated[int, Field(ge=2)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    variants: tuple[str, ...] | None = None


@dataclass(frozen=True)
class EmbeddedConfig:
    """The heads that the package holds, or another directory of such."""

    __pydantic_config__ = _STRICT
    kind: Literal["embedded"]
    heads: str = RELEASED


@dataclass(frozen=True)
class ArmScorerConfig:
    """A PV-ARM as k reward models."""

    __pydantic_config__ = _STRICT
    kind: Literal["arm"]
    arm: str = RELEASED


@dataclass(frozen=True)
class ClassifierConfig:
    """A sequence-classification model of the Hub, and names for its outputs."""

    __pydantic_config__ = _STRICT
    kind: Literal["classifier"]
    model: str
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class GuardConfig:
    """A local model whose chat template asks whether a conversation is safe, as Llama Guard's does."""

    __pydantic_config__ = _STRICT
    kind: Literal["guard"]
    model: str


@dataclass(frozen=True)
class TemplateConfig:
    """A local model that is asked by a text of one's own, as HarmBench's classifiers are.

    Attributes:
        model: a causal model.
        template: a file with {prompt} and {reply}.
        answers: which label each of the model's answers means, e.g. {yes: harmful, no: safe}.
    """

    __pydantic_config__ = _STRICT
    kind: Literal["template"]
    model: str
    template: str
    answers: dict[str, str]


@dataclass(frozen=True)
class EndpointConfig:
    """A model behind an OpenAI-compatible HTTP endpoint.

    Attributes:
        model: the name that the endpoint knows it by.
        url: the endpoint's, up to and with /v1; by default OpenAI's.
        key_variable: the environment variable that holds the key.
        seconds: how long an answer may take.
        retries: after errors of the server and time-outs.
        parallel: requests at a time.
        input_price, output_price: in dollars per million tokens.
        price_cap: in dollars; asking stops before it is passed. Needed where there is a price.
    """

    __pydantic_config__ = _STRICT
    kind: Literal["endpoint"]
    model: str
    url: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    seconds: Annotated[float, Field(gt=0)] = 60.0
    retries: Annotated[int, Field(ge=0)] = 5
    parallel: Annotated[int, Field(ge=1)] = 4
    input_price: Annotated[float, Field(ge=0)] = 0.0
    output_price: Annotated[float, Field(ge=0)] = 0.0
    price_cap: Annotated[float, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        if self.price_cap is None and (self.input_price > 0 or self.output_price > 0):
            raise ValueError(f"{self.model} costs money; give a price_cap in dollars")
        if self.price_cap is not None and self.input_price == self.output_price == 0:
            raise ValueError("a price_cap without prices would cap nothing; give input_price and output_price")


RewardConfig = Annotated[
    EmbeddedConfig | ArmScorerConfig | ClassifierConfig | EndpointConfig, Field(discriminator="kind")
]
JudgeConfig = Annotated[EmbeddedConfig | GuardConfig | TemplateConfig | EndpointConfig, Field(discriminator="kind")]


@dataclass(frozen=True)
class CapabilityConfig:
    """Running text for perplexity and questions for multiple choice; None of either is all of it."""

    __pydantic_config__ = _STRICT
    text: str
    questions: str
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
        rewards, harm, refusal: who scores the replies; by default the heads that the package holds.
        win_rate: the judge that is shown two replies, in both orders; None leaves win rates out.
        capability: None leaves perplexity and multiple choice out.
        overhead: None leaves decoding overhead out; with it two runs differ in these figures.
        dtype: of the base.
        max_new_tokens: the most of a reply.
        batch_tokens: the most tokens of a batch, padding and replies included.
        temperature: of the base; guided variants sample at 1 + β times it, so that all have the same spread. 0 is
            greedy.
        seed: of sampling and of resampling.
    """

    __pydantic_config__ = _STRICT
    variants: Annotated[dict[str, VariantConfig], Field(min_length=1)]
    benchmarks: Annotated[dict[str, BenchmarkConfig], Field(min_length=1)]
    reference: str
    base: str | None = None
    rewards: RewardConfig = field(default_factory=lambda: EmbeddedConfig("embedded"))
    harm: JudgeConfig = field(default_factory=lambda: EmbeddedConfig("embedded"))
    refusal: JudgeConfig = field(default_factory=lambda: EmbeddedConfig("embedded"))
    win_rate: EndpointConfig | None = None
    capability: CapabilityConfig | None = None
    overhead: OverheadConfig | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    batch_tokens: Annotated[int, Field(ge=1)] = 6144
    temperature: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.reference not in self.variants:
            raise ValueError(f"the reference {self.reference!r} is none of the variants {list(self.variants)}")
        plain = self.variants[self.reference]
        if plain.arm or plain.genarm or plain.in_words:
            raise ValueError(f"the reference {self.reference!r} must heed no preference; leave guidance out of it")
        for name, benchmark in self.benchmarks.items():
            unknown = set(benchmark.variants or ()) - set(self.variants)
            if unknown:
                raise ValueError(f"{name} is to be answered by {sorted(unknown)}, which are no variants")
        for name in [*self.variants, *self.benchmarks]:
            if not name or set(name) & set('/\\:*?"<>|') or name.startswith("."):
                raise ValueError(f"{name!r} cannot name a folder; variants and benchmarks are kept by their names")

    def answering(self, benchmark: str) -> list[str]:
        """The variants that answer a benchmark, the reference first."""
        chosen = self.benchmarks[benchmark].variants or tuple(self.variants)
        return [self.reference, *(name for name in self.variants if name in chosen and name != self.reference)]


def read_config(path: str | Path) -> EvaluationConfig:
    """Read YAML; relative paths in it are taken from the working directory, as of recipes.

    Raises:
        ValueError: not a mapping, a key that nothing reads, or a value that cannot be; every one of them is named.
    """
    content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold `key: value` lines, found {type(content).__name__}")
    try:
        return TypeAdapter(EvaluationConfig).validate_python(content)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{path}: {found}") from error
