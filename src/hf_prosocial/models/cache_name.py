"""What transformers calls a model's cache in inputs and outputs: `cache` since 5.24, `past_key_values` before."""

import dataclasses

from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_prosocial.errors import ProsocialError

_FIELDS = {field.name for field in dataclasses.fields(CausalLMOutputWithPast)}
CACHE = "cache" if "cache" in _FIELDS else "past_key_values"


def given_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """The one that was given, by either name.

    Raises:
        ValueError: two of them.
    """
    if cache is not None and past_key_values is not None and cache is not past_key_values:
        raise ProsocialError("cache and past_key_values are two names of one argument, and they were given two caches")
    return past_key_values if cache is None else cache
