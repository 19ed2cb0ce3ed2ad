"""Converters on made-up rows in the columns that the sets really have."""

import json
from collections import Counter
from pathlib import Path

import pytest
from support.mixtures import TOPICS, write_rows

from hf_prosocial import ProsocialError
from hf_prosocial.data import Left, Made, build_data, mixture_file, read_mixture
from hf_prosocial.data.sources.files import read_rows
from hf_prosocial.data.sources.registry import convert

RAW = Path(__file__).parents[3].parent / "shared" / "raw"


def made(name, rows, **options):
    files = rows if isinstance(rows, dict) else {"rows.jsonl": rows}
    return [row for row in convert(name, files, options, Path()) if isinstance(row, Made)]


def left(name, rows, **options):
    """Why rows are left out, and how often."""
    found = convert(name, {"rows.jsonl": rows}, options, Path())
    return Counter(row.reason for row in found if isinstance(row, Left))


def test_compared_columns_need_a_majority():
    rows = [
        {"ask": "Say hi", "more": "", "a": "hi", "b": "no", "one": one, "two": two, "three": three}
        for one, two, three in ((1, 1, 2), (2, 2, 2), (0, 1, 2), (0, 0, 1))
    ]
    found = made(
        "compared_columns", rows, prompt=["ask", "more"], first="a", second="b",
        votes=["one", "two", "three"], says_first="^1$", says_second="^2$",
    )  # fmt: skip
    assert [row.replies for row in found] == [("hi", "no"), ("no", "hi")]
    assert found[0].prompt == (("user", "Say hi"),)


def test_scored_replies_pair_what_differs_enough():
    rows = [{"ask": "Why?", "say": text, "votes": votes} for text, votes in (("a", 3), ("b", "1"), ("c", 1), ("d", ""))]
    found = made("scored_replies", rows, prompt="ask", reply="say", score="votes", margin=2)
    assert [row.replies for row in found] == [("a", "b"), ("a", "c")]
    with pytest.raises(ProsocialError, match="should hold numbers, found 'many'"):
        made("scored_replies", [rows[0], rows[0] | {"votes": "many"}], prompt="ask", reply="say", score="votes")


def test_labelled_replies_of_one_context():
    rows = [
        {"context": "I failed.", "response": text, "label": label, "category": "Risk"}
        for text, label in (("I'm sorry.", "Safe"), ("So what.", "Unsafe"), ("Well.", "Unsafe"))
    ]
    rows.append({"context": "Alone.", "response": "Hello.", "label": "Safe", "category": "Risk"})
    options = {"prompt": "context", "reply": "response", "label": "label", "good": ["Safe"], "bad": ["Unsafe"]}
    assert [row.replies for row in made("labelled_replies", rows, **options)] == [
        ("I'm sorry.", "So what."),
        ("I'm sorry.", "Well."),
    ]
    assert not made("labelled_replies", rows, where={"category": "^Other$"}, **options)


def test_transcripts_differ_in_the_last_reply_alone():
    common = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: how are you?"
    rows = [
        {"chosen": f"{common}\n\nAssistant: Well, thanks.", "rejected": f"{common}\n\nAssistant: Go away."},
        {"chosen": f"{common}\n\nAssistant: Well.", "rejected": "\n\nHuman: other\n\nAssistant: Well."},
    ]
    (found,) = made("transcripts", rows, chosen="chosen", rejected="rejected")
    assert found.replies == ("Well, thanks.", "Go away.")
    assert found.prompt == (("user", "hi"), ("assistant", "hello"), ("user", "how are you?"))


def test_rewritings_of_one_line_share_prompts_with_no_other():
    lines = ("Was it recent?", "Do you blame yourself?", "Are you in a crisis?")
    texts = {
        (line, at): f"{line} {words}" for line in lines for at, words in enumerate(("Now.", "Tell me, please.", "ok"))
    }
    rows = {
        "rewritings.csv": [{"base": line, "emotion": "Sad", "rewriting": text} for (line, _), text in texts.items()],
        "ratings.csv": [{"response": text.upper(), "empathy_score": str(at)} for (_, at), text in texts.items()],
        "patients.csv": [{"Sad - Patient response 1": f"I feel low, day {day}"} for day in range(60)],
    }
    found = made("rated_rewritings", rows, rewritings="rewritings.csv", ratings="ratings.csv", patients="patients.csv")
    assert {row.group for row in found} == {f"line {line}" for line in lines}
    for row in found:
        assert row.replies[0].endswith(("please.", "ok"))
        assert not row.replies[1].endswith("ok")
    by_line = [{row.prompt for row in found if row.group == f"line {line}"} for line in lines]
    assert all(not one & other for one in by_line for other in by_line if one is not other)


