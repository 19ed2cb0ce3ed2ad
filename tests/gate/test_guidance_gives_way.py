"""Where a gate opens, guidance gives way: β(x) = β · (1 − g(x))."""

import contextvars
import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gates import arm_over, edited_in_place, gated_vector, probe_between
from support.genarm_models import NAMES, random_genarm
from support.models import random_base
from transformers import StoppingCriteria

from hf_prosocial import (
    GenArmProcessor,
    GuidedModel,
    Preference,
    ProsocialError,
    ProSocialProcessor,
    SpeculativeGuidedModel,
)
from hf_prosocial.decoding import GatedModel, GuidedPair
from hf_prosocial.gate import guidance_share
from hf_prosocial.genarm import GuidedByGenArm
from hf_prosocial.models import Written
from hf_prosocial.pblora import tuner_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PREFERENCE = Preference(a=0.3, b=0.7, objectives=("a", "b"))
MIXED = Preference.from_dict({"warmth": 0.7, "help": 0.3}, objectives=NAMES)


def half_open(base, seed, *, rows=6, scale=0.7):
    """Prompts, and a vector whose gate is shut for some of them, half open for others, and open for the rest."""
    ids = torch.randint(3, 60, (rows, 7), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    probe = probe_between(base, ids, mask, seed=seed)
    odds = probe.log_odds(base, ids, mask).sort().values
    vector = gated_vector(base, probe.opening(float(odds[1]), float(odds[-2])), scale=scale, seed=seed)
    scales = vector.scales(base, ids, mask)
    assert int((scales == 0).sum()) == int((scales == scale).sum()) == 2
    return ids, mask, vector, scales


def by_hand(base, arm_logits, ids, vector, scales, beta, safe_set=None):
    """log_softmax(log π_{θ − λ(x)BA} + β (1 − λ(x) / λ) log π_r), row by row."""
    found = []
    for row, scale in enumerate(scales.tolist()):
        edited = edited_in_place(copy.deepcopy(base), vector, scale)
        own = edited(input_ids=ids[row : row + 1]).logits.log_softmax(-1)
        mixed = own + beta * (1 - scale / vector.scale) * arm_logits[row : row + 1].log_softmax(-1)
        if safe_set is not None:
            mixed = mixed.masked_fill(own.exp() < safe_set * own.exp().amax(-1, keepdim=True), -torch.inf)
        found.append(mixed.log_softmax(-1))
    return torch.cat(found)


def logits_of(arm, ids):
    tuner = tuner_of(arm)
    adapter = tuner.one_adapter()
    with tuner.preference_state.using(adapter, tuner.preference_weights(PREFERENCE, adapter)):
        return tuner.wrapped(input_ids=ids).logits


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), beta=st.floats(0.05, 3), safe_set=st.sampled_from([None, 0.02]))
def test_a_guided_models_log_probabilities_are_the_formulas(seed, beta, safe_set):
    base = random_base("llama", seed=3).double()
    arm = arm_over(base).double()
    ids, mask, vector, scales = half_open(base, seed)
    guided = GuidedModel(base, arm, PREFERENCE, beta, safe_set, harm_vector=vector)
    pair = GuidedPair(GatedModel(base, vector), arm, PREFERENCE, beta, safe_set)
    with torch.no_grad():
        expected = by_hand(base, logits_of(arm, ids), ids, vector, scales, beta, safe_set)
        for model in (guided, pair):
            torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected, rtol=0, atol=1e-5)


