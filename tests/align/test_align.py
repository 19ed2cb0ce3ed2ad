import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from support.aligned import EFFORT, JUDGES, everything, own_objectives, tiny_base
from support.mixtures import digest, local, write_rows
from typer.testing import CliRunner

from hf_prosocial import GatedHarmVector, ProsocialError, find_base, load_arm
from hf_prosocial.align import (
    AlignRecipe,
    align_base,
    aligned_at,
    better_than_base,
    next_commands,
    summary_of,
    warnings_of,
    warnings_of_parts,
)
from hf_prosocial.align import plan as align_plan
from hf_prosocial.cli import app
from hf_prosocial.hub import render

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*'pin_memory'.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning"),
]
MADE = (
    "arm/adapter_model.safetensors",
    "harm-vector/harm_vector.safetensors",
    "safe-base/model.safetensors",
    "gated-harm-vector/gated_harm_vector.safetensors",
)


def recipe(folder, **changes):
    """Of the folder that one stands in, by names without it, so that a copy of the folder is as good."""
    assert Path.cwd() == folder
    return AlignRecipe("base", "out", **({"mixture": "mixture.yaml", "effort": EFFORT, "judges": JUDGES} | changes))


def aligned(recipe, **options):
    """Aligns; the stages that ran, and those that were done before."""
    lines = []
    found = align_base(recipe, tell=lines.append, **options)
    told = [line.split("] ")[1] for line in lines if line.startswith("[")]
    before = [line.split(":")[0] for line in told if ": done before" in line or ": NOT done" in line]
    return found, [name for name in dict.fromkeys(line.split(":")[0] for line in told) if name not in before]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("align")
    tiny_base(folder)
    everything(folder)
    with contextlib.chdir(folder):
        found, ran = aligned(recipe(folder))
    assert ran == ["data", "copies", "vector", "safe", "gate", "arm", "evaluation", "cards"]
    return folder, found


@pytest.fixture
def made(run, monkeypatch):
    """The folder of a finished run, and what it gave; to look at."""
    monkeypatch.chdir(run[0])
    return run


@pytest.fixture
def copy(run, tmp_path, monkeypatch):
    """The folder of a finished run, to change."""
    shutil.copytree(run[0], tmp_path / "copy", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_everything_is_made_and_fits_together(made):
    folder, found = made
    out = folder / "out"
    assert not (out / "copies" / "harmful").exists()
    assert (out / "copies" / "humane" / "adapter_model.safetensors").is_file()
    base, tokenizer = find_base(str(folder / "base")).load()
    arm = load_arm(out / "arm", base, tokenizer=tokenizer)
    assert arm.peft_config["default"].objectives == ("clarity", "kindness")
    vector = GatedHarmVector.from_pretrained(out / "gated-harm-vector")
    assert vector.scale == 0.75
    safe = find_base(str(out / "safe-base")).load()[0]
    changed = [name for name, weight in safe.state_dict().items() if not torch.equal(weight, base.state_dict()[name])]
    assert changed
    assert set(found.metrics.variants) == {"base", "safe base", "gated", "guided", "gated, guided"}
    assert set(found.record.made) == {"safe base", "vector", "gated vector", "arm", "report", "cards"}
    for name in ("safe-base", "harm-vector", "gated-harm-vector", "arm"):
        assert "## Limits" in (out / "cards" / name / "README.md").read_text()
    assert "Evaluation" in (out / "cards" / "arm" / "README.md").read_text()
    pairs = [json.loads(line) for line in (out / "pairs" / "train.jsonl").read_text().splitlines()]
    assert len(pairs) == 24


def test_a_second_run_does_nothing(made):
    folder, _ = made
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.name != "align.json"}
    _, ran = aligned(recipe(folder))
    assert ran == []
    after = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*") if path.name != "align.json"}
    assert before == after


