import json

import pytest
from support.rows import rows

from hf_prosocial import OBJECTIVES, read_pairs
from hf_prosocial.data import tokenize_rows
from hf_prosocial.data.chat import prompt_and_reply


def reply(text):
    return [{"role": "assistant", "content": text}]


def test_prompt_is_what_generation_sees_and_replies_end_the_turn(tokenizer):
    messages = [{"role": "user", "content": "hi"}]
    prompt, tokens = prompt_and_reply(tokenizer, messages, reply("hello you"))
    assert tokenizer.decode(prompt) == tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(tokens) == "hello you</s>"
    assert tokens[-1] == tokenizer.eos_token_id


def test_a_template_without_an_end_of_turn_gets_one(tokenizer, monkeypatch):
    plain = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}!{% endif %}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", plain)
    prompt, tokens = prompt_and_reply(tokenizer, [{"role": "user", "content": "hi"}], reply("hello "))
    assert tokenizer.decode(prompt) == "hi!"
    assert tokenizer.decode(tokens) == "hello</s>"


def test_plain_strings(tokenizer):
    prompt, tokens = prompt_and_reply(tokenizer, "hi ", "hello")
    assert tokenizer.decode(prompt) == "hi "
    assert tokenizer.decode(tokens) == "hello</s>"


def test_malformed_rows_are_named_by_line_and_reason(tokenizer, tmp_path):
    good = rows(OBJECTIVES, 3)
    bad = [
        "{not json",
        json.dumps([1]),
        json.dumps({key: value for key, value in good[0].items() if key != "chosen"}),
        json.dumps(good[0] | {"attribute": "wit"}),
        json.dumps(good[0] | {"chosen": reply("  ")}),
        json.dumps(good[0] | {"rejected": good[0]["chosen"]}),
        json.dumps(good[0] | {"chosen": reply("a" * 100)}),
        json.dumps(good[0] | {"chosen": "a string"}),
        json.dumps(good[0] | {"prompt": []}),
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join([json.dumps(good[0]), *bad, json.dumps(good[1]), json.dumps(good[2])]))
    pairs = read_pairs(path, tokenizer, OBJECTIVES, max_length=80)
    assert [pair.line for pair in pairs.rows] == [1, 11, 12]
    assert {line: error.reason for line, error in pairs.malformed.items()} == {
        2: "not JSON",
        3: "not an object",
        4: "missing field",
        5: "unknown attribute",
        6: "empty reply",
        7: "both replies alike",
        8: "too long",
        9: "not chat messages",
        10: "not chat messages",
    }
    assert "3 pairs (empathy 1, sensitivity 1, non_judgmental 1, truthfulness 0" in pairs.report()
    assert "not chat messages: 2 (line 9, 10)" in pairs.report()
    assert "'wit' is not among" in str(pairs.malformed[5])


def test_a_file_without_one_good_row(tokenizer, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"(?s)no row of .* can be trained on; .*missing field: 1 \(line 1\)"):
        read_pairs(path, tokenizer, OBJECTIVES, max_length=80)


def test_rows_at_hand(tokenizer):
    pairs = tokenize_rows(rows(OBJECTIVES, 10), tokenizer, OBJECTIVES, max_length=80)
    assert len(pairs.rows) == 10
    assert not pairs.malformed
    assert pairs.counts() == dict.fromkeys(OBJECTIVES, 2)


def test_a_row_for_several_attributes_is_a_pair_for_each(tokenizer):
    row = rows(OBJECTIVES, 1)[0]
    several = [
        row | {"attribute": names} for names in (["truthfulness", "empathy"], ["empathy", "wit"], [], ["empathy"] * 2)
    ]
    pairs = tokenize_rows(several, tokenizer, OBJECTIVES, max_length=80)
    assert [(pair.line, OBJECTIVES[pair.objective]) for pair in pairs.rows] == [(1, "truthfulness"), (1, "empathy")]
    assert pairs.rows[0].chosen == pairs.rows[1].chosen
    reasons = {line: error.reason for line, error in pairs.malformed.items()}
    assert reasons == {2: "unknown attribute", 3: "unknown attribute", 4: "an attribute twice"}
