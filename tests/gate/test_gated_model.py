import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gates import arm_over, edited_in_place, gated_vector, probe_between, states_alone
from support.models import PAD, random_base
from transformers import pipeline

from hf_prosocial import GuidedModel, Preference, ProsocialError, ProSocialProcessor
from hf_prosocial.decoding import GatedModel
from hf_prosocial.gate import Factors, GatedHarmVector, LowRankUpdate
from hf_prosocial.models import prompt_batch

EXACT = ("llama", "gpt2", "qwen2", "gemma3")


def prompts(seed, rows=4, length=7):
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 60, (rows, length), generator=draw)
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, : int(torch.randint(0, length - 2, (1,), generator=draw))] = 0
    return ids.masked_fill(mask == 0, PAD), mask


def opened(base, vector, ids, mask):
    found = vector.scales(base, ids, mask)
    assert 0 < int((found > 0).sum()) < len(found)
    return found


@pytest.mark.parametrize("family", EXACT)
def test_rows_behind_an_open_gate_are_the_edited_models_and_the_others_the_bases(family):
    base = random_base(family, seed=3).double()
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask), scale=0.7)
    scales = opened(base, vector, ids, mask)
    edited = edited_in_place(copy.deepcopy(base), vector, 0.7)
    gated = GatedModel(base, vector)
    with torch.no_grad():
        got = gated(input_ids=ids, attention_mask=mask).logits
        plain, safe = (model(input_ids=ids, attention_mask=mask).logits for model in (base, edited))
    shut = scales == 0
    assert torch.equal(got[shut], plain[shut])
    torch.testing.assert_close(got[~shut], safe[~shut], rtol=0, atol=1e-6)
    assert (safe[~shut] - plain[~shut]).abs().max() > 1e-2


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), beams=st.sampled_from([1, 3]), scale=st.floats(0.1, 1.5))
def test_generate_gives_each_row_its_own_models_tokens(seed, beams, scale):
    base = random_base("llama", seed=3)
    ids, mask = prompts(seed)
    vector = gated_vector(base, probe_between(base, ids, mask, seed=seed), scale=scale, seed=seed)
    scales = vector.scales(base, ids, mask)
    edited = edited_in_place(copy.deepcopy(base), vector, scale)
    options = {"attention_mask": mask, "max_new_tokens": 6, "do_sample": False, "num_beams": beams}
    got = GatedModel(base, vector).generate(ids, **options)
    expected = [model.generate(ids, **options) for model in (base, edited)]
    for row, opens in enumerate(scales > 0):
        of_row = expected[int(opens)]
        width = min(got.shape[1], of_row.shape[1])
        assert torch.equal(got[row, :width], of_row[row, :width])


def test_a_guided_model_subtracts_from_the_bases_rows_alone():
    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask))
    own = arm_over(base)
    preference = [Preference.uniform(objectives=("a", "b")), Preference.one_hot("a", objectives=("a", "b"))] * 2
    guided = GuidedModel(base, own, preference, beta=0.6, harm_vector=vector)
    got = guided.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    processor = ProSocialProcessor(own, preference, beta=0.6, prompt_attention_mask=mask)
    expected = GatedModel(base, vector).generate(
        ids, attention_mask=mask, max_new_tokens=6, do_sample=False, logits_processor=[processor]
    )
    assert torch.equal(got, expected)
    unedited = GuidedModel(base, own, preference, beta=0.6)
    plain = unedited.generate(ids, attention_mask=mask, max_new_tokens=6, do_sample=False)
    shut = vector.scales(base, ids, mask) == 0
    assert torch.equal(got[shut], plain[shut])
    assert not torch.equal(got[~shut], plain[~shut])


