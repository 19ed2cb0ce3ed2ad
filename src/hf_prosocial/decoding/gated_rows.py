"""λ of each row, where a harm vector is subtracted behind a gate."""

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector, LowRankUpdate
from hf_prosocial.models import CACHE

from .generation_frame import current_generation

HARM_SCALES = "harm_scales"
"""The name of λ among a model's inputs."""

generating: ContextVar["Gated | None"] = ContextVar("hf_prosocial_generating_gated", default=None)
"""What was settled for the generation's prompts at its beginning, for each forward pass and each processor of it."""


@dataclass(frozen=True)
class Gated:
    """What a gate says of a generation's prompts.

    Attributes:
        model: whose generation it is. Others may run inside of it, or in a task that it began, and are not gated.
        scales: λ(x) of each prompt.
        share: of β, 1 − g(x), that is left to guidance; None is all, everywhere.
    """

    model: PreTrainedModel
    scales: Float[Tensor, " prompts"]
    share: Float[Tensor, " prompts"] | None


def share_of_rows(rows: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows 1"] | None:
    """Of β, that the gate of the generation that is calling leaves to guidance; None is all, everywhere.

    Raises:
        ProsocialError: rows that are no multiple of its prompts.
    """
    gated = generating.get()
    if gated is None or gated.share is None:
        return None
    calling = current_generation()
    if calling is None or calling.model is not gated.model:
        return None
    return _of_rows(gated.share, len(rows)).to(rows.device, rows.dtype)[:, None]


def scales_of_generation() -> Float[Tensor, " prompts"] | None:
    """λ of the prompts of the generation that is running; None outside of one."""
    gated = generating.get()
    return None if gated is None else gated.scales


class GatedRows:
    """Settles λ of a generation's prompts, and subtracts the vector from the rows of a forward pass.

    Args:
        base: what the gate reads prompts by; it stays as it is.
        tree: the modules that run, over the base's memory.
        vector: what is subtracted; it was compared with the base.

    Raises:
        ValueError: a layer that the tree does not have.
    """

    def __init__(self, base: PreTrainedModel, tree: nn.Module, vector: GatedHarmVector) -> None:
        self._base, self.vector = base, vector
        self._update = LowRankUpdate(tree, vector.factors)

    def of_generation(self, model: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Gated:
        """What the gate says of each prompt that a model's `generate` was given.

        Raises:
            ValueError: λ beside a `generate` of the Hub's, which would not see it; no token ids,
                a batch whose padding nothing tells, or a cache that holds columns already.
        """
        cache = kwargs.get(CACHE, kwargs.get("past_key_values"))
        if isinstance(cache, Cache) and int(cache.get_seq_length()) > 0:
            raise ProsocialError(
                "the cache holds columns already, and nothing tells which λ they were read under; generate from the "
                "whole conversation, without that cache"
            )
        ids = kwargs.get("input_ids", kwargs.get("inputs", args[0] if args else None))
        if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.ndim != 2:
            raise ProsocialError("the gate reads prompts by their token ids; give generate input_ids, (rows, length)")
        given = kwargs.pop(HARM_SCALES, None)
        if given is not None:
            if kwargs.get("custom_generate") is not None:
                raise ProsocialError(f"a custom_generate calls generate anew, and {HARM_SCALES} would be lost in it")
            scales = checked_scales(given)
            if len(scales) != len(ids):
                raise ProsocialError(
                    f"{len(scales)} {HARM_SCALES} were given for {len(ids)} prompts; give one for each"
                )
            return Gated(model, scales, self.share(scales))
        mask = kwargs.get("attention_mask")
        scales = self.vector.scales(self._base, ids, self._mask(ids, kwargs) if mask is None else mask)
        return Gated(model, scales, self.share(scales))

    def share(self, scales: Float[Tensor, " rows"]) -> Float[Tensor, " rows"] | None:
        """Of β, that is left to guidance; None is all, everywhere."""
        found = self.vector.guidance_share(scales)
        return None if bool((found == 1).all()) else found

    def _mask(self, ids: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """What `generate` itself takes for the mask where it was given none."""
        config = kwargs.get("generation_config") or self._base.generation_config
        pad, eos = (kwargs.get(name, getattr(config, name)) for name in ("pad_token_id", "eos_token_id"))
        ends = eos if isinstance(eos, list) else [eos]
        if pad is not None and pad not in ends and bool((ids == pad).any()):
            return (ids != pad).long()
        if len(ids) > 1:
            raise ProsocialError("nothing tells what is padding in the batch; give generate its attention_mask")
        return torch.ones_like(ids)

    def of_rows(
        self, inputs: Tensor, attention_mask: Any, cache: Cache | None, given: Tensor | None
    ) -> Float[Tensor, " rows"]:
        """λ of each row of a forward pass: what was given for its prompt, or what the gate says of the rows themselves.

        Raises:
            ValueError: nothing was given, and the rows are no whole texts; or rows that are no multiple of the prompts.
        """
        if torch.compiler.is_compiling():
            raise ProsocialError("a gated model cannot be compiled: which layers run follows from the prompts")
        if given is None:
            if (cache is not None and int(cache.get_seq_length()) > 0) or inputs.ndim != 2:
                raise ProsocialError(
                    f"a forward pass over a part of a text, or over embeddings, needs {HARM_SCALES}, λ of each row: "
                    "vector.scales(base, input_ids, attention_mask) of its prompt gives it"
                )
            mask = torch.ones_like(inputs) if attention_mask is None and len(inputs) == 1 else attention_mask
            if not isinstance(mask, Tensor) or mask.shape != inputs.shape:
                raise ProsocialError(
                    f"the gate reads rows by their attention_mask, {tuple(inputs.shape)} of 1 and 0; give it, or "
                    f"{HARM_SCALES}, λ of each row"
                )
            return self.vector.scales(self._base, inputs, mask)
        return _of_rows(checked_scales(given), len(inputs)).to(inputs.device)

    def subtracting(self, scales: Float[Tensor, " rows"], of_rows: int) -> AbstractContextManager[None]:
        """A block in which λ times the vector is taken from the first rows of a batch of so many."""
        return self._update.subtracting(scales, of_rows)


class Ungated:
    """What `GatedRows` is where there is no harm vector."""

    def of_generation(self, model: PreTrainedModel, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing."""

    def of_rows(self, inputs: Tensor, attention_mask: Any, cache: Cache | None, given: Tensor | None) -> None:
        """Nothing.

        Raises:
            ProsocialError: λ was given, and there is nothing that it could scale.
        """
        if given is not None:
            raise ProsocialError(f"{HARM_SCALES} were given to a GuidedModel that has no harm_vector to scale")

    def subtracting(self, scales: None, of_rows: int) -> AbstractContextManager[None]:
        """A block in which nothing is subtracted."""
        return nullcontext()

    def share(self, scales: None) -> None:
        """All of β, everywhere."""


def _of_rows(of_prompts: Float[Tensor, " prompts"], rows: int) -> Float[Tensor, " rows"]:
    if rows % len(of_prompts):
        raise ProsocialError(f"{len(of_prompts)} prompts have a λ each, but the batch has {rows} rows")
    return of_prompts.repeat_interleave(rows // len(of_prompts))


def checked_scales(given: Any) -> Float[Tensor, " prompts"]:
    """λ of each prompt, in fp32.

    Raises:
        ProsocialError: no tensor of finite numbers of at least 0, one for each.
    """
    right = isinstance(given, Tensor) and given.ndim == 1 and given.is_floating_point() and len(given) > 0
    if not right or not bool((torch.isfinite(given) & (given >= 0)).all()):
        raise ProsocialError(
            f"{HARM_SCALES} are a tensor of finite numbers of at least 0, one for each prompt, found {given!r:.80}"
        )
    return given.float()
