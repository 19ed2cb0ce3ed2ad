"""Wherever guidance would be lost, partial or wrong, an error says so and what to do."""

import pytest
import torch
from peft import get_peft_model
from support.models import BOS, PAD, VOCABULARY, random_arm, random_base, tiny_tokenizer
from support.oracle import FullRecompute
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from hf_prosocial import GuidanceLostError, PBLoraConfig, Preference, ProSocialProcessor
from hf_prosocial.models import tokenizer_hash

UNIFORM = Preference.uniform()
IDS = torch.tensor([[BOS, 9, 8, 7], [BOS, 11, 12, 13]])
SCORES = torch.randn(2, VOCABULARY, generator=torch.Generator().manual_seed(0))


def test_bad_arguments(arm, base):
    for beta in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="beta must be a number >= 0"):
            ProSocialProcessor(arm, UNIFORM, beta=beta)
    for safe_set in (0.0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"safe_set must be in \(0, 1\]"):
            ProSocialProcessor(arm, UNIFORM, safe_set=safe_set)
    with pytest.raises(ValueError, match="has only the objectives"):
        ProSocialProcessor(arm, Preference(wit=1.0, objectives=("wit",)))


def test_beta_zero_runs_no_forward_and_changes_nothing(arm, base):
    def forbidden(*args, **kwargs):
        raise AssertionError("the ARM ran")

    arm.get_base_model().forward = forbidden
    scores = SCORES.clone()
    processor = ProSocialProcessor(arm, UNIFORM, beta=0.0)
    out = processor(IDS, scores)
    assert torch.equal(out.log_softmax(-1), SCORES.log_softmax(-1))
    options = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(base.generate(IDS, logits_processor=[processor], **options), base.generate(IDS, **options))
    cut = ProSocialProcessor(arm, UNIFORM, beta=0.0, safe_set=0.2)(IDS, scores)
    assert (cut > -torch.inf).sum() < SCORES.numel()


def test_scores_are_not_edited_and_barred_tokens_stay_barred(arm):
    scores = SCORES.clone()
    scores[0, 5:20] = -torch.inf
    scores[1] = -torch.inf
    before = scores.clone()
    out = ProSocialProcessor(arm, UNIFORM)(IDS, scores)
    assert torch.equal(scores, before)
    assert out.data_ptr() != scores.data_ptr()
    assert (out[0, 5:20] == -torch.inf).all()
    assert (out[1] == -torch.inf).all()
    assert out[0].exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_not_numbers(arm, bad):
    scores = SCORES.clone()
    scores[1, 3] = bad
    with pytest.raises(ValueError, match=r"NaN or \+inf in rows \[1\]"):
        ProSocialProcessor(arm, UNIFORM)(IDS, scores)


def test_inputs_embeds(arm, base):
    embeddings = base.get_input_embeddings()(IDS)
    with pytest.raises(ValueError, match="inputs_embeds shows no token ids"):
        base.generate(inputs_embeds=embeddings, logits_processor=[ProSocialProcessor(arm, UNIFORM)], max_new_tokens=2)


def test_training_mode(arm):
    processor = ProSocialProcessor(arm, UNIFORM)
    arm.train()
    with pytest.raises(ValueError, match=r"call arm\.eval\(\)"):
        processor(IDS, SCORES)


def test_an_adapter_that_is_disabled_or_merged(arm):
    processor = ProSocialProcessor(arm, UNIFORM)
    with arm.disable_adapter(), pytest.raises(ValueError, match="adapter is disabled"):
        processor(IDS, SCORES)
    processor(IDS, SCORES)
    arm.merge_adapter(preference=UNIFORM)
    with pytest.raises(RuntimeError, match="is merged into the base weights"):
        processor(IDS, SCORES)


def test_weights_written_between_calls_are_not_answered_from_an_old_cache(arm):
    processor = ProSocialProcessor(arm, UNIFORM)
    first = processor(IDS, SCORES)
    with torch.no_grad():
        for name, weight in arm.named_parameters():
            if "pblora_B" in name:
                weight.mul_(-1)
    again = processor(IDS, SCORES)
    assert not torch.allclose(first, again)
    torch.testing.assert_close(again, FullRecompute(arm, UNIFORM)(IDS, SCORES), atol=2e-4, rtol=1e-4)


def test_a_preference_that_the_user_set_is_left_alone(arm):
    arm.set_preference(Preference.one_hot("empathy"))
    ProSocialProcessor(arm, UNIFORM)(IDS, SCORES)
    assert arm.base_model.preference_state.get("default").tolist() == [1, 0, 0, 0, 0]


