"""What transformers models share that are made of other models."""

from typing import Any, NoReturn

from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel

from hf_prosocial.errors import ProsocialError


class WrappingModel(PreTrainedModel, GenerationMixin):
    """A model around others: it generates as any model does, and refuses what would lose one of them.

    Args:
        config: the base's.
    """

    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, for `generate_batch` and `cache_implementation="paged"` alike.

        Raises:
            ValueError: always.
        """
        raise ProsocialError(
            f"continuous batching runs one model with a cache of its own, which a {type(self).__name__} is not; use "
            "generate with a batch of prompts"
        )

    def save_pretrained(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: save the adapter; its base is where it was.

        Raises:
            ValueError: always.
        """
        raise ProsocialError(f"a {type(self).__name__} is several models; save its adapter: arm.save_pretrained(...)")

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # The experts are the base's, which has settled this for itself.
        return True