def test_a_genarms_likelihoods_are_the_formulas():
    base, genarm = random_base("llama", seed=3), random_genarm("llama", seed=2)
    ids, mask, vector, scales = half_open(base, 4)
    with torch.no_grad():
        arm = sum(weight * genarm_logits(genarm, name, ids) for name, weight in MIXED.items())
        expected = by_hand(base, arm, ids, vector, scales, 0.8)
        found = GuidedByGenArm(GatedModel(base, vector), genarm, MIXED, beta=0.8)(ids, mask).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def genarm_logits(genarm, name, ids):
    with genarm.using(name):
        return genarm.wrapped(input_ids=ids).logits.log_softmax(-1)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True, "top_k": 1}], ids=str
)
def test_a_processor_beside_a_gated_model_writes_what_a_guided_model_writes(options):
    base = random_base("llama", seed=3)
    arm = arm_over(base)
    ids, mask, vector, scales = half_open(base, 5)
    options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False} | options
    processor = ProSocialProcessor(arm, PREFERENCE, beta=2.0)
    gated = GatedModel(base, vector)
    found = gated.generate(ids, logits_processor=[processor], **options)
    assert torch.equal(found, GuidedModel(base, arm, PREFERENCE, beta=2.0, harm_vector=vector).generate(ids, **options))
    each = len(found) // len(ids)
    unguided, everywhere = gated.generate(ids, **options), base.generate(ids, logits_processor=[processor], **options)
    for row, scale in enumerate(scales.repeat_interleave(each).tolist()):
        assert scale < vector.scale or torch.equal(found[row], unguided[row])
        assert scale > 0 or torch.equal(found[row], everywhere[row])
    assert not torch.equal(unguided, found)
    assert not torch.equal(everywhere, found)


@pytest.mark.parametrize("kind", [ProSocialProcessor, GenArmProcessor])
def test_where_the_gate_is_open_the_arm_is_not_asked(kind, monkeypatch):
    base = random_base("llama", seed=3)
    arm, preference = (
        (arm_over(base), PREFERENCE) if kind is ProSocialProcessor else (random_genarm("llama", seed=2), MIXED)
    )
    ids, mask, vector, scales = half_open(base, 6)
    gated, processor = GatedModel(base, vector), kind(arm, preference, beta=1.0)
    options = {"max_new_tokens": 5, "do_sample": False, "logits_processor": [processor]}
    open_ones = scales == vector.scale
    monkeypatch.setattr(processor._guide, "next_logits", lambda *args: pytest.fail("the ARM was asked"))
    with processor.must_guide():
        gated.generate(ids[open_ones], attention_mask=mask[open_ones], **options)
    monkeypatch.undo()
    # What one generation settled is not the next one's.
    free = base.generate(ids[open_ones], attention_mask=mask[open_ones], **options)
    assert not torch.equal(free, base.generate(ids[open_ones], max_new_tokens=5, do_sample=False))


def test_with_uncertain_tokens_alone_guided_the_gate_still_takes_its_share():
    base = random_base("llama", seed=3)
    arm = arm_over(base)
    ids, mask, vector, _ = half_open(base, 7)
    options = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False}
    found = [
        GatedModel(base, vector).generate(
            ids, logits_processor=[ProSocialProcessor(arm, PREFERENCE, beta=2.0, min_entropy=bound)], **options
        )
        for bound in (0.0, 1e-6, 1e6)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], GatedModel(base, vector).generate(ids, **options))


def test_scales_beyond_the_vectors_own_leave_nothing_and_none_leaves_all():
    base = random_base("llama", seed=3)
    _, _, vector, _ = half_open(base, 5)
    found = vector.guidance_share(torch.tensor([0.0, 0.35, 0.7, 5.0]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5, 0.0, 0.0]))
    off = vector.with_scale(0.0)
    assert off.guidance_share(torch.tensor([0.0, 0.3])).tolist() == [1.0, 0.0]


def test_rows_that_belong_to_no_prompt_are_refused():
    base = random_base("llama", seed=3)
    ids, mask, vector, _ = half_open(base, 5)
    processor = ProSocialProcessor(arm_over(base), PREFERENCE)

    def one_row(given, scores):
        return processor(given[:1], scores[:1]).expand_as(scores)

    with pytest.raises(ProsocialError, match="6 prompts have a λ each"):
        GatedModel(base, vector).generate(ids, attention_mask=mask, max_new_tokens=2, logits_processor=[one_row])


class Asking(StoppingCriteria):
    """Generates something of its own in the middle of another generation, as a judge of the text so far would."""

    def __init__(self, ask):
        self.ask, self.found = ask, []

    def __call__(self, input_ids, scores, **kwargs):
        self.found.append(self.ask())
        return torch.zeros(len(input_ids), dtype=torch.bool)


