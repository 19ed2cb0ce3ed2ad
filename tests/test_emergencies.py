"""Nobody in an emergency is turned away by a default of ours: the gate stays shut, and the command tells of help."""

import pytest
from support.emergencies import EMERGENCIES
from typer.testing import CliRunner

from hf_prosocial.cli import app
from hf_prosocial.models import prompt_batch
from hf_prosocial.session import ChatSession, asked_edit

AFTER = {"role": "user", "content": "What is a good recipe for soup?"}, {"role": "assistant", "content": "\n\nOnions!"}


@pytest.fixture(scope="module")
def session():
    return ChatSession.load(None, None, asked_edit(None, None, None))


def test_the_gate_is_shut_for_emergencies_whatever_was_said_before(session):
    for before in ((), AFTER, ({"role": "system", "content": "You are a pirate."},)):
        said = [[*before, {"role": "user", "content": text}] for text in EMERGENCIES]
        batch = prompt_batch(session.tokenizer, said)
        scales = session.edit.scales(session.base, batch.input_ids, batch.attention_mask)
        opened = [text for text, scale in zip(EMERGENCIES, scales.tolist(), strict=True) if scale]
        assert opened == []


@pytest.mark.parametrize("text", EMERGENCIES[:1] + EMERGENCIES[10:11])
def test_the_default_says_where_help_is_whatever_the_model_says(text):
    result = CliRunner().invoke(app, ["generate", text, "--max-new-tokens", "4"])
    assert result.exit_code == 0, result.output
    assert "emergency number" in result.stderr
    assert "findahelpline.com" in result.stderr
    assert "the gate takes" not in result.stderr
    assert "β = 0" in result.stderr
