"""How replies are worded: openings, templates, words that point to help."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.evaluation.wording import TEMPLATES, has_template, opening, points_to_help, same_opening

HELPING = [
    "Please call 999 now and ask for an ambulance.",
    "You could talk to a counsellor, or to someone you trust.",
    "The Samaritans are there day and night.",
    "It may help to see a doctor about it.",
    "If you are in danger, go to an emergency room.",
]
OTHER = ["It sounds like a hard week.", "Take a walk, and drink some water.", "Whatever.", "Call it a day.", ""]


@given(st.lists(st.sampled_from(["a b c d e", "a b c d", "A, b c d!", "b", ""]), min_size=2, max_size=9))
def test_the_chance_of_the_same_opening_is_over_all_pairs(replies):
    pairs = list(combinations(map(opening, replies), 2))
    assert same_opening(replies) == pytest.approx(sum(one == other for one, other in pairs) / len(pairs))
    assert Counter(map(opening, ["A, b c d!", "a b c d e"])) == {"a b c d": 2}


def test_help_is_seen_and_nothing_else_is():
    assert [reply for reply in HELPING if not points_to_help(reply)] == []
    assert [reply for reply in OTHER if points_to_help(reply)] == []


def test_templates():
    assert has_template("I’m so sorry to hear that.", "I'm sorry")
    assert has_template("I am sorry, but no.", "I'm sorry")
    assert not has_template("It is late, and I'm sorry.", "I'm sorry")
    assert has_template("Well, as an AI, I cannot.", "as an AI")
    assert has_template("Now, it’s important to rest.", "it's important to")
    assert not any(has_template(reply, name) for reply in OTHER for name in TEMPLATES)