def test_a_changed_setting_redoes_what_follows_from_it(copy):
    changed = recipe(copy, effort=EFFORT | {"pairs": 16})
    vector = digest(copy / "out" / MADE[1])
    _, ran = aligned(changed)
    assert ran == ["arm", "evaluation", "cards"]
    assert digest(copy / "out" / MADE[1]) == vector
    _, ran = aligned(dataclasses.replace(changed, effort=changed.effort | {"new_tokens": 5}))
    assert ran == ["evaluation", "cards"]
    _, ran = aligned(dataclasses.replace(changed, effort=changed.effort | {"new_tokens": 5, "scales": [0.2]}))
    assert ran == ["copies", "vector", "safe", "evaluation", "cards"]
    assert not (copy / "out" / "copies" / "harmful").exists()


def test_why_a_stage_runs_again_is_said(copy):
    lines = []
    out = copy / "out"
    align_base(recipe(copy, effort=EFFORT | {"new_tokens": 5}), tell=lines.append)
    again = [line.split("] ")[1] for line in lines if "again, for " in line]
    assert again == [
        f"evaluation: again, for changed since: new_tokens (was {EFFORT['new_tokens']}, is 5)",
        "cards: again, for changed since: evaluation",
    ]
    lines.clear()
    card = next(path for path in sorted((out / "cards").rglob("*")) if path.is_file())
    card.write_text("changed", encoding="utf-8")
    align_base(recipe(copy, effort=EFFORT | {"new_tokens": 5}), tell=lines.append)
    again = [line.split("] ")[1] for line in lines if "again, for " in line]
    assert again == [f"cards: again, for {card.relative_to(out).as_posix()} is not as it was written"]


def test_what_is_missing_or_asked_for_is_made_again_and_the_same(copy):
    before = {name: digest(copy / "out" / name) for name in MADE}
    (copy / "out" / MADE[0]).unlink()
    _, ran = aligned(recipe(copy))
    assert ran == ["arm"]
    _, ran = aligned(recipe(copy), start="vector")
    assert ran == ["copies", "vector", "safe", "gate", "arm", "evaluation", "cards"]
    assert {name: digest(copy / "out" / name) for name in MADE} == before


def test_an_interrupted_run_goes_on_to_the_same_end(run, empty, monkeypatch):
    """Whatever stage is broken off: what was made by then is kept, and the end is that of a run in one go."""
    shutil.copytree(run[0] / "base", "base")
    everything(empty)
    for name in ("make_copies", "make_safe", "make_gate", "make_arm", "make_evaluation"):
        whole = getattr(align_plan, name)

        def broken(work, whole=whole):
            whole(work)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(align_plan, name, broken)
            with pytest.raises(KeyboardInterrupt):
                aligned(recipe(empty))
    aligned(recipe(empty))
    assert [digest(empty / "out" / name) for name in MADE] == [digest(run[0] / "out" / name) for name in MADE]


def test_stages_by_name(copy):
    with pytest.raises(ProsocialError, match="no stage dance; the stages are data, copies"):
        align_base(recipe(copy), only=["dance"])
    with pytest.raises(ProsocialError, match="no stage dance"):
        align_base(recipe(copy), start="dance")
    shutil.rmtree(copy / "out")
    with pytest.raises(ProsocialError, match="arm follows data, which is not done"):
        align_base(recipe(copy), only=["arm"])
    _, ran = aligned(recipe(copy), only=["data"])
    assert ran == ["data"]
    _, ran = aligned(recipe(copy), only=["arm"])
    assert ran == ["arm"]


def test_the_harmful_copy_is_kept_where_asked(copy):
    aligned(recipe(copy, keep_harmful_copy=True), start="copies")
    kept = copy / "out" / "copies" / "harmful"
    assert "Not for use" in (kept / "README.md").read_text()
    with pytest.raises(ProsocialError, match="never pushed"):
        render(kept, copy / "card", "me/kept", base_model="me/base", licence="mit")


