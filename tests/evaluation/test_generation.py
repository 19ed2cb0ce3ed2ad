"""Each reply is made once, is what the model says, and survives a kill."""

import copy
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.genarm_models import NAMES, random_genarm

from hf_prosocial import GenArmProcessor, Preference, ProSocialProcessor
from hf_prosocial.data import Prompt
from hf_prosocial.evaluation.generation import reply_to_all
from hf_prosocial.evaluation.repliers import ChatReplier, guided_by, preference_in_words
from hf_prosocial.evaluation.reply_store import ReplyKey, ReplyStore

TEXTS = ("i lost my cat", "i am sad and i can not say to whom", "help me", "what is it", "i am late, so what")
PROMPTS = [Prompt("mild", str(line), (("user", text),)) for line, text in enumerate(TEXTS)]
PREFERENCES = [Preference.one_hot("empathy"), Preference.parse("truthfulness=0.7,helpfulness=0.3")]
GREEDY = {"do_sample": False}


@pytest.fixture
def chat(base, arm, tokenizer):
    return {
        "base": ChatReplier(base, tokenizer, 6, GREEDY),
        "guided": ChatReplier(base, tokenizer, 6, GREEDY, guided_by(arm, tokenizer, 1.3, 0.05)),
        "in words": ChatReplier(base, tokenizer, 6, GREEDY, in_words=True),
    }


def alone(base, tokenizer, messages, processors):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    output = base.generate(ids, logits_processor=processors, max_new_tokens=6, **GREEDY)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()


def fill(store, replier, **options):
    reply_to_all(store, replier, PROMPTS, PREFERENCES, new_tokens=6, **({"batch_tokens": 300} | options))


def test_replies_are_those_of_each_prompt_alone(tmp_path, chat, base, arm, tokenizer):
    stores = {name: ReplyStore(tmp_path / f"{name}.jsonl", {"beta": 1.3}) for name in chat}
    for name, store in stores.items():
        fill(store, chat[name])
    assert {name: len(store.replies) for name, store in stores.items()} == {"base": 5, "guided": 10, "in words": 10}
    for prompt in PROMPTS:
        for preference in PREFERENCES:
            told = [{"role": "system", "content": preference_in_words(preference)}, *prompt.messages()]
            processor = ProSocialProcessor(arm, preference, 1.3, 0.05)
            for name, messages, processors in (
                ("base", prompt.messages(), []),
                ("guided", prompt.messages(), [processor]),
                ("in words", told, []),
            ):
                said = "" if name == "base" else str(preference)
                found = stores[name].replies[ReplyKey("mild", prompt.identity, said)]
                assert found == alone(base, tokenizer, messages, processors)


def test_a_tokenizer_without_a_pad_token_pads_by_end_of_text(base, arm, tokenizer):
    bare = copy.deepcopy(tokenizer)
    bare.pad_token, bare.padding_side = None, "right"
    replier = ChatReplier(base, bare, 6, GREEDY, guided_by(arm, bare, 1.3, 0.05))
    conversations = [prompt.messages() for prompt in PROMPTS]
    found = replier(conversations, PREFERENCES[:1] * len(PROMPTS))
    guide = ProSocialProcessor(arm, PREFERENCES[0], 1.3, 0.05)
    assert found == [alone(base, tokenizer, messages, [guide]) for messages in conversations]
    bare.eos_token = None
    with pytest.raises(ValueError, match="neither a pad token nor an end-of-text token"):
        ChatReplier(base, bare, 6, GREEDY)(conversations, PREFERENCES[:1] * len(PROMPTS))


def test_a_pad_token_that_prompts_begin_with_is_not_taken_for_one(base, arm, tokenizer):
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.bos_token
    replier = ChatReplier(base, same, 6, GREEDY, guided_by(arm, same, 1.3, 0.05))
    conversations = [prompt.messages() for prompt in PROMPTS]
    found = replier(conversations, PREFERENCES[:1] * len(PROMPTS))
    guide = ProSocialProcessor(arm, PREFERENCES[0], 1.3, 0.05)
    assert found == [alone(base, tokenizer, messages, [guide]) for messages in conversations]


