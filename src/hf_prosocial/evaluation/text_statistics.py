"""Length, variety and repetition of replies, and degenerate replies."""

import re
from collections.abc import Sequence

from hf_prosocial.errors import ProsocialError

_WORD = re.compile(r"\w+(?:['’]\w+)?")
NGRAM = 4
MOST_REPEATED = 0.5
"""A reply whose share of repeated 4-grams is above this is degenerate."""
LEAST_WORDS = 2 * NGRAM
"""Shorter replies have too few 4-grams to tell repetition by."""


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [found.lower() for found in _WORD.findall(text)]


def distinct(replies: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams, of all replies together (distinct-n, arXiv 1510.03055).

    Raises:
        ValueError: not one n-gram, or n below 1.
    """
    if n < 1:
        raise ProsocialError(f"n must be 1 or more, found {n}")
    ngrams = [ngram for reply in replies for ngram in _ngrams(words(reply), n)]
    if not ngrams:
        raise ProsocialError(f"{len(replies)} replies hold not one {n}-gram")
    return len(set(ngrams)) / len(ngrams)


def repetition(reply: str) -> float:
    """The share of a reply's 4-grams that came before in it (seq-rep-4, arXiv 1908.04319); 0 where it has none."""
    ngrams = _ngrams(words(reply), NGRAM)
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def is_degenerate(reply: str) -> bool:
    """Whether a reply is degenerate: without a word, or mostly repeating itself. Neither safe nor harmful."""
    count = len(words(reply))
    return count == 0 or (count >= LEAST_WORDS and repetition(reply) > MOST_REPEATED)


def _ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))
