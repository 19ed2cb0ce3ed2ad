"""Models that mix otherwise than attention does guide exactly, or are refused by name."""

import pytest
import torch
from support.generation import assert_same, generate, prompts
from support.mixers import MIXERS, mixer, mixer_arm
from support.models import random_arm, random_base
from support.oracle import FullRecompute
from transformers import BartConfig, BartForCausalLM, BartForConditionalGeneration

from hf_prosocial import GuidedModel, Preference, ProSocialProcessor, SpeculativeGuidedModel
from hf_prosocial.decoding.way import way_of
from hf_prosocial.models import sharing_weights

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)
UNPADDED = {"rwkv", "recurrent_gemma"}
# transformers chooses Phi-3's frequencies by the longest row of a batch, for all of its rows.
ALONE = UNPADDED | {"phi3"}
TWO_PASSES = {"mamba", "falcon_mamba", "mamba2", "rwkv", "recurrent_gemma"}
MODES = ({"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2})


def follows_its_change(base):
    """Whether transformers' own generation of Phi-3 is right beyond 14 tokens: it was not in the oldest versions."""
    with torch.no_grad():
        inputs = prompts(rows=1, length=13)
        found = generate(base, inputs, do_sample=False).sequences
        return int(found[0, 15]) == int(base(found[:, :15], use_cache=False).logits[0, -1].argmax())


@pytest.mark.parametrize(
    "mode", [{"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}]
)
@pytest.mark.parametrize("name", MIXERS)
def test_a_processor_against_full_recompute(name, mode):
    base, arm = random_base("llama", seed=1), mixer_arm(name, seed=2)
    inputs = prompts(rows=1) if name in ALONE else prompts()
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **mode)
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), **mode), atol=1e-3)


@pytest.mark.parametrize("name", MIXERS)
def test_a_base_of_any_mixing_is_guided(name, arm):
    base = mixer(name, seed=1)
    inputs = prompts(rows=1) if name in ALONE else prompts()
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), do_sample=False)
    assert_same(ours, generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False))


@pytest.mark.parametrize("name", sorted(UNPADDED))
def test_padded_rows_are_refused_where_padding_is_not_honoured(name):
    base, arm = random_base("llama", seed=1), mixer_arm(name, seed=2)
    with pytest.raises(ValueError, match="gives padded rows other logits than they have alone"):
        generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE))


@pytest.mark.parametrize("name", MIXERS)
def test_one_forward_pass_is_exact_or_refused_by_name(name):
    base = mixer(name, seed=1)
    arm = mixer_arm(name, seed=2, base=sharing_weights(base))
    inputs = prompts(rows=1) if name in ALONE else prompts()
    if name in TWO_PASSES:
        with pytest.raises(ValueError, match=rf"{type(base).__name__} .*ProSocialProcessor"):
            GuidedModel(base, arm, PREFERENCE)
        return
    if name == "phi3" and not follows_its_change(base):
        pytest.skip("this version of transformers does not fill Phi-3's cache anew")
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False)
    assert_same(generate(GuidedModel(base, arm, PREFERENCE), inputs, do_sample=False), theirs, atol=1e-3)


@pytest.mark.parametrize("length", range(9, 17))
def test_rotary_frequencies_that_change_with_length(length):
    """Phi-3's long rope: beyond 14 tokens the keys are others, and the cache is filled anew."""
    base, arm = mixer("phi3", seed=1), mixer_arm("phi3", seed=2)
    if not follows_its_change(base):
        pytest.skip("this version of transformers does not fill Phi-3's cache anew")
    inputs = prompts(rows=1, length=length)
    options = {"do_sample": False}
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), **options)
    assert_same(generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options), theirs, atol=1e-3)
    drafting = SpeculativeGuidedModel(base, arm, PREFERENCE, draft_tokens=4)
    assert generate(drafting, inputs, **options).sequences.tolist() == theirs.sequences.tolist()


def test_the_cache_is_not_taken_back_over_such_a_change():
    base, arm = random_base("llama", seed=1), mixer_arm("phi3", seed=2)
    processor, oracle = ProSocialProcessor(arm, PREFERENCE), FullRecompute(arm, PREFERENCE)
    ids = prompts(rows=1, length=30)["input_ids"]
    for length in (10, 20, 12, 13, 14, 15, 14, 22, 21):
        scores = torch.zeros(1, base.config.vocab_size)
        ours, theirs = processor(ids[:, :length], scores), oracle(ids[:, :length], scores)
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_an_encoder_decoder_guides_nothing():
    config = BartConfig(vocab_size=61, d_model=16, encoder_layers=1, decoder_layers=1, max_position_embeddings=64)
    with pytest.raises(ValueError, match="BartForConditionalGeneration is an encoder-decoder"):
        way_of(BartForConditionalGeneration(config).eval())
    assert way_of(BartForCausalLM(config).eval()).cached


def test_an_encoder_decoder_is_not_guided():
    config = BartConfig(
        vocab_size=61, d_model=16, encoder_layers=1, decoder_layers=1, max_position_embeddings=64, forced_eos_token_id=2
    )
    processor = ProSocialProcessor(random_arm("llama", seed=2), PREFERENCE)
    with pytest.raises(ValueError, match="encoder-decoder, whose source text the ARM never sees"):
        generate(BartForConditionalGeneration(config).eval(), prompts(rows=1), processor)
