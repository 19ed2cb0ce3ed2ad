import json

import pytest
import torch
from support.served import build_arm, build_base
from typer.testing import CliRunner

from hf_prosocial import Preference, ProsocialError
from hf_prosocial.chat import Conversation, talk
from hf_prosocial.cli import app
from hf_prosocial.models import prompt_batch
from hf_prosocial.session import ChatSession, stream


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    base = build_base(folder / "base", "llama")
    return ChatSession.load(str(base), str(build_arm(folder / "arm", base, "llama")), None)


@pytest.fixture
def chat(session):
    return Conversation(session, Preference.uniform(), 0.0, 8)


def typed(*lines):
    """A reader of these lines, and the input's end; an exception among them is raised."""
    left = iter(lines)

    def read(prompt):
        line = next(left, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    return read


def said(chat, *lines):
    written = []
    talk(chat, typed(*lines), written.append)
    return "".join(written)


def greedy(session, messages, count=8):
    batch = prompt_batch(session.tokenizer, [messages])
    with torch.no_grad():
        ids = session.base.generate(
            batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=count, do_sample=False
        )
    return session.tokenizer.decode(ids[0, batch.input_ids.shape[1] :], skip_special_tokens=True)


def test_turns_follow_each_other(chat):
    first = [{"role": "user", "content": "a b"}]
    shown = said(chat, "a b", "c d")
    one = greedy(chat.session, first)
    second = [*first, {"role": "assistant", "content": one}, {"role": "user", "content": "c d"}]
    two = greedy(chat.session, second)
    assert chat.messages == [*second, {"role": "assistant", "content": two}]
    assert f"{one} [cut off after 8 tokens" in shown
    assert f"{two} [cut off" in shown
    assert "findahelpline.com" in shown


def test_a_reply_that_was_cut_off_is_marked(chat, monkeypatch):
    assert "[cut off after 8 tokens" in said(chat, "a b")
    batch = prompt_batch(chat.session.tokenizer, [[{"role": "user", "content": "a b"}]])
    ids = chat.session.base.generate(
        batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=8, do_sample=False
    )
    monkeypatch.setattr(chat.session.base.generation_config, "eos_token_id", [int(ids[0, -4])])
    assert "cut off" not in said(chat, "/new", "a b")


def test_a_preference_guides_from_the_next_reply_on(chat):
    shown = said(chat, "/preference empathy=0.7,truthfulness=0.3", "a b")
    assert "preference empathy=0.7,truthfulness=0.3, β = 1" in shown
    wanted = stream(chat.session, chat.messages[:1], Preference(empathy=0.7, truthfulness=0.3), 1.0, 8)
    assert chat.messages[1]["content"] == "".join(step.text for step in wanted)
    said(chat, "/beta 0")
    assert chat.beta == 0
    assert chat.preference["empathy"] == 0.7


def test_the_base_beside_it(chat):
    said(chat, "/beta 5", "/compare", "a b")
    alone = greedy(chat.session, chat.messages[:1])
    assert "".join(step.text for step in chat.base_reply()) == alone
    shown = said(chat, "/new", "a b")
    assert "tokens are others than the base would have chosen. The base by itself:]\n" in shown
    assert alone in shown
    assert "is not shown" in said(chat, "/compare")


def test_faults_are_said_and_nothing_is_lost(chat):
    said(chat, "a b")
    before = list(chat.messages)
    shown = said(chat, "/preference joy=1", "/beta much", "/beta -1", "/beta inf", "/dance", "/save", "", "word " * 300)
    for part in (
        "unknown objective 'joy'",
        "β is a number, found 'much'",
        "beta must be a number >= 0",
        "no command /dance",
    ):
        assert part in shown
    assert "/save needs a file's name" in shown
    assert "begin a new chat" in shown
    assert chat.messages == before


def test_a_chat_is_saved_once(chat, tmp_path):
    file = tmp_path / "chat.json"
    shown = said(chat, "/preference empathy=1", "a b", f"/save {file}", f"/save {file}")
    assert "exists; choose another name" in shown
    saved = json.loads(file.read_text())
    assert saved["messages"] == chat.messages
    assert saved["guidance"] == [{"preference": "empathy=1", "beta": 1.0}]
    said(chat, "/beta 2", "c d", f"/save {tmp_path / 'other.json'}")
    later = json.loads((tmp_path / "other.json").read_text())["guidance"]
    assert [one["beta"] for one in later] == [1.0, 2.0]
    for fault in (f"/save {tmp_path / 'nowhere' / 'chat.json'}", "/new 3"):
        assert "no folder" in said(chat, fault) or "takes nothing after it" in said(chat, fault)
    assert "nothing was said yet" in said(chat, "/new", f"/save {tmp_path / 'empty.json'}")


def test_ctrl_c_stops_a_reply_and_not_the_program(chat):
    shown = []

    def write(text):
        shown.append(text)
        # After the greeting and two tokens.
        if len(chat.messages) == 0 and len(shown) == 3:
            raise KeyboardInterrupt

    talk(chat, typed("a b", "/new", "c d"), write)
    assert " [stopped]" in shown
    assert chat.messages[0]["content"] == "c d"
    assert len(chat.messages) == 2


def test_ctrl_c_while_the_gate_reads_is_no_end(chat, monkeypatch):
    def interrupted(self, message):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ChatSession, "gate_opens", interrupted)
        assert "[stopped]" in said(chat, "a b")
    assert chat.messages == []


def test_a_gate_that_an_earlier_message_holds_open_is_told_at_each_turn(chat, monkeypatch, tmp_path):
    def opened(self, conversation):
        return 0.25 * any(said["content"] == "a b" for said in conversation if said["role"] == "user")

    monkeypatch.setattr(ChatSession, "gate_opens", opened)
    shown = said(chat, "c d", "a b", "c d", f"/save {tmp_path / 'chat.json'}")
    assert shown.count("25 % open: 75 % of the guidance is left") == 2
    kept = json.loads((tmp_path / "chat.json").read_text())["guidance"]
    assert [one["gate"] for one in kept] == [0, 0.25, 0.25]


def test_half_a_character_from_a_pipe_is_read(chat):
    said(chat, "caf\udcc3 a")
    assert chat.messages[0]["content"] == "caf\ufffd a"


def test_what_was_said_before_ctrl_c_is_kept(chat):
    steps = chat.say("a b")
    found = [next(steps).text, next(steps).text]
    steps.close()
    assert chat.messages[1]["content"] == "".join(found)


def test_the_input_s_end_and_ctrl_c_at_the_prompt_end_it(chat):
    assert said(chat).endswith("\n")
    assert said(chat, KeyboardInterrupt()).endswith("\n")
    assert "a new conversation" not in said(chat, "/quit", "/new").lower()
    assert "/preference" in said(chat, "/help")


def test_the_command(tmp_path):
    base = build_base(tmp_path / "base", "llama")
    arm = build_arm(tmp_path / "arm", base, "llama")
    options = ["chat", "--base", str(base), "--arm", str(arm), "-p", "empathy=1", "--max-new-tokens", "4"]
    result = CliRunner().invoke(app, options, input="a b\n/quit\n")
    assert result.exit_code == 0, result.output
    assert "preference empathy=1, β = 1" in result.output
    missing = CliRunner().invoke(app, ["chat", str(tmp_path)])
    assert missing.exit_code == 1
    assert "holds no align.json" in missing.output


def test_a_wrong_beta_changes_nothing(chat):
    with pytest.raises(ProsocialError):
        chat.set_beta("nan")
    assert chat.beta == 0.0
