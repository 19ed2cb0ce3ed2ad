"""Every family is used exactly, or refused in one sentence; `make conformance` tries all, this the most used ones."""

import os

import pytest

from conformance.families import EVERY_DAY, FAMILIES
from conformance.uses import USES, outcome

RIGHT = {"exact", "packed", "apart"}
# Of the most used families, all that is not exact.
REFUSED = set()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("family", FAMILIES if os.environ.get("CONFORMANCE") == "all" else EVERY_DAY)
def test_a_family(family, use):
    found = outcome(family, use)
    if family in EVERY_DAY and (family, use) not in REFUSED:
        assert found in RIGHT
