"""Tokens on the page are those of `generate`, with the probabilities that base and guidance give them."""

import threading

import pytest
import torch
from support.served import build_arm, build_base

from hf_prosocial import Preference, ProSocialProcessor
from hf_prosocial.models import prompt_batch
from hf_prosocial.page.marked import marked
from hf_prosocial.session import ChatSession, Step, stream

TOKENS = 12
ASKED = [{"role": "user", "content": "a b"}]


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    base = build_base(folder / "base", "llama")
    return ChatSession.load(str(base), str(build_arm(folder / "arm", base, "llama")), None)


def log_probs(model, ids, length):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, length - 1 : -1].double().log_softmax(-1)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_each_token_has_both_probabilities(session, beta):
    preference = Preference.one_hot("empathy")
    batch = prompt_batch(session.tokenizer, [ASKED])
    processor = ProSocialProcessor(session.arm, preference, beta=beta)
    options = {"max_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
    mask = {"attention_mask": batch.attention_mask, "logits_processor": [processor]}
    with torch.no_grad():
        ids = session.base.generate(batch.input_ids, **options, **mask)[0].tolist()
    length = batch.input_ids.shape[1]
    base = log_probs(session.base, ids, length)
    session.arm.set_preference(preference)
    guided = (base + beta * log_probs(session.arm, ids, length)).log_softmax(-1)
    steps = list(stream(session, ASKED, preference, beta, TOKENS))
    assert len(steps) == len(ids) - length
    assert "".join(step.text for step in steps) == session.tokenizer.decode(ids[length:], skip_special_tokens=True)
    for place, (step, token) in enumerate(zip(steps, ids[length:], strict=True)):
        assert step.base == pytest.approx(float(base[place, token].exp()), rel=1e-4)
        assert step.guided == pytest.approx(float(guided[place, token].exp()), rel=1e-4)
        best = int(base[place].argmax())
        assert (step.instead is None) == (best == token)
        if step.instead:
            assert step.instead[0] == session.tokenizer.decode([best])
            assert step.instead[1] == pytest.approx(float(base[place, best].exp()), rel=1e-4)


def test_without_a_preference_the_base_answers_and_nothing_is_marked(session):
    steps = list(stream(session, ASKED, None, 0.0, TOKENS))
    assert steps
    assert all(step.instead is None and step.base == step.guided for step in steps)


def test_a_stream_that_is_closed_ends_its_generation(session):
    before = threading.active_count()
    reply = stream(session, ASKED, Preference.uniform(), 1.0, 200)
    next(reply)
    reply.close()
    assert threading.active_count() == before


def test_errors_of_the_generation_reach_the_reader(session):
    with pytest.raises(ValueError, match="beta"):
        list(stream(session, ASKED, Preference.uniform(), -1.0, TOKENS))
    with pytest.raises(ValueError, match="begin a new chat"):
        list(stream(session, ASKED, Preference.uniform(), 1.0, 10_000))
    with pytest.raises(Exception, match="max_new_tokens"):
        list(stream(session, ASKED, Preference.uniform(), 1.0, -1))


def test_marked_text_is_text():
    steps = [Step("<b>", 0.1, 0.6, ("</span>", 0.8)), Step(" & more", 1.0, 1.0, None)]
    found = marked(steps)
    assert "&lt;b&gt;" in found
    assert "&lt;/span&gt;" in found
    assert " &amp; more" in found
    assert "Guidance changed 1 of 2 tokens" in found
    assert "guided 60%, base 10%" in found
    assert marked([]) == ""
