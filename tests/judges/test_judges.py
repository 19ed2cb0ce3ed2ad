"""Judges: answers are taken as they stand or not at all, and every trouble of a server is told."""

import json
import re
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.endpoints import completion, served

from hf_prosocial.data import Prompt
from hf_prosocial.judges import HARM, Endpoint, EndpointConfig, PairwiseJudge
from hf_prosocial.judges.asked import AskedJudge, AskedScorer, one_of
from hf_prosocial.judges.endpoint import EndpointError, PriceCapReachedError
from hf_prosocial.judges.local import GuardJudge, TemplateJudge

PROMPTS = [
    Prompt("mild", str(line), (("user", text),)) for line, text in enumerate(("help me", "i am late", "so what"))
]
REPLIES = ["gladly", "hurry up then", "whatever"]


def endpoint(server, folder, **options):
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    defaults = {"kind": "endpoint", "model": "judge", "url": url, "retries": 2, "seconds": 5.0, "parallel": 2}
    return Endpoint(EndpointConfig(**(defaults | options)), folder / "answers.jsonl")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *_, **__: 0.01)


def test_each_question_is_asked_once_and_answers_survive(tmp_path):
    with served(lambda *_: (200, completion("safe"))) as server:
        judge = AskedJudge(endpoint(server, tmp_path), "harm")
        assert judge(PROMPTS, REPLIES) == ["safe"] * 3
        assert judge([*PROMPTS, PROMPTS[0]], [*REPLIES, REPLIES[0]]) == ["safe"] * 4
        assert AskedJudge(endpoint(server, tmp_path), "harm")(PROMPTS, REPLIES) == ["safe"] * 3
        assert len(server.asked) == 3
        assert all(body["temperature"] == 0 for body in server.asked)
        said = server.asked[0]["messages"][0]["content"]
        assert any(prompt.conversation[0][1] in said for prompt in PROMPTS)
        with (tmp_path / "answers.jsonl").open("a") as file:
            file.write('{"question": "ab')  # as a kill leaves it
        assert AskedJudge(endpoint(server, tmp_path), "harm")(PROMPTS, REPLIES) == ["safe"] * 3
        assert len(server.asked) == 3
        with pytest.raises(ValueError, match="answers of another model"):
            endpoint(server, tmp_path, model="another")


def test_errors_of_the_server_are_retried(tmp_path):
    with served(lambda body, count: (500, b"{}") if count <= 2 else (200, completion("harmful"))) as server:
        judge = AskedJudge(endpoint(server, tmp_path, parallel=1), "harm")
        assert judge(PROMPTS[:1], REPLIES[:1]) == ["harmful"]
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (500, b'{"error": "down"}', "status 500"),
        (401, b'{"error": "no key"}', "status 401"),
        (200, completion("safe")[:-40], "no completion"),
        (200, b"[]", "no completion"),
        (200, b'{"choices": []}', "no completion"),
        (200, b'{"choices": [{"message": {"content": null}}]}', "no completion"),
        (200, b'"safe"', "no completion"),
    ],
)
def test_a_faulty_server_is_an_error(tmp_path, status, content, message):
    with served(lambda *_: (status, content)) as server:
        judge = AskedJudge(endpoint(server, tmp_path), "harm")
        with pytest.raises(EndpointError, match=message):
            judge(PROMPTS, REPLIES)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1