def test_a_generation_inside_of_a_gated_one_is_guided_as_by_itself():
    base = random_base("llama", seed=3)
    ids, _, vector, scales = half_open(base, 5)
    harmful = ids[scales == vector.scale][:1]
    other, gated = random_base("llama", seed=11), GatedModel(base, vector)
    processor = ProSocialProcessor(arm_over(base), PREFERENCE, beta=2.0)
    options = {"max_new_tokens": 5, "do_sample": False}
    one = torch.ones_like(harmful)

    def ask():
        return other.generate(harmful, attention_mask=one, logits_processor=[processor], **options)

    expected, asking = ask(), Asking(ask)
    assert not torch.equal(expected, other.generate(harmful, attention_mask=one, **options))
    gated.generate(harmful, attention_mask=one, stopping_criteria=[asking], max_new_tokens=2, do_sample=False)
    assert len(asking.found) == 2
    assert all(torch.equal(found, expected) for found in asking.found)


def test_a_task_that_a_gated_generation_began_is_not_gated():
    base = random_base("llama", seed=3)
    ids, _, vector, scales = half_open(base, 5)
    harmful = ids[scales == vector.scale][:1]
    one, gated = torch.ones_like(harmful), GatedModel(base, vector)
    processor = ProSocialProcessor(arm_over(base), PREFERENCE, beta=2.0)
    options = {"attention_mask": one, "max_new_tokens": 5, "do_sample": False}
    contexts = []
    asking = Asking(lambda: contexts.append(contextvars.copy_context()))
    gated.generate(harmful, stopping_criteria=[asking], **options)
    found = contexts[0].run(lambda: base.generate(harmful, logits_processor=[processor], **options))
    assert torch.equal(found, base.generate(harmful, logits_processor=[processor], **options))
    assert not torch.equal(found, base.generate(harmful, **options))


def test_a_refused_generation_leaves_nothing_behind():
    base = random_base("llama", seed=3)
    ids, mask, vector, _ = half_open(base, 5)
    guided = GuidedModel(base, arm_over(base), PREFERENCE, harm_vector=vector)
    with pytest.raises(ProsocialError, match="2 harm_scales were given"):
        guided.generate(ids, attention_mask=mask, harm_scales=torch.ones(2), max_new_tokens=2)
    changed = random_base("llama", seed=4)
    arm = arm_over(changed)
    tuner_of(arm).loaded = Written.now(tuner_of(arm))  # As load_arm does.
    later = GuidedModel(changed, arm, PREFERENCE)
    with torch.no_grad():
        changed.model.layers[0].self_attn.q_proj.weight.add_(0.1)
    with pytest.raises(ProsocialError, match="written to"):
        later(input_ids=ids, attention_mask=mask)


def test_what_another_generate_would_lose_is_refused():
    base = random_base("llama", seed=3)
    ids, mask, vector, _ = half_open(base, 5)
    options = {"attention_mask": mask, "custom_generate": lambda model, **kwargs: None}
    with pytest.raises(ProsocialError, match="harm_scales would be lost"):
        GatedModel(base, vector).generate(ids, harm_scales=torch.ones(6), **options)
    with pytest.raises(ProsocialError, match="set_preference keeps it"):
        GuidedModel(base, arm_over(base), PREFERENCE, harm_vector=vector).generate(
            ids, preference=PREFERENCE, **options
        )
    with pytest.raises(ProsocialError, match="cannot draft behind a gate"):
        SpeculativeGuidedModel(GatedModel(base, vector), arm_over(base), PREFERENCE)


@given(
    scale=st.floats(1e-46, 1e3), dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
)
def test_at_the_vectors_own_scale_nothing_is_left_in_any_dtype(scale, dtype):
    found = guidance_share(torch.tensor([0.0, scale, 2 * scale], dtype=dtype), scale)
    assert found.dtype == torch.float32
    assert found[0] == 1
    # What is too small for the dtype is 0 in it, and then λ(x) = 0: nothing is subtracted, and nothing gives way.
    given_scale = torch.tensor([scale, 2 * scale], dtype=dtype)
    assert found[1:].tolist() == (given_scale == 0).float().tolist()
