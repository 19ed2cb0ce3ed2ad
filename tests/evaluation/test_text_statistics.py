"""Counts against brute force; what degenerate means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.evaluation.text_statistics import distinct, is_degenerate, repetition, words

sentences = st.lists(st.sampled_from(["take", "your", "time", "that", "is", "hard"]), max_size=30).map(" ".join)


@given(st.lists(sentences, min_size=1, max_size=5), st.integers(1, 4))
def test_distinct_counts_ngrams(replies, n):
    ngrams = []
    for reply in replies:
        tokens = reply.split()
        ngrams += [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    if not ngrams:
        with pytest.raises(ValueError, match=f"not one {n}-gram"):
            distinct(replies, n)
    else:
        assert distinct(replies, n) == len(set(ngrams)) / len(ngrams)


@given(sentences, st.integers(2, 6))
def test_saying_it_again_is_repetition(sentence, times):
    tokens = len(sentence.split())
    again = repetition(" ".join([sentence] * times))
    assert 0 <= again < 1
    if tokens >= 4:
        # Of times·tokens − 3 four-grams, at most `tokens` differ.
        assert again >= 1 - tokens / (times * tokens - 3)
    assert is_degenerate(" ".join([sentence] * times)) == (tokens == 0 or (times * tokens >= 8 and again > 0.5))


def test_words_and_replies_without_any():
    assert words("I'm SORRY, it’s hard.") == ["i'm", "sorry", "it’s", "hard"]
    assert is_degenerate("")
    assert is_degenerate(" ...!?\n")
    assert not is_degenerate("Yes.")
    assert not is_degenerate("no no no no no")  # too short to tell
    assert is_degenerate("you are not alone, " * 8)
    with pytest.raises(ValueError, match="n must be 1 or more"):
        distinct(["a"], 0)