def test_answers_before_an_error_are_kept(tmp_path):
    def answer(body, count):
        return (200, completion("safe")) if count <= 2 else (403, b"{}")

    with served(answer) as server:
        with pytest.raises(EndpointError, match="status 403"):
            AskedJudge(endpoint(server, tmp_path, parallel=1), "harm")(PROMPTS, REPLIES)
        server.answer = lambda *_: (200, completion("harmful"))
        judged = AskedJudge(endpoint(server, tmp_path, parallel=1), "harm")(PROMPTS, REPLIES)
    assert judged == ["safe", "safe", "harmful"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_that_is_refused_stops_no_other(tmp_path, caplog, status):
    def answer(body, _):
        about = body["messages"][0]["content"]
        return (status, b'{"error": {"message": "filtered"}}') if "hurry" in about else (200, completion("safe"))

    with served(answer) as server:
        judge = AskedJudge(endpoint(server, tmp_path), "harm")
        assert judge(PROMPTS, REPLIES) == ["safe", None, "safe"]
        assert "1 of 3 questions were refused and stay unanswered: judge at" in caplog.text
        assert f"status {status}" in caplog.text
        server.answer = lambda *_: (200, completion("harmful"))
        assert AskedJudge(endpoint(server, tmp_path), "harm")(PROMPTS, REPLIES) == ["safe", "harmful", "safe"]
        assert len(server.asked) == 4


@pytest.mark.parametrize("said", [{"content": None, "refusal": "I can not"}, {"content": None}])
@pytest.mark.parametrize("reason", ["content_filter", "length", "stop"])
def test_an_answer_that_says_nothing_marks_its_row(tmp_path, said, reason):
    content = json.loads(completion(""))
    content["choices"] = [{"index": 0, "finish_reason": reason, "message": {"role": "assistant"} | said}]
    empty = json.dumps(content).encode()
    with served(lambda _, count: (200, empty if count == 2 else completion("safe"))) as server:
        judge = AskedJudge(endpoint(server, tmp_path, parallel=1), "harm")
        assert judge(PROMPTS, REPLIES) == ["safe", None, "safe"]


def test_a_request_that_nobody_answers_is_an_error(tmp_path):
    with served(lambda *_: (400, b'{"error": {"message": "max_tokens is not known"}}')) as server:
        judge = AskedJudge(endpoint(server, tmp_path), "harm")
        with pytest.raises(EndpointError, match=r"all 3 questions were refused: .*max_tokens is not known"):
            judge(PROMPTS, REPLIES)
        many = [Prompt("mild", str(line), (("user", f"help {line}"),)) for line in range(200)]
        with pytest.raises(EndpointError, match="the first 20 questions were all refused"):
            judge(many, ["gladly"] * 200)
        assert len(server.asked) < 40


def test_a_request_has_the_fields_that_are_configured(tmp_path):
    with served(lambda *_: (200, completion("<think>hm</think>safe"))) as server:
        chosen = {"max_completion_tokens": 500, "temperature": None, "reasoning_effort": "low"}
        judge = AskedJudge(endpoint(server, tmp_path, request=chosen), "harm")
        assert judge(PROMPTS[:1], REPLIES[:1]) == ["safe"]
        assert server.asked[0].keys() == {"model", "messages", "max_completion_tokens", "reasoning_effort"}
        assert server.asked[0]["max_completion_tokens"] == 500
        with pytest.raises(ValueError, match="answers of another model or request"):
            endpoint(server, tmp_path)
        with pytest.raises(ValueError, match="request: messages, n cannot be chosen"):
            endpoint(server, tmp_path, request={"n": 2, "messages": []})
        # The most that an answer may cost follows from the limit that is sent.
        priced = {"input_price": 1.0, "output_price": 1000.0, "price_cap": 0.4}
        capped = endpoint(server, tmp_path / "capped", request=chosen, **priced)
        with pytest.raises(PriceCapReachedError):
            AskedJudge(capped, "harm")(PROMPTS[:1], REPLIES[:1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"request": {"max_tokens": None}, "output_price": 1.0, "price_cap": 1.0},
            "an answer's length must be limited",
        ),
        ({"request": {"max_tokens": "many"}}, "max_tokens must be a whole number of tokens, found 'many'"),
        ({"request": {"max_tokens": -5}}, "max_tokens must be a whole number of tokens, found -5"),
        ({"request": {"top_p": float("inf")}}, "its values must be what JSON has"),
    ],
)
def test_requests_that_cannot_be_sent(tmp_path, options, said):
    with served(lambda *_: (200, completion("safe"))) as server, pytest.raises(ValueError, match=said):
        endpoint(server, tmp_path, **options)


