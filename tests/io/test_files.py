"""Files that other programs read."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hf_prosocial.io import write_json

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def told(value):
    """What JSON can tell of a value."""
    if isinstance(value, dict):
        return {key: told(one) for key, one in value.items()}
    if isinstance(value, list):
        return [told(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@given(st.dictionaries(st.text(), TREES))
def test_what_is_written_is_json_and_only_what_is_not_finite_becomes_null(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "content.json"
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == told(content)
