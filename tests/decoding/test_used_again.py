"""One processor over many calls: rows in another order, doubled, left out, grown, taken back, begun anew."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generation import assert_same, generate, prompts
from support.models import VOCABULARY, random_arm, random_base
from support.oracle import FullRecompute

from hf_prosocial import Preference, ProSocialProcessor

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)


@pytest.fixture(scope="module")
def arms():
    return {family: random_arm(family, seed=2, dtype=torch.float64) for family in ("llama", "gemma3")}


@st.composite
def turn(draw):
    """What the next call shows, made from the rows of the last one."""
    kind = draw(st.sampled_from(["rows", "grow", "crop", "again", "rows and grow", "begin"]))
    return (
        kind,
        draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 99)),
    )


def shown(rows, kind, order, amount, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind == "begin":
        return prompts(rows=len(order), length=5, seed=seed)["input_ids"]
    if "rows" in kind:
        rows = rows[[index % len(rows) for index in order]]
    if "grow" in kind:
        # Two tokens to choose from, so that rows often agree.
        rows = torch.cat([rows, torch.randint(5, 7, (len(rows), amount), generator=generator)], dim=1)
    if kind == "crop":
        rows = rows[:, : max(5, rows.shape[1] - amount)]
    return rows


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(["llama", "gemma3"]), turns=st.lists(turn(), min_size=2, max_size=6))
def test_any_sequence_of_calls(arms, family, turns):
    # In float64, but for normalisation and softmax, which are fp32 whatever the dtype of the model.
    arm = arms[family]
    processor, oracle = ProSocialProcessor(arm, PREFERENCE), FullRecompute(arm, PREFERENCE)
    rows = prompts(rows=3, length=5)["input_ids"]
    for kind, order, amount, seed in turns:
        rows = shown(rows, kind, order, amount, seed)
        scores = torch.zeros(len(rows), VOCABULARY, dtype=torch.float64)
        torch.testing.assert_close(processor(rows, scores), oracle(rows, scores), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 1, 0], [2], [0, 1, 2, 2, 1]])
def test_the_same_prompts_in_another_order(base, arm, order):
    inputs = {"input_ids": prompts(rows=3, length=6)["input_ids"]}
    inputs["input_ids"][:, :3] = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    processor = ProSocialProcessor(arm, PREFERENCE)
    processor(inputs["input_ids"], torch.zeros(3, VOCABULARY))
    again = {name: value[order] for name, value in inputs.items()}
    ours = generate(base, again, processor, do_sample=False)
    assert_same(ours, generate(base, again, FullRecompute(arm, PREFERENCE), do_sample=False))


def test_assisted_decoding_after_a_batch(base, arm):
    inputs = prompts(rows=3)
    processor = ProSocialProcessor(arm, PREFERENCE)
    with torch.no_grad():
        base.generate(**inputs, logits_processor=[processor], max_new_tokens=1)
    one = {name: value[:1] for name, value in inputs.items()}
    options = {"assistant_model": random_base("llama", seed=5), "do_sample": False}
    ours = generate(base, one, processor, **options)
    assert_same(ours, generate(base, one, FullRecompute(arm, PREFERENCE), **options))
