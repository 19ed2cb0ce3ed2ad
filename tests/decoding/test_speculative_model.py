"""Drafting changes no distribution: greedy tokens are the processor's, sampled ones have its exact probabilities."""

from collections import Counter

import pytest
import torch
from support.generation import prompts
from support.models import EOS, random_arm, random_base
from transformers import TextIteratorStreamer, set_seed

from hf_prosocial import Preference, ProSocialProcessor, SpeculativeGuidedModel
from hf_prosocial.decoding.drafts import SequenceFollower
from hf_prosocial.models import CACHE

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)
PROMPT = {"input_ids": prompts(rows=1)["input_ids"], "attention_mask": torch.ones(1, 7, dtype=torch.long)}


def pair(base="llama", guide="qwen2", **options):
    """Two models that share a vocabulary and nothing else."""
    large, arm = random_base(base, seed=1), random_arm(guide, seed=2)
    return large, arm, SpeculativeGuidedModel(large, arm, PREFERENCE, **options)


def greedy(model, prompt=PROMPT, processors=(), **options):
    with torch.no_grad():
        return model.generate(
            **prompt,
            logits_processor=list(processors),
            max_new_tokens=20,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **options,
        )


@pytest.mark.parametrize("guide", ["qwen2", "gpt2", "gemma3"])
@pytest.mark.parametrize("draft_tokens", [1, 2, 5])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_greedy_tokens_are_the_processors(guide, draft_tokens, beta):
    large, arm, guided = pair(guide=guide, draft_tokens=draft_tokens, beta=beta)
    ours = greedy(guided)
    theirs = greedy(large, processors=[ProSocialProcessor(arm, PREFERENCE, beta=beta)])
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    for one, other in zip(ours.scores, theirs.scores, strict=True):
        torch.testing.assert_close(one.log_softmax(-1), other.log_softmax(-1), atol=2e-4, rtol=1e-4)
    assert 0 <= guided.acceptance_rate <= 1


def test_a_strong_guide_is_accepted_and_the_base_runs_less_often(monkeypatch):
    large, _, guided = pair(beta=200.0, draft_tokens=4)
    passes = []
    forward = large.forward
    monkeypatch.setattr(large, "forward", lambda **inputs: passes.append(1) or forward(**inputs))
    output = greedy(guided, min_new_tokens=20)
    assert output.sequences.shape[1] == 27
    assert guided.acceptance_rate == 1.0
    assert len(passes) == 4  # five tokens a pass
    weak = pair(beta=0.0)[2]
    greedy(weak)
    assert weak.acceptance_rate < 0.5


@pytest.mark.parametrize("safe_set", [None, 0.3])
def test_other_processors_act_after_guidance_on_both(safe_set):
    large, arm, guided = pair(safe_set=safe_set)
    ours = greedy(guided, repetition_penalty=1.4, no_repeat_ngram_size=2)
    # The oracle: guided log-probabilities of every prefix, then the processors, token by token.
    ids = PROMPT["input_ids"]
    from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

    processor = ProSocialProcessor(arm, PREFERENCE, safe_set=safe_set)
    while ids.shape[1] < ours.sequences.shape[1]:
        with torch.no_grad():
            scores = processor(ids, large(ids).logits[:, -1])
        scores = RepetitionPenaltyLogitsProcessor(1.4)(ids, scores)
        scores = NoRepeatNGramLogitsProcessor(2)(ids, scores)
        ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
    assert ours.sequences.tolist() == ids.tolist()


