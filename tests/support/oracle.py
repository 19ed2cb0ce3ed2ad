"""The formula of METHOD computed the slow way: every row alone, unpadded, from its first token, without any cache."""

import torch
from transformers import LogitsProcessor

from hf_prosocial import Preference
from hf_prosocial.precision import at_least_fp32


class FullRecompute(LogitsProcessor):
    def __init__(self, arm, preference, beta=1.0, safe_set=None, prompt_mask=None, pad=0):
        self.arm, self.beta, self.safe_set, self.pad = arm, beta, safe_set, pad
        self.preferences = [preference] if isinstance(preference, Preference) else list(preference)
        self.prompt_mask = prompt_mask

    def real_tokens(self, row, index, rows):
        if self.prompt_mask is not None:
            mask = self.prompt_mask[index // (rows // len(self.prompt_mask))].bool()
            return torch.cat([row[: len(mask)][mask], row[len(mask) :]])
        start = 0
        while row[start] == self.pad:
            start += 1
        return row[start:]

    def __call__(self, input_ids, scores):
        rows = len(input_ids)
        out = []
        for index, (row, score) in enumerate(zip(input_ids, scores, strict=True)):
            preference = self.preferences[index // (rows // len(self.preferences))]
            weights = self.arm.base_model.preference_weights(preference)
            tokens = self.real_tokens(row, index, rows)
            with torch.no_grad(), self.arm.base_model.preference_state.using("default", weights):
                logits = self.arm(tokens[None].to(self.arm.device), use_cache=False).logits[0, -1]
            base = at_least_fp32(score).log_softmax(-1)
            guided = base + self.beta * at_least_fp32(logits).log_softmax(-1).to(score.device)
            if self.safe_set is not None:
                outside = base.exp() < self.safe_set * base.exp().max()
                guided = guided.masked_fill(outside, -torch.inf)
            out.append(guided.log_softmax(-1))
        return torch.stack(out)