def test_rows_and_preferences_must_agree(arm):
    processor = ProSocialProcessor(arm, [UNIFORM, Preference.one_hot("empathy")])
    with pytest.raises(ValueError, match="2 preferences were given, but generation has 3 rows"):
        processor(IDS[:1].repeat(3, 1), SCORES[:1].repeat(3, 1))
    with pytest.raises(ValueError, match="the rows of one preference hold different prompts; give 4 preferences"):
        processor(IDS.repeat(2, 1), SCORES.repeat(2, 1))


def test_ambiguous_padding(arm):
    arm.get_base_model().generation_config.pad_token_id = BOS
    ragged = torch.tensor([[BOS, BOS, 9, 8], [BOS, 7, 9, 8]])
    with pytest.raises(ValueError, match=r"pad token \(id 1\) is also bos, and rows begin with \[2, 1\]"):
        ProSocialProcessor(arm, UNIFORM)(ragged, SCORES)
    # With the mask given, or nothing ragged, nothing has to be guessed.
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    given = ProSocialProcessor(arm, UNIFORM, prompt_attention_mask=mask)(ragged, SCORES)
    expected = FullRecompute(arm, UNIFORM, prompt_mask=mask)(ragged, SCORES)
    torch.testing.assert_close(given, expected, atol=2e-4, rtol=1e-4)
    plain = ProSocialProcessor(arm, UNIFORM)(IDS, SCORES)
    torch.testing.assert_close(plain, FullRecompute(arm, UNIFORM)(IDS, SCORES), atol=2e-4, rtol=1e-4)


def test_a_row_of_padding_alone(arm):
    with pytest.raises(ValueError, match=r"a row holds nothing but the pad token \(id 0\)"):
        ProSocialProcessor(arm, UNIFORM)(torch.full((2, 3), PAD), SCORES)


def test_masks_that_do_not_belong(arm):
    mask = torch.ones(2, 4, dtype=torch.long)
    processor = ProSocialProcessor(arm, UNIFORM, prompt_attention_mask=mask)
    with pytest.raises(ValueError, match="has 4 columns, but the prompt has 5"):
        processor(torch.full((2, 5), 9), SCORES)
    processor(IDS, SCORES)
    with pytest.raises(ValueError, match="given for another prompt"):
        processor(IDS + 1, SCORES)
    with pytest.raises(ValueError, match=r"shape \(2, 4\), but generation has rows of shape \(3, 4\)"):
        processor(IDS[:1].repeat(3, 1), SCORES[:1].repeat(3, 1))
    with pytest.raises(ValueError, match="must be 0 and 1, with a 1 in every row"):
        ProSocialProcessor(arm, UNIFORM, prompt_attention_mask=torch.zeros(1, 3, dtype=torch.long))


def wider(width, seed=2):
    config = LlamaConfig(**(random_base("llama", seed=0).config.to_dict() | {"vocab_size": width}))
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


def test_padded_vocabularies(tokenizer):
    arm = random_arm("llama", seed=2, base=wider(VOCABULARY + 7))
    with pytest.raises(ValueError, match=f"base scores {VOCABULARY} tokens and the ARM {VOCABULARY + 7}.*tokenizer="):
        ProSocialProcessor(arm, UNIFORM)(IDS, SCORES)
    out = ProSocialProcessor(arm, UNIFORM, tokenizer=tokenizer)(IDS, SCORES)
    assert out.shape == SCORES.shape
    assert (out > -torch.inf).all()
    wide_scores = torch.zeros(2, VOCABULARY + 3)
    out = ProSocialProcessor(arm, UNIFORM, tokenizer=tokenizer)(IDS, wide_scores)
    assert (out[:, VOCABULARY:] == -torch.inf).all()
    assert (out[:, :VOCABULARY] > -torch.inf).all()
    with pytest.raises(ValueError, match=f"tokenizer has {VOCABULARY} tokens, but the base scores 40"):
        ProSocialProcessor(arm, UNIFORM, tokenizer=tokenizer)(IDS, torch.zeros(2, 40))


def swapped_tokenizer():
    tokenizer = tiny_tokenizer()
    state = (
        tokenizer.backend_tokenizer.to_str().replace('"a":', '"?a":').replace('"b":', '"a":').replace('"?a":', '"b":')
    )
    return PreTrainedTokenizerFast(tokenizer_object=type(tokenizer.backend_tokenizer).from_str(state))


def test_a_tokenizer_that_does_not_match(arm, tokenizer):
    arm.active_peft_config.tokenizer_hash = tokenizer_hash(tokenizer)
    ProSocialProcessor(arm, UNIFORM, tokenizer=tokenizer)
    with pytest.raises(ValueError, match="has another vocabulary than the one that the ARM was trained with"):
        ProSocialProcessor(arm, UNIFORM, tokenizer=swapped_tokenizer())