@pytest.mark.parametrize("draft_tokens", [1, 3])
def test_sampled_texts_have_the_exact_probabilities(draft_tokens):
    large, arm, guided = pair(draft_tokens=draft_tokens, beta=0.7)
    warpers = {"do_sample": True, "temperature": 1.3, "top_k": 3}
    processor = ProSocialProcessor(arm, PREFERENCE, beta=0.7)

    def probabilities(ids):
        with torch.no_grad():
            scores = processor(ids, large(ids).logits[:, -1])[0] / 1.3
        kept = scores.topk(3)
        return dict(zip(kept.indices.tolist(), kept.values.softmax(-1).tolist(), strict=True))

    expected = {}
    for first, p in probabilities(PROMPT["input_ids"]).items():
        ids = torch.cat([PROMPT["input_ids"], torch.tensor([[first]])], dim=1)
        for second, q in probabilities(ids).items() if first != EOS else [(None, 1.0)]:
            expected[first, second] = p * q
    set_seed(0)
    draws = 1500
    found = Counter()
    for _ in range(draws):
        tokens = guided.generate(**PROMPT, max_new_tokens=2, **warpers)[0, 7:].tolist()
        found[tuple((*tokens, None)[:2])] += 1
    assert set(found) <= set(expected)
    statistic = sum((found[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items())
    # Chi-square with 8 degrees of freedom exceeds 26.1 once in a thousand; the seed is fixed.
    assert len(expected) == 9
    assert statistic < 26.1


def test_streaming_and_stopping(tokenizer):
    large, arm, guided = pair(beta=50.0)
    streamer = TextIteratorStreamer(tokenizer)
    ours = guided.generate(**PROMPT, streamer=streamer, max_new_tokens=9, do_sample=False)
    assert "".join(streamer) == tokenizer.decode(ours[0])
    stop = int(ours[0, 10])
    options = {"eos_token_id": stop, "max_new_tokens": 9, "do_sample": False}
    stopped = guided.generate(**PROMPT, **options)
    plain = large.generate(**PROMPT, logits_processor=[ProSocialProcessor(arm, PREFERENCE, beta=50.0)], **options)
    assert stopped.tolist() == plain.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_the_follower_gives_the_logits_of_any_sequence_it_is_shown(seed):
    # In double precision, where rounding, which processors differ in, cannot hide a wrong token.
    arm = random_arm("llama", seed=2).double()
    follower = SequenceFollower(arm.base_model, "default")
    generator = torch.Generator().manual_seed(seed)
    weights = PREFERENCE.tensor()
    arm.set_preference(PREFERENCE)
    ids = torch.randint(3, 61, (1, 6), generator=generator)
    for _ in range(12):
        cut = int(torch.randint(1, ids.shape[1] + 1, (1,), generator=generator))
        new = torch.randint(3, 61, (1, int(torch.randint(0, 5, (1,), generator=generator))), generator=generator)
        ids = torch.cat([ids[:, :cut], new], dim=1)
        last = int(torch.randint(1, ids.shape[1] + 1, (1,), generator=generator))
        with torch.no_grad():
            expected = arm(ids).logits[:, -last:]
        found = follower.logits(ids, last, weights)
        torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-5, rtol=1e-5)


def test_what_cannot_be_drafted_for_is_refused(tmp_path):
    large, arm, guided = pair()
    for bad, message in (
        ({"beta": -1.0}, "beta must be"),
        ({"safe_set": 2.0}, "safe_set must be"),
        ({"draft_tokens": 0}, "draft_tokens must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            SpeculativeGuidedModel(large, arm, PREFERENCE, **bad)
    with pytest.raises(ValueError, match="nothing was drafted yet"):
        _ = guided.acceptance_rate
    with pytest.raises(ValueError, match=r"batch_size = 1|one prompt at a time"):
        guided.generate(**prompts(rows=2), max_new_tokens=3)
    with pytest.raises(ValueError, match="without beams"):
        guided.generate(**PROMPT, max_new_tokens=3, num_beams=3)
    padded = prompts(rows=2)
    with pytest.raises(ValueError, match="the prompt is padded"):
        guided.generate(padded["input_ids"][1:], attention_mask=padded["attention_mask"][1:], max_new_tokens=3)
    with pytest.raises(ValueError, match="would guide twice"):
        guided.generate(**PROMPT, logits_processor=[ProSocialProcessor(arm, PREFERENCE)], max_new_tokens=3)
    with pytest.raises(ValueError, match="drafts already"):
        guided.generate(**PROMPT, prompt_lookup_num_tokens=3, max_new_tokens=3)
    with pytest.raises(ValueError, match="save its adapter"):
        guided.save_pretrained(tmp_path)
    cache = large(**PROMPT, use_cache=True)[CACHE]
    with pytest.raises(ValueError, match="the ARM needs all tokens so far"):
        guided(torch.tensor([[5]]), **{CACHE: cache})
    with pytest.raises(ValueError, match="does not go on from a filled cache"):
        guided.generate(**PROMPT, past_key_values=cache, max_new_tokens=3)
    with arm.disable_adapter(), pytest.raises(ValueError, match="adapter is disabled"):
        guided.generate(**PROMPT, max_new_tokens=3)
    with pytest.raises(ValueError, match="in training mode"):
        pair()[2].train().generate(**PROMPT, max_new_tokens=3)
