"""Files of prompts: every row or an error that names its line."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hf_prosocial.data import Prompt, labelled, read_prompts

CHAT = [{"role": "user", "content": "i am sad"}]


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "mild.jsonl"
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
        return path

    return write


def test_rows_are_read(file):
    turns = [*CHAT, {"role": "assistant", "content": "why"}, {"role": "user", "content": "i do not know"}]
    path = file({"prompt": CHAT, "category": "grief", "label": "safe"}, {"prompt": "help me"}, {"prompt": turns})
    first, second, third = read_prompts(path)
    assert first == Prompt("mild", "1", (("user", "i am sad"),), "grief", "safe")
    assert second == Prompt("mild", "2", (("user", "help me"),))
    assert third.messages() == turns
    assert read_prompts(path, "support")[0].benchmark == "support"


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), st.booleans())
@example("one\u2028two\x85three", False)
def test_only_line_feeds_end_a_row(tmp_path_factory, text, ascii):
    path = tmp_path_factory.mktemp("rows") / "mild.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}, ensure_ascii=ascii) + "\n" for _ in range(2)), newline="")
    assert [prompt.conversation for prompt in read_prompts(path)] == [(("user", text),)] * 2


@pytest.mark.parametrize(
    "row",
    [
        "{",
        "[]",
        {"text": "a"},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": [{"role": "user"}]},
        {"prompt": [*CHAT, {"role": "assistant", "content": "why"}]},
        {"prompt": [{"role": "user", "content": "  "}]},
    ],
)
def test_other_rows_are_refused_by_line(file, row):
    with pytest.raises(ValueError, match="line 2: no prompt"):
        read_prompts(file({"prompt": CHAT}, row))


def test_an_empty_benchmark_is_refused(file):
    with pytest.raises(ValueError, match="holds no prompt"):
        read_prompts(file())


def test_labels(file):
    prompts = read_prompts(file(*({"prompt": str(i), "label": ("safe", "unsafe")[i % 3 == 0]} for i in range(12))))
    assert len(labelled(prompts, "safe")) == 8
    assert [prompt.identity for prompt in labelled(prompts, "safe", 4)] == ["2", "5", "8", "11"]
    with pytest.raises(ValueError, match=r"no prompt is labelled 'mild'; the labels are \{'unsafe': 4, 'safe': 8\}"):
        labelled(prompts, "mild")