def test_with_the_gate_shut_the_guided_model_is_as_without_a_vector():
    base = random_base("llama", seed=3)
    own = arm_over(base)
    ids, mask = prompts(6)
    probe = probe_between(base, ids, mask).opening(1e9, 1e9)
    preference = Preference.uniform(objectives=("a", "b"))
    with_vector = GuidedModel(base, own, preference, harm_vector=gated_vector(base, probe))
    without = GuidedModel(base, own, preference)
    with torch.no_grad():
        got, expected = (model(input_ids=ids, attention_mask=mask).logits for model in (with_vector, without))
    assert torch.equal(got, expected)


@given(seed=st.integers(0, 10**6))
def test_the_gate_reads_a_prompt_as_if_it_were_alone(seed):
    base = random_base("llama", seed=3).double()
    ids, mask = prompts(seed)
    probe = probe_between(base, ids, mask)
    for side in (ids, ids.flip(1)):
        held = mask if side is ids else mask.flip(1)
        got = probe.log_odds(base, side, held)
        for row in range(len(ids)):
            alone = states_alone(base, side[row][held[row].bool()], probe.layers, probe.mean_layers)
            expected = alone @ torch.from_numpy(probe.weight).to(alone) + probe.bias
            torch.testing.assert_close(got[row], expected, rtol=1e-5, atol=1e-5)


def test_between_the_two_thresholds_the_vector_grows_evenly():
    probe = probe_between(random_base("llama", seed=3), *prompts(1)).opening(-1.0, 3.0)
    odds = torch.tensor([-5.0, -1.0, 0.0, 1.0, 3.0, 9.0])
    assert probe.openness(odds).tolist() == [0, 0, 0.25, 0.5, 1, 1]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask), scale=0.7)
    vector.save_pretrained(tmp_path)
    loaded = GatedHarmVector.from_pretrained(tmp_path)
    assert loaded.record == vector.record
    assert torch.equal(loaded.scales(base, ids, mask), vector.scales(base, ids, mask))
    for name, factor in vector.factors.items():
        assert torch.equal(loaded.factors[name].A, factor.A.half().float())


def test_what_would_subtract_wrongly_is_refused(tmp_path):
    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask))
    gated = GatedModel(base, vector)
    with pytest.raises(ProsocialError, match="token ids"):
        gated.generate(inputs_embeds=torch.zeros(1, 3, 16), max_new_tokens=2)
    greedy = {"max_new_tokens": 3, "do_sample": False}
    assert torch.equal(gated.generate(ids, **greedy), gated.generate(ids, attention_mask=mask, **greedy))
    for changed in ({"pad_token_id": 2}, {"pad_token_id": None}):
        with pytest.raises(ProsocialError, match="attention_mask"):
            gated.generate(ids, **greedy, **changed)
    with pytest.raises(ProsocialError, match="attention_mask"):
        gated(input_ids=ids)
    with pytest.raises(ProsocialError, match="2 harm_scales were given for 4 prompts"):
        gated.generate(ids, attention_mask=mask, harm_scales=torch.ones(2), **greedy)
    for bad in (torch.tensor([1.0, float("nan"), 0, 0]), -torch.ones(4), torch.ones(0)):
        with pytest.raises(ProsocialError, match="finite numbers of at least 0"):
            gated(input_ids=ids, attention_mask=mask, harm_scales=bad)
    with pytest.raises(ProsocialError, match="the decoder alone is the base's"):
        gated.get_decoder()
    with pytest.raises(ProsocialError, match="of the same shape"):
        vector.scales(base, ids[:0], mask[:0])
    with pytest.raises(ProsocialError, match="training mode"):
        vector.scales(copy.deepcopy(base).train(), ids, mask)
    cache = gated(input_ids=ids, attention_mask=mask, use_cache=True)
    held = cache.get("cache", cache.get("past_key_values"))
    with pytest.raises(ProsocialError, match="which λ they were read under"):
        gated.generate(ids, attention_mask=mask, past_key_values=held, max_new_tokens=2)
    with pytest.raises(ProsocialError, match="harm_scales"):
        gated(input_ids=ids[:, -1:], attention_mask=mask, past_key_values=held)
    with pytest.raises(ProsocialError, match="4 prompts have a λ each"):
        gated(input_ids=ids[:3], attention_mask=mask[:3], harm_scales=torch.ones(4))
    with pytest.raises(ProsocialError, match="no harm_vector"):
        GuidedModel(base, arm_over(base), Preference.uniform(objectives=("a", "b")))(
            input_ids=ids, harm_scales=torch.ones(4)
        )
    with pytest.raises(ProsocialError, match="λ must be a finite number"):
        vector.with_scale(-1.0)
    with pytest.raises(ProsocialError, match="changes model"):
        GatedModel(random_base("gpt2", seed=3), vector, ["base_weights"])
    with pytest.raises(FileNotFoundError, match="gated_harm_vector"):
        GatedHarmVector.from_pretrained(tmp_path)
    (tmp_path / "gated_harm_vector.safetensors").write_bytes(b"half a file")
    with pytest.raises(ProsocialError, match="not a whole safetensors file"):
        GatedHarmVector.from_pretrained(tmp_path)


