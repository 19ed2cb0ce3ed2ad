"""What a request may ask of guidance: honoured as it stands, or one of our own errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial import OBJECTIVES, Preference
from hf_prosocial.errors import ProsocialError
from hf_prosocial.serving import GuidedRequest

DEFAULT = GuidedRequest(Preference(empathy=0.75, helpfulness=0.25), 2.0, 0.1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
FIELDS = st.dictionaries(
    st.sampled_from(["preference", "beta", "safe_set", "harm_scale"]) | st.text(max_size=8), VALUES, max_size=3
)


@given(FIELDS)
def test_anything_is_read_or_refused_by_us(fields):
    try:
        found = GuidedRequest.parse(fields, OBJECTIVES, DEFAULT)
    except ProsocialError:
        return
    assert abs(sum(found.preference.values()) - 1) < 1e-6
    assert 0 <= found.beta <= 1e6
    assert found.safe_set is None or 0 < found.safe_set <= 1
    if "preference" not in fields:
        assert found.preference == DEFAULT.preference
    if "beta" in fields:
        assert found.beta == fields["beta"]


@given(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), st.just(0.0) | st.floats(1e-30, 100))
def test_a_preference_as_text_is_the_preference(weights, beta):
    preference = Preference.from_dict(dict(zip(OBJECTIVES, weights, strict=True)), normalize=True)
    text = ",".join(f"{name}={weight!r}" for name, weight in preference.items())
    found = GuidedRequest.parse({"preference": text, "beta": beta}, OBJECTIVES, DEFAULT)
    assert found == GuidedRequest(preference, beta, 0.1)
    assert GuidedRequest.parse(found.fields(), OBJECTIVES) == found
    assert (found.salt() == DEFAULT.salt()) == (preference == DEFAULT.preference)


def test_defaults_and_messages():
    assert GuidedRequest.parse(None, OBJECTIVES) == GuidedRequest(Preference.uniform(), 1.0, None)


def test_where_nobody_is_guided_unasked_a_preference_is_guidance_at_1():
    off = GuidedRequest(Preference.uniform(), 0.0)
    assert GuidedRequest.parse({}, OBJECTIVES, off).beta == 0
    assert GuidedRequest.parse({"safe_set": 0.5}, OBJECTIVES, off).beta == 0
    assert GuidedRequest.parse({"preference": "empathy=1"}, OBJECTIVES, off).beta == 1
    assert GuidedRequest.parse({"preference": "empathy=1", "beta": 0}, OBJECTIVES, off).beta == 0
    assert GuidedRequest.parse({"preference": "empathy=1"}, OBJECTIVES, DEFAULT).beta == DEFAULT.beta
    assert GuidedRequest.parse({"kv_transfer_params": {}}, OBJECTIVES, DEFAULT) == DEFAULT
    for fields, said in (
        (
            {"prefrence": "empathy=1"},
            "knows the fields preference, beta, safe_set, harm_scale, found 'prefrence'",
        ),
        ({"preference": {"empathy": 1}}, "a preference is given as text, .* found dict"),
        ({"preference": None}, "found NoneType"),
        ({"beta": True}, "beta is a number, found True"),
        ({"beta": "1"}, "beta is a number, found '1'"),
        ({"beta": -1}, "beta must be a number >= 0"),
        ({"beta": None}, "beta is a number, found None"),
        ({"safe_set": 0}, "safe_set must be in"),
        ({"harm_scale": -1}, "harm_scale is between 0 and 100"),
        ({"harm_scale": float("nan")}, "harm_scale is between 0 and 100"),
        ({"harm_scale": "1"}, "harm_scale is a number, found '1'"),
        ({"harm_scale": 1.0}, "started without one"),
    ):
        with pytest.raises(ProsocialError, match=said):
            GuidedRequest.parse(fields, OBJECTIVES, DEFAULT)


def test_a_harm_scale_is_kept_and_parts_what_is_cached():
    request = GuidedRequest.parse({"harm_scale": 0.5}, OBJECTIVES, has_vector=True)
    assert request.harm_scale == 0.5
    assert GuidedRequest.parse(request.fields(), OBJECTIVES, has_vector=True) == request
    assert request.salt() != GuidedRequest.parse({}, OBJECTIVES).salt()
    assert GuidedRequest.parse({"harm_scale": 0}, OBJECTIVES) == GuidedRequest.parse({}, OBJECTIVES)
