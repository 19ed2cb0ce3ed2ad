"""A base guided by a GenARM gives the log-probabilities that its processor gives."""

import pytest
import torch
from support.genarm_models import NAMES, random_genarm
from support.models import random_base

from hf_prosocial import GenArmProcessor, Preference
from hf_prosocial.genarm import GuidedByGenArm

PREFERENCE = Preference.from_dict({"warmth": 0.7, "help": 0.3}, objectives=NAMES)


@pytest.mark.parametrize("safe_set", [None, 0.05])
def test_likelihoods_are_the_processors(safe_set):
    base, genarm = random_base("llama", seed=1), random_genarm("llama", seed=2)
    guided = GuidedByGenArm(base, genarm, PREFERENCE, beta=0.6, safe_set=safe_set)
    ids = torch.randint(3, 61, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = guided(ids).logits
        own = base(ids).logits
    processor = GenArmProcessor(genarm, PREFERENCE, 0.6, safe_set)
    for length in range(1, 10):
        expected = processor(ids[:, :length], own[:, length - 1].float())
        torch.testing.assert_close(found[:, length - 1], expected, atol=1e-4, rtol=1e-4)


def test_a_cache_is_refused():
    base, genarm = random_base("llama", seed=1), random_genarm("llama", seed=2)
    with pytest.raises(ValueError, match="without a cache"):
        GuidedByGenArm(base, genarm, PREFERENCE)(torch.tensor([[3]]), use_cache=True)
