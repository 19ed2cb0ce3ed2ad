import copy
import gzip
import json

import pytest
from support.rows import rows
from tokenizers.processors import TemplateProcessing

from hf_prosocial import OBJECTIVES, read_pairs
from hf_prosocial.data import tokenize_rows
from hf_prosocial.data.chat import MalformedRowError, _tell_of_reasoning, prompt_and_reply
from hf_prosocial.models import prompt_text


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


def test_a_template_that_opens_reasoning_is_read_as_it_writes_earlier_turns(tokenizer, monkeypatch, caplog):
    """As those of DeepSeek's R1 models: the prompt ends with <think>, and earlier turns have no reasoning."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}U {{ m.content }} A {% else %}"
        "{{ m.content.split('</think>')[-1] }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<think>\n{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    _tell_of_reasoning.cache_clear()
    for _ in range(2):
        prompt, tokens = prompt_and_reply(tokenizer, [{"role": "user", "content": "hi"}], reply("hello"))
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("U hi A ", "hello</s>")]
    assert [prompt, tokens] == expected
    assert caplog.text.count("opens a block of reasoning") == 1
    monkeypatch.setattr(tokenizer, "chat_template", template.replace("<think>", "<answer>"))
    with pytest.raises(MalformedRowError, match="does not begin with the prompt"):
        prompt_and_reply(tokenizer, [{"role": "user", "content": "hi"}], reply("hello"))


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


BOS_EOS = [("both", True, True), ("bos", True, False), ("neither", False, False)]


@pytest.mark.parametrize(("_", "bos", "eos"), BOS_EOS, ids=lambda value: str(value))
def test_a_plain_prompt_begins_once_and_does_not_end(tokenizer, _, bos, eos):
    """Tokenizers that add tokens before or after a text, and texts that hold the first one already."""
    tokenizer = copy.deepcopy(tokenizer)
    before, after = tokenizer.bos_token, tokenizer.eos_token
    single = [*([before] if bos else []), "$A", *([after] if eos else [])]
    special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (before, after)]
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=" ".join(single), special_tokens=special)
    expected = f"{before}hi you" if bos else "hi you"
    assert tokenizer.decode(prompt_and_reply(tokenizer, "hi you", "hello")[0]) == expected
    if bos:
        assert tokenizer.decode(prompt_and_reply(tokenizer, f"{before}hi you", "hello")[0]) == expected
    assert prompt_and_reply(tokenizer, "hi you", "hello")[1].count(tokenizer.eos_token_id) == 1


def test_rows_that_would_teach_something_else(tokenizer):
    good = rows(OBJECTIVES, 1)[0]
    user = {"role": "user", "content": "and then"}
    plain = {"attribute": "empathy", "prompt": "tell me what to do", "chosen": "rest", "rejected": "hurry"}
    cases = [
        (good | {"chosen": [*reply("well"), user, *reply("yes")]}, "a turn in the reply that is not the assistant's"),
        (good | {"chosen": [*good["prompt"], *good["chosen"]]}, "a turn in the reply that is not the assistant's"),
        (plain | {"chosen": "tell me what to do: rest"}, "the reply repeats the prompt"),
        *((good | {name: ["x"]}, "a column that is not read") for name in ("tools", "images", "system")),
        (good | {"chat_template_kwargs": {"thinking": True}}, "a column that is not read"),
    ]
    pairs = tokenize_rows([row for row, _ in cases], tokenizer, OBJECTIVES, max_length=80)
    assert [error.reason for error in pairs.malformed.values()] == [reason for _, reason in cases]
    harmless = [plain, plain | {"prompt": "hm", "chosen": "hm, rest"}, good | {"tools": None, "images": []}]
    assert len(tokenize_rows(harmless, tokenizer, OBJECTIVES, max_length=80).rows) == 3


def test_a_template_that_refuses_a_row(tokenizer, monkeypatch):
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    refusing += "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", refusing)
    good = rows(OBJECTIVES, 2)
    bad = good[0] | {"prompt": [{"role": "system", "content": "be kind"}, *good[0]["prompt"]]}
    pairs = tokenize_rows([bad, good[1]], tokenizer, OBJECTIVES, max_length=80)
    assert (len(pairs.rows), pairs.malformed[1].reason) == (1, "chat template")
    assert "no system" in str(pairs.malformed[1])
    with pytest.raises(ValueError, match=r"the chat template raises .*no system.* begins .*be kind"):
        prompt_text(tokenizer, bad["prompt"])


def test_a_tokenizer_without_an_end(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has no end-of-text token"):
        prompt_and_reply(tokenizer, "hi", "hello")


def test_ten_lines_are_named_and_the_rest_counted(tokenizer):
    pairs = tokenize_rows(["{"] * 14, tokenizer, OBJECTIVES, max_length=80)
    assert "not JSON: 14 (line 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, and 4 more)" in pairs.report()


def pretty(content):
    return json.dumps(content, indent=2)


def by_line(content):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in content)


WAYS = {
    "as it should be": lambda content: by_line(content).encode(),
    "blank lines": lambda content: ("\n\n" + by_line(content).replace("\n", "\n\n") + "\n\n  \n").encode(),
    "windows": lambda content: by_line(content).replace("\n", "\r\n").encode(),
    "a mark": lambda content: by_line(content).encode("utf-8-sig"),
    "utf-16": lambda content: by_line(content).encode("utf-16"),
    "utf-32": lambda content: by_line(content).encode("utf-32"),
    "gzip": lambda content: gzip.compress(by_line(content).encode()),
    "a pretty array": lambda content: pretty(content).encode(),
    "an array": lambda content: json.dumps(content).encode(),
}


@pytest.mark.parametrize("way", WAYS)
def test_files_as_people_have_them(tokenizer, tmp_path, way):
    content = rows(OBJECTIVES, 6)
    content[0]["chosen"] = reply("né")
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(WAYS[way](content))
    pairs = read_pairs(path, tokenizer, OBJECTIVES, max_length=80)
    assert not pairs.malformed
    expected = tokenize_rows(content, tokenizer, OBJECTIVES, max_length=80).rows
    assert [(row.objective, row.prompt, row.chosen) for row in pairs.rows] == [
        (row.objective, row.prompt, row.chosen) for row in expected
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xd8\xff\xe0picture", r"is not text in UTF-8 \(.* at byte 0\); save it as UTF-8"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-4], "is not whole gzip"),
        (b'[\n {"attribute": "empathy"},\n', r"is not JSON"),
        (b"", "no row of .* can be trained on"),
    ],
    ids=["a picture", "half of an archive", "half of an array", "nothing"],
)
def test_other_files_are_named(tokenizer, tmp_path, content, message):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_pairs(path, tokenizer, OBJECTIVES, max_length=80)
    assert str(path) in str(error.value)