def test_nested_lists_columns_and_named_groups():
    (row,) = made("nested_prompts", [{"Sports": {"Chess:": ["How do I castle?"]}}])
    assert (row.prompt, row.about) == ((("user", "How do I castle?"),), {"category": "Sports / Chess"})
    rows = [{"prompt": "Q: Why?\nA: So.\nTrue:"}, {"prompt": "no question"}]
    (row,) = made("prompts", rows, prompt="question", parse={"prompt": r"^Q: (?P<question>.+)\nA: "})
    assert row.prompt == (("user", "Why?"),)
    inner = [{"kind": "x", "rows": [{"goal": "tea", "done": False}, {"goal": "coffee", "done": True}]}]
    (row,) = made("prompts", inner, prompt="goal", within="rows", where={"done": "^True$"}, label="kind")
    assert (row.prompt, row.about) == ((("user", "coffee"),), {"label": "x"})


def hub_rows():
    """A few rows of each set of the Hub mixture, in its real columns, of mild texts."""
    for at in range(48):
        topic = TOPICS[at % len(TOPICS)]
        yield "helpsteer3.jsonl", {
            "domain": "general", "language": "english", "context": [{"role": "user", "content": f"{topic}, help {at}"}],
            "response1": f"Here is how {topic} works, part {at}, step by step.", "response2": f"No {at}.",
            "overall_preference": -2, "individual_preference": [],
        }  # fmt: skip
        yield "pku-saferlhf.jsonl", {
            "prompt": f"Tell {topic} {at}", "response_0": f"Rude {at}.", "response_1": f"A kind word on {topic}, {at}.",
            "is_response_0_safe": False, "is_response_1_safe": True, "better_response_id": 0, "safer_response_id": 1,
        }  # fmt: skip
        for safe in (True, False):
            yield "beavertails.jsonl", {
                "prompt": f"What of {topic} {at}?", "response": f"{'Fine' if safe else 'Silly'} {topic} {at}.",
                "category": {"discrimination,stereotype,injustice": True, "terrorism,organized_crime": False},
                "is_safe": safe,
            }  # fmt: skip
        yield "ultrafeedback.jsonl", {
            "source": "x", "instruction": f"State {topic} {at}", "models": ["m"], "completions": [
                {"model": "m", "response": f"{text} {topic} {at}", "annotations": {"truthfulness": {"Rating": rating}}}
                for text, rating in (("True", "5"), ("Wrong", "1"), ("Unknown", "N/A"))
            ],
        }  # fmt: skip
        yield "prosocial-dialog.jsonl", {
            "context": f"I skip {topic} {at}", "response": f"Best not to skip {topic}.", "rots": [],
            "safety_label": "__needs_caution__", "dialogue_id": at, "response_id": 0, "episode_done": True,
        }  # fmt: skip
        for name in ("or-bench-toxic.jsonl", "or-bench-hard-1k.jsonl"):
            yield name, {"prompt": f"{name} {topic} {at}", "category": "deception"}
        yield "empathetic-dialogues.jsonl", {
            "conv_id": f"hit:{at}", "utterance_idx": at % 2 + 1, "context": "proud", "prompt": "x", "speaker_idx": 1,
            "utterance": f"I won at {topic}_comma_ {at}", "selfeval": "", "tags": "",
        }  # fmt: skip


def test_the_mixture_of_the_hub_on_rows_in_its_columns(tmp_path):
    import yaml

    raw = tmp_path / "raw"
    rows = {}
    for name, row in hub_rows():
        rows.setdefault(name, []).append(row)
    for name, own in rows.items():
        write_rows(raw / name, own)
    content = yaml.safe_load(mixture_file("hub").read_text(encoding="utf-8"))
    # Of the two sources that are not on the Hub the default mixture has a test of its own.
    content["objectives"].pop("empathy")
    content.pop("texts")
    mixture = tmp_path / "hub.yaml"
    mixture.write_text(yaml.safe_dump(content))
    out = build_data(tmp_path / "data", mixture, raw)
    train = [json.loads(line) for line in (out / "preferences" / "train.jsonl").read_text().splitlines()]
    assert {row["attribute"] for row in train} == {"sensitivity", "non_judgmental", "truthfulness", "helpfulness"}
    starts = {"sensitivity": "A kind", "non_judgmental": "Fine", "truthfulness": "True", "helpfulness": "Here is"}
    assert all(row["chosen"][0]["content"].startswith(starts[row["attribute"]]) for row in train)
    support = (out / "support" / "dev.jsonl").read_text()
    assert "I won at bread, 0" in support
    assert "_comma_" not in support


@pytest.mark.parametrize("name", ["default", "hub"])
def test_mixtures_of_the_package_name_all_that_is_needed(name):
    mixture = read_mixture(name)
    for source in mixture.sources.values():
        assert source.about.startswith("https://")
        assert all(file.pinned for file in source.files) or mixture.note