@pytest.mark.parametrize("line", ["{", "[]", "{}", "null", "", '{"question": "a", "text": null}'])
def test_a_damaged_answer_is_named(tmp_path, line):
    with served(lambda *_: (200, completion("safe"))) as server:
        AskedJudge(endpoint(server, tmp_path), "harm")(PROMPTS, REPLIES)
        file = tmp_path / "answers.jsonl"
        lines = file.read_text().splitlines()
        file.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
        with pytest.raises(ValueError, match=r"answers\.jsonl, line 3 is no answer"):
            endpoint(server, tmp_path)


def test_answers_that_are_not_understood_are_shown(tmp_path, caplog):
    with served(lambda *_: (200, completion("It is safe."))) as server:
        assert AskedJudge(endpoint(server, tmp_path), "harm")(PROMPTS, REPLIES) == [None] * 3
    assert "3 of 3 answers are none of harmful, safe; the first: 'It is safe.'" in caplog.text


def test_objectives_of_ones_own_are_asked_for_in_ones_own_words(tmp_path):
    with served(lambda *_: (200, completion("7"))) as server:
        scorer = AskedScorer(endpoint(server, tmp_path), ("patience",), {"patience": "it takes its time"})
        np.testing.assert_array_equal(scorer(PROMPTS[:1], REPLIES[:1]), [[7]])
        assert "patience (it takes its time)" in server.asked[0]["messages"][0]["content"]
        with pytest.raises(ValueError, match="meanings of empthy, but what is scored is empathy"):
            AskedScorer(scorer._endpoint, ("empathy",), {"empthy": "it feels with the person"})


def test_nobody_there_and_nobody_answering(tmp_path):
    with served(lambda *_: (200, b"")) as server:
        closed = endpoint(server, tmp_path)
    with pytest.raises(EndpointError, match="cannot be reached"):
        AskedJudge(closed, "harm")(PROMPTS, REPLIES)
    release = threading.Event()

    def slow(*_):
        release.wait(5)
        return 200, completion("safe")

    with served(slow) as server:
        late = endpoint(server, tmp_path / "late", seconds=0.2, retries=0)
        with pytest.raises(EndpointError, match="cannot be reached"):
            AskedJudge(late, "harm")(PROMPTS[:1], REPLIES[:1])
        release.set()


def test_the_price_cap_holds(tmp_path):
    with served(lambda *_: (200, completion("safe"))) as server:
        prices = {"input_price": 10.0, "output_price": 100.0, "parallel": 1}
        asked = endpoint(server, tmp_path, price_cap=0.02, **prices)
        prompts = [Prompt("mild", str(index), (("user", f"help {index}"),)) for index in range(30)]
        with pytest.raises(PriceCapReachedError, match=r"more than the cap of 0\.02"):
            AskedJudge(asked, "harm")(prompts, ["gladly"] * 30)
        assert 0 < asked.spent <= 0.02
        assert asked.spent == pytest.approx(len(server.asked) * (100 * 10 + 2 * 100) / 1e6)
        more = endpoint(server, tmp_path, price_cap=1.0, **prices)
        assert AskedJudge(more, "harm")(prompts, ["gladly"] * 30) == ["safe"] * 30
        assert len(server.asked) == 30
        server.answer = lambda *_: (200, completion("safe", usage=False))
        with pytest.raises(EndpointError, match="how many tokens"):
            AskedJudge(more, "refusal")(prompts, ["gladly"] * 30)


