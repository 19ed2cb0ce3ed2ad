"""Whatever a cache follows from may change between two uses: each is noticed, and the text is as if it were new."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.generation import generate, prompts
from support.models import BOS, PAD, VOCABULARY, random_arm, random_base
from support.oracle import FullRecompute
from transformers import StoppingCriteria

from hf_prosocial import GuidedModel, Preference, ProSocialProcessor, SpeculativeGuidedModel
from hf_prosocial.models import CACHE, sharing_weights
from hf_prosocial.pblora import tuner_of

P, Q = Preference(empathy=0.7, truthfulness=0.3), Preference.one_hot("helpfulness")
IDS, OTHER = torch.tensor([[BOS, 9, 8, 7, 6]]), torch.tensor([[BOS, 20, 21, 22, 23]])
SCORES = torch.zeros(1, VOCABULARY)


def pair():
    base = random_base("llama", seed=1)
    arm = random_arm("llama", seed=2, base=sharing_weights(base))
    tuner_of(arm).note_base()
    return base, arm


def merge_into(base):
    """As PEFT merges: through `.data`, which torch does not count as a write."""
    lora = LoraConfig(target_modules=["up_proj"], init_lora_weights=False)
    return get_peft_model(base, lora).merge_and_unload()


def expected(arm, ids, preference=P):
    return FullRecompute(arm, preference)(ids, SCORES)


@pytest.mark.parametrize("used", [False, True])
def test_a_merge_into_the_base_is_refused_by_a_processor_that_was_used(used):
    base, arm = pair()
    processor = ProSocialProcessor(arm, P)
    if used:
        processor(IDS, SCORES)
    merge_into(base)
    with pytest.raises(ValueError, match="weights were written to"):
        processor(OTHER, SCORES)
    with pytest.raises(ValueError, match="weights were written to"):
        generate(base, prompts(), processor)


@pytest.mark.parametrize("make", [GuidedModel, lambda base, arm, p: SpeculativeGuidedModel(base, arm, p)])
def test_a_merge_into_the_base_is_refused_by_a_forward_pass(make):
    base, arm = pair()
    guided = make(base, arm, P)
    with torch.no_grad():
        guided(IDS)
        merge_into(base)
        with pytest.raises(ValueError, match="weights were written to"):
            guided(OTHER)


@pytest.mark.parametrize("write", ["data", "in place", "half", "scale"])
def test_a_changed_adapter_is_followed(write):
    _, arm = pair()
    processor = ProSocialProcessor(arm, P)
    processor(IDS, SCORES)
    with torch.no_grad():
        for name, weight in arm.named_parameters():
            if "pblora_" in name and write in ("data", "in place"):
                (weight.data if write == "data" else weight).mul_(-1.5)
    if write == "half":
        arm.half()
    if write == "scale":
        arm.peft_config["default"].lora_alpha *= 2
    torch.testing.assert_close(processor(IDS, SCORES), expected(arm, IDS), atol=1e-3, rtol=1e-4)


def test_a_static_cache_is_no_sign_of_the_same_generation():
    base, arm = pair()
    processor = ProSocialProcessor(arm, P)
    options = {"do_sample": False, "cache_implementation": "static", "disable_compile": True}
    generate(base, prompts(), processor, **options)
    with torch.no_grad():
        for name, weight in arm.named_parameters():
            if "pblora_" in name:
                weight.data.mul_(-1.5)
    ours = generate(base, prompts(), processor, **options)
    theirs = generate(base, prompts(), FullRecompute(arm, P), **options)
    assert ours.sequences.tolist() == theirs.sequences.tolist()


def test_a_drafting_models_arm_that_was_trained_is_followed():
    base, _ = pair()
    arm = random_arm("llama", seed=2)
    guided = SpeculativeGuidedModel(base, arm, P)
    with torch.no_grad():
        guided(IDS, sequence=IDS)
        for name, weight in arm.named_parameters():
            if "pblora_" in name:
                weight.mul_(-1.5)
        found = guided(IDS, sequence=IDS).logits[:, -1]
        torch.testing.assert_close(found, FullRecompute(arm, P)(IDS, base(IDS).logits[:, -1]), atol=1e-4, rtol=1e-4)


def test_a_guided_models_cache_goes_on_under_what_filled_it():
    base, arm = pair()
    guided, more = GuidedModel(base, arm, P), torch.tensor([[5]])
    with torch.no_grad():
        for again in (P, [P]):
            cache = guided(IDS, use_cache=True)[CACHE]
            found = guided(more, preference=again, **{CACHE: cache}).logits[:, -1]
            torch.testing.assert_close(found, guided(torch.cat([IDS, more], 1)).logits[:, -1], atol=1e-4, rtol=1e-4)
        cache = guided(IDS, use_cache=True)[CACHE]
        with pytest.raises(ValueError, match="cache was filled under the preference"):
            guided(more, preference=Q, **{CACHE: cache})
        with pytest.raises(ValueError, match="cache was filled under another model"):
            GuidedModel(base, random_arm("llama", seed=5, base=sharing_weights(base)), P)(more, **{CACHE: cache})
        for name, weight in arm.named_parameters():
            if "pblora_B" in name:
                weight.mul_(2)
        with pytest.raises(ValueError, match="cache was filled under another state of the adapter"):
            guided(more, **{CACHE: cache})


def test_a_callers_own_model_kwargs_are_no_generation():
    _, arm = pair()
    ids = torch.tensor([[PAD, PAD, 9, 8, 7], [BOS, 5, 6, 7, 8]])
    mask, scores = (ids != PAD).long(), torch.zeros(2, VOCABULARY)
    theirs = FullRecompute(arm, P, prompt_mask=mask)(ids, scores)

    def step(processor, **model_kwargs):
        return processor(ids, scores)

    torch.testing.assert_close(step(ProSocialProcessor(arm, P)), theirs, atol=1e-4, rtol=1e-4)
    given = ProSocialProcessor(arm, P, prompt_attention_mask=mask)
    torch.testing.assert_close(step(given), theirs, atol=1e-4, rtol=1e-4)


def test_a_criterion_that_asks_about_rows_of_its_own():
    base, arm = pair()
    ids = torch.tensor([[PAD, PAD, 9, 8, 7], [BOS, 5, 6, 7, 8]])
    theirs = FullRecompute(arm, P, prompt_mask=(ids != PAD).long())(ids, torch.zeros(2, VOCABULARY))
    found = []

    class Asking(StoppingCriteria):
        def __call__(self, input_ids, scores, **_):
            found.append(ProSocialProcessor(arm, P)(ids, torch.zeros(2, VOCABULARY)))
            return torch.ones(len(input_ids), dtype=torch.bool)

    generate(base, prompts(rows=2, length=9), ProSocialProcessor(arm, Q), stopping_criteria=[Asking()], do_sample=False)
    torch.testing.assert_close(found[0], theirs, atol=1e-4, rtol=1e-4)


def test_a_copy_has_a_cache_of_its_own():
    base, arm = pair()
    guided = copy.deepcopy(GuidedModel(base, arm, P))
    with torch.no_grad():
        assert guided(IDS).logits.isfinite().all()
