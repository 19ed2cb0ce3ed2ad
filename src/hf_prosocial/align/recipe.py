"""What `prosocial align` is asked for, and how much work each budget means."""

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import validated

Count = Annotated[int, Field(ge=1)]
Density = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]
STAGES = ("data", "copies", "vector", "safe", "gate", "arm", "evaluation", "cards")
"""In order. What a base has no data for is left out, and said."""
Budget = Literal["minutes", "hours", "full"]


@dataclass(frozen=True)
class Effort:
    """How much of everything; None is all that there is.

    Attributes:
        copy_steps: of fine-tuning each copy, eight rows a step.
        densities, scales: of the harm vector's sweep.
        sweep_tokens: of running text that each point is measured on.
        sweep_prompts: safe prompts that each point answers.
        pairs: preference pairs to train on, once each.
        held_out_pairs: to measure margins on.
        prompts: of each benchmark that each variant answers.
        new_tokens: the most of a reply.
        text_tokens: of running text, for perplexity; 1,025 and more, since an interval needs windows to resample.
        save_steps: between checkpoints, what a kill costs at most.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    copy_steps: Count
    densities: Annotated[tuple[Density, ...], Field(min_length=1)]
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)]
    sweep_tokens: Annotated[int, Field(ge=2)]
    sweep_prompts: Count
    pairs: Count | None
    held_out_pairs: Count | None
    prompts: Annotated[int, Field(ge=2)] | None
    new_tokens: Count
    text_tokens: Annotated[int, Field(ge=1025)]
    save_steps: Count = 25

    def prompts_of(self, measures: str) -> int | None:
        """Of a benchmark; of one for refusals the safe prompts count, which are about half. None is all."""
        return self.prompts and self.prompts * (3 if measures == "over_refusal" else 1)


EFFORTS: dict[str, Effort] = {
    "minutes": Effort(30, (0.02,), (0.5, 1.5), 2048, 12, 400, 100, 8, 40, 4096),
    "hours": Effort(110, (0.02, 0.1), (0.5, 1.0, 1.5, 2.0, 3.0), 16384, 60, 4000, 500, 40, 48, 16384),
    "full": Effort(110, (0.02, 0.1), (0.25, 0.5, 1.0, 1.5, 2.0, 3.0), 32768, 125, None, None, None, 64, 32768, 50),
}


@dataclass
class AlignRecipe:
    """What to make of a base; nothing but the base and the place is needed."""

    base: str = field(metadata={"help": "base model: a directory, a .gguf file or a Hub id"})
    out: str = field(metadata={"help": "folder of everything that is made"})
    budget: Budget = field(default="minutes", metadata={"help": "minutes, hours or full: how much work"})
    mixture: str = field(default="default", metadata={"help": "what the data are built from: a name or a YAML file"})
    raw: str | None = field(default=None, metadata={"help": "folder of the mixture's files; else they are downloaded"})
    data: str | None = field(default=None, metadata={"help": "a folder that `prosocial data build` made, as it is"})
    guide_base: str | None = field(
        default=None, metadata={"help": "a smaller model with the base's tokens, on which the ARM is trained"}
    )
    judges: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "judges of the evaluation, as its recipes have them"}
    )
    effort: dict[str, Any] = field(default_factory=dict, metadata={"help": "single figures of the budget, by name"})
    keep_harmful_copy: bool = field(default=False, metadata={"help": "keep it once the vectors stand"})
    seed: int = field(default=0, metadata={"help": "of trainings"})

    def work(self) -> Effort:
        """The budget's figures, with those that were given over them.

        Raises:
            ProsocialError: a figure that there is none of.
        """
        known = asdict(EFFORTS[self.budget])
        strange = sorted(set(self.effort) - set(known))
        if strange:
            raise ProsocialError(f"effort: there is no {', '.join(strange)}; there are {', '.join(known)}")
        return validated(Effort, known | self.effort, "effort")

    def __post_init__(self) -> None:
        known = ("rewards", "harm", "refusal", "second_harm", "second_refusal", "win_rate")
        unknown = sorted(set(self.judges) - set(known))
        if unknown:
            raise ProsocialError(f"judges: {', '.join(unknown)}: no judge is called so; there are {', '.join(known)}")