def test_scales_that_are_given_to_generate_are_what_is_subtracted():
    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask))
    gated, options = GatedModel(base, vector), {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False}
    assert torch.equal(gated.generate(ids, harm_scales=torch.zeros(4), **options), base.generate(ids, **options))
    edited = edited_in_place(copy.deepcopy(base), vector, 0.5)
    got = gated.generate(ids, harm_scales=torch.full((4,), 0.5), **options)
    assert torch.equal(got, edited.generate(ids, **options))


def test_a_copy_subtracts_as_the_first_one_does():
    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    gated = GatedModel(base, gated_vector(base, probe_between(base, ids, mask)))
    copied = copy.deepcopy(gated)
    with torch.no_grad():
        first, second, plain = (model(input_ids=ids, attention_mask=mask).logits for model in (gated, copied, base))
    assert torch.equal(first, second)
    assert not torch.equal(first, plain)


@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
@settings(max_examples=40)
def test_a_file_with_any_other_byte_is_refused(tmp_path_factory, place, change):
    base = random_base("llama", seed=3)
    folder = tmp_path_factory.mktemp("damaged")
    gated_vector(base, probe_between(base, *prompts(5))).save_pretrained(folder)
    file = folder / "gated_harm_vector.safetensors"
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= change
    file.write_bytes(bytes(content))
    with pytest.raises(ProsocialError):
        GatedHarmVector.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": -1.0}, "numbers that cannot be"),
        ({"scale": float("nan")}, "numbers that cannot be"),
        ({"full": float("inf")}, "numbers that cannot be"),
        ({"turns": {"opens": ()}}, "does not say what stands around"),
        ({"turns": {"before": (), "opens": (), "closes": (5,), "after": ()}}, "nothing stands before or after"),
    ],
)
def test_a_record_that_cannot_be_is_refused(tmp_path, changes, message):
    base = random_base("llama", seed=3)
    vector = gated_vector(base, probe_between(base, *prompts(5)))
    replace(vector, record=replace(vector.record, **changes)).save_pretrained(tmp_path)
    with pytest.raises(ProsocialError, match=message):
        GatedHarmVector.from_pretrained(tmp_path)


def test_a_vector_of_another_base_is_refused(saved_arm, tokenizer):
    from hf_prosocial import BaseMismatchError

    base, other = random_base("llama", seed=3), random_base("llama", seed=8)
    vector = gated_vector(base, probe_between(base, *prompts(5)))
    GatedModel(base, vector)
    with pytest.raises(ProsocialError, match="does not say which base"):
        replace(vector, record=replace(vector.record, base_weight_hashes=None)).check(base)
    with pytest.raises(BaseMismatchError):
        GatedModel(other, vector)


