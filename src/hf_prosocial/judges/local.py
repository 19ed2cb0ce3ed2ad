"""Local models as judges: those whose chat template asks the question, and those that are asked by a text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from hf_prosocial.data import Prompt, batches_by_length
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar, read_text, sha256
from hf_prosocial.models import batch_of, continuations_of, find_base, preferred_device

from .asked import one_of, without_reasoning
from .embedded import LABELS
from .labels import HARM, HARMFUL, SAFE
from .registry import Judge, JudgeConfig, JudgeContext, Role, register_judge


class GuardJudge:
    """A model whose chat template asks whether a conversation is safe, as Llama Guard's does.

    It must answer "safe", or "unsafe" and categories in the lines below.

    Args:
        model: a causal model.
        tokenizer: its own.
        batch_tokens: the most tokens of a batch.

    Raises:
        ValueError: a tokenizer without a chat template.
    """

    labels: tuple[str, ...] = HARM

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, *, batch_tokens: int = 4096) -> None:
        if tokenizer.chat_template is None:
            raise ProsocialError("the tokenizer has no chat template, which is what a guard is asked by")
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where it gave none."""
        found: list[str | None] = [None] * len(replies)
        texts = conversation_texts(self._tokenizer, prompts, replies, add_generation_prompt=True)
        answers = _answers(self._model, self._tokenizer, list(texts.values()), self._batch_tokens)
        for row, answer in zip(texts, answers, strict=True):
            said = one_of(first_line(answer), ("safe", "unsafe"))
            found[row] = {"safe": SAFE, "unsafe": HARMFUL}.get(said or "")
        return found


class TemplateJudge:
    """A model that is asked by a text of one's own, as HarmBench's classifiers are.

    Args:
        model: a causal model.
        tokenizer: its own.
        template: a text with {prompt} and {reply}, special tokens included.
        answers: which label each answer means, e.g. {"yes": "harmful", "no": "safe"}.
        batch_tokens: the most tokens of a batch.

    Raises:
        ValueError: a template without a place for the prompt or the reply, or labels that are none.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: str,
        answers: Mapping[str, str],
        *,
        labels: tuple[str, ...] = HARM,
        batch_tokens: int = 4096,
    ) -> None:
        _check_template(template, answers, labels)
        self.labels, self._template, self._meaning = labels, template, dict(answers)
        self._model, self._tokenizer, self._batch_tokens = model.eval(), tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> list[str | None]:
        """The label of each reply to the prompt beside it; None where it gave none.

        Of a conversation, the last message is the prompt.
        """
        texts = [self._asked(prompt.conversation[-1][1], reply) for prompt, reply in zip(prompts, replies, strict=True)]
        answers = _answers(self._model, self._tokenizer, texts, self._batch_tokens)
        said = [one_of(first_line(answer), list(self._meaning)) for answer in answers]
        return [None if one is None else self._meaning[one] for one in said]

    def _asked(self, prompt: str, reply: str) -> str:
        # Not str.format, and in one pass: braces in a prompt or a reply are no places.
        texts = {"{prompt}": prompt, "{reply}": reply}
        return re.sub(r"\{prompt\}|\{reply\}", lambda found: texts[found.group()], self._template)


def _check_template(template: str, answers: Mapping[str, str], labels: Sequence[str]) -> None:
    absent = [place for place in ("{prompt}", "{reply}") if place not in template]
    if absent:
        raise ProsocialError(f"the template has no place for {absent}")
    if not set(answers.values()) <= set(labels):
        raise ProsocialError(f"the answers must mean some of {list(labels)}, found {dict(answers)}")


def conversation_texts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    replies: Sequence[str],
    *,
    add_generation_prompt: bool = False,
) -> dict[int, str]:
    """The conversations through a chat template, by their places, but for those that the template refuses."""
    texts = {}
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        said = [*prompt.messages(), {"role": "assistant", "content": reply}]
        try:
            text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=add_generation_prompt)
        except TemplateError:
            continue
        texts[row] = str(text)
    return texts


def first_line(answer: str) -> str:
    """What an answer says first, after its reasoning; categories and reasons follow in other lines."""
    return without_reasoning(answer).strip().partition("\n")[0]


def _answers(model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_tokens: int) -> list[str]:
    """The first few greedy tokens after each text."""
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    found = [""] * len(texts)
    with progress_bar(len(texts), "judging", "reply") as progress:
        for batch in batches_by_length(lengths, batch_tokens):
            asked = batch_of(tokenizer, [texts[index] for index in batch])
            new = continuations_of(model, tokenizer, asked, 8, {"do_sample": False})
            for index, answer in zip(batch, new, strict=True):
                found[index] = answer
            progress.update(len(batch))
    return found


@register_judge("guard")
@dataclass(frozen=True)
class GuardConfig(JudgeConfig):
    """A local model whose chat template asks whether a conversation is safe, as Llama Guard's does."""

    kind: Literal["guard"]
    model: str

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse another role than "harm", and no such model."""
        if role != "harm":
            raise ProsocialError(f"a guard says safe or unsafe, which tells nothing of {role}; found {self}")
        find_base(self.model)

    def open(self, role: Role, context: JudgeContext) -> Judge:
        """Open the judge or scorer for a role."""
        self.check(role, context)
        return GuardJudge(*find_base(self.model).load(device=preferred_device()))

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report."""
        return f"guard {self.model}, not validated here"


@register_judge("template")
@dataclass(frozen=True)
class TemplateConfig(JudgeConfig):
    """A local model that is asked by a text of one's own, as HarmBench's classifiers are.

    Attributes:
        model: a causal model.
        template: a file with {prompt} and {reply}.
        answers: which label each of the model's answers means, e.g. {yes: harmful, no: safe}.
    """

    kind: Literal["template"]
    model: str
    template: str
    answers: dict[str, str]

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse the role "rewards", no such model or template, and a template or answers that cannot be."""
        if role == "rewards":
            raise ProsocialError("a model that is asked by a template gives labels, and no rewards")
        find_base(self.model)
        _check_template(read_text(self.template), self.answers, LABELS[role])

    def open(self, role: Role, context: JudgeContext) -> Judge:
        """Open the judge or scorer for a role."""
        self.check(role, context)
        model, tokenizer = find_base(self.model).load(device=preferred_device())
        template = read_text(self.template)
        return TemplateJudge(model, tokenizer, template, self.answers, labels=LABELS[role])

    def identity(self) -> dict[str, Any]:
        """All that the scores follow from beside the replies, as JSON has it; with the template's hash."""
        return asdict(self) | {"template_hash": sha256(self.template)}

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report."""
        return f"template {self.model}, not validated here"
