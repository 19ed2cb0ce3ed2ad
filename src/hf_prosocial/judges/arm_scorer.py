"""A PV-ARM as k reward models."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from hf_prosocial.arm import arm_objectives, load_arm
from hf_prosocial.assets import RELEASED, arm_source
from hf_prosocial.data import Completion, MalformedRowError, Prompt, templated
from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import completion_log_probs, find_base, preferred_device
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference

from .registry import JudgeConfig, JudgeContext, Role, Scorer, check_rewards, register_judge


class ArmScorer:
    """A PV-ARM as k reward models: log π_r(y | x, one-hot p_i) − log π_0(y | x), per token of the reply.

    An ARM that guided the replies would judge its own work: take it to look at that, not to compare methods.

    Args:
        arm: from `load_arm`.
        tokenizer: its base's.
        batch_tokens: the most tokens of a forward pass.
    """

    def __init__(self, arm: PeftModel, tokenizer: PreTrainedTokenizerBase, *, batch_tokens: int = 4096) -> None:
        self.names = tuner_of(arm).adapter_config().names
        self._arm, self._tokenizer, self._batch_tokens = arm, tokenizer, batch_tokens

    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> Float[np.ndarray, "replies k"]:
        """The rewards of each reply to the prompt beside it, in nats per token; NaN where no template takes it."""
        scores = np.full((len(replies), len(self.names)), np.nan)
        read: dict[int, Completion] = {}
        for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
            said = [{"role": "assistant", "content": reply}]
            with suppress(MalformedRowError):
                read[row] = Completion(0, *templated(self._tokenizer, prompt.messages(), said))
        if read:
            scores[list(read)] = self._scores(list(read.values()))
        return scores

    def _scores(self, rows: Sequence[Completion]) -> Float[np.ndarray, "replies k"]:
        pad: Any = self._tokenizer.eos_token_id
        options = {"pad_token_id": pad, "batch_tokens": self._batch_tokens}
        tuner = tuner_of(self._arm)
        adapter = tuner.one_adapter()
        with self._arm.disable_adapter():
            base = completion_log_probs(self._arm, rows, **options)
        columns = []
        for name in self.names:
            p = tuner.preference_weights(Preference.one_hot(name, objectives=self.names), adapter)
            with tuner.preference_state.using(adapter, p):
                columns.append(completion_log_probs(self._arm, rows, **options) - base)
        tokens = torch.tensor([len(row.completion) for row in rows])
        return (torch.stack(columns, dim=1) / tokens[:, None]).double().numpy()


@register_judge("arm")
@dataclass(frozen=True)
class ArmScorerConfig(JudgeConfig):
    """A PV-ARM as k reward models."""

    kind: Literal["arm"]
    arm: str = RELEASED

    def check(self, role: Role, context: JudgeContext) -> None:
        """Refuse another role than "rewards", no such adapter, and objectives that it has no reward for."""
        if role != "rewards":
            raise ProsocialError(f"an ARM gives rewards; it is no judge of {role}")
        check_rewards(self, arm_objectives(arm_source(self.arm)), context.objectives)

    def open(self, role: Role, context: JudgeContext) -> Scorer:
        """Open the judge or scorer for a role; on the evaluation's own base."""
        self.check(role, context)
        model, tokenizer = find_base(context.base).load(context.dtype, device=preferred_device())
        return ArmScorer(load_arm(arm_source(self.arm), model, tokenizer=tokenizer), tokenizer)

    def described(self, role: Role) -> str:
        """Who scores and how good, in a line for the report."""
        return f"arm {self.arm}, not validated here"
