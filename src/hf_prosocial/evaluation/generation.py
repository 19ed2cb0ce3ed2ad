"""Replies of all variants to all prompts under all preferences, each made once."""

from collections.abc import Mapping, Sequence

from tqdm.auto import tqdm

from hf_prosocial.batching import batches_by_length
from hf_prosocial.preference import Preference

from .prompts import Prompt
from .repliers import Replier
from .reply_store import ReplyKey, ReplyStore


def reply_to_all(
    store: ReplyStore,
    variants: Mapping[str, Replier],
    prompts: Sequence[Prompt],
    preferences: Sequence[Preference],
    *,
    new_tokens: int,
    batch_tokens: int = 6144,
) -> None:
    """Fill a store with what is missing from it, in batches of similar length; shows how long it will take.

    Args:
        store: what it holds already is not made again.
        variants: by name.
        prompts: to answer, each by every variant.
        preferences: each prompt is answered under all of them.
        new_tokens: the most of a reply, to count batches by.
        batch_tokens: the most tokens of a batch, padding and replies included.

    Raises:
        ValueError: no prompt, no preference, or two prompts of one name.
    """
    if not prompts or not preferences:
        raise ValueError(f"nothing to answer: {len(prompts)} prompts, {len(preferences)} preferences")
    names = [(prompt.benchmark, prompt.identity) for prompt in prompts]
    if len(set(names)) < len(names):
        raise ValueError(f"two prompts are called {next(name for name in names if names.count(name) > 1)}")
    wanted = [(prompt, preference) for prompt in prompts for preference in preferences]
    with tqdm(total=len(wanted) * len(variants), desc="replies", unit="reply", disable=None) as progress:
        for name, replier in variants.items():
            missing = [pair for pair in wanted if _key(name, *pair) not in store.replies]
            progress.update(len(wanted) - len(missing))
            lengths = [replier.length(prompt.messages(), preference) + new_tokens for prompt, preference in missing]
            for batch in batches_by_length(lengths, batch_tokens):
                pairs = [missing[index] for index in batch]
                replies = replier([prompt.messages() for prompt, _ in pairs], [preference for _, preference in pairs])
                store.append((_key(name, *pair), reply) for pair, reply in zip(pairs, replies, strict=True))
                progress.update(len(batch))


def _key(variant: str, prompt: Prompt, preference: Preference) -> ReplyKey:
    return ReplyKey(variant, prompt.benchmark, prompt.identity, str(preference))
