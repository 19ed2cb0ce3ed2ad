"""Objectives of one's own: a model behind an endpoint scores the replies, under words of one's own."""

import yaml
from support.aligned import EFFORT, JUDGES, own_objectives, prompts, tiny_base
from support.endpoints import completion, served
from support.mixtures import local, write_mixture, write_rows

from hf_prosocial.align import AlignRecipe, align_base

MEANINGS = {"kindness": "it is gentle", "clarity": "it is short and plain"}


def test_an_endpoint_scores_objectives_of_one_s_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_base(tmp_path)
    content = yaml.safe_load(own_objectives(tmp_path).read_text())
    asked = write_rows(tmp_path / "asked.jsonl", [{"text": f"nobody wrote to me for {at} days"} for at in range(8)])
    content["sources"]["asked"] = {"licence": "MIT", "about": "made up", "files": [local(asked)]}
    write_mixture(tmp_path / "own.yaml", content | {"prompts": {"support/mine.jsonl": [prompts("asked")]}})

    def answer(body, count):
        said = body["messages"][0]["content"]
        # Clarity has one value for all: nothing could be told by it.
        return 200, completion(str(1 + sum(map(ord, said)) % 10) if MEANINGS["kindness"] in said else "3")

    with served(answer) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        endpoint = {"kind": "endpoint", "model": "judge", "url": url, "meanings": MEANINGS}
        recipe = AlignRecipe("base", "out", mixture="own.yaml", effort=EFFORT, judges=JUDGES | {"rewards": endpoint})
        found = align_base(recipe)
        first = len(server.asked)
        align_base(recipe)
        assert len(server.asked) == first > 0
    words = [body["messages"][0]["content"] for body in server.asked]
    assert all(any(meaning in said for meaning in MEANINGS.values()) for said in words)
    assert set(found.metrics.variants) == {"base", "guided"}
    (variants,) = found.metrics.figures["rewards"].values()
    rewards = variants["guided"]
    assert rewards["not_measurable"] == {"clarity": "all 4 replies of the reference have 3"}
    assert isinstance(rewards["mip"]["mean"], float)
    assert rewards["hypervolume"] == "not measurable with this judge"
    assert "not measurable" in (tmp_path / "out" / "report" / "report.html").read_text(encoding="utf-8")
