import pytest
from huggingface_hub import ModelCard
from support.gates import gated_vector, probe_between
from support.models import random_base, tiny_tokenizer

from hf_prosocial import ProsocialError, record_base
from hf_prosocial.gate import GatedHarmVector
from hf_prosocial.hub import open_publication, render
from hf_prosocial.models import prompt_batch


@pytest.fixture
def gated(tmp_path):
    base, tokenizer = random_base("llama", seed=3), tiny_tokenizer()
    rows = prompt_batch(tokenizer, [[{"role": "user", "content": text}] for text in ("hello", "i am sad", "what")])
    vector = gated_vector(base, probe_between(base, rows.input_ids, rows.attention_mask))
    record_base(vector.record, base, tokenizer, "org/base")
    vector.save_pretrained(tmp_path / "gated")
    return tmp_path / "gated"


def test_a_gated_vector_is_published_with_its_own_card(gated, tmp_path):
    publication = open_publication(gated)
    assert (publication.kind, [file.name for file in publication.files]) == (
        "gated harm vector",
        ["gated_harm_vector.safetensors"],
    )
    page = render(gated, tmp_path / "page", "org/gated", licence="apache-2.0")
    assert [file.name for file in page.iterdir()] == ["README.md"]
    card = ModelCard.load(page / "README.md")
    assert card.data.base_model == "org/base"
    assert "gated" in card.data.tags
    assert 'GatedHarmVector.from_pretrained("org/gated")' in card.text
    assert "no safety filter" in " ".join(card.text.split())


def test_a_gated_vector_that_is_not_whole_is_not_published(gated):
    file = gated / "gated_harm_vector.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ProsocialError, match="not a whole safetensors file"):
        open_publication(gated)


def test_an_ordinary_safetensors_file_is_no_gated_vector(gated):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, gated / "gated_harm_vector.safetensors")
    with pytest.raises(ProsocialError, match="holds no record"):
        GatedHarmVector.from_pretrained(gated)