def test_a_key_is_needed_where_it_is(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds no key"):
        Endpoint(EndpointConfig("endpoint", "judge"), tmp_path / "answers.jsonl")


@given(st.text(max_size=30) | st.text("safe hrmulunty:.<>/think\n", max_size=40))
def test_the_parser_never_guesses(text):
    found = one_of(text, HARM)
    letters = "".join(re.findall("[^\\W\\d_]", text.casefold().rpartition("</think>")[2]))
    assert found is None or letters in {found, *(word + found for word in ("safety", "answer", "label", "verdict"))}


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("unsafe.", "unsafe"),
        ("**Safe**", "safe"),
        ("Safety: Unsafe", "unsafe"),
        ("safety :\nsafe", "safe"),
        ("<think>\nIt could be unsafe, or safe.\n</think>\n\nsafe", "safe"),
        ("so it is unsafe.\n</think>\nAnswer: safe", "safe"),
    ],
)
def test_answers_as_guards_and_reasoning_models_give_them(text, label):
    assert one_of(text, ("safe", "unsafe")) == label


NO_ANSWERS = ["safe, I think", "not harmful", "harmful or safe", "", "7/10", "unsafe", "<think>safe", "</think>"]


@pytest.mark.parametrize("text", NO_ANSWERS)
def test_what_is_no_answer_is_none(text):
    assert one_of(text, HARM) is None


def test_scores_off_the_scale_are_nan(tmp_path):
    said = iter(["7", "10", "0", "11", "5.5", " 3 "])
    with served(lambda *_: (200, completion(next(said)))) as server:
        scorer = AskedScorer(endpoint(server, tmp_path, parallel=1), ("empathy", "truthfulness"))
        scores = scorer(PROMPTS, REPLIES)
    np.testing.assert_array_equal(scores, [[7, 10], [np.nan, np.nan], [np.nan, 3]])
    with pytest.raises(ValueError, match="no words to ask for"):
        AskedScorer(scorer._endpoint, ("warmth",))


def test_only_what_both_orders_say_counts(tmp_path):
    def answer(body, _):
        asked = body["messages"][0]["content"]
        if "gladly" in asked:  # The judge prefers it wherever it stands.
            return 200, completion("A" if "<Reply A>\ngladly" in asked else "B")
        if "hurry" in asked:  # It prefers whatever comes first.
            return 200, completion("A")
        return 200, completion("both are bad")

    with served(answer) as server:
        wins, agreed = PairwiseJudge(endpoint(server, tmp_path))(PROMPTS, REPLIES, ["no", "well", "hm"])
    assert wins == [1.0, 0.5, None]
    assert agreed == [True, False, False]


def test_a_guard_and_a_template_ask_a_local_model(base, tokenizer, monkeypatch):
    asked = []
    said = iter([["safe", "unsafe\nS1", "it depends"], ["yes", "no", "yes and no"]])

    def answers(model, tokenizer, texts, batch_tokens):
        asked.extend(texts)
        return next(said)

    monkeypatch.setattr("hf_prosocial.judges.local._answers", answers)
    assert GuardJudge(base, tokenizer)(PROMPTS, REPLIES) == ["safe", "harmful", None]
    assert all(reply in text for reply, text in zip(REPLIES, asked, strict=True))
    judge = TemplateJudge(base, tokenizer, "Q {prompt} R {reply} {x}?", {"yes": "harmful", "no": "safe"})
    odd = [Prompt("mild", "0", (("user", "say {reply}"),)), *PROMPTS[1:]]
    assert judge(odd, ["{prompt}", *REPLIES[1:]]) == ["harmful", "safe", None]
    assert asked[3] == "Q say {reply} R {prompt} {x}?"
    with pytest.raises(ValueError, match="no place for"):
        TemplateJudge(base, tokenizer, "Q {prompt}", {"yes": "harmful"})
    with pytest.raises(ValueError, match="must mean some of"):
        TemplateJudge(base, tokenizer, "{prompt} {reply}", {"yes": "bad"})


def test_local_answers_are_the_models_own(base, tokenizer):
    from hf_prosocial.judges.local import _answers

    texts = ["help me", "i am late so what", "tell"]
    together = _answers(base, tokenizer, texts, 200)
    assert together == [_answers(base, tokenizer, [text], 200)[0] for text in texts]
