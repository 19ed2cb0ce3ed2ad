"""Rewards against the models asked one reply at a time; guided likelihoods by the ordinary figures."""

import copy

import numpy as np
import pytest
import torch
from support.models import config_of, random_arm, random_base
from support.training import row_log_prob
from transformers import AutoModelForSequenceClassification

from hf_prosocial import OBJECTIVES, GuidedModel, Preference
from hf_prosocial.data import Prompt
from hf_prosocial.data.chat import prompt_and_reply
from hf_prosocial.decoding import GuidedPair
from hf_prosocial.judges.arm_scorer import ArmScorer
from hf_prosocial.judges.classifier import ClassifierConfig, ClassifierScorer
from hf_prosocial.judges.local import GuardJudge
from hf_prosocial.judges.registry import JudgeContext, Scorer
from hf_prosocial.models import sharing_weights, text_loss

PROMPTS = [Prompt("mild", str(line), (("user", text),)) for line, text in enumerate(("i am sad", "help me, please"))]
REPLIES = ("i am sorry", "take your time, friend")


def test_an_arm_scores_each_reply_under_each_objective(arm, tokenizer):
    scorer = ArmScorer(arm, tokenizer, batch_tokens=40)
    assert isinstance(scorer, Scorer)
    assert scorer.names == OBJECTIVES
    found = scorer(PROMPTS, REPLIES)
    for row, (prompt, reply) in enumerate(zip(PROMPTS, REPLIES, strict=True)):
        said = [{"role": "assistant", "content": reply}]
        ids = prompt_and_reply(tokenizer, prompt.messages(), said)
        with torch.no_grad():
            with arm.disable_adapter():
                base = row_log_prob(arm, *ids)
            for column, name in enumerate(OBJECTIVES):
                arm.set_preference(Preference.one_hot(name))
                expected = (row_log_prob(arm, *ids) - base) / len(ids[1])
                assert found[row, column] == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_a_classifier_scores_the_whole_conversation(count, tokenizer):
    torch.manual_seed(0)
    config = config_of("llama")
    config.num_labels = count
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.3)
    scorer = ClassifierScorer(model, tokenizer, batch_tokens=30)
    assert scorer.names == (("reward",) if count == 1 else ("LABEL_0", "LABEL_1", "LABEL_2"))
    found = scorer(PROMPTS, REPLIES)
    for row, (prompt, reply) in enumerate(zip(PROMPTS, REPLIES, strict=True)):
        text = tokenizer.apply_chat_template(
            [*prompt.messages(), {"role": "assistant", "content": reply}], tokenize=False
        )
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            np.testing.assert_allclose(found[row], model(ids).logits[0], atol=1e-4)
    with pytest.raises(ValueError, match=f"has {count} outputs, but 2 are named"):
        ClassifierScorer(model, tokenizer, ["kind", "true"])


def test_a_classifier_that_is_not_whole_is_refused(tmp_path, tokenizer):
    random_base("llama", seed=1).save_pretrained(tmp_path)  # A language model, without the classifier's own weights.
    tokenizer.save_pretrained(tmp_path)
    context = JudgeContext(None, "float32", ("LABEL_0",), tmp_path / "answers")
    with pytest.raises(ValueError, match=r"lacks score\.weight, which would be random"):
        ClassifierConfig("classifier", str(tmp_path), ("LABEL_0", "LABEL_1")).open("rewards", context)


def test_a_row_that_the_template_refuses_is_marked(tokenizer, base, arm):
    picky = copy.deepcopy(tokenizer)
    picky.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}"
        + tokenizer.chat_template
    )
    config = config_of("llama")
    config.num_labels = 2
    classifier = ClassifierScorer(AutoModelForSequenceClassification.from_config(config), picky)
    odd = Prompt("mild", "2", (("system", "be kind"), ("user", "help me")))
    prompts, replies = [PROMPTS[0], odd, PROMPTS[1]], [REPLIES[0], "gladly", REPLIES[1]]
    for scorer in (classifier, ArmScorer(arm, picky)):
        found = scorer(prompts, replies)
        assert np.isnan(found[1]).all()
        np.testing.assert_allclose(found[[0, 2]], scorer(PROMPTS, REPLIES), atol=1e-4)
        assert np.isnan(scorer([odd], ["gladly"])).all()
    guard = GuardJudge(base, picky)
    labels = guard(prompts, replies)
    assert labels[1] is None
    assert [labels[0], labels[2]] == guard(PROMPTS, REPLIES)


def test_figures_of_a_guided_model_are_of_the_guided_distribution(base, tokenizer):
    arm = random_arm("llama", seed=2, base=sharing_weights(base))
    preference = Preference.one_hot("empathy")
    text = "i am sorry, take your time. that is hard"
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    arm.set_preference(preference)
    with torch.no_grad():
        both = sum(model(ids).logits.log_softmax(-1) for model in (base, arm)).log_softmax(-1)[0, :-1]
    expected = -both.gather(-1, ids[0, 1:, None]).mean().item()
    for guided in (GuidedModel(base, arm, preference), GuidedPair(base, arm, preference)):
        assert text_loss(guided, tokenizer, text) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="scores whole sequences"):
        GuidedPair(base, arm, preference)(ids, use_cache=True)
