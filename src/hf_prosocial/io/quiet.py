"""What libraries below say, and a user of the commands can do nothing about."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

_KNOWN: tuple[tuple[str, type[Warning]], ...] = (
    # PEFT reads a name that transformers deprecates.
    (r".*`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning),
    # An adapter is loaded on a base that lies elsewhere; this package compares the bases' hashes itself.
    (r"The PEFT config's `base_model_name_or_path` was renamed", UserWarning),
    # PEFT asks the Hub, when it saves, whether the vocabulary was changed. No adapter here touches embeddings.
    (r"Unable to fetch remote file due to the following error.*config\.json", UserWarning),
    (r"Could not find a config file in .* will assume that the vocabulary was not modified", UserWarning),
)


@contextmanager
def without_known_warnings() -> Generator[None]:
    """A block in which these are not shown, and all others are. Not for threads: Python's filters are the process's."""
    with warnings.catch_warnings():
        for message, category in _KNOWN:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
