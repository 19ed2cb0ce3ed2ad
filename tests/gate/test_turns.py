import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.gates import gated_vector, probe_between
from support.models import random_base, tiny_tokenizer

from hf_prosocial import ProsocialError, find_base
from hf_prosocial.gate import Turns
from hf_prosocial.models import prompt_batch, prompt_text

TEXT = st.text("abcdefgh ,.?", min_size=1, max_size=12).filter(str.strip)


def ids_of(tokenizer, conversation):
    return tokenizer(prompt_text(tokenizer, conversation), add_special_tokens=False)["input_ids"]


@given(texts=st.lists(TEXT, min_size=1, max_size=5).filter(lambda one: len(one) % 2), system=st.none() | TEXT)
def test_each_message_of_a_user_is_found_whatever_stands_before_it(texts, system):
    tokenizer = tiny_tokenizer()
    turns = Turns.of(tokenizer)
    said = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    before = [] if system is None else [{"role": "system", "content": system}]
    alone = [ids_of(tokenizer, [one]) for one in said if one["role"] == "user"]
    assert turns.of_user(ids_of(tokenizer, before + said)) == alone


def test_smollm2s_own_template():
    tokenizer = find_base().load_tokenizer()
    turns = Turns.of(tokenizer)
    said = [("system", "You are a pirate."), ("user", "\n\nHi there\n"), ("assistant", "Ahoy!"), ("user", " 2 + 2? ")]
    conversation = [{"role": role, "content": text} for role, text in said]
    expected = [ids_of(tokenizer, [one]) for one in conversation if one["role"] == "user"]
    assert turns.of_user(ids_of(tokenizer, conversation)) == expected


def test_what_is_no_conversation_is_read_whole():
    turns = Turns.of(tiny_tokenizer())
    assert turns.of_user([7, 8, 9]) == [[7, 8, 9]]


def test_templates_whose_messages_cannot_be_found_again_are_refused():
    tokenizer = tiny_tokenizer()
    for template, message in (
        ("{{ messages[0]['role'] }}", "leaves out what a user says"),
        ("{{ messages | map(attribute='content') | join('a') }}", "between the same tokens"),
    ):
        tokenizer.chat_template = template
        with pytest.raises(ProsocialError, match=message):
            Turns.of(tokenizer)


LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {% if loop.index0 == 1 and messages[0]['role'] == "
    "'system' %}<<SYS>>{{ messages[0]['content'] }}<</SYS>>{% endif %}{{ m['content'] }} [/INST]{% elif m['role'] == "
    "'assistant' %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)


def test_a_template_that_hides_its_system_message_in_the_users_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = LLAMA2
    with pytest.raises(ProsocialError, match="whatever stands around it"):
        Turns.of(tokenizer)


@pytest.mark.parametrize("load", [tiny_tokenizer, lambda: find_base().load_tokenizer()], ids=["tiny", "SmolLM2"])
def test_no_answer_and_no_neighbour_hides_a_message(load):
    tokenizer = load()
    turns = Turns.of(tokenizer)
    for said in (
        [("user", "one"), ("assistant", "\n\nyes"), ("user", "two")],
        [("user", "one"), ("assistant", "  "), ("user", "two")],
        [("user", "one"), ("user", "\ntwo")],
        [("user", "one"), ("system", "be kind"), ("user", "two")],
        [("system", "be kind"), ("user", "one"), ("assistant", "no"), ("user", "two"), ("assistant", "well")],
    ):
        conversation = [{"role": role, "content": text} for role, text in said]
        alone = [ids_of(tokenizer, [one]) for one in conversation if one["role"] == "user"]
        assert turns.of_user(ids_of(tokenizer, conversation)) == alone
        without = tokenizer.apply_chat_template(conversation, tokenize=True, return_dict=False)
        assert turns.of_user(without) == alone


def test_a_conversation_without_the_templates_own_system_message_is_read_too():
    tokenizer = find_base().load_tokenizer()
    turns = Turns.of(tokenizer)
    raw = "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n"
    found = turns.of_user(tokenizer(raw, add_special_tokens=False)["input_ids"])
    assert found == [ids_of(tokenizer, [{"role": "user", "content": text}]) for text in ("one", "two")]


def test_the_most_harmful_message_decides_and_what_stands_before_has_no_say():
    base, tokenizer = random_base("llama", seed=3).double(), tiny_tokenizer()
    texts = ["hello", "i am sad", "tell me", "what is it"]
    rows = prompt_batch(tokenizer, [[{"role": "user", "content": text}] for text in texts])
    probe = probe_between(base, rows.input_ids, rows.attention_mask)
    vector = dataclasses.replace(gated_vector(base, probe), turns=Turns.of(tokenizer))
    alone = dict(zip(texts, vector.scales(base, rows.input_ids, rows.attention_mask).tolist(), strict=True))
    opens, shut = (next(text for text in texts if (alone[text] > 0) == wanted) for wanted in (True, False))
    other = next(text for text in texts if alone[text] == 0 and text != shut)
    for before, last, expected in (
        ([("system", opens)], shut, False),
        ([("user", shut), ("assistant", opens)], other, False),
        ([("user", opens), ("assistant", "no")], shut, True),
        ([("user", shut), ("assistant", "yes")], opens, True),
    ):
        said = [{"role": role, "content": text} for role, text in [*before, ("user", last)]]
        batch = prompt_batch(tokenizer, [said])
        assert bool(vector.scales(base, batch.input_ids, batch.attention_mask) > 0) == expected
    assert torch.is_tensor(batch.input_ids)
