"""Tiny random models and a tiny tokenizer, made here: the tests need no network and no data but their own."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import settings
from support.models import FAMILIES, random_arm, random_base, tiny_tokenizer
from support.rows import rows

from hf_prosocial import OBJECTIVES, record_base
from hf_prosocial.data import tokenize_rows

torch.set_num_threads(1)
# How long an example takes is the machine's business, not the test's.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def base():
    return random_base("llama", seed=1)


@pytest.fixture
def arm(base):
    return random_arm("llama", seed=2)


@pytest.fixture(scope="session")
def saved_arm(tmp_path_factory, tokenizer):
    """Directories of a base with its tokenizer, and of an adapter that records both."""
    directory = tmp_path_factory.mktemp("saved")
    base = random_base("llama", seed=1)
    base.save_pretrained(directory / "base")
    tokenizer.save_pretrained(directory / "base")
    arm = random_arm("llama", seed=2, base=random_base("llama", seed=1))
    record_base(arm.active_peft_config, arm, tokenizer, str(directory / "base"))
    arm.save_pretrained(directory / "arm")
    return directory / "base", directory / "arm"


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def pairs(tokenizer):
    return tokenize_rows(rows(OBJECTIVES, 20), tokenizer, OBJECTIVES, max_length=80)
