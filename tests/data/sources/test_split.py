from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_prosocial import ProsocialError
from hf_prosocial.data import Made, Pairing, said, shared_texts, split
from hf_prosocial.data.sources.made import words_of

LONG = "a reply that is long enough to keep two rows together, number "


@st.composite
def numbers(draw):
    """Of each pair: its objective, group, prompt and replies, of few, so that many hang together."""
    number = st.integers(0, draw(st.integers(5, 60)))
    replies = st.tuples(number, number, st.booleans()).filter(lambda pair: pair[0] != pair[1])
    one = st.tuples(st.sampled_from(("kind", "clear")), number, number, replies)
    return draw(st.lists(one, min_size=30, max_size=120))


def pairing(objective, group, question, replies):
    texts = tuple(f"{LONG if replies[2] else 'no '}{one}" for one in replies[:2])
    return Pairing(objective, "source", Made(f"group {group}", said(f"question {question}"), texts))


@given(numbers(), st.integers(2, 10))
def test_nothing_held_out_stands_in_training(drawn, goal):
    pairs = [pairing(*one) for one in drawn]
    counts = Counter(pair.objective for pair in pairs)
    goals = {name: min(goal, count // 2) for name, count in counts.items()}
    assume(all(goals.values()))
    try:
        training, held_out, short = split(pairs, goals)
    except ProsocialError:  # All hang together, which another test makes sure of.
        return
    assert len(training) + len(held_out) + short == len(pairs)
    assert shared_texts([pair.row for pair in training], [pair.row for pair in held_out]) == {
        "prompts": 0,
        "replies": 0,
    }
    assert not {pair.row.group for pair in training} & {pair.row.group for pair in held_out}
    assert not {pair.component for pair in training} & {pair.component for pair in held_out}
    again = split(pairs[::-1], goals)
    assert {id(pair.row) for pair in again[1]} == {id(pair.row) for pair in held_out}


def test_texts_that_differ_in_case_and_signs_are_the_same():
    rows = [Made("a", said("How  are you?"), ("Fine!", "no")), Made("b", said("how are you"), ("fine", "what"))]
    assert shared_texts(rows[:1], rows[1:]) == {"prompts": 1, "replies": 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Où est le café ?", "Ou\u0300 est le cafe\u0301"),
        ("how do i", "how\u200b do\u00ad i"),
        ("Tea", "ｔｅａ"),
        ("a _word_ here", "a word here!"),
    ],
)
def test_forms_of_a_text_that_are_one(one, other):
    assert words_of(one) == words_of(other)


def test_marks_make_another_text():
    assert words_of("कि") != words_of("की")
    assert words_of("resume") != words_of("résumé")


@given(st.text(max_size=40))
def test_words_of_words_are_themselves(text):
    assert words_of(words_of(text)) == words_of(text)
