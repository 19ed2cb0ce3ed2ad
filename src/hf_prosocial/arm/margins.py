"""How well an ARM orders held-out pairs, and whether its preference controls which ones  [METHOD, What is measured]."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_prosocial.data import Pairs, batches_by_length
from hf_prosocial.estimates import Estimate, mean_estimate, proportion
from hf_prosocial.io import progress_bar
from hf_prosocial.pblora import tuner_of
from hf_prosocial.preference import Preference

from .batch import collate
from .log_probs import pair_log_probs
from .pair_reading import reading_of


@dataclass(frozen=True)
class Margins:
    """log-probabilities of both replies of each pair, under the base and under a list of preferences.

    Attributes:
        objectives: the names, k of them.
        objective: each pair's objective, (pairs,) int64.
        tokens: tokens of the chosen and the rejected reply, (2, pairs).
        base: log π_0(y | x) of the guide's own base, (2, pairs), nats.
        guided: log π_r(y | x, p), (k + 1, 2, pairs), nats: p the k one-hot preferences, then the uniform one.
    """

    objectives: tuple[str, ...]
    objective: Int[Tensor, " pairs"]
    tokens: Float[Tensor, "2 pairs"]
    base: Float[Tensor, "2 pairs"]
    guided: Float[Tensor, "preferences 2 pairs"]

    def margin(self, *, per_token: bool) -> Float[Tensor, "preferences pairs"]:
        """Δ(p): the log-ratio to the base of the chosen reply minus the rejected one's; (k + 1, pairs).

        With `per_token`, each log-ratio is divided by its reply's tokens, so that length alone decides nothing.
        """
        ratio = self.guided - self.base
        if per_token:
            ratio = ratio / self.tokens
        return ratio[:, 0] - ratio[:, 1]

    def accuracy(self, objective: int, preference: int, *, per_token: bool) -> Estimate:
        """Share of an objective's pairs with Δ > 0 (ties count 0.5), with its Wilson interval."""
        return proportion(self.margin(per_token=per_token)[preference][self.objective == objective])

    def raw_accuracy(self, objective: int, preference: int | None) -> Estimate:
        """Share with log π(y_w) > log π(y_l), without the base and mostly a matter of length; None is the base."""
        log_probs = self.base if preference is None else self.guided[preference]
        return proportion((log_probs[0] - log_probs[1])[self.objective == objective])

    def longer_wins(self, objective: int) -> Estimate:
        """What "the longer reply wins" scores."""
        return proportion((self.tokens[0] - self.tokens[1])[self.objective == objective])

    def control_matrix(self, *, per_token: bool) -> Float[Tensor, "k k"]:
        """Row one-hot p_i, column the mean margin on objective j's pairs."""
        margin = self.margin(per_token=per_token)[:-1]
        columns = [margin[:, self.objective == index].mean(-1) for index in range(len(self.objectives))]
        return torch.stack(columns, dim=-1)

    def control_cell(self, row: int, column: int, *, per_token: bool) -> Estimate:
        """One cell of the control matrix, with its interval over the objective's pairs."""
        return mean_estimate(self.margin(per_token=per_token)[row, self.objective == column].double())

    def control(self, objective: int, *, per_token: bool) -> Estimate:
        """Column `objective`: diagonal minus the mean of the other rows, with its paired interval over pairs."""
        margin = self.margin(per_token=per_token)[:-1, self.objective == objective].double()
        others = (margin.sum(0) - margin[objective]) / (len(margin) - 1)
        return mean_estimate(margin[objective] - others)


def measure_margins(arm: PeftModel, pairs: Pairs, *, pad_token_id: int, batch_tokens: int = 4096) -> Margins:
    """Score pairs under the base, every one-hot preference and the uniform one: k + 2 forward passes over the pairs.

    Args:
        arm: from `load_arm`; its set preference is left as it was.
        pairs: from `read_pairs`, with the ARM's objectives.
        pad_token_id: fills the batches; masked, so that any id does.
        batch_tokens: the most tokens, padding included, of one forward pass.
    """
    tuner = tuner_of(arm)
    adapter = tuner.one_adapter()
    preferences = [Preference.one_hot(name, objectives=pairs.objectives) for name in pairs.objectives]
    preferences.append(Preference.uniform(objectives=pairs.objectives))
    settings: list[Setting] = [arm.disable_adapter]
    for preference in preferences:
        weights = tuner.preference_weights(preference, adapter)
        settings.append(partial(tuner.preference_state.using, adapter, weights))
    base, *guided = score_pairs(arm, tuner.wrapped, pairs, settings, pad_token_id, batch_tokens)
    return margins_of(pairs, base, torch.stack(guided))


Setting = Callable[[], AbstractContextManager]
"""Puts a model into a state for the duration of a `with` block."""


def score_pairs(
    model: nn.Module,
    wrapped: PreTrainedModel,
    pairs: Pairs,
    settings: Sequence[Setting],
    pad_token_id: int,
    batch_tokens: int,
) -> Float[Tensor, "settings 2 pairs"]:
    """log π(y | x) of each pair's chosen and rejected reply in each of some settings of a model; nats."""
    reading = reading_of(model, wrapped, pairs)
    scores = torch.empty(len(settings), 2, len(pairs.rows))
    lengths = [pair.packed_length for pair in pairs.rows]
    # Of tokens, not of pairs: the longest pairs come last, and time left would be told wrong.
    with torch.no_grad(), progress_bar(len(settings) * sum(lengths), "margins", "token") as progress:
        for indices in batches_by_length(lengths, batch_tokens):
            batch = collate([pairs.rows[index] for index in indices], pad_token_id)
            batch = {name: values.to(wrapped.device) for name, values in batch.items()}
            for row, setting in enumerate(settings):
                with setting():
                    scores[row][:, indices] = pair_log_probs(model, batch, reading).cpu()
                progress.update(sum(lengths[index] for index in indices))
    return scores


def margins_of(pairs: Pairs, base: Float[Tensor, "2 pairs"], guided: Float[Tensor, "preferences 2 pairs"]) -> Margins:
    """Scores as `Margins`."""
    tokens = torch.tensor([[len(pair.chosen), len(pair.rejected)] for pair in pairs.rows]).T.float()
    objective = torch.tensor([pair.objective for pair in pairs.rows])
    return Margins(pairs.objectives, objective, tokens, base, guided)
