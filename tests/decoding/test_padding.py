"""What is padding is what generate says, not what ids look like."""

import pytest
import torch
from support.generation import assert_same, generate, prompts
from support.mixers import mixer
from support.models import BOS, EOS, PAD, config_of, random_base
from support.oracle import FullRecompute
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from hf_prosocial import Preference, ProSocialProcessor
from hf_prosocial.decoding.padding import mask_from_padding
from hf_prosocial.models import CACHE

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)


def right(base, arm, inputs, **options):
    theirs = FullRecompute(arm, PREFERENCE, prompt_mask=inputs["attention_mask"])
    for mode in ({"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}):
        ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **mode, **options)
        assert_same(ours, generate(base, inputs, theirs, **mode, **options))


def padded_with(pad, inputs):
    inputs["input_ids"] = torch.where(inputs["attention_mask"] == 0, pad, inputs["input_ids"])
    return inputs


def test_a_pad_token_given_to_generate_alone(base, arm):
    right(base, arm, padded_with(7, prompts()), pad_token_id=7)


def test_a_pad_token_set_on_the_base_afterwards(arm):
    base = random_base("llama", seed=1)
    base.generation_config.pad_token_id = base.config.pad_token_id = 9
    right(base, arm, padded_with(9, prompts()))


def test_several_ends_of_which_the_second_pads(arm):
    base = random_base("llama", seed=1)
    base.generation_config.eos_token_id, base.generation_config.pad_token_id = [EOS, 11], None
    right(base, arm, padded_with(11, prompts()), pad_token_id=11)


def test_neither_pad_nor_end(arm):
    base = random_base("llama", seed=1)
    base.generation_config.eos_token_id = base.generation_config.pad_token_id = None
    base.config.eos_token_id = base.config.pad_token_id = None
    right(base, arm, padded_with(13, prompts()))


def test_padding_on_the_right(base, arm):
    inputs = {name: value.flip(1) for name, value in prompts().items()}
    with pytest.raises(ValueError, match="a prompt is padded on the right"):
        generate(base, inputs, ProSocialProcessor(arm, PREFERENCE))


def test_prompts_that_begin_with_the_pad_token(base, arm):
    inputs = prompts()
    inputs["input_ids"][0, 0] = PAD  # a real one: the text opens with the end of a text
    right(base, arm, inputs)
    inputs["input_ids"][1, 1] = PAD
    right(base, arm, inputs)


def test_holes_in_the_mask(base, arm):
    inputs = prompts()
    inputs["attention_mask"][0, 2:4] = 0
    right(base, arm, inputs)


def test_a_mask_that_differs_from_generates(base, arm):
    inputs = prompts()
    wrong = ProSocialProcessor(arm, PREFERENCE, prompt_attention_mask=torch.ones_like(inputs["attention_mask"]))
    with pytest.raises(ValueError, match="prompt_attention_mask is not the attention mask that generate was given"):
        generate(base, inputs, wrong)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_tokens_that_only_a_cache_holds(family, arm):
    base = mixer(family, seed=1) if family == "bloom" else random_base(family, seed=1)
    inputs = prompts(rows=1)
    with torch.no_grad():
        cache = base(inputs["input_ids"][:, :5], use_cache=True)[CACHE]
    with pytest.raises(ValueError, match="a cache holds tokens that the ARM never sees"):
        base.generate(
            inputs["input_ids"][:, 5:],
            attention_mask=inputs["attention_mask"],
            logits_processor=[ProSocialProcessor(arm, PREFERENCE)],
            max_new_tokens=2,
            **{CACHE: cache},
        )


def test_a_cache_beside_all_ids(base, arm):
    inputs = prompts(rows=1)
    with torch.no_grad():
        cache = base(inputs["input_ids"][:, :5], use_cache=True)[CACHE]
    theirs = generate(base, inputs, FullRecompute(arm, PREFERENCE), do_sample=False)
    ours = generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), do_sample=False, **{CACHE: cache})
    assert_same(ours, theirs)


def test_an_image_that_the_arm_never_sees(arm):
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=4, patch_size=2
    )
    config = LlavaConfig(vision_config=vision, text_config=config_of("llama"), image_token_index=60)
    model = LlavaForConditionalGeneration(config).eval()
    ids = torch.tensor([[5, 60, 60, 60, 60, 6, 7]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    options = {"pixel_values": torch.randn(1, 3, 4, 4)}
    with pytest.raises(ValueError, match="beside its tokens, which the ARM never sees"):
        generate(model, inputs, ProSocialProcessor(arm, PREFERENCE), **options)
    assert generate(model, inputs, **options).sequences.shape == (1, 19)


def test_rows_that_all_begin_with_the_pad_token_outside_of_generate():
    """As with pad_to_multiple_of; or as prompts that open with it, where no token begins prompts."""
    both = torch.tensor([[PAD, PAD, 9, 8], [PAD, PAD, 7, 6]])
    for bos in (PAD, None):
        with pytest.raises(ValueError, match="padding cannot be distinguished from real tokens"):
            mask_from_padding(both, PAD, bos)
    assert mask_from_padding(both, PAD, BOS).tolist() == [[0, 0, 1, 1]] * 2
    assert mask_from_padding(both[:, 1:], PAD, PAD).tolist() == [[1, 1, 1]] * 2
    one = torch.tensor([[PAD, PAD, 9, 8], [5, 4, 7, 6]])
    assert mask_from_padding(one, PAD, None).tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
