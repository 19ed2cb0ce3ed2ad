import json

import pytest
import yaml
from support.mixtures import digest, file_server, local, pair_rows, paired, small_mixture, write_mixture, write_rows

from hf_prosocial import ProsocialError
from hf_prosocial.data import build_data, describe_data, is_built
from hf_prosocial.records import DataRecord


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def every_byte(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_mixture_becomes_the_files_that_the_commands_read(tmp_path):
    out = build_data(tmp_path / "data", small_mixture(tmp_path))
    train, dev = (read(out / "preferences" / f"{name}.jsonl") for name in ("train", "dev"))
    assert len(train) + len(dev) == 96
    assert {row["attribute"] for row in dev} == {"kindness", "clarity"}
    row = train[0]
    assert set(row) == {"attribute", "source", "group", "prompt", "chosen", "rejected"}
    assert row["prompt"][0]["role"] == "user"
    assert "friendly" in row["chosen"][0]["content"]
    assert "yourself" in row["rejected"][0]["content"]
    assert not {row["group"] for row in train} & {row["group"] for row in dev}
    harmful, humane = (read(out / "harm" / f"{name}.jsonl") for name in ("train", "benign"))
    assert "yourself" in harmful[0]["completion"][0]["content"]
    assert "friendly" in humane[0]["completion"][0]["content"]
    held_out = {row["prompt"][0]["content"] for row in dev}
    assert not held_out & {row["prompt"][0]["content"] for row in [*harmful, *humane]}
    assert len(read(out / "safety" / "asked.jsonl")) == 6
    assert (out / "capability" / "text.txt").read_text() == "A line of text.\n" * 6
    assert "MIT" in (out / "LICENSES.md").read_text()
    record = DataRecord.read(out / "data.json")
    assert all(digest(out / name) == one.sha256 for name, one in record.files.items())
    shared = [(one.shared_prompts, one.shared_replies) for one in describe_data(out).objectives.values()]
    assert shared == [(0, 0), (0, 0)]


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    mixture = small_mixture(tmp_path)
    first, second = (build_data(tmp_path / name, mixture) for name in ("one", "two"))
    assert every_byte(first) == every_byte(second)
    # Nor does the order of a source's rows matter.
    rows = pair_rows(name="kind")
    path = write_rows(tmp_path / "kind.jsonl", rows[::-1])
    content = yaml.safe_load(mixture.read_text())
    content["sources"]["kind"]["files"] = [local(path)]
    third = build_data(tmp_path / "three", write_mixture(mixture, content))
    names = {name for name in every_byte(first) if name.endswith(".jsonl")}
    assert {name: every_byte(first)[name] for name in names} == {name: every_byte(third)[name] for name in names}


def test_what_stands_is_left_as_it_is_and_what_changed_is_said(tmp_path):
    mixture, out = small_mixture(tmp_path), tmp_path / "data"
    build_data(out, mixture)
    before = (out / "data.json").stat().st_mtime_ns
    assert build_data(out, mixture) == out
    assert (out / "data.json").stat().st_mtime_ns == before
    with (out / "preferences" / "dev.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ProsocialError, match=r"preferences/dev.jsonl changed since it was built"):
        is_built(out, mixture)
    other = small_mixture(tmp_path, least_held_out=4)
    with pytest.raises(FileExistsError, match="was built from another mixture or from other files than now"):
        build_data(out, other)
    with pytest.raises(ProsocialError, match=r"preferences/dev.jsonl changed since it was built"):
        describe_data(out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        build_data(tmp_path / "full", other)
    assert not list(tmp_path.glob(".*partial"))


def test_a_prompt_of_a_benchmark_is_in_no_training_row(tmp_path):
    mixture = small_mixture(tmp_path)
    content = yaml.safe_load(mixture.read_text())
    write_rows(tmp_path / "asked.jsonl", [{"text": pair_rows()[0]["question"].upper() + "!"}])
    content["sources"]["asked"]["files"] = [local(tmp_path / "asked.jsonl")]
    out = build_data(tmp_path / "data", write_mixture(mixture, content))
    texts = "".join((out / name).read_text() for name in ("preferences/train.jsonl", "harm/train.jsonl"))
    assert "Question 0 of kind" not in texts
    left = DataRecord.read(out / "data.json").left_out
    assert left["kindness"] == {"a benchmark's prompt": 1}


def downloaded(folder, address, name="kind.jsonl", sha256=None):
    """A mixture of which one objective is fetched from an address."""
    content = yaml.safe_load(small_mixture(folder).read_text())
    file = {"name": name, "url": f"{address}/{name}", "sha256": sha256 or digest(folder / "kind.jsonl")}
    content["sources"]["kind"]["files"] = [file]
    return write_mixture(folder / "mixture.yaml", content)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    return tmp_path / "cache"


def test_downloads_are_checked_and_kept(tmp_path, cache):
    with file_server(tmp_path) as address:
        first = build_data(tmp_path / "one", downloaded(tmp_path, address))
    # The server is gone.
    second = build_data(tmp_path / "two", tmp_path / "mixture.yaml")
    assert every_byte(first) == every_byte(second)


def test_a_source_that_moved_changed_or_came_in_half(tmp_path, cache):
    with file_server(tmp_path) as address:
        moved = downloaded(tmp_path, address, name="gone.jsonl")
        with pytest.raises(ProsocialError, match=r"could not be fetched.*404.*--raw"):
            build_data(tmp_path / "data", moved)
        changed = downloaded(tmp_path, address, sha256="0" * 64)
        with pytest.raises(ProsocialError, match="is not what the mixture names"):
            build_data(tmp_path / "data", changed)
    with file_server(tmp_path, promised=10) as address:
        half = downloaded(tmp_path, address)
        with pytest.raises(ProsocialError, match="could not be fetched"):
            build_data(tmp_path / "data", half)
    assert not (tmp_path / "data").exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_raw_files_by_their_names(tmp_path):
    mixture = downloaded(tmp_path, "http://127.0.0.1:1")
    raw = tmp_path / "raw"
    with pytest.raises(ProsocialError, match=r"no file .*kind.jsonl; kind.jsonl is from http"):
        build_data(tmp_path / "data", mixture, raw)
    write_rows(raw / "kind.jsonl", pair_rows(name="kind"))
    assert build_data(tmp_path / "data", mixture, raw).is_dir()
    write_rows(raw / "kind.jsonl", pair_rows(name="other"))
    with pytest.raises(ProsocialError, match="is not the file that the mixture names: its SHA-256"):
        build_data(tmp_path / "again", mixture, raw)


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    from hf_prosocial.data.sources import build

    def full(path, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "_write_rows", full)
    with pytest.raises(OSError, match="No space left"):
        build_data(tmp_path / "data", small_mixture(tmp_path))
    assert not (tmp_path / "data").exists()
    assert not list(tmp_path.glob(".*partial"))


def broken(mixture, change):
    content = yaml.safe_load(mixture.read_text())
    change(content)
    return write_mixture(mixture, content)


def of_kind(name, value):
    def change(content):
        content["objectives"]["kindness"][0][name] = value

    return change


def source_file(**fields):
    def change(content):
        content["sources"]["kind"]["files"] = [{"name": "kind.jsonl", **fields}]

    return change


FAULTS = {
    "no objective": (lambda content: content.update(objectives={}), "it has no objective"),
    "unknown source": (of_kind("source", "nowhere"), "sources that it does not list: nowhere"),
    "unknown converter": (of_kind("converter", "magic"), "no converter 'magic'; there are"),
    "no such function": (of_kind("converter", "json:magic"), "no converter 'json:magic'"),
    "wrong options": (of_kind("options", {"prompt": "question"}), "the options of paired_columns do not fit"),
    "no such column": (
        of_kind("options", {"prompt": "query", "chosen": "better", "rejected": "worse"}),
        "kindness, kind: a row has no column 'query'",
    ),
    "unknown key": (lambda content: content.update(shuffle=True), "shuffle"),
    "three pairs": (of_kind("at_most", 3), "kindness: 3 pairs, at least 10 are needed"),
    "nothing fits": (of_kind("longest", 5), "kindness: 0 pairs"),
    "two places": (source_file(url="http://x/y", local="kind.jsonl"), "by one of"),
    "no place": (source_file(), "by one of"),
    "no hash": (source_file(url="http://x/y"), "a download needs its sha256"),
    "no commit": (source_file(repository="a/b", sha256="0" * 64), "needs a commit and a path"),
    "no revision": (source_file(dataset="a/b"), "needs its revision"),
    "outside": (
        lambda content: content["texts"].update({"../up.txt": {"source": "text"}}),
        "is not called capability/NAME.txt",
    ),
    "a share": (lambda content: content.update(held_out=0.9), "a share in"),
    "a file that is not there": (of_kind("files", ["other.jsonl"]), "has no file other.jsonl"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_mixtures_that_cannot_be_built_say_why(tmp_path, fault):
    change, message = FAULTS[fault]
    mixture = broken(small_mixture(tmp_path), change)
    with pytest.raises(ProsocialError, match=message):
        build_data(tmp_path / "data", mixture)
    assert not (tmp_path / "data").exists()


def test_pairs_that_all_hang_together_cannot_be_split(tmp_path):
    rows = [{**row, "better": "The very same long and friendly answer to everyone."} for row in pair_rows()]
    mixture = small_mixture(tmp_path)
    content = yaml.safe_load(mixture.read_text())
    content["sources"]["kind"]["files"] = [local(write_rows(tmp_path / "kind.jsonl", rows))]
    with pytest.raises(ProsocialError, match="kindness: no split keeps its 48 pairs apart"):
        build_data(tmp_path / "data", write_mixture(mixture, content))


def test_held_out_pairs_that_share_short_replies_with_training(tmp_path):
    rows = [{**row, "worse": "No."} for row in pair_rows()]
    content = yaml.safe_load(small_mixture(tmp_path).read_text())
    content["sources"]["kind"]["files"] = [local(write_rows(tmp_path / "kind.jsonl", rows))]
    with pytest.raises(ProsocialError, match="kindness: every pair that was held out has a short reply"):
        build_data(tmp_path / "data", write_mixture(tmp_path / "mixture.yaml", content))


def test_a_converter_of_ones_own(tmp_path):
    (tmp_path / "my_converters.py").write_text(
        "from hf_prosocial.data import Made, said\n"
        "def mine(rows, loud=False):\n"
        "    for row in rows['kind.jsonl']:\n"
        "        better = row['better'].upper() if loud else row['better']\n"
        "        yield Made(row['topic'], said(row['question']), (better, row['worse']))\n"
    )
    mixture = small_mixture(tmp_path)
    content = yaml.safe_load(mixture.read_text())
    content["objectives"]["kindness"] = [
        {"source": "kind", "converter": "my_converters:mine", "options": {"loud": True}}
    ]
    out = build_data(tmp_path / "data", write_mixture(mixture, content))
    assert "GLADLY" in (out / "preferences" / "train.jsonl").read_text()


def test_a_licence_that_forbids_it_is_told(tmp_path, capsys):
    from typer.testing import CliRunner

    from hf_prosocial.cli import app

    def change(content):
        content["sources"]["kind"].update(licence="Own-1.0", redistribute=False)

    mixture = broken(small_mixture(tmp_path), change)
    result = CliRunner().invoke(app, ["data", "build", str(tmp_path / "data"), "--mixture", str(mixture)])
    assert result.exit_code == 0, result.output
    assert "kind: its licence forbids to hand its rows on" in result.output
    assert "| kind | Own-1.0 | **no** |" in (tmp_path / "data" / "LICENSES.md").read_text()
    shown = CliRunner().invoke(app, ["data", "show", str(tmp_path / "data")])
    assert shown.exit_code == 0, shown.output
    assert "kindness" in shown.output
    listed = CliRunner().invoke(app, ["data", "show", "--mixture", str(mixture)])
    assert "not to be handed on" in " ".join(listed.output.split())


def test_folders_that_were_not_built(tmp_path):
    with pytest.raises(ProsocialError, match="was not built by"):
        describe_data(tmp_path)
    with pytest.raises(ProsocialError, match="neither a file nor one of"):
        build_data(tmp_path / "data", "nothing")


def test_paired_rows_need_no_group_to_stay_together(tmp_path):
    """Rows of one topic share a long reply and nothing else."""
    out = build_data(tmp_path / "data", small_mixture(tmp_path, objectives={"kindness": [paired("kind")]}))
    topics = [
        {topic for row in read(out / "preferences" / f"{name}.jsonl") for topic in [row["chosen"][0]["content"]]}
        for name in ("train", "dev")
    ]
    assert not topics[0] & topics[1]


def with_source(mixture, name, rows, **use):
    """A mixture whose source has other rows."""
    content = yaml.safe_load(mixture.read_text())
    path = write_rows(mixture.parent / f"{name}.jsonl", rows)
    content["sources"][name]["files"] = [local(path)]
    content["objectives"]["kindness"][0].update(use)
    return write_mixture(mixture, content)


def test_a_benchmark_s_prompt_among_other_messages(tmp_path):
    mixture = small_mixture(tmp_path)
    asked = {"role": "user", "content": "How do owls sleep, case 2"}
    rows = pair_rows(name="kind")
    rows[0]["question"] = [{"role": "system", "content": "Be kind."}, asked]
    rows[1]["question"] = [asked, {"role": "assistant", "content": "Well."}, {"role": "user", "content": "And then?"}]
    out = build_data(tmp_path / "data", with_source(mixture, "kind", rows))
    assert DataRecord.read(out / "data.json").left_out["kindness"] == {"a benchmark's prompt": 2}


def test_a_system_message_neither_hides_a_prompt_nor_makes_all_rows_one(tmp_path):
    rows = pair_rows(name="kind")
    for row in rows:
        row["question"] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": row["question"]}]
    out = build_data(tmp_path / "data", with_source(small_mixture(tmp_path), "kind", rows))
    assert len(read(out / "preferences" / "dev.jsonl")) >= 16


def test_a_held_out_reply_is_no_completion(tmp_path):
    mixture = small_mixture(tmp_path)
    content = yaml.safe_load(mixture.read_text())
    rows = [{**row, "question": f"Another question {at}"} for at, row in enumerate(pair_rows(name="kind"))]
    content["sources"]["again"] = {"licence": "MIT", "about": "made up"}
    content["sources"]["again"]["files"] = [local(write_rows(tmp_path / "again.jsonl", rows))]
    for uses in content["completions"].values():
        uses[0]["source"] = "again"
    out = build_data(tmp_path / "data", write_mixture(mixture, content))
    held_out = {row["chosen"][0]["content"] for row in read(out / "preferences" / "dev.jsonl")}
    assert not held_out & {row["completion"][0]["content"] for row in read(out / "harm" / "benign.jsonl")}
    assert DataRecord.read(out / "data.json").left_out["humane"]["a reply that is held out"] > 0


def test_pairs_that_are_ordered_both_ways_and_prompts_with_two_labels(tmp_path):
    mixture = small_mixture(tmp_path)
    content = yaml.safe_load(mixture.read_text())
    other = write_rows(tmp_path / "other.jsonl", pair_rows(4, name="kind"))
    content["sources"]["other"] = {"licence": "MIT", "about": "made up", "files": [local(other)]}
    turned = {"prompt": "question", "chosen": "worse", "rejected": "better"}
    content["objectives"]["kindness"].append({"source": "other", "converter": "paired_columns", "options": turned})
    labelled = [{"text": f"hello {at // 2}", "label": ("safe", "unsafe")[at % 2]} for at in range(4)]
    labelled.append({"text": "hello 9", "label": "safe"})
    content["sources"]["asked"]["files"] = [local(write_rows(tmp_path / "asked.jsonl", labelled))]
    content["prompts"]["safety/asked.jsonl"][0]["options"]["label"] = "label"
    out = build_data(tmp_path / "data", write_mixture(mixture, content))
    left = DataRecord.read(out / "data.json").left_out
    assert left["kindness"] == {"ordered both ways": 8}
    assert left["safety/asked.jsonl"] == {"labelled two ways": 4}


def test_changed_local_files_and_converters_are_built_anew(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from hf_prosocial.data import Made, said\n"
        "def pairs(rows):\n"
        "    for row in rows['kind.jsonl']:\n"
        "        yield Made(row['topic'], said(row['question']), (row['better'], row['worse']))\n"
    )
    content = yaml.safe_load(small_mixture(tmp_path).read_text())
    del content["sources"]["kind"]["files"][0]["sha256"]
    content["objectives"]["kindness"] = [{"source": "kind", "converter": "mine:pairs"}]
    mixture = write_mixture(tmp_path / "mixture.yaml", content)
    out = build_data(tmp_path / "data", mixture)
    assert is_built(out, mixture)
    write_rows(tmp_path / "kind.jsonl", pair_rows(44, name="kind"))
    assert not is_built(out, mixture)
    write_rows(tmp_path / "kind.jsonl", pair_rows(name="kind"))
    assert is_built(out, mixture)
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(FileExistsError, match="or from other files than now; remove it to build anew"):
        build_data(out, mixture)


def test_two_files_of_one_name(tmp_path):
    content = yaml.safe_load(small_mixture(tmp_path).read_text())
    for name in ("kind", "clear"):
        content["sources"][name]["files"][0]["name"] = "train.jsonl"
    with pytest.raises(ProsocialError, match=r"train.jsonl: files of two sources have one name"):
        build_data(tmp_path / "data", write_mixture(tmp_path / "mixture.yaml", content))


@pytest.mark.parametrize("section", ["prompts", "training_prompts"])
@pytest.mark.parametrize(
    "name", ["preferences/dev.jsonl", "safety", "./safety/a.jsonl", "saftey/a.jsonl", "safety/a.json"]
)
def test_files_that_nothing_reads_or_that_others_are_written_to(tmp_path, section, name):
    use = [{"source": "asked", "converter": "prompts", "options": {"prompt": "text"}}]
    mixture = small_mixture(tmp_path, **{section: {name: use}})
    with pytest.raises(ProsocialError, match="is not called"):
        build_data(tmp_path / "data", mixture)
