"""Guidance only where the base is uncertain: what is skipped is the base's, and what is not is guided as ever."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import random_arm, random_base
from transformers import LogitsProcessor

from hf_prosocial import Preference, ProsocialError, ProSocialProcessor
from hf_prosocial.decoding.guidance import uncertain

BASE, ARM = random_base("llama", seed=1), random_arm("llama", seed=2, objectives=("a", "b"))
PREFERENCE = Preference.uniform(objectives=("a", "b"))


class Oracle(LogitsProcessor):
    """The ARM on whole rows at every step, and no cache."""

    def __init__(self, beta, bound):
        self.beta, self.bound, self.asked, self.seen = beta, bound, 0, 0

    def __call__(self, input_ids, scores):
        base = scores.log_softmax(-1)
        entropy = -(base.exp() * base).nan_to_num(0.0).sum(-1)
        with torch.no_grad(), ARM.base_model.preference_state.using("default", PREFERENCE.tensor()):
            arm = ARM(input_ids=input_ids).logits[:, -1]
        guided = (base + self.beta * arm.log_softmax(-1)).log_softmax(-1)
        asked = entropy >= self.bound
        self.asked, self.seen = self.asked + int(asked.sum()), self.seen + len(asked)
        return torch.where(asked[:, None], guided, base)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), bound=st.floats(2.9, 3.8), beams=st.sampled_from([1, 3]), rows=st.integers(1, 3))
def test_tokens_are_an_oracles(seed, bound, beams, rows):
    ids = torch.randint(3, 60, (rows, 6), generator=torch.Generator().manual_seed(seed))
    options = {"max_new_tokens": 10, "num_beams": beams, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    oracle = Oracle(1.5, bound)
    expected = BASE.generate(ids, logits_processor=[oracle], **options)
    processor = ProSocialProcessor(ARM, PREFERENCE, beta=1.5, min_entropy=bound)
    assert torch.equal(BASE.generate(ids, logits_processor=[processor], **options), expected)
    # Again by the same processor, whose cache is another generation's.
    assert torch.equal(BASE.generate(ids, logits_processor=[processor], **options), expected)


def test_the_arm_does_not_run_where_nobody_asks(monkeypatch):
    ids = torch.randint(3, 60, (1, 6), generator=torch.Generator().manual_seed(5))
    calls = []
    processor = ProSocialProcessor(ARM, PREFERENCE, min_entropy=3.4)
    inner = processor._guide.next_logits
    monkeypatch.setattr(processor._guide, "next_logits", lambda *given: (calls.append(1), inner(*given))[1])
    oracle = Oracle(1.0, 3.4)
    BASE.generate(ids, logits_processor=[oracle], max_new_tokens=30, do_sample=False)
    BASE.generate(ids, logits_processor=[processor], max_new_tokens=30, do_sample=False)
    assert 0 < oracle.asked < oracle.seen
    assert len(calls) == oracle.asked


def test_at_bound_0_it_is_guidance_as_ever():
    ids = torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(6))
    plain, never = (ProSocialProcessor(ARM, PREFERENCE, **more) for more in ({}, {"min_entropy": 0.0}))
    scores = torch.randn(2, 61)
    assert torch.equal(plain(ids, scores), never(ids, scores))
    far = ProSocialProcessor(ARM, PREFERENCE, min_entropy=100.0)
    torch.testing.assert_close(far(ids, scores), scores.log_softmax(-1))


def test_entropy_is_in_nats_and_barred_tokens_have_none():
    scores = torch.tensor([[0.0, 0.0, -torch.inf], [5.0, -torch.inf, -torch.inf]])
    assert uncertain(scores, 0.69).tolist() == [True, False]
    assert uncertain(scores, 0.70).tolist() == [False, False]


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_a_bound_that_makes_no_sense_is_refused(bound):
    with pytest.raises(ProsocialError, match="min_entropy must be a number"):
        ProSocialProcessor(ARM, PREFERENCE, min_entropy=bound)
