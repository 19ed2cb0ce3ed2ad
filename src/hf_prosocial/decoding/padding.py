"""The attention mask of a generation, which `generate` does not show to logits processors."""

import torch
from jaxtyping import Int
from torch import Tensor

from hf_prosocial.errors import ProsocialError


def mask_from_padding(
    input_ids: Int[Tensor, "rows length"], pad_token_id: int | None, bos_token_id: int | None
) -> Int[Tensor, "rows length"]:
    """1 for tokens, 0 for the leading run of the pad id in each row; int64.

    Raises:
        ValueError: the pad id is also the id that prompts begin with, and rows begin with different numbers of it, or
            with several, so that padding and a real first token look alike; likewise where no id begins prompts, and
            every row begins with the pad id; or a row is padding alone.
    """
    if pad_token_id is None:
        return torch.ones_like(input_ids)
    leading = (input_ids == pad_token_id).long().cumprod(-1)
    runs = leading.sum(-1)
    if pad_token_id == bos_token_id:
        if bool((runs != runs[0]).any().item()) or int(runs[0]) > 1:
            raise ProsocialError(
                f"the pad token (id {pad_token_id}) is also bos, and rows begin with {runs.tolist()} of them, "
                "so padding cannot be distinguished from real tokens; pass "
                "prompt_attention_mask=inputs['attention_mask']"
            )
        # One in every row begins the prompts: a batch padded on the left has a row without padding.
        return torch.ones_like(input_ids)
    if bool((runs == input_ids.shape[1]).any().item()):
        raise ProsocialError(f"a row holds nothing but the pad token (id {pad_token_id}); every prompt needs a token")
    if bos_token_id is None and bool((runs > 0).all().item()):
        raise ProsocialError(
            f"every row begins with the pad token (id {pad_token_id}), so that prompts may begin with it and padding "
            "cannot be distinguished from real tokens; pass prompt_attention_mask=inputs['attention_mask']"
        )
    return 1 - leading


class GivenMask:
    """A mask that the caller gave for one prompt, extended over what is generated.

    Args:
        mask: (prompts, length), 1 for tokens and 0 for padding.
    """

    def __init__(self, mask: Int[Tensor, "prompts length"]) -> None:
        if not bool(((mask == 0) | (mask == 1)).all().item()) or bool((mask.sum(-1) == 0).any().item()):
            raise ProsocialError("prompt_attention_mask must be 0 and 1, with a 1 in every row")
        self._mask = mask.long()
        self._prompt: Tensor | None = None

    def extended(self, input_ids: Int[Tensor, "rows length"]) -> Int[Tensor, "rows length"]:
        """The mask over the rows that `generate` made of the prompts, 1 for generated tokens; int64.

        Raises:
            ValueError: rows that the mask cannot belong to: shorter, not a multiple of the prompts, or another prompt
                than at the first call.
        """
        prompts, length = self._mask.shape
        rows = len(input_ids)
        if input_ids.shape[1] < length or rows % prompts:
            raise ProsocialError(
                f"prompt_attention_mask has shape {(prompts, length)}, but generation has rows of shape "
                f"{tuple(input_ids.shape)}; expected a multiple of {prompts} rows of {length} tokens or more"
            )
        prompt = input_ids[:, :length]
        if self._prompt is None:
            if input_ids.shape[1] != length:
                raise ProsocialError(
                    f"prompt_attention_mask has {length} columns, but the prompt has {input_ids.shape[1]}; pass the "
                    "attention_mask that goes with the input_ids"
                )
            self._prompt = prompt[:: rows // prompts].clone()
        if not torch.equal(self._prompt.repeat_interleave(rows // prompts, dim=0), prompt):
            raise ProsocialError(
                "prompt_attention_mask was given for another prompt; make a ProSocialProcessor for each prompt, or "
                "leave the mask out where padding can be read from the ids"
            )
        mask = self._mask.to(input_ids.device).repeat_interleave(rows // prompts, dim=0)
        return torch.cat([mask, mask.new_ones(rows, input_ids.shape[1] - length)], dim=-1)
