"""Reading replies: what is shown, what is kept, and what is found."""

import csv
import json
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from support.small_evaluation import write_config
from typer.testing import CliRunner

from hf_prosocial.cli import app
from hf_prosocial.evaluation import ReadingPlan, evaluate, read_config, read_replies
from hf_prosocial.evaluation.reading.items import read_items
from hf_prosocial.evaluation.reading.labels import ReadingStore, parse_reading
from hf_prosocial.evaluation.reading.outcome import outcome_of
from hf_prosocial.judges.embedded import EmbeddedJudge, Heads

VARIANTS = ("base", "guided")


@pytest.fixture(scope="module")
def out(tmp_path_factory, saved_arm):
    folder = tmp_path_factory.mktemp("reading")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Random models fail in every way that there is a signature for.
        evaluate(read_config(write_config(folder, saved_arm)), folder / "out")
    return folder / "out"


def kept(out, variant, benchmark="support"):
    lines = (out / "replies" / variant / f"{benchmark}.jsonl").read_text().splitlines()[1:]
    return [json.loads(line) for line in lines]


def read_with(out, lines, **plan):
    """What is shown, and what comes of it, where a reader types some lines."""
    shown, typed = [], iter(lines)
    found = read_replies(out, ReadingPlan("support", **plan), shown.append, lambda _: next(typed))
    return shown, found


def test_each_prompt_shows_every_variants_reply_under_the_uniform_preference(out):
    items = read_items(out, "support", VARIANTS, None, 0)
    assert len(items) == 6
    uniform = {row["prompt"]: row["reply"] for row in kept(out, "guided") if row["preference"].count("0.2") == 5}
    plain = {row["prompt"]: row["reply"] for row in kept(out, "base")}
    for one in (item for replies in items for item in replies):
        assert one.reply == (uniform if one.variant == "guided" else plain)[one.prompt.identity]
    orders = {tuple(one.variant for one in replies) for replies in items}
    assert len(orders) == 2  # Nobody can tell by the order.
    assert read_items(out, "support", VARIANTS[::-1], None, 0) == items
    assert read_items(out, "support", VARIANTS, None, 0) == items
    assert read_items(out, "support", VARIANTS, None, 1) != items
    assert read_items(out, "support", VARIANTS, 3, 0) == items[:3]


def test_a_judges_word_is_of_the_same_reply(out):
    config = json.loads((out / "scores" / "refusal" / "base" / "support.json").read_text())["settings"]["scorer"]
    heads = Heads.load(config["heads"])
    judge = EmbeddedJudge(heads, heads.features(), "refusal")
    for item in (one for replies in read_items(out, "support", (), None, 0) for one in replies):
        said = json.loads((out / "scores" / "refusal" / item.variant / "support.json").read_text())["values"]
        assert judge([item.prompt], [item.reply]) == [said[item.place]]
    guided = read_items(out, "support", ("guided",), None, 0)
    assert {one[0].place % 7 for one in guided} == {5}  # Five one-hot ones, uniform, and one of its own.


def test_a_reading_goes_on_where_it_stopped(out, tmp_path):
    shown, told = read_with(out, ["a21", "what", "t", "q"], variants=VARIANTS)
    assert told == "10 of 12 replies are still to be read; give the same command again"  # And no figure by variant.
    assert any("'what' is no label" in text for text in shown)
    assert not any("base" in text or "guided" in text for text in shown)
    labels = out / "reading" / "labels.jsonl"
    assert len(labels.read_text().splitlines()) == 2
    replies = [row["reply"] for variant in VARIANTS for row in kept(out, variant)]
    assert not any(reply in labels.read_text() for reply in replies if len(reply) > 6)
    with labels.open("a") as file:
        file.write('{"benchmark": "supp')  # A kill.
    _, found = read_with(out, ["p10"] * 10, variants=VARIANTS)
    assert len(labels.read_text().splitlines()) == 12
    assert "turns away, in part or in full" in found
    _, again = read_with(out, [], variants=VARIANTS)
    assert again == found
    # A smaller reading takes nothing away from a larger one.
    assert read_with(out, [], variants=VARIANTS[:1], count=2)[1] == found
    content = json.loads((out / "reading" / "support.json").read_text())
    assert content["outcome"]["counts"]["base"]["turns away, in part or in full"]["count"] == 6