def test_threads_do_not_share_an_open_gate():
    from concurrent.futures import ThreadPoolExecutor

    base = random_base("llama", seed=3)
    ids, mask = prompts(5)
    gated = GatedModel(base, gated_vector(base, probe_between(base, ids, mask)))

    def reply(row):
        return gated.generate(ids[row : row + 1], attention_mask=mask[row : row + 1], max_new_tokens=5, do_sample=False)

    alone = [reply(row) for row in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, expected in zip(pool.map(reply, range(4)), alone, strict=True):
                assert torch.equal(got, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"num_return_sequences": 3, "do_sample": True, "top_k": 1},
        {"num_beams": 2, "num_return_sequences": 2},
        {"cache_implementation": "static"},
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 2},
        {"assistant": True},
    ],
    ids=str,
)
def test_every_way_of_generating_gives_the_edited_models_tokens(options):
    base = random_base("llama", seed=3)
    ids, mask = torch.randint(3, 60, (1, 9), generator=torch.Generator().manual_seed(2)), torch.ones(1, 9).long()
    probe = probe_between(base, ids, mask).opening(-1e9, -1e9)
    vector = gated_vector(base, probe, scale=0.6)
    edited = edited_in_place(copy.deepcopy(base), vector, 0.6)
    options = {"max_new_tokens": 8, "attention_mask": mask} | options
    if options.pop("assistant", False):
        options["assistant_model"] = random_base("llama", seed=3)
    got, expected = (model.generate(ids, **options) for model in (GatedModel(base, vector), edited))
    assert torch.equal(got, expected)
    assert not torch.equal(got, base.generate(ids, **options))


def test_a_pipeline_answers_a_chat_behind_the_gate(tokenizer):
    base = random_base("llama", seed=3)
    said = [[{"role": "user", "content": text}] for text in ("hello", "i am sad", "tell me", "what is it")]
    rows = prompt_batch(tokenizer, said)
    vector = gated_vector(base, probe_between(base, rows.input_ids, rows.attention_mask))
    opens = opened(base, vector, rows.input_ids, rows.attention_mask) > 0
    plain, gated = (
        pipeline("text-generation", model=model, tokenizer=tokenizer)(said, max_new_tokens=6, do_sample=False)
        for model in (base, GatedModel(base, vector))
    )
    for is_open, one, other in zip(opens.tolist(), plain, gated, strict=True):
        assert (one != other) == is_open


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_a_shut_gate_is_the_base_and_an_open_one_the_edit_but_for_rounding(dtype):
    base = random_base("llama", seed=3, dtype=dtype)
    ids, mask = prompts(5)
    vector = gated_vector(base, probe_between(base, ids, mask), scale=0.7)
    scales = opened(base, vector, ids, mask)
    edited = edited_in_place(copy.deepcopy(base).float(), vector, 0.7)
    with torch.no_grad():
        got = GatedModel(base, vector)(input_ids=ids, attention_mask=mask).logits
        plain, safe = (model(input_ids=ids, attention_mask=mask).logits for model in (base, edited))
    assert torch.equal(got[scales == 0], plain[scales == 0])
    assert (got[scales > 0].float() - safe[scales > 0]).abs().mean() < 0.1


def test_what_one_layer_alone_cannot_tell_is_refused():
    layers = torch.nn.Sequential(torch.nn.Linear(4, 3))
    update = LowRankUpdate(layers, {"0": Factors(torch.ones(2, 4), torch.ones(3, 2))})
    x = torch.randn(2, 5, 4)
    plain = layers(x)
    with update.subtracting(torch.tensor([1.0, 0.0]), of_rows=2):
        changed = layers(x)
        with pytest.raises(ProsocialError, match="experts of a mixture"):
            layers(x.flatten(0, 1))
    assert torch.equal(changed[1], plain[1])
    torch.testing.assert_close(changed[0], plain[0] - x[0] @ torch.ones(4, 3) * 2)
    assert torch.equal(layers(x), plain)
