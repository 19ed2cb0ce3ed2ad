"""Replies of a variant to all prompts under all preferences, each made once."""

from collections.abc import Sequence

from hf_prosocial.data import Prompt, batches_by_length
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import progress_bar
from hf_prosocial.preference import Preference

from .repliers import Replier
from .reply_store import ReplyKey, ReplyStore


def reply_to_all(
    store: ReplyStore,
    replier: Replier,
    prompts: Sequence[Prompt],
    preferences: Sequence[Preference],
    *,
    new_tokens: int,
    batch_tokens: int = 6144,
    description: str = "replies",
) -> None:
    """Fill a store with what is missing from it, in batches of similar length; shows how long it will take.

    Args:
        store: of the variant; what it holds already is not made again.
        replier: how the variant answers; one that heeds no preference answers each prompt once.
        prompts: to answer.
        preferences: each prompt is answered under all of them.
        new_tokens: the most of a reply, to count batches by.
        batch_tokens: the most tokens of a batch, padding and replies included.
        description: what the progress bar says.

    Raises:
        ValueError: no prompt, no preference, or two prompts of one name.
    """
    if not prompts or not preferences:
        raise ProsocialError(f"nothing to answer: {len(prompts)} prompts, {len(preferences)} preferences")
    names = [(prompt.benchmark, prompt.identity) for prompt in prompts]
    if len(set(names)) < len(names):
        raise ProsocialError(f"two prompts are called {next(name for name in names if names.count(name) > 1)}")
    asked = heeded(replier, preferences)
    wanted = {reply_key(replier, *pair): pair for pair in ((prompt, one) for prompt in prompts for one in asked)}
    missing = [(key, *pair) for key, pair in wanted.items() if key not in store.replies]
    done = len(wanted) - len(missing)
    with progress_bar(len(wanted), description, "reply", done=done) as progress:
        lengths = [replier.length(prompt.messages(), preference) + new_tokens for _, prompt, preference in missing]
        for batch in batches_by_length(lengths, batch_tokens):
            keys, asked_prompts, asked_under = zip(*(missing[index] for index in batch), strict=True)
            replies = replier([prompt.messages() for prompt in asked_prompts], list(asked_under))
            store.append(zip(keys, replies, strict=True))
            progress.update(len(batch))


def heeded(replier: Replier, preferences: Sequence[Preference]) -> Sequence[Preference]:
    """The preferences that each prompt is answered under: one, whichever, where none is heeded."""
    return preferences if replier.heeds_preference else preferences[:1]


def reply_key(replier: Replier, prompt: Prompt, preference: Preference) -> ReplyKey:
    """Under which a store holds the reply: without the preference where the replier heeds none."""
    said = str(preference) if replier.heeds_preference else ""
    return ReplyKey(prompt.benchmark, prompt.identity, said)
