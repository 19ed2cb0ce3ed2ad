"""One forward pass for base and guide: the tokens and scores of the base with a ProSocialProcessor, in every mode."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support import generation
from support.generation import MODES, generate, needs_an_assistant, prompts
from support.models import random_arm, random_base
from transformers import DynamicCache, TextIteratorStreamer, pipeline

from hf_prosocial import GuidedModel, Preference, ProSocialProcessor
from hf_prosocial.models import CACHE, sharing_weights

PREFERENCE = Preference(empathy=0.7, truthfulness=0.3)
# Other processors act after guidance in one and before it in the other.
OURS = {name: options for name, options in MODES.items() if name != "repetition penalty"}


def pair(family="llama"):
    base = random_base(family, seed=1)
    return base, random_arm(family, seed=2, base=sharing_weights(base))


def assert_same(ours, theirs):
    generation.assert_same(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("mode", OURS)
def test_families_and_modes_with_left_padding(family, mode):
    base, arm = pair(family)
    ours = generate(GuidedModel(base, arm, PREFERENCE, beta=1.4), prompts(), **OURS[mode])
    assert_same(ours, generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE, beta=1.4), **OURS[mode]))


@pytest.mark.parametrize("seed", range(5))
def test_beams_on_fresh_prompts(seed):
    base, arm = pair()
    inputs = prompts(rows=2, seed=seed)
    options = {"do_sample": False, "num_beams": 4}
    ours = generate(GuidedModel(base, arm, PREFERENCE, beta=1.7), inputs, **options)
    assert_same(ours, generate(base, inputs, ProSocialProcessor(arm, PREFERENCE, beta=1.7), **options))


@pytest.mark.parametrize("mode", OURS)
def test_a_preference_per_row(mode):
    base, arm = pair()
    ids = prompts(rows=1)["input_ids"].repeat(3, 1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    preferences = [Preference.one_hot("empathy"), Preference.one_hot("truthfulness"), Preference.uniform()]
    ours = generate(GuidedModel(base, arm, preferences), inputs, **OURS[mode])
    assert_same(ours, generate(base, inputs, ProSocialProcessor(arm, preferences), **OURS[mode]))


@pytest.mark.parametrize("safe_set", [1.0, 0.5, 0.05])
def test_safe_set(safe_set):
    base, arm = pair()
    ours = generate(GuidedModel(base, arm, PREFERENCE, safe_set=safe_set), prompts(), do_sample=True)
    assert_same(ours, generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE, safe_set=safe_set), do_sample=True))


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("assisted", ["assistant", "lookup"])
def test_assisted_and_prompt_lookup_decoding(family, do_sample, assisted):
    base, arm = pair(family)
    ids = prompts(rows=1, length=5)["input_ids"].repeat(1, 4)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    options = {"do_sample": do_sample, "top_k": 0} if do_sample else {"do_sample": False}
    if assisted == "assistant":
        needs_an_assistant(family)
        options["assistant_model"] = random_base(family, seed=5)
    else:
        options["prompt_lookup_num_tokens"] = 4
    ours = generate(GuidedModel(base, arm, PREFERENCE), inputs, **options)
    if not do_sample:
        assert_same(ours, generate(base, inputs, ProSocialProcessor(arm, PREFERENCE), **options))
    # Drafts differ where the assistant is guided too, and with them the random numbers: so prefix by prefix.
    arm.set_preference(PREFERENCE)
    for step, scores in enumerate(ours.scores):
        prefix = ours.sequences[:, : ids.shape[1] + step]
        with torch.no_grad():
            expected = sum(model(prefix).logits[:, -1].log_softmax(-1) for model in (base, arm)).log_softmax(-1)
        torch.testing.assert_close(scores.log_softmax(-1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_static_cache(num_beams):
    base, arm = pair()
    options = {"do_sample": False, "num_beams": num_beams}
    ours = generate(GuidedModel(base, arm, PREFERENCE), prompts(), cache_implementation="static", **options)
    assert_same(ours, generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE), **options))


def test_compiled_as_one_graph():
    # In a process of its own: the checker of annotations in this one cannot be traced.
    script = Path(__file__).parent.parent / "support" / "compiled.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_cache_and_going_on_with_one():
    base, arm = pair()
    guided = GuidedModel(base, arm, PREFERENCE)
    whole = generate(guided, prompts(), do_sample=False)
    assert_same(generate(guided, prompts(), do_sample=False, use_cache=False), whole)
    first = guided.generate(**prompts(), max_new_tokens=5, do_sample=False, return_dict_in_generate=True)
    mask = torch.cat([prompts()["attention_mask"], torch.ones(3, 5, dtype=torch.long)], dim=1)
    rest = guided.generate(
        first.sequences, attention_mask=mask, max_new_tokens=7, do_sample=False, **{CACHE: first[CACHE]}
    )
    assert rest.tolist() == whole.sequences.tolist()
    foreign = base(prompts()["input_ids"], use_cache=True)[CACHE]
    assert isinstance(foreign, DynamicCache)
    with pytest.raises(ValueError, match="keys and values of one model alone"):
        guided.generate(first.sequences, attention_mask=mask, max_new_tokens=7, **{CACHE: foreign})


def test_a_cache_goes_by_either_name():
    base, arm = pair()
    guided = GuidedModel(base, arm, PREFERENCE)
    ids = prompts(rows=1)["input_ids"]
    whole = guided(ids).logits[:, -1]
    for name in ("cache", "past_key_values"):
        found = guided(ids[:, -1:], **{name: guided(ids[:, :-1], use_cache=True)[CACHE]})
        torch.testing.assert_close(found.logits[:, -1], whole, atol=1e-5, rtol=0)
    caches = {name: guided(ids[:, :-1], use_cache=True)[CACHE] for name in ("cache", "past_key_values")}
    with pytest.raises(ValueError, match="two names of one argument"):
        guided(ids[:, -1:], **caches)


def test_streaming_and_pipelines(tokenizer):
    base, arm = pair()
    guided = GuidedModel(base, arm, PREFERENCE)
    streamer = TextIteratorStreamer(tokenizer)
    output = guided.generate(**prompts(rows=1), streamer=streamer, max_new_tokens=6, do_sample=False)
    assert "".join(streamer) == tokenizer.decode(output[0])
    chats = [[{"role": "user", "content": text}] for text in ("i am sad", "help me, please", "so what")]
    options = {"max_new_tokens": 6, "do_sample": False, "batch_size": 2}
    ours = pipeline("text-generation", model=guided, tokenizer=tokenizer)(chats, **options)
    theirs = pipeline("text-generation", model=base, tokenizer=tokenizer)(
        chats, logits_processor=[ProSocialProcessor(arm, PREFERENCE)], **options
    )
    assert ours == theirs


def test_the_forward_is_the_guided_distribution_and_its_loss(family):
    base, arm = pair(family)
    guided = GuidedModel(base, arm, PREFERENCE, beta=0.8)
    inputs = prompts()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    arm.set_preference(PREFERENCE)
    with torch.no_grad():
        output = guided(**inputs, labels=labels)
        expected = base(**inputs).logits.log_softmax(-1) + 0.8 * arm(**inputs).logits.log_softmax(-1)
    expected = expected.log_softmax(-1)
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(output.logits[real], expected[real], atol=1e-4, rtol=1e-4)
    picked = expected[:, :-1].gather(-1, inputs["input_ids"][:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(output.loss, -picked[labels[:, 1:] != -100].mean(), atol=1e-4, rtol=1e-4)


def test_the_base_stays_and_a_preference_can_be_changed():
    base, arm = pair()
    before = generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE, beta=0.0), do_sample=False)
    guided = GuidedModel(base, arm, Preference.one_hot("empathy"))
    generate(guided, prompts(), do_sample=False)
    guided.set_preference(PREFERENCE)
    ours = generate(guided, prompts(), do_sample=False)
    assert_same(ours, generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE), do_sample=False))
    after = generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE, beta=0.0), do_sample=False)
    assert before.sequences.tolist() == after.sequences.tolist()
    assert guided.device == base.device
    assert guided.dtype == base.dtype


def test_half_precision():
    base = random_base("llama", seed=1, dtype=torch.bfloat16)
    arm = random_arm("llama", seed=2, base=sharing_weights(base))
    guided = GuidedModel(base, arm, PREFERENCE)
    inputs = prompts()
    arm.set_preference(PREFERENCE)
    with torch.no_grad():
        ours = guided(**inputs).logits
        theirs = base(**inputs).logits.float().log_softmax(-1) + arm(**inputs).logits.float().log_softmax(-1)
    assert ours.dtype == torch.float32
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs.log_softmax(-1)[real], atol=0.05, rtol=0.05)


def test_what_would_guide_wrongly_is_refused(tmp_path):
    base, arm = pair()
    for other in (random_arm("llama", seed=2), random_arm("qwen2", seed=2)):
        with pytest.raises(ValueError, match=r"not an adapter on this base's own weights .* ProSocialProcessor"):
            GuidedModel(base, other, PREFERENCE)
    edited = random_base("llama", seed=1)
    with torch.no_grad():
        edited.model.embed_tokens.weight[0] += 1
    with pytest.raises(ValueError, match="an edited base or a second copy"):
        GuidedModel(edited, arm, PREFERENCE)
    with pytest.raises(ValueError, match="beta must be a number"):
        GuidedModel(base, arm, PREFERENCE, beta=float("nan"))
    with pytest.raises(ValueError, match="safe_set must be in"):
        GuidedModel(base, arm, PREFERENCE, safe_set=0.0)
    guided = GuidedModel(base, arm, PREFERENCE)
    with pytest.raises(ValueError, match="would guide twice"):
        generate(guided, prompts(), ProSocialProcessor(arm, PREFERENCE))
    with pytest.raises(ValueError, match="it has two of each"):
        guided(**prompts(), output_hidden_states=True)
    with pytest.raises(ValueError, match="continuous batching runs one model"):
        guided.generate_batch([[3, 4, 5]], max_new_tokens=2)
    with pytest.raises(ValueError, match="continuous batching runs one model"):
        generate(guided, prompts(), cache_implementation="paged")
    with pytest.raises(ValueError, match="save its adapter"):
        guided.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="prefill_chunk_size"):
        generate(guided, prompts(), prefill_chunk_size=4)
    with pytest.raises(ValueError, match="2 preferences were given, but generation has 3 rows"):
        generate(GuidedModel(base, arm, [PREFERENCE, PREFERENCE]), prompts())
    twelve = prompts(rows=6)
    with pytest.raises(ValueError, match="hold different prompts"):
        generate(GuidedModel(base, arm, [PREFERENCE, PREFERENCE]), twelve)
    embeddings = base.get_input_embeddings()(prompts()["input_ids"])
    with pytest.raises(ValueError, match="give as many as it has"):
        GuidedModel(base, arm, [PREFERENCE])(inputs_embeds=embeddings)
    with arm.disable_adapter():
        assert generate(guided, prompts(), do_sample=False).sequences.shape == (3, 19)  # it has modules of its own
    with guided.arm.disable_adapter(), pytest.raises(ValueError, match="disabled"):
        generate(guided, prompts())
    with pytest.raises(ValueError, match="in training mode"):
        generate(GuidedModel(base, arm, PREFERENCE).train(), prompts())


def test_embeddings_guide_as_ids_do():
    base, arm = pair()
    guided = GuidedModel(base, arm, [PREFERENCE, Preference.uniform(), Preference.one_hot("empathy")])
    inputs = prompts()
    embeddings = base.get_input_embeddings()(inputs["input_ids"])
    with torch.no_grad():
        ours = guided(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
        torch.testing.assert_close(ours, guided(**inputs).logits)


def test_experts_that_see_tokens_without_rows_are_refused():
    base = random_base("mixtral", seed=1)
    arm = random_arm("mixtral", seed=2, base=sharing_weights(base))
    layer = next(module for module in arm.modules() if type(module).__name__ == "PBLoraLayer")
    state = arm.base_model.preference_state
    with (
        state.using("default", PREFERENCE.tensor(), unguided_rows=2),
        pytest.raises(ValueError, match=r"of 4 rows the first 2 are the base's, .* ProSocialProcessor"),
    ):
        layer(torch.zeros(12, 16))


def test_scores_that_are_not_finite_raise():
    base, arm = pair()
    guided = GuidedModel(base, arm, PREFERENCE)
    with torch.no_grad():
        layer = next(module for module in arm.modules() if type(module).__name__ == "PBLoraLayer")
        layer.pblora_B["default"].fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or \+inf in rows \[0, 1, 2\]"):
        generate(guided, prompts())


def test_no_weight_exists_twice():
    base, arm = pair()
    guided = GuidedModel(base, arm, PREFERENCE)
    adapter = sum(weight.numel() for name, weight in arm.named_parameters() if "pblora_" in name)
    distinct = {weight.data_ptr(): weight.numel() for weight in [*guided.parameters(), *base.parameters()]}
    assert sum(distinct.values()) == adapter + sum(weight.numel() for weight in base.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_baked_lora_guides_as_the_arm_it_was_baked_from(family, tmp_path):
    base, arm = pair(family)
    arm.base_model.save_baked(tmp_path / "baked", PREFERENCE)
    lora = PeftModel.from_pretrained(sharing_weights(base), tmp_path / "baked").eval()
    before = {name: weight.clone() for name, weight in lora.named_parameters()}
    guided = GuidedModel(base, lora, beta=1.4)
    for options in (MODES["greedy"], MODES["beams"]):
        ours = generate(guided, prompts(), **options)
        assert_same(ours, generate(base, prompts(), ProSocialProcessor(arm, PREFERENCE, beta=1.4), **options))
    for name, weight in lora.named_parameters():
        assert torch.equal(weight, before[name])
    with torch.no_grad():
        torch.testing.assert_close(lora(**prompts()).logits, arm_logits(arm, prompts()), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="baked in, so that it takes none"):
        GuidedModel(base, lora, PREFERENCE)
    with pytest.raises(ValueError, match="give a preference"):
        GuidedModel(base, arm)


def arm_logits(arm, inputs):
    arm.set_preference(PREFERENCE)
    return arm(**inputs).logits


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 3}},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "lora_bias": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_adapters_that_are_no_plain_lora_are_refused(options):
    base = random_base("qwen2", seed=1)
    lora = get_peft_model(sharing_weights(base), LoraConfig(r=2, task_type="CAUSAL_LM", **options)).eval()
    with pytest.raises(ValueError, match=r"no plain LoRA of one rank|not an adapter on this"):
        GuidedModel(base, lora)


@pytest.mark.parametrize("negative", [None, [[4, 4, 9]]], ids=["no negative prompt", "a negative prompt"])
@pytest.mark.parametrize("where", ["call", "configuration"])
def test_classifier_free_guidance_beside_an_arms(negative, where):
    """guidance_scale: of a GuidedModel it moves what is guided; beside a processor, the base alone."""
    base, arm = pair()
    ids, scale = torch.tensor([[5, 6, 7, 8]]), 1.7
    arm.set_preference(PREFERENCE)
    options = {"max_new_tokens": 5, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    options |= {} if negative is None else {"negative_prompt_ids": torch.tensor(negative)}
    if where == "call":
        options["guidance_scale"] = scale
    else:
        base.generation_config.guidance_scale = scale

    def of(model, ids):
        with torch.no_grad():
            return model(ids, use_cache=False).logits[:, -1].double().log_softmax(-1)

    for guided in (False, True):
        if guided:
            found = GuidedModel(base, arm, PREFERENCE).generate(ids, attention_mask=torch.ones_like(ids), **options)
        else:
            processor = ProSocialProcessor(arm, PREFERENCE)
            found = base.generate(ids, attention_mask=torch.ones_like(ids), logits_processor=[processor], **options)
        for step, scores in enumerate(found.scores):
            seen = found.sequences[:, : 4 + step]
            start = ids[:, -1:] if negative is None else torch.tensor(negative)
            without = torch.cat([start, seen[:, 4:]], dim=1)
            both = [(of(base, one) + of(arm, one) * guided).log_softmax(-1) for one in (seen, without)]
            expected = scale * (both[0] - both[1]) + both[1]
            if not guided:
                expected = (expected.log_softmax(-1) + of(arm, seen)).log_softmax(-1)
            torch.testing.assert_close(scores.double(), expected, atol=1e-3, rtol=0)
