"""A base less a harm vector where a gate takes the prompt for harmful, as one model."""

from collections.abc import Collection
from typing import Any, NoReturn, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.models import CACHE, given_cache, sharing_weights

from .gated_rows import HARM_SCALES, GatedRows, generating, scales_of_generation
from .wrapping_model import WrappingModel


class GatedModel(WrappingModel):
    """The safe base θ_s(x) = θ − λ(x) · B A, with λ(x) per row from a gate; it shares the base's memory.

        safe = GatedModel(base, GatedHarmVector.from_pretrained("path-or-hub-id"))
        safe.generate(**inputs, logits_processor=[ProSocialProcessor(arm, preference)])

    The gate reads each prompt once, before `generate` begins. Where it stays closed, logits are the base's, bit for
    bit. Where it opens, a `ProSocialProcessor` given to its `generate` gives way: β(x) = β · (1 − g(x)). A loop of
    one's own, or a processor that is called in another thread, knows of no gate: `vector.guidance_share` says what is
    left of β there. A forward pass outside of `generate` takes `harm_scales`, λ of each row; without, the gate reads
    the rows themselves, which must then be whole texts.

    Args:
        base: the model that the vector was made on; it stays as it is.
        vector: what is subtracted, and the gate.
        allow_mismatch: differences of the base to accept, as `load_arm` takes them.
        tokenizer: the base's, to compare with the vector's record; without one, it is not compared.

    Raises:
        ValueError: a vector of another base; at a call, whatever would subtract wrongly: a filled cache, embeddings in
            place of token ids, experts that see tokens without their rows.

    Source: METHOD, "Beyond the paper".
    """

    def __init__(
        self,
        base: PreTrainedModel,
        vector: GatedHarmVector,
        allow_mismatch: Collection[str] = (),
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        vector.check(base, tokenizer, allow_mismatch)
        super().__init__(base.config)
        self.model = sharing_weights(base)
        self.generation_config = base.generation_config
        self._rows = GatedRows(base, self.model, vector)
        self.eval()

    @property
    def harm_vector(self) -> GatedHarmVector:
        """What is subtracted, and the gate."""
        return self._rows.vector

    def gated(
        self, input_ids: Int[Tensor, "rows tokens"], attention_mask: Int[Tensor, "rows tokens"] | None
    ) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows 1 1"] | None]:
        """λ of whole texts, and the share of β that it leaves to guidance; None is all, everywhere.

        Raises:
            ValueError: as the class.
        """
        scales = self._rows.of_rows(input_ids, attention_mask, None, None)
        share = self._rows.share(scales)
        return scales, None if share is None else share[:, None, None]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        harm_scales: Float[Tensor, " prompts"] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The base's output, of the edited weights where λ is not 0.

        Args:
            input_ids: (rows, tokens), int64.
            attention_mask: 1 for tokens and 0 for padding, or the base's own form of it.
            past_key_values: as of the base.
            inputs_embeds: in place of the ids.
            cache: the newer name of `past_key_values`.
            harm_scales: λ of each prompt; rows are a multiple of the prompts. `generate` passes its own.
            kwargs: further inputs of the base.

        Raises:
            ValueError: see the class.
        """
        inputs = cast(Tensor, inputs_embeds if input_ids is None else input_ids)
        held = given_cache(cache, past_key_values)
        scales = self._rows.of_rows(inputs, attention_mask, held, harm_scales)
        named = {} if held is None else {CACHE: held}
        with self._rows.subtracting(scales, len(inputs)):
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **named, **kwargs
            )

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' `generate`; the gate reads the prompts first.

        Raises:
            ValueError: see the class.
        """
        token = generating.set(self._rows.of_generation(self, args, kwargs))
        generation: Any = super()
        try:
            return generation.generate(*args, **kwargs)
        finally:
            generating.reset(token)

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The base's, and λ of the generation's prompts."""
        model: Any = self.model
        return model.prepare_inputs_for_generation(*args, **kwargs) | {HARM_SCALES: scales_of_generation()}

    def get_decoder(self) -> NoReturn:
        """Refused: its layers alone are the base's.

        Raises:
            ValueError: always.
        """
        raise ProsocialError("the decoder alone is the base's, from which nothing is subtracted; ask the base for it")

    def get_input_embeddings(self) -> torch.nn.Module:
        """The base's."""
        return cast(torch.nn.Module, self.model.get_input_embeddings())
