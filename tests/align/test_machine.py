import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.aligned import EFFORT, everything, tiny_base

from hf_prosocial import ProsocialError
from hf_prosocial.align import AlignRecipe
from hf_prosocial.align.base import Sizes, machine_for, rows_in_memory
from hf_prosocial.align.cost import Pace, stage_tokens
from hf_prosocial.align.folder import DataFolder, write_share
from hf_prosocial.data import build_data

SMOLLM2 = Sizes(135_000_000, 49152, 30, 576)
GIB = 2**30


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 80), st.integers(64, 8192))
def test_more_memory_never_means_fewer_rows_and_a_larger_model_never_more(low, more, layers, hidden):
    sizes = Sizes(10_000_000, 32000, layers, hidden)
    larger = Sizes(20_000_000, 64000, layers + 1, hidden)
    few, many = rows_in_memory(sizes, low * GIB), rows_in_memory(sizes, (low + more) * GIB)
    assert 1 <= few <= many <= 8
    assert few in (1, 2, 4, 8)
    assert rows_in_memory(larger, low * GIB) <= few


def test_rows_of_smollm2_where_they_were_measured():
    """Eight pairs took 13 GB beside everything else; half of them fitted into 12 GB that were free."""
    assert rows_in_memory(SMOLLM2, 12 * GIB) == 4
    assert rows_in_memory(SMOLLM2, 40 * GIB) == 8
    assert rows_in_memory(SMOLLM2, GIB) == 1


def test_processes_share_a_step(tmp_path):
    base = str(tiny_base(tmp_path))
    with pytest.raises(ProsocialError, match="which 3 processes cannot share; start 1, 2, 4 or 8"):
        machine_for(base, 3)
    before = dataclasses.replace(machine_for(base, 1), rows=1)
    assert machine_for(base, 1, before) == before
    assert machine_for(base, 2, before) != before
    for processes in (1, 2, 8):
        machine = machine_for(base, processes)
        assert machine.rows * machine.micro_batches * processes == 8
        assert "8 a step" in str(machine)


def test_work_grows_with_what_is_asked_for(tmp_path):
    data = DataFolder(build_data(tmp_path / "data", everything(tmp_path)))
    small = AlignRecipe("base", "out", effort=EFFORT).work()
    work = stage_tokens(small, data)
    assert all(work[name] > 0 for name in ("copies", "vector", "gate", "arm", "evaluation"))
    more = {"copy_steps": 8, "scales": [0.1, 0.2], "pairs": 40, "prompts": 5}
    grown = stage_tokens(AlignRecipe("base", "out", effort=EFFORT | more).work(), data)
    assert grown["gate"] == work["gate"]
    assert all(grown[name] > work[name] for name in ("copies", "vector", "arm", "evaluation"))
    everything_there = {"pairs": None, "held_out_pairs": None, "prompts": None}
    assert stage_tokens(AlignRecipe("base", "out", effort=EFFORT | everything_there).work(), data)["arm"] > grown["arm"]


def test_estimates_learn_from_what_stages_took(tmp_path):
    pace = Pace(str(tiny_base(tmp_path)), torch.float32)
    first = pace.seconds(1000.0)
    assert first > 0
    pace.took(0.0, 5.0)
    assert pace.seconds(1000.0) == first
    pace.took(2000.0, 20 * first)
    assert abs(pace.seconds(1000.0) / (10 * first) - 1) < 1e-9


@given(st.integers(2, 60))
def test_a_share_of_pairs_keeps_every_objective(tmp_path_factory, count):
    folder = tmp_path_factory.mktemp("share")
    names = ["many"] * 50 + ["few"] * 10
    (folder / "pairs.jsonl").write_text(
        "".join(f'{{"attribute": "{name}", "n": {at}}}\n' for at, name in enumerate(names))
    )
    written = write_share(str(folder / "pairs.jsonl"), folder / "share.jsonl", count)
    kept = (folder / "share.jsonl").read_text().splitlines()
    assert len(kept) == written
    assert abs(written - count) <= count // 4 + 2
    assert sum('"few"' in row for row in kept) >= max(1, min(10, count // 4))
    whole = (folder / "pairs.jsonl").read_text().splitlines()
    assert [row for row in whole if row in set(kept)] == kept
