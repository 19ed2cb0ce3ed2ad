"""Kinds of judges and figures from a file of the user's own, named by a recipe."""

import json
import re
from pathlib import Path

import pytest
from support.small_evaluation import MILD, write_config, write_lines

from hf_prosocial.errors import ProsocialError
from hf_prosocial.evaluation import evaluate, read_config
from hf_prosocial.evaluation.text_statistics import is_degenerate
from hf_prosocial.judges.registry import known_judges

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "judges.md"
BLOCK = re.compile(r'^```python title="([^"]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)


def test_the_guides_judge_and_figures_are_used_by_a_recipe(tmp_path, saved_arm):
    """Read from a folder and a file as a user has them, to the figures in metrics.json."""
    for title, code in BLOCK.findall(GUIDE.read_text()):
        (tmp_path / title).write_text(code)
    prompts = write_lines(tmp_path / "asked.jsonl", [{"prompt": text} for text in MILD])
    labelled = [{"prompt": text, "label": ("safe", "unsafe")[row % 2]} for row, text in enumerate(MILD)]
    benchmarks = {
        "labelled": {"file": write_lines(tmp_path / "l.jsonl", labelled), "measures": "over_refusal"},
        "asked": {"file": prompts, "measures": "questions"},
    }
    path = write_config(
        tmp_path,
        saved_arm,
        plugins=[str(tmp_path / name) for name in ("my_judges.py", "my_figures.py")],
        refusal={"kind": "mine", "words": list("aeiou")},
        benchmarks=benchmarks,
        variants={"base": {}},
    )
    metrics = evaluate(read_config(path), tmp_path / "out")

    def replies(benchmark):
        lines = (tmp_path / "out" / "replies" / "base" / f"{benchmark}.jsonl").read_text().splitlines()[1:]
        return [json.loads(line) for line in lines]

    asked = [row["reply"].rstrip().endswith("?") for row in replies("asked")]
    assert metrics.figures["questions"]["asked"]["base"] == {"questions": sum(asked) / len(MILD)}
    safe = [row["reply"] for row in replies("labelled") if int(row["prompt"]) % 2 == 1]
    refused = [reply.lower().startswith(tuple("aeiou")) and not is_degenerate(reply) for reply in safe]
    found = metrics.figures["over_refusal"]["labelled"]["base"]["safe"]["full_refusal"]
    assert found["mean"] == pytest.approx(sum(refused) / len(safe))
    assert metrics.judges["refusal"] == "mine, not validated here"


def test_a_plugin_that_fails_names_itself(tmp_path, saved_arm):
    (tmp_path / "mine.py").write_text("1 / 0\n")
    path = write_config(tmp_path, saved_arm, plugins=[str(tmp_path / "mine.py")])
    with pytest.raises(ProsocialError, match=r"the plug-in .*mine\.py failed: ZeroDivisionError"):
        read_config(path)


def test_an_unknown_kind_names_those_that_are_known(tmp_path, saved_arm):
    path = write_config(tmp_path, saved_arm, refusal={"kind": "nobody"})
    with pytest.raises(ProsocialError, match="nobody") as caught:
        read_config(path)
    for name in known_judges():
        assert name in str(caught.value)


JUDGE = """
from dataclasses import dataclass
from typing import Literal
from hf_prosocial.judges import JudgeConfig, register_judge

@register_judge("odd")
@dataclass(frozen=True)
class Odd(JudgeConfig):
    kind: Literal["odd"]
    def open(self, role, context):
        return lambda prompts, replies: SAID
"""


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ('["full_refusal"] * (len(replies) - 1)', "the judge of refusal gave 5 labels for 6 replies"),
        ('["Full_Refusal"] * len(replies)', "the judge of refusal gave the labels 'Full_Refusal'; known are"),
        ("[1] * len(replies)", "the judge of refusal gave the labels 1; known are full_compliance"),
        ("None", r"the judge of refusal \(odd\) failed: TypeError"),
        ("1 / 0", r"the judge of refusal \(odd\) failed: ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_judge_may_not_say_is_refused_and_not_kept(tmp_path, saved_arm, monkeypatch, says, message):
    monkeypatch.setattr("hf_prosocial.judges.registry._KINDS", known_judges())
    plugin = tmp_path / "odd.py"
    plugin.write_text(JUDGE.replace("SAID", says))
    labelled = [{"prompt": text, "label": ("safe", "unsafe")[row % 2]} for row, text in enumerate(MILD)]
    benchmarks = {"labelled": {"file": write_lines(tmp_path / "l.jsonl", labelled), "measures": "over_refusal"}}
    options = {"plugins": [str(plugin)], "refusal": {"kind": "odd"}, "benchmarks": benchmarks, "variants": {"base": {}}}
    path = write_config(tmp_path, saved_arm, **options)
    with pytest.raises(ProsocialError, match=message):
        evaluate(read_config(path), tmp_path / "out")
    assert not list((tmp_path / "out" / "scores").rglob("*.json"))
