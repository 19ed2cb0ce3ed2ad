"""Which columns of two models' logits mean the same token."""

from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.models import tokenizer_hash


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, recorded_hash: str | None) -> None:
    """Compare a tokenizer with the one that an adapter recorded, if it recorded one.

    Raises:
        ValueError: another vocabulary.
    """
    if recorded_hash is not None and tokenizer_hash(tokenizer) != recorded_hash:
        raise ProsocialError(
            f"the tokenizer {tokenizer.name_or_path!r} ({len(tokenizer)} tokens) has another vocabulary than the one "
            "that the ARM was trained with, so its token ids would mean other tokens; guide a model that shares the "
            "ARM's tokenizer"
        )


def shared_width(base_width: int, arm_width: int, tokenizer_length: int | None) -> int:
    """How many leading columns both models' logits share; the rest is padding of the vocabulary.

    Args:
        base_width: columns of the base's scores.
        arm_width: columns of the ARM's logits.
        tokenizer_length: the number of tokens, where a tokenizer is known.

    Raises:
        ValueError: the widths differ and nobody says where tokens end, or there are more tokens than columns.
    """
    if tokenizer_length is None:
        if base_width != arm_width:
            raise ProsocialError(
                f"the base scores {base_width} tokens and the ARM {arm_width}. If both share a tokenizer and differ "
                "only in padding of the vocabulary, pass tokenizer= to ProSocialProcessor; otherwise (another model "
                "family, or assisted decoding whose assistant has another tokenizer) this ARM cannot guide this base"
            )
        return base_width
    if tokenizer_length > min(base_width, arm_width):
        raise ProsocialError(
            f"the tokenizer has {tokenizer_length} tokens, but the base scores {base_width} and the ARM {arm_width}; "
            "the vocabularies differ by more than padding, so this ARM cannot guide this base"
        )
    return tokenizer_length