def test_an_assistant_with_another_tokenizer(arm, base, tokenizer):
    other = swapped_tokenizer()
    other.add_special_tokens({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"})
    processor = ProSocialProcessor(arm, UNIFORM)
    processor(IDS[:1], SCORES[:1])  # Used before, so that it has rows to continue.
    inputs = tokenizer("hello there", return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with pytest.raises(GuidanceLostError, match="assistant of another tokenizer"):
        base.generate(
            **inputs,
            logits_processor=[processor],
            assistant_model=wider(VOCABULARY + 3),
            tokenizer=tokenizer,
            assistant_tokenizer=other,
            max_new_tokens=4,
            do_sample=False,
        )


def test_the_guard_catches_a_processor_that_was_dropped(arm, base):
    processor = ProSocialProcessor(arm, UNIFORM)
    with processor.must_guide():
        base.generate(IDS, logits_processor=[processor], max_new_tokens=2)
    with pytest.raises(GuidanceLostError, match="was never called inside must_guide"), processor.must_guide():
        base.generate(IDS, max_new_tokens=2)
    with pytest.raises(ZeroDivisionError), processor.must_guide():
        raise ZeroDivisionError  # An error inside is not hidden by the guard's own.


def test_an_arm_whose_adapter_was_taken_off_says_so(base):
    arm = random_arm("llama", seed=2)
    processor = ProSocialProcessor(arm, UNIFORM)
    base.generate(IDS, logits_processor=[processor], max_new_tokens=2)
    arm.unload()
    with pytest.raises(ValueError, match="disabled or unloaded, and would guide nowhere"):
        base.generate(IDS, logits_processor=[processor], max_new_tokens=2)
    with pytest.raises(ValueError, match="disabled or unloaded"):
        base.generate(IDS, logits_processor=[ProSocialProcessor(arm, UNIFORM)], max_new_tokens=2)


FEW = {
    "c_attn": GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=12),
    "q_proj": OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
    ),
}


@pytest.mark.parametrize("target", FEW)
def test_a_guide_with_fewer_positions_than_are_needed_says_so(base, target):
    few = AutoModelForCausalLM.from_config(FEW[target])
    arm = get_peft_model(few, PBLoraConfig(target_modules=[target], task_type="CAUSAL_LM")).eval()
    ids, options = torch.arange(3, 11)[None], {"do_sample": False, "pad_token_id": PAD, "eos_token_id": -1}
    base.generate(ids, logits_processor=[ProSocialProcessor(arm, UNIFORM)], max_new_tokens=5, **options)
    with pytest.raises(ValueError, match="which guides, has learned 12 positions, and 13 are needed"):
        base.generate(ids, logits_processor=[ProSocialProcessor(arm, UNIFORM)], max_new_tokens=6, **options)


def chats():
    return [
        [{"role": "user", "content": "hi"}],
        [{"role": "user", "content": "i lost my cat, can you help"}],
        [{"role": "user", "content": "what now"}],
    ]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pipeline_with_batches_of_chats(arm, base, tokenizer, batch_size):
    generator = pipeline("text-generation", model=base, tokenizer=tokenizer)
    processor = ProSocialProcessor(arm, UNIFORM, tokenizer=tokenizer)
    options = {"max_new_tokens": 6, "do_sample": False, "return_full_text": False}
    with processor.must_guide():
        ours = generator(chats(), batch_size=batch_size, logits_processor=[processor], **options)
    theirs = generator(chats(), batch_size=batch_size, logits_processor=[FullRecompute(arm, UNIFORM)], **options)
    assert ours == theirs
    unguided = generator(chats(), batch_size=batch_size, **options)
    assert ours != unguided


def test_pipeline_over_a_dataset(arm, base, tokenizer):
    generator = pipeline("text-generation", model=base, tokenizer=tokenizer)
    texts = KeyDataset([{"text": "hello"}, {"text": "are you there"}], "text")
    options = {"max_new_tokens": 5, "do_sample": False, "batch_size": 2}
    ours = list(generator(texts, logits_processor=[ProSocialProcessor(arm, UNIFORM)], **options))
    theirs = list(generator(texts, logits_processor=[FullRecompute(arm, UNIFORM)], **options))
    assert ours == theirs


def test_continuous_batching_drops_processors_and_the_guard_says_so(arm, base):
    assert ProSocialProcessor.supports_continuous_batching is False
    processor = ProSocialProcessor(arm, UNIFORM)
    config = GenerationConfig(max_new_tokens=3, do_sample=False, eos_token_id=2, pad_token_id=PAD)
    # Without bounds it would take most of the machine's memory for its cache.
    bounds = ContinuousBatchingConfig(num_blocks=4, max_batch_tokens=16)
    with pytest.raises(GuidanceLostError, match="continuous batching"), processor.must_guide():
        base.generate_batch(
            inputs=[IDS[0].tolist()],
            generation_config=config,
            continuous_batching_config=bounds,
            logits_processor=[processor],
        )