def test_a_genarm_guides_too(tmp_path, base, tokenizer):
    genarm = random_genarm("llama", seed=2)
    preferences = [Preference.uniform(objectives=NAMES), Preference.one_hot("truth", objectives=NAMES)]
    store = ReplyStore(tmp_path / "replies.jsonl", {})
    replier = ChatReplier(base, tokenizer, 6, GREEDY, guided_by(genarm, tokenizer, 1.0))
    reply_to_all(store, replier, PROMPTS[:2], preferences, new_tokens=6)
    for prompt in PROMPTS[:2]:
        for preference in preferences:
            expected = alone(base, tokenizer, prompt.messages(), [GenArmProcessor(genarm, preference)])
            assert store.replies[ReplyKey("mild", prompt.identity, str(preference))] == expected


def test_a_killed_run_repeats_nothing_and_loses_nothing(tmp_path, chat):
    whole = ReplyStore(tmp_path / "whole.jsonl", {})
    fill(whole, chat["guided"])
    asked = []

    class Killed:
        """Stops in its third batch."""

        heeds_preference = True

        def __init__(self, replier):
            self.replier, self.length = replier, replier.length

        def __call__(self, conversations, preferences):
            if len(asked) == 2:
                raise KeyboardInterrupt
            asked.append(len(conversations))
            return self.replier(conversations, preferences)

    path = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        fill(ReplyStore(path, {}), Killed(chat["guided"]), batch_tokens=100)
    with path.open("a") as file:
        file.write('{"benchm')  # as a kill in the middle of a line leaves it
    store = ReplyStore(path, {})
    assert len(store.replies) == sum(asked)
    counted = []

    class Counting(Killed):
        def __call__(self, conversations, preferences):
            counted.append(len(conversations))
            return self.replier(conversations, preferences)

    fill(store, Counting(chat["guided"]))
    assert sum(asked) + sum(counted) == 10
    again = ReplyStore(path, {})
    assert again.replies == store.replies == whole.replies
    fill(again, chat["guided"])
    assert path.read_text().count("\n") == 11


def test_bad_stores_are_refused(tmp_path, chat):
    path = tmp_path / "replies.jsonl"
    store = ReplyStore(path, {"beta": 1.0, "base": "a"})
    key = ReplyKey("mild", "0", "")
    store.append([(key, "hello")])
    with pytest.raises(ValueError, match=r"a reply to .* already"):
        store.append([(key, "again")])
    with pytest.raises(ValueError, match=r"begun with other settings \(\{'beta': 1.0\}, now \{'beta': 2.0\}\)"):
        ReplyStore(path, {"beta": 2.0, "base": "a"})
    text = path.read_text()
    for bad, message in (
        (text + text.splitlines()[1] + "\n", "line 3: a second reply"),
        (text + '{"reply": "x"}\n', "line 3: no reply"),
        (text + "not json\n", "line 3: no reply"),
        ("[1]\n", "does not begin with settings"),
        ("", "does not begin with settings"),
    ):
        path.write_text(bad)
        with pytest.raises(ValueError, match=message):
            ReplyStore(path, {"beta": 1.0, "base": "a"})
        assert path.read_text() == bad
    with pytest.raises(ValueError, match="nothing to answer: 0 prompts"):
        reply_to_all(store, chat["base"], [], PREFERENCES, new_tokens=6)
    with pytest.raises(ValueError, match=r"two prompts are called \('mild', '0'\)"):
        reply_to_all(store, chat["base"], [PROMPTS[0], PROMPTS[0]], PREFERENCES, new_tokens=6)


def test_settings_survive_the_file(tmp_path):
    settings = {"beta": 0.3, "safe_set": None, "lengths": (1, 2)}
    ReplyStore(tmp_path / "replies.jsonl", settings)
    ReplyStore(tmp_path / "replies.jsonl", settings)
    header = json.loads((tmp_path / "replies.jsonl").read_text())
    assert header == {"settings": {"beta": 0.3, "safe_set": None, "lengths": [1, 2]}}


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=3))
@example(["one\u2028two\x85three"])
def test_any_reply_is_kept_as_it_was_said(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("store") / "replies.jsonl"
    replies = {ReplyKey("mild", str(line), ""): text for line, text in enumerate(said)}
    ReplyStore(path, {"name": said[0]}).append(replies.items())
    assert ReplyStore(path, {"name": said[0]}).replies == replies


@pytest.mark.parametrize("foreign", ['{"mine": 1}', '{"mine": 1}\n{"mine": 2}', ""])
def test_a_file_of_something_else_stays_as_it_is(tmp_path, foreign):
    path = tmp_path / "mine.jsonl"
    path.write_text(foreign)
    with pytest.raises(ValueError, match="it is no file of replies"):
        ReplyStore(path, {})
    assert path.read_text() == foreign