@pytest.mark.skipif(not RAW.is_dir(), reason="the public files are not at hand")
def test_the_default_mixture_on_its_real_files(tmp_path):
    from hf_prosocial.data import describe_data

    built = describe_data(build_data(tmp_path / "data", raw=RAW))
    for one in built.objectives.values():
        assert (one.shared_prompts, one.shared_replies) == (0, 0)
        assert one.held_out >= 80
    assert built.objectives["empathy"].held_out_groups >= 3


def test_what_converters_leave_out_is_counted():
    rows = [{"ask": "a", "x": "1", "y": "2", "vote": vote, "score": score} for vote, score in ((0, "N/A"), (1, 2))]
    options = {"first": "x", "second": "y", "votes": ["vote"], "says_first": "^1$", "says_second": "^2$"}
    assert left("compared_columns", rows, prompt="ask", **options) == {"no majority for either reply": 1}
    scored = left("scored_replies", rows, prompt="ask", reply="x", score="score")
    assert scored == {"a score that is not told": 1}
    labelled = {"prompt": "ask", "reply": "x", "label": "vote", "good": [1], "bad": [2]}
    assert left("labelled_replies", rows, **labelled) == {"the label '0', which is neither good nor bad": 1}
    turns = [{"ask": "a", "x": [{"role": "user", "content": "thanks"}], "y": "no"}]
    wrong = left("paired_columns", turns, prompt="ask", chosen="x", rejected="y")
    assert wrong == {"a reply that is not the assistant's, or none": 1}
    assert left("nested_prompts", [{"a": [None, 5.0]}]) == {"a prompt that is no text": 2}


def test_one_label_is_no_list_of_letters():
    rows = [{"ask": "a", "reply": text, "label": label} for text, label in (("kind", "safe"), ("rude", "unsafe"))]
    (row,) = made("labelled_replies", rows, prompt="ask", reply="reply", label="label", good="safe", bad="unsafe")
    assert row.replies == ("kind", "rude")


def test_votes_in_one_list_need_a_majority_too():
    rows = [{"ask": "a", "x": "one", "y": "two", "votes": [1, 2, 2]}]
    options = {"first": "x", "second": "y", "votes": ["votes"], "says_first": "^1$", "says_second": "^2$"}
    (row,) = made("compared_columns", rows, prompt="ask", **options)
    assert row.replies == ("two", "one")


def test_prompts_that_differ_in_case_are_one():
    rows = [{"ask": ask, "say": say, "votes": votes} for ask, say, votes in (("Why?", "a", 3), ("why", "b", 1))]
    for order in (rows, rows[::-1]):
        (row,) = made("scored_replies", order, prompt="ask", reply="say", score="votes")
        assert (row.prompt[0][1], row.replies) == ("Why?", ("a", "b"))


def test_two_ratings_of_one_text_are_averaged_in_whatever_order():
    rated = (("Oh no.", 2), ("oh no", 0), ("So what.", 0.5))
    rows = {
        "r.csv": [{"base": "x", "emotion": "Sad", "rewriting": text} for text in ("Oh no.", "So what.")],
        "s.csv": [{"response": text, "empathy_score": score} for text, score in rated],
        "p.csv": [{"Sad - Patient response 1": "I am low."}],
    }
    options = {"rewritings": "r.csv", "ratings": "s.csv", "patients": "p.csv"}
    (row,) = made("rated_rewritings", rows, **options)
    assert row.replies == ("Oh no.", "So what.")
    rows["s.csv"] = rows["s.csv"][::-1]
    assert made("rated_rewritings", rows, **options) == [row]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": {"ask": "("}}, r"'\(' is no regular expression"),
        ({"choosen": "x"}, "it knows no option choosen; it takes prompt, chosen, rejected, where"),
        ({"prompt": "topic"}, "a text was expected, found dict"),
    ],
)
def test_options_and_columns_that_cannot_be(options, message):
    rows = [{"ask": "a", "x": "1", "y": "2", "topic": {"name": "bread"}}]
    with pytest.raises(ProsocialError, match=message):
        made("paired_columns", rows, **({"prompt": "ask", "chosen": "x", "rejected": "y"} | options))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ask,x\nWhy, though?,no\n", "row 1: 2 columns were expected"),
        ("ask,x\nWhy?\n", "row 1: 2 columns were expected"),
        ('ask,x\n"Why?,no\nHow?,so\n', "is not whole CSV"),
        ("ask,ask\na,b\n", "stands twice in the first line"),
    ],
)
def test_tables_that_are_not_whole(tmp_path, text, message):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ProsocialError, match=message):
        read_rows(tmp_path / "rows.csv")
