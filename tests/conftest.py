"""Tiny random models and a tiny tokenizer, made here: the tests need no network and no data but their own."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from models import FAMILIES, random_arm, random_base, tiny_tokenizer

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def base():
    return random_base("llama", seed=1)


@pytest.fixture
def arm(base):
    return random_arm("llama", seed=2)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param
