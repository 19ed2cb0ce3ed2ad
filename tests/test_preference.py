import importlib.util
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial import OBJECTIVES, Preference, ProsocialError, preference
from hf_prosocial.preference import weights_of

positive = st.floats(min_value=1e-6, max_value=1e6)
weightings = st.dictionaries(st.sampled_from(OBJECTIVES), positive, min_size=1)


@given(weightings)
def test_normalised_weights_lie_on_the_simplex_in_proportion(weights):
    preference = Preference.from_dict(weights, normalize=True)
    tensor = preference.tensor(dtype=torch.float64)
    assert tensor.shape == (5,)
    assert math.isclose(tensor.sum().item(), 1, abs_tol=1e-9)
    total = sum(weights.values())
    for name, weight in weights.items():
        assert math.isclose(preference[name], weight / total, rel_tol=1e-9)


@given(weightings)
def test_it_reads_back_what_it_writes(weights):
    preference = Preference.from_dict(weights, normalize=True)
    exact = ",".join(f"{name}={weight!r}" for name, weight in preference.items())
    read = Preference.parse(exact)
    assert all(math.isclose(read[name], preference[name], rel_tol=1e-12) for name in OBJECTIVES)
    assert Preference.from_dict(dict(preference)) == preference
    assert hash(Preference.from_dict(dict(preference))) == hash(preference)


@given(weightings.filter(lambda weights: abs(sum(weights.values()) - 1) > 1e-5))
def test_a_sum_other_than_one_is_an_error(weights):
    with pytest.raises(ValueError, match="must sum to 1, found"):
        Preference.from_dict(weights)


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, -math.inf])
def test_errors_name_the_objective_and_the_value(bad):
    with pytest.raises(ValueError, match=rf"'truthfulness' must be finite and >= 0, found {bad}"):
        Preference(truthfulness=bad, empathy=1 - bad)
    with pytest.raises(ValueError, match="'truthfulness'"):
        Preference(truthfulness=bad, empathy=1, normalize=True)


def test_other_bad_input():
    with pytest.raises(ValueError, match=r"unknown objective 'kindness' \(weight 1\.0\).*empathy"):
        Preference(kindness=1.0)
    with pytest.raises(ValueError, match="empathy=0, helpfulness=0"):
        Preference(empathy=0.0, helpfulness=0.0)
    with pytest.raises(ValueError, match="no weight at all"):
        Preference()
    with pytest.raises(ValueError, match="must differ, found \\['a'\\]"):
        Preference.uniform(objectives=("a", "a"))


def test_types_that_the_checker_of_this_test_run_would_catch_first():
    spec = importlib.util.spec_from_file_location("unchecked", Path(preference.__file__))
    unchecked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unchecked)
    for bad in ("1", True, None):
        with pytest.raises(TypeError, match=f"'empathy' must be a number, found {bad!r}"):
            unchecked.Preference(empathy=bad)
    with pytest.raises(TypeError, match="sequence of names, found the string 'abc'"):
        unchecked.Preference.uniform(objectives="abc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("empathy", "expected name=weight, found 'empathy'"),
        ("empathy=x", "'empathy' is not a number: 'x'"),
        ("empathy=0.5,empathy=0.5", "'empathy' is given twice"),
        ("empathy=0.5,", "expected name=weight, found ''"),
        ("empathy=nan", "'empathy' must be finite"),
    ],
)
def test_parse_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        Preference.parse(text)


def test_parse_corners_and_centre():
    assert Preference.parse(" empathy = 0.5 , helpfulness=0.5") == Preference(empathy=0.5, helpfulness=0.5)
    assert Preference.one_hot("sensitivity").tensor().tolist() == [0, 1, 0, 0, 0]
    assert Preference.uniform().tensor().tolist() == pytest.approx([0.2] * 5)
    assert str(Preference(empathy=0.25, helpfulness=0.75)) == "empathy=0.25,helpfulness=0.75"


def test_a_model_may_name_its_own_objectives():
    preference = Preference(calm=0.5, wit=0.5, objectives=("wit", "calm", "rigour"))
    assert preference.objectives == ("wit", "calm", "rigour")
    assert preference.tensor().tolist() == [0.5, 0.5, 0]
    assert preference.tensor(objectives=("calm", "other", "wit")).tolist() == [0.5, 0, 0.5]
    with pytest.raises(ValueError, match=r"weighs \{'wit': 0\.5\}, but the model has only the objectives \['calm'\]"):
        preference.tensor(objectives=("calm",))


@given(st.floats(0.05, 20), st.integers(0, 2**32 - 1))
def test_samples_lie_on_the_simplex_and_repeat_with_their_seed(concentration, seed):
    preference = Preference.sample(concentration, seed=seed)
    assert math.isclose(sum(preference.values()), 1, abs_tol=1e-9)
    assert preference == Preference.sample(concentration, seed=seed)


def test_samples_have_the_moments_of_a_dirichlet():
    draws = torch.stack([Preference.sample(0.5, seed=seed).tensor(dtype=torch.float64) for seed in range(4000)])
    torch.testing.assert_close(draws.mean(0), torch.full((5,), 0.2, dtype=torch.float64), atol=0.02, rtol=0)
    variance = 0.2 * 0.8 / (5 * 0.5 + 1)
    torch.testing.assert_close(draws.var(0), torch.full((5,), variance, dtype=torch.float64), atol=0.006, rtol=0)
    with pytest.raises(ValueError, match="concentration must be above 0 and finite, found 0"):
        Preference.sample(0)


def test_a_mapping_is_read_over_the_objectives_of_whom_it_is_given_to():
    weights = weights_of({"patience": 0.75, "clarity": 0.25}, ("clarity", "patience"))
    assert weights.tolist() == [0.25, 0.75]
    with pytest.raises(ProsocialError, match=r"unknown objective 'empathy'.*\['clarity', 'patience'\]"):
        weights_of({"empathy": 1.0}, ("clarity", "patience"))
    with pytest.raises(ProsocialError, match=r"weights must sum to 1, found 0\.5"):
        weights_of({"patience": 0.5}, ("clarity", "patience"))
