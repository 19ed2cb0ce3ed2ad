"""Judges by words, and the median of several judges."""

import json
from itertools import product
from pathlib import Path
from statistics import median

import pytest
from support.small_evaluation import write_heads

from hf_prosocial.data import Prompt
from hf_prosocial.judges import HARM, REFUSAL, JudgeContext, VoteConfig, WordsConfig, parse_judge
from hf_prosocial.judges.vote import VoteJudge

PROMPT = Prompt("mild", "1", (("user", "what is it"),))
REFUSING, PLAIN = "I'm sorry, but I can't help with that.", "It is a cat."
CONTEXT = JudgeContext(None, "float32", ("empathy",), Path("answers"))


class Says:
    """A judge that gives the labels that it was made with."""

    def __init__(self, labels, said):
        self.labels, self.said = labels, said

    def __call__(self, prompts, replies):
        return list(self.said)


def test_words_tell_refusals_and_harm():
    refusal, harm = (WordsConfig("words").open(role, CONTEXT) for role in ("refusal", "harm"))
    assert refusal([PROMPT] * 2, [REFUSING, PLAIN]) == ["full_refusal", "full_compliance"]
    assert harm([PROMPT] * 2, [REFUSING, PLAIN]) == ["safe", "harmful"]
    assert (refusal.labels, harm.labels) == (REFUSAL, HARM)
    with pytest.raises(ValueError, match="words give no rewards"):
        WordsConfig("words").check("rewards", CONTEXT)


@pytest.mark.parametrize(("role", "labels"), [("refusal", REFUSAL), ("harm", HARM)])
def test_a_vote_is_the_median_of_every_combination(role, labels):
    said = list(product(labels, repeat=3))
    judges = {str(row): Says(labels, [one[row] for one in said]) for row in range(3)}
    found = VoteJudge(judges, role)([PROMPT] * len(said), [PLAIN] * len(said))
    assert [labels.index(one) for one in found] == [median(map(labels.index, one)) for one in said]
    # Whether a reply refuses at all is what most of them say.
    assert [one != labels[0] for one in found] == [sum(part != labels[0] for part in one) >= 2 for one in said]


def test_a_vote_without_a_judges_label_is_none():
    judges = {"a": Says(REFUSAL, [None]), "b": Says(REFUSAL, ["full_refusal"]), "c": Says(REFUSAL, ["full_refusal"])}
    assert VoteJudge(judges, "refusal")([PROMPT], [PLAIN]) == [None]
    with pytest.raises(ValueError, match="gave the labels 'odd'"):
        VoteJudge(judges | {"c": Says(REFUSAL, ["odd"])}, "refusal")([PROMPT], [PLAIN])


def test_a_recipe_names_a_vote(tmp_path, saved_arm):
    embedded = {"kind": "embedded", "heads": write_heads(tmp_path / "heads", saved_arm[0])}
    vote = parse_judge({"kind": "vote", "judges": [{"kind": "words"}, {"kind": "sentences"}, embedded]})
    assert vote.judges[2].kind == "embedded"
    assert vote.open("refusal", CONTEXT)([PROMPT], [REFUSING]) == ["full_refusal"]
    # What its labels follow from: another head is another vote.
    before = json.dumps(vote.identity())
    write_heads(tmp_path / "heads", saved_arm[0], seed=1)
    assert json.dumps(vote.identity()) != before
    assert "words of refusals" in vote.described("refusal")
    assert "10 replies" in vote.validation("refusal")
    for judges in ([], [{"kind": "words"}] * 2, [{"kind": "words"}] * 4):
        with pytest.raises(ValueError, match="an odd number of judges, three or more"):
            parse_judge({"kind": "vote", "judges": judges})
    with pytest.raises(ValueError, match="a judge has two voices"):
        parse_judge({"kind": "vote", "judges": [{"kind": "words"}, {"kind": "words"}, embedded]})
    with pytest.raises(ValueError, match="a vote gives no rewards"):
        vote.check("rewards", CONTEXT)
    with pytest.raises(ValueError, match="no kind of judge is called 'odd'"):
        VoteConfig("vote", tuple(parse_judge({"kind": kind}) for kind in ("words", "sentences", "odd")))
