"""Token for token and score for score against full recompute, in every way that generate decodes."""

import pytest
import torch
from support.generation import MODES, assert_same, generate, needs_an_assistant, prompts
from support.models import VOCABULARY, random_arm, random_base
from support.oracle import FullRecompute

from hf_prosocial import Preference, ProSocialProcessor

# Gemma's normalisation and softmax are fp32 whatever the dtype of the model.
EXACT = {"llama": 1e-5, "gpt2": 1e-9, "qwen2": 1e-5, "gemma3": 1e-5}
PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)


@pytest.mark.parametrize("mode", MODES)
def test_families_and_modes_with_left_padding(family, mode):
    base, arm = random_base(family, seed=1), random_arm(family, seed=2)
    inputs = prompts()
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **MODES[mode])
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), **MODES[mode]))


@pytest.mark.parametrize("seed", range(8))
def test_beams_on_fresh_prompts(base, arm, seed):
    inputs = prompts(rows=2, seed=seed)
    options = {"do_sample": False, "num_beams": 4}
    processor = ProSocialProcessor(arm, PREFERENCE, beta=1.7)
    assert_same(
        generate(base, inputs, processor, **options),
        generate(base, inputs, FullRecompute(arm, PREFERENCE, beta=1.7), **options),
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_preference_per_row(base, arm, mode):
    # The same prompt twice: beams of one preference must not take keys and values from the other's.
    ids = prompts(rows=1)["input_ids"].repeat(3, 1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    preferences = [Preference.one_hot("empathy"), Preference.one_hot("truthfulness"), Preference.uniform()]
    ours = generate(base, inputs, ProSocialProcessor(arm, preferences), **MODES[mode])
    assert_same(ours, generate(base, inputs, FullRecompute(arm, preferences), **MODES[mode]))


@pytest.mark.parametrize("safe_set", [1.0, 0.5, 0.05])
def test_safe_set(base, arm, safe_set):
    inputs = prompts()
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE, safe_set=safe_set), do_sample=True)
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE, safe_set=safe_set), do_sample=True)
    assert_same(ours, theirs)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("do_sample", [False, True])
def test_assisted_decoding(family, do_sample):
    needs_an_assistant(family)
    base, arm = random_base(family, seed=1), random_arm(family, seed=2)
    assistant = random_base(family, seed=5)
    inputs = prompts(rows=1)
    options = {"assistant_model": assistant, "do_sample": do_sample}
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options)
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), **options))


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_prompt_lookup_decoding(family):
    base, arm = random_base(family, seed=1), random_arm(family, seed=2)
    ids = prompts(rows=1, length=5)["input_ids"].repeat(1, 4)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    options = {"prompt_lookup_num_tokens": 4, "do_sample": False}
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options)
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), **options))
    plain = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), do_sample=False)
    assert ours.sequences.tolist() == plain.sequences.tolist()


def test_static_cache(base, arm):
    inputs = prompts()
    options = {"cache_implementation": "static", "do_sample": False}
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options)
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False))


def test_one_instance_for_many_prompts(base, arm):
    processor = ProSocialProcessor(arm, PREFERENCE)
    for rows, length, seed in ((3, 7, 0), (1, 4, 1), (3, 7, 0), (2, 9, 2)):
        inputs = prompts(rows, length, seed)
        ours = generate(base, inputs, processor, do_sample=False)
        assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma3"])
def test_interleaved_prompts_in_float64(family):
    """The identity itself: what fp32 leaves of it is in the tests around."""
    arm = random_arm(family, seed=2, dtype=torch.float64)
    processor, oracle = ProSocialProcessor(arm, PREFERENCE), FullRecompute(arm, PREFERENCE)
    rows = [prompts(rows=2, seed=seed)["input_ids"] for seed in (0, 1)]
    generator = torch.Generator().manual_seed(3)
    for step in range(6):
        for index, ids in enumerate(rows):
            scores = torch.randn(2, VOCABULARY, dtype=torch.float64, generator=generator)
            torch.testing.assert_close(processor(ids, scores), oracle(ids, scores), atol=EXACT[family], rtol=1e-9)
            grown = torch.randint(3, VOCABULARY, (2, 1), generator=torch.Generator().manual_seed(10 * step + index))
            rows[index] = torch.cat([ids, grown], dim=-1)


def test_given_mask_with_holes_beats_the_pad_id(base, arm):
    inputs = prompts()
    inputs["attention_mask"][0, :2] = 0  # Real ids, masked by the caller.
    ours = ProSocialProcessor(arm, PREFERENCE, prompt_attention_mask=inputs["attention_mask"])
    theirs = FullRecompute(arm, PREFERENCE, prompt_mask=inputs["attention_mask"])
    options = {"do_sample": False, "num_beams": 3}
    assert_same(generate(base, inputs, ours, **options), generate(base, inputs, theirs, **options))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arm_in_another_dtype(base, dtype):
    arm = random_arm("llama", seed=2, dtype=dtype)
    inputs = prompts()
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), do_sample=False)
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False)
    assert all(score.dtype == torch.float32 for score in ours.scores)
    torch.testing.assert_close(ours.scores[0], theirs.scores[0], atol=0.15, rtol=0.05)
