"""The sweep on a tiny model: figures as of the written checkpoints, nothing measured twice, the model unharmed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoints import save_copies
from support.completions import completion_loss, completion_rows
from support.models import random_base
from transformers import AutoModelForCausalLM

from hf_prosocial.data.completions import tokenize_completions
from hf_prosocial.direg import HarmVector
from hf_prosocial.direg.sweep import Limit, choose, draw_fronts, front, read_points, sweep
from hf_prosocial.records import ChoicePoint


@pytest.fixture
def vectors(tmp_path, tokenizer):
    base, harmful = save_copies(tmp_path, tokenizer)
    return {f"density {density}": HarmVector.extract(base, harmful, density) for density in (0.1, 1.0)}


def test_its_figures_are_those_of_the_written_checkpoints(vectors, tmp_path, tokenizer):
    completions = tokenize_completions(completion_rows(5), tokenizer, 80)
    calls = []

    def loss(model):
        calls.append(1)
        return completion_loss(model, completions)

    model = random_base("llama", seed=1)
    points = sweep(model, vectors, [0.5, 2], {"loss": loss}, tmp_path / "log.jsonl")
    assert [(point.vector, point.scale) for point in points] == [
        ("base", 0.0),
        ("density 0.1", 0.5),
        ("density 0.1", 2.0),
        ("density 1.0", 0.5),
        ("density 1.0", 2.0),
    ]
    for point in points[1:]:
        out = vectors[point.vector].subtract(tmp_path / "base", point.scale, tmp_path / str(point))
        written = AutoModelForCausalLM.from_pretrained(out)
        assert completion_loss(written, completions) == pytest.approx(point.figures["loss"], abs=1e-6)
    for one, other in zip(model.parameters(), random_base("llama", seed=1).parameters(), strict=True):
        assert torch.equal(one, other)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"vector": "density 1.0", "sca')
    count = len(calls)
    assert sweep(model, vectors, [0.5, 2], {"loss": loss}, tmp_path / "log.jsonl") == points
    assert len(calls) == count
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"vector": "density 1.0", "sca')
    more = sweep(model, vectors, [0.5, 2, 3], {"loss": loss}, tmp_path / "log.jsonl")
    assert [point for point in more if point.scale < 3] == points
    assert sorted(map(str, read_points(tmp_path / "log.jsonl"))) == sorted(map(str, more))
    draw_fronts(points, "loss", "loss", points[1], tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input(vectors, tmp_path):
    model = random_base("llama", seed=1)
    for scales in ([0.0], [-1.0], [float("nan")]):
        with pytest.raises(ValueError, match="scales must be above 0"):
            sweep(model, vectors, scales, {}, tmp_path / "log.jsonl")
    sweep(model, vectors, [1], {"one": lambda model: 1.0}, tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match=r"holds \['one'\], not \['two'\]"):
        sweep(model, vectors, [1], {"two": lambda model: 1.0}, tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="the vector was made for"):
        sweep(random_base("gpt2", seed=1), vectors, [1], {"two": lambda model: 1.0}, tmp_path / "other.jsonl")
    (tmp_path / "bad.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(ValueError, match="line 1: no point"):
        read_points(tmp_path / "bad.jsonl")


def test_a_failing_measure_leaves_the_model_as_it_was(vectors, tmp_path):
    model = random_base("llama", seed=1)

    def fails(model):
        if not torch.equal(model.lm_head.weight, random_base("llama", seed=1).lm_head.weight):
            raise RuntimeError("measured too much")
        return 0.0

    with pytest.raises(RuntimeError, match="measured too much"):
        sweep(model, vectors, [3.0], {"fails": fails}, tmp_path / "log.jsonl")
    assert torch.equal(model.lm_head.weight, random_base("llama", seed=1).lm_head.weight)


figures = st.floats(-5, 5).map(lambda value: round(value, 1))


@given(st.lists(st.tuples(figures, figures), min_size=1, max_size=30))
def test_the_front_is_what_nothing_dominates(values):
    points = [ChoicePoint("v", index, {"harm": harm, "text": text}) for index, (harm, text) in enumerate(values)]
    found = {(point.figures["harm"], point.figures["text"]) for point in front(points, "harm", "text")}
    expected = {
        (harm, text)
        for harm, text in values
        if not any(h >= harm and t <= text and (h, t) != (harm, text) for h, t in values)
    }
    assert found == expected


def test_the_choice_keeps_to_the_limits():
    base = ChoicePoint("base", 0.0, {"harm": 1.0, "text": 3.0, "right": 0.5})
    mild = ChoicePoint("v", 0.5, {"harm": 1.4, "text": 3.01, "right": 0.5})
    good = ChoicePoint("v", 1.0, {"harm": 1.8, "text": 3.02, "right": 0.49})
    wrong = ChoicePoint("v", 1.5, {"harm": 2.0, "text": 3.02, "right": 0.4})
    dear = ChoicePoint("v", 2.0, {"harm": 3.0, "text": 3.5, "right": 0.5})
    limits = [Limit("text", 0.03), Limit("right", -0.02)]
    chosen, reason = choose([base, mild, good, wrong, dear], "harm", limits)
    assert chosen is good
    assert reason == "v at λ 1 raises harm most (+0.800) within the limits (text +0.03 at most, right -0.02 at most)"
    assert choose([base, dear], "harm", limits)[0] is base