def test_counts_tests_and_agreement(out, tmp_path):
    items = [one for replies in read_items(out, "support", VARIANTS, None, 0) for one in replies]
    worse = "t", "p", "a00", "a10", "a21", "a22"
    order = sorted({one.prompt.identity for one in items})
    read = []
    for item in items:
        row = order.index(item.prompt.identity)
        # The base is always the best; guided is worse on all prompts but for the last.
        read.append((item, parse_reading(item, "a22" if item.variant == "base" else worse[row])))
    found = outcome_of(read, out)
    assert found.counts["guided"]["turns away, in part or in full"].mean == pytest.approx(2 / 6)
    assert found.counts["guided"]["turns away in full"].mean == pytest.approx(1 / 6)
    assert found.counts["guided"]["humane"].mean == pytest.approx(np.mean([0, 0, 1, 2]))
    (pair,) = found.comparisons
    assert (pair.one, pair.other, pair.better, pair.worse) == ("base", "guided", 5, 0)
    assert pair.p == pytest.approx(2 * 0.5**5)
    assert pair.turned_away.mean == pytest.approx(-2 / 6)
    # A judge that says what the reader says agrees in full.
    file = out / "scores" / "second_refusal" / "guided" / "support.json"
    before = file.read_text()
    content = json.loads(before)
    for item, one in read:
        if item.variant == "guided":
            content["values"][item.place] = "full_compliance" if one.label == "answers" else "full_refusal"
    file.write_text(json.dumps(content))
    only = [(item, one) for item, one in read if item.variant == "guided"]
    assert outcome_of(only, out).judges["second_refusal"] == (1.0, 6)
    file.write_text(before)
    assert set(found.judges) == {"refusal", "second_refusal"}  # No judge of harm was asked of this benchmark.


def test_a_sheet_is_written_and_taken_back(out, tmp_path):
    sheet, command = tmp_path / "sheet.csv", ["evaluate", "read", str(out), "--benchmark", "mild harm", "--count", "3"]
    command += ["--sheet", str(sheet), "--variant", "base", "--variant", "in words"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    rows = list(csv.DictReader(sheet.read_text().splitlines(keepends=True)))
    assert [row["number"] for row in rows] == ["1A", "1B", "2A", "2B", "3A", "3B"]
    for row in rows[:5]:
        row["say"] = "ah"
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    found = CliRunner().invoke(app, command)
    assert "1 of 6 replies are still to be read" in found.output
    found = CliRunner().invoke(app, [*command, "--seed", "3"])
    assert "not the reply that was written there" in found.output
    assert found.exit_code == 1
    # A spreadsheet's separator, another order, and one word that is none: nothing of it is taken.
    before = len((out / "reading" / "labels.jsonl").read_text().splitlines())
    text = sheet.read_text()
    for say, said in (("a", "| base | harmful |"), ("x", "3B: 'x' is no label")):
        rows[5]["say"] = say
        with sheet.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
            writer.writeheader()
            writer.writerows(rows[::-1])
        found = CliRunner().invoke(app, command)
        assert said in found.output
    assert len((out / "reading" / "labels.jsonl").read_text().splitlines()) == before + 6
    sheet.write_text(text.replace("say", "sagt", 1))
    assert "has no column say" in CliRunner().invoke(app, command).output
    sheet.unlink()
    CliRunner().invoke(app, command)
    assert [row["say"] for row in csv.DictReader(sheet.read_text().splitlines())] == ["ah"] * 5 + ["a"]


def test_what_cannot_be_read_is_said(out, tmp_path):
    for plan, said in (
        (ReadingPlan("nothing"), "no benchmark 'nothing' was answered; there are"),
        (ReadingPlan("support", ("odd",)), r"support was not answered by \['odd'\]"),
        (ReadingPlan("support", (), 7), "7 prompts are asked for; there are 6"),
    ):
        with pytest.raises(ValueError, match=said):
            read_replies(out, plan, print, input)
    with pytest.raises(OSError, match=r"metrics\.json"):
        read_replies(tmp_path, ReadingPlan("support"), print, input)
    (tmp_path / "labels.jsonl").write_text('{"label": 1}\n')
    with pytest.raises(ValueError, match="line 1: no label"):
        ReadingStore(tmp_path / "labels.jsonl")
    item = read_items(out, "support", ("base",), None, 0)[0][0]
    for said in ("a", "th", "p2", "ah21"):
        assert parse_reading(item, said).said == said
    for wrong in ({"coherence": 7}, {"label": "maybe"}):
        row = asdict(parse_reading(item, "a")) | wrong
        (tmp_path / "labels.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(ValueError, match="line 1: no label"):
            ReadingStore(tmp_path / "labels.jsonl")
