"""`push --space` makes a Space that is the page for the ARM; over real HTTP, to a stand-in of the Hub."""

import ast
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml
from support.stand_in import TOKEN, StandIn

from hf_prosocial.assets import released_arm

PUSH = "from hf_prosocial.cli import app; app()"
SPACE = "import sys; from hf_prosocial.hub import push_space; print(push_space(*sys.argv[1:]))"
OPTIONS = ("--base-model", "org/base", "--licence", "apache-2.0")


@pytest.fixture
def hub():
    with StandIn() as server:
        yield server


def python(hub, tmp_path, code, *arguments):
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    environment["HF_HOME"] = str(tmp_path / "hf-home")
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=120
    )


def test_the_space_goes_up_after_the_arm(hub, tmp_path):
    done = python(hub, tmp_path, PUSH, "push", released_arm(), "me/my-arm", *OPTIONS, "--space")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        f"{hub.url}/{name}/commit/{hub.sha(name)}" for name in ("me/my-arm", "spaces/me/my-arm")
    ]
    files = {name: content.decode() for name, content in hub.repositories["spaces/me/my-arm"].items()}
    assert set(files) == {"README.md", "app.py", "requirements.txt"}
    assert not set(files) - {"README.md"} & set(hub.repositories["me/my-arm"])
    front = yaml.safe_load(files["README.md"].split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == version("gradio")
    assert front["app_file"] == "app.py"
    assert front["models"] == ["org/base", "me/my-arm"]
    assert front["license"] == "apache-2.0"
    ast.parse(files["app.py"])
    assert "ChatSession.load('org/base', 'me/my-arm', asked_edit('org/base', None, None))" in files["app.py"]
    assert files["requirements.txt"] == f"hf-prosocial[app]=={version('hf-prosocial')}\n"


def test_without_the_arm_on_the_hub_there_is_no_space(hub, tmp_path):
    done = python(hub, tmp_path, SPACE, "me/nothing")
    assert done.returncode != 0
    assert "holds no ARM adapter on the Hub" in done.stderr
    assert "spaces/me/nothing" not in hub.repositories