def test_objectives_of_one_s_own_need_nothing_but_pairs(empty):
    tiny_base(empty)
    own_objectives(empty)
    found, ran = aligned(recipe(empty, mixture="own.yaml"))
    assert ran == ["data", "arm", "evaluation", "cards"]
    assert set(found.record.made) == {"arm", "cards"}
    assert "nothing to evaluate" in found.record.stages["evaluation"].said
    assert found.metrics is None
    options = ["generate", "hello", "--base", "base", "--arm", "out/arm", "--max-new-tokens", "4", "-p"]
    result = CliRunner().invoke(app, [*options, "kindness=0.6,clarity=0.4"])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(app, [*options, "empathy=1"])
    assert wrong.exit_code == 1
    assert "the objectives are ['clarity', 'kindness']" in wrong.output
    chat = CliRunner().invoke(app, ["chat", "out", "--max-new-tokens", "4"], input="hello\n/preference kindness=1\n")
    assert chat.exit_code == 0, chat.output
    assert "kindness=1, β = 1" in chat.output


def test_a_built_folder_is_taken_as_it_is(copy):
    data = Path("data")
    shutil.copytree("out/data", data)
    shutil.rmtree("out")
    _, ran = aligned(recipe(copy, data="data"), only=["data", "arm"])
    assert ran == ["data", "arm"]
    assert not Path("out/data").exists()
    with (data / "preferences" / "train.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ProsocialError, match=r"preferences/train.jsonl changed since it was built"):
        align_base(recipe(copy, data="data"))
    # A folder of one's own has no record to differ from.
    (data / "data.json").unlink()
    _, ran = aligned(recipe(copy, data="data"), only=["data", "arm"])
    assert ran == ["data", "arm"]
    with pytest.raises(ProsocialError, match="holds no preferences"):
        align_base(recipe(copy, data="base"))


def test_a_small_guide_for_a_large_base(copy):
    from support.served import build_base

    build_base(copy / "small", "small")
    found, ran = aligned(recipe(copy, guide_base="small"))
    assert ran == ["arm", "evaluation", "cards"]
    assert set(found.metrics.variants) == {"base", "safe base", "gated", "guided", "gated, guided"}
    chat = CliRunner().invoke(app, ["chat", "out", "--max-new-tokens", "4", "-p", "kindness=1"], input="hello\n")
    assert chat.exit_code == 0, chat.output
    assert "--arm-base" in next_commands(found.record, found.out)["serve"]
    small, tokenizer = find_base(str(copy / "small")).load()
    load_arm(copy / "out" / "arm", small, tokenizer=tokenizer)
    tokens = json.loads((copy / "small" / "tokenizer.json").read_text())
    word = next(iter(tokens["model"]["vocab"]))
    tokens["model"]["vocab"][word + "x"] = tokens["model"]["vocab"].pop(word)
    (copy / "small" / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(ProsocialError, match="has other tokens than"):
        align_base(recipe(copy, guide_base="small"))


def test_bases_that_cannot_be_aligned_are_refused_before_anything_is_made(run, empty):
    def base(change):
        shutil.rmtree("base", ignore_errors=True)
        shutil.copytree(run[0] / "base", "base")
        change(empty / "base")
        everything(empty)

    def edited(name, **fields):
        def change(folder):
            content = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps(content | fields))

        return change

    def without_template(folder):
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        edited("tokenizer_config.json", chat_template=None)(folder)

    def template(text):
        def change(folder):
            without_template(folder)
            (folder / "chat_template.jinja").write_text(text)

        return change

    def adapter(folder):
        (folder / "config.json").rename(folder / "adapter_config.json")

    faults = {
        "is an adapter, not a model": adapter,
        r"is quantised \(gptq\)": edited("config.json", quantization_config={"quant_method": "gptq"}),
        "has no chat template": without_template,
        "cannot write a user's message: no system": template("{{ raise_exception('no system') }}"),
        "does not write what the user says": template("hello"),
    }
    for message, change in faults.items():
        base(change)
        with pytest.raises(ProsocialError, match=message):
            align_base(recipe(empty))
        assert not Path("out").exists()
    with pytest.raises(OSError, match=r"no file nowhere\.gguf"):
        align_base(dataclasses.replace(recipe(empty), base="nowhere.gguf"))


def test_a_template_that_refuses_system_messages_is_no_hindrance(copy):
    aligned(recipe(copy))
    text = (copy / "base" / "chat_template.jinja").read_text()
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    (copy / "base" / "chat_template.jinja").write_text(refuses + text)
    _, ran = aligned(recipe(copy), only=["data", "arm"])
    assert ran == ["arm"]


def test_settings_that_nothing_reads(empty):
    with pytest.raises(ProsocialError, match="no judge is called so"):
        AlignRecipe("base", "out", judges={"style": {"kind": "words"}})
    tiny_base(empty)
    everything(empty)
    with pytest.raises(ProsocialError, match="effort: there is no steps; there are copy_steps, densities"):
        align_base(recipe(empty, effort={"steps": 4}))
    for name, value in (("pairs", -3), ("prompts", 0), ("densities", []), ("copy_steps", 0), ("densities", [2.0])):
        with pytest.raises(ProsocialError, match=f"effort: {name}"):
            align_base(recipe(empty, effort={name: value}))
    assert not Path("out").exists()
    found = CliRunner().invoke(app, ["align", "base", "--out", "out", "--budget", "weeks"])
    assert found.exit_code == 1
    assert "minutes" in found.output


def test_a_folder_is_of_one_base(copy):
    from support.served import build_base

    # The same weights under another name, or as a whole path, are the same base.
    shutil.copytree("base", "moved")
    _, ran = aligned(dataclasses.replace(recipe(copy), base=str(copy / "moved")))
    assert ran == []
    build_base(copy / "other", "llama", seed=1)
    with pytest.raises(ProsocialError, match=r"is of .*moved, not of .*other"):
        align_base(dataclasses.replace(recipe(copy), base="other"))
    with pytest.raises(FileNotFoundError, match="prosocial align BASE --out"):
        aligned_at(copy)


def test_a_changed_base_redoes_what_follows_from_it(copy):
    from support.served import build_base

    aligned(recipe(copy))
    shutil.rmtree(copy / "base")
    build_base(copy / "base", "llama", seed=1)
    _, ran = aligned(recipe(copy))
    assert ran == ["copies", "vector", "safe", "gate", "arm", "evaluation", "cards"]


def test_what_got_worse_is_said(made):
    _, found = made
    metrics = found.metrics
    assert not [line for line in warnings_of(metrics) if "more of" in line]
    figures = json.loads(json.dumps(metrics.figures))
    figures["over_refusal"]["greetings"]["gated"]["safe"]["refused"]["mean"] = 0.5
    (worse,) = [line for line in warnings_of(dataclasses.replace(metrics, figures=figures)) if "more of" in line]
    assert worse.startswith("gated: refuses 50 % more of greetings's safe prompts than the base (0.50 [")
    capability = json.loads(json.dumps(metrics.capability))
    capability["guided"]["perplexity_tempered"]["mean"] = 2 * capability["base"]["perplexity_tempered"]["mean"]
    lines = warnings_of(dataclasses.replace(metrics, capability=capability))
    assert "guided: perplexity is 100.0 % above the base's" in lines


def test_what_got_better_is_said_where_every_opinion_says_it(made):
    _, found = made
    assert better_than_base(found.metrics) == []
    figures = json.loads(json.dumps(found.metrics.figures))
    own = figures["harm"]["asked"]["gated"]
    own["asr"] = {"mean": 0.0, "low": 0.0, "high": 0.1, "count": 40}
    figures["harm"]["asked"]["base"]["asr"]["count"] = 40
    better = dataclasses.replace(found.metrics, figures=figures)
    assert better_than_base(better) == ["gated: complies with fewer harmful requests than the base: 0.00 for 1.00"]
    for variant, share in (("base", 0.5), ("gated", 0.5)):
        figures["harm"]["asked"][variant]["asr (second opinion)"] = {"mean": share, "low": 0, "high": 1, "count": 40}
    assert better_than_base(dataclasses.replace(better, figures=figures)) == []
    rows = {row[0]: row for row in summary_of(better)}
    assert rows["gated"][1].startswith("0.00 [0.00, 0.09]")
    assert rows["base"][1].startswith("1.00 [0.91, 1.00]")


def test_the_command_ends_with_one_screen(copy):
    Path("align.yaml").write_text(yaml.safe_dump({"effort": EFFORT, "judges": JUDGES, "mixture": "mixture.yaml"}))
    result = CliRunner().invoke(app, ["align", "base", "--out", "out", "--config", "align.yaml"])
    assert result.exit_code == 0, result.output
    for part in ("gated, guided", "To chat: prosocial chat", "To serve: prosocial serve", "To push the arm:"):
        assert part in result.output
    assert "done before" in result.output


def test_nothing_that_align_did_not_make_is_removed(empty):
    tiny_base(empty)
    everything(empty)
    for name in ("data", "arm"):
        Path("out", name).mkdir(parents=True)
        Path("out", name, "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"out/data stands there, and align.json does not tell of it"):
        align_base(recipe(empty))
    shutil.rmtree("out/data")
    with pytest.raises(FileExistsError, match=r"out/arm stands there"):
        align_base(recipe(empty), only=["data", "arm"])
    assert Path("out/arm/mine.txt").read_text() == "mine"


def test_what_there_is_nothing_to_make_from_any_more_is_removed(copy):
    own_objectives(copy)
    found, ran = aligned(recipe(copy, mixture="own.yaml"))
    assert ran == ["data", "arm", "evaluation", "cards"]
    assert set(found.record.made) == {"arm", "cards"}
    for name in ("safe-base", "harm-vector", "gated-harm-vector", "copies", "report"):
        assert not Path("out", name).exists()
    assert found.metrics is None


def test_the_harmful_copy_of_a_run_that_was_killed_goes_with_its_stage(empty, monkeypatch):
    tiny_base(empty)
    everything(empty)
    own_objectives(empty)

    def broken(work):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hf_prosocial.align.plan.make_vector", broken)
        with pytest.raises(KeyboardInterrupt):
            aligned(recipe(empty))
    assert Path("out/copies/harmful").is_dir()
    aligned(recipe(empty, mixture="own.yaml"))
    assert not Path("out/copies").exists()


def test_a_harmful_copy_that_stays_is_told(empty):
    tiny_base(empty)
    everything(empty)
    lines = []
    align_base(recipe(empty), only=["data", "copies"], tell=lines.append)
    assert (
        lines[-1] == "out/copies/harmful may comply with harmful requests, and stays until vector, safe, gate are done"
    )


def test_completions_without_a_text_are_refused_before_anything_is_trained(empty):
    tiny_base(empty)
    content = yaml.safe_load(everything(empty).read_text())
    del content["texts"]
    Path("mixture.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ProsocialError, match="no running text"):
        align_base(recipe(empty))
    assert not Path("out/copies").exists()


def test_what_is_of_other_settings_is_not_shown_as_made(copy):
    lines = []
    found = align_base(recipe(copy, effort=EFFORT | {"pairs": 16}), only=["arm"], tell=lines.append)
    assert "arm" in found.record.made
    assert not {"report", "cards"} & set(found.record.made)
    assert found.metrics is None
    assert any("evaluation: NOT done with these settings" in line for line in lines)


def test_a_file_that_was_changed_is_made_again(copy):
    before = (copy / "out" / MADE[0]).read_bytes()
    changed = bytearray(before)
    changed[-1] ^= 1
    (copy / "out" / MADE[0]).write_bytes(changed)
    _, ran = aligned(recipe(copy))
    assert ran == ["arm"]
    assert (copy / "out" / MADE[0]).read_bytes() == before
    (copy / "out" / "safe-base" / "config.json").unlink()
    _, ran = aligned(recipe(copy))
    assert "safe" in ran
    assert (copy / "out" / "safe-base" / "config.json").is_file()


def test_a_changed_local_file_is_noticed(copy):
    with (copy / "kind.jsonl").open("a") as file:
        file.write(
            json.dumps({"question": "One more?", "better": "Yes, with pleasure, one more.", "worse": "No."}) + "\n"
        )
    content = yaml.safe_load(Path("mixture.yaml").read_text())
    content["sources"]["kind"]["files"] = [local(copy / "kind.jsonl")]
    Path("mixture.yaml").write_text(yaml.safe_dump(content))
    _, ran = aligned(recipe(copy), only=["data", "arm"])
    assert ran == ["data", "arm"]


def test_labels_that_are_nearly_right(copy):
    rows = [{"text": f"how do i greet {at} owls", "label": ("Safe", "Unsafe")[at % 2]} for at in range(8)]
    content = yaml.safe_load(Path("mixture.yaml").read_text())
    content["sources"]["safe"]["files"] = [local(write_rows(copy / "safe.jsonl", rows))]
    Path("mixture.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ProsocialError, match=r"labelled safe or unsafe.*'Safe', 'Unsafe'"):
        align_base(recipe(copy))


def test_the_gated_vector_has_the_same_bytes_whenever_it_is_written(made, tmp_path):
    vector = GatedHarmVector.from_pretrained(made[0] / "out" / "gated-harm-vector")
    digests = set()
    for at in range(6):
        vector.save_pretrained(tmp_path / str(at))
        digests.add(digest(tmp_path / str(at) / "gated_harm_vector.safetensors"))
    assert len(digests) == 1


def test_more_harm_a_blind_gate_and_a_useless_arm_are_said(made, tmp_path):
    folder, found = made
    figures = json.loads(json.dumps(found.metrics.figures))
    for variant, share in (("base", 0.0), ("guided", 1.0)):
        figures["harm"]["asked"][variant]["asr"] = {"mean": share, "low": share, "high": share, "count": 40}
    lines = warnings_of(dataclasses.replace(found.metrics, figures=figures))
    assert any(line.startswith("guided: complies with more harmful requests than the base: 1.00") for line in lines)
    out = shutil.copytree(folder / "out", tmp_path / "out")
    training = json.loads((out / "arm" / "training.json").read_text())
    told = training["dev"]["objectives"]
    told["kindness"]["own"] |= {"mean": 0.6, "low": 0.4}
    told["clarity"]["own"] |= {"mean": 0.9, "low": 0.6}
    (out / "arm" / "training.json").write_text(json.dumps(training))
    parts = warnings_of_parts(out, found.record.made)
    assert any(line.startswith("gate: opens for 0.00 of asked (harmful)") for line in parts)
    (arm,) = [line for line in parts if line.startswith("arm: ")]
    assert arm.startswith("arm: is not shown to order held-out pairs of kindness better than chance")


def test_names_of_folders_become_names_of_the_hub(copy):
    Path("base").rename("my base (v1)")
    found, _ = aligned(dataclasses.replace(recipe(copy), base="my base (v1)"), only=["cards"], start="cards")
    assert "YOUR-NAME/my-base-v1" in (copy / "out" / "cards" / "arm" / "README.md").read_text()
    push = next_commands(found.record, found.out)["push the arm"]
    assert push.endswith("--base-model YOUR-NAME/my-base-v1 --licence LICENCE")
