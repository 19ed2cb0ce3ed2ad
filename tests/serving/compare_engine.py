"""An engine in a process of its own, for runners and devices that are chosen by the environment.

Prints, as JSON, how many replies of two rounds part from the expected ones, and which runner answered.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.served import DEFAULT, build_arm, build_base, drawn, expected, served

from hf_prosocial.serving import vllm_arguments, vllm_settings


def main(folder, kind, other, count, options):
    """`other`: None, or the family of a base that the ARM is not of."""
    own = build_base(folder / "own", kind)
    arm = build_arm(folder / "arm", own, kind)
    base, arm_base = (own, None) if other is None else (build_base(folder / "other", other, seed=5), own)
    if options.get("speculative_config", {}).get("method") == "draft_model":
        options["speculative_config"]["model"] = str(base)
    checkpoint, settings = vllm_settings(base, arm, DEFAULT, arm_base=arm_base)
    os.environ["PROSOCIAL_SERVING"] = json.dumps(settings)
    requests = drawn(count, seed=1)
    right = expected((base, arm), requests, arm_base)

    from vllm import LLM

    small = {"dtype": "float32", "block_size": 32, "max_model_len": 200}
    llm = LLM(checkpoint, **vllm_arguments(settings), **(small | options))
    wrong = sum(one != other for _ in range(2) for one, other in zip(served(llm, requests), right, strict=True))
    print(json.dumps({"wrong": wrong, "second runner": llm.llm_engine.vllm_config.use_v2_model_runner}))


if __name__ == "__main__":
    folder, kind, other, count, options = json.loads(sys.argv[1])
    main(Path(folder), kind, other, count, options)
