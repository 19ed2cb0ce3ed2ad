"""What an engine was started with, as every one of its processes reads it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_prosocial.arm import arm_objectives
from hf_prosocial.errors import ProsocialError
from hf_prosocial.serving.guided_request import FIELDS, GuidedRequest
from hf_prosocial.serving.vllm_serve import KEY, VARIABLE


@dataclass(frozen=True)
class Options:
    """`additional_config["prosocial"]`.

    Attributes:
        arm: the adapter's directory.
        arm_sha256: of its weights.
        architecture: the base's, as its own configuration has it.
        arm_base: the directory of the ARM's own base, where it is not the engine's.
        arm_architecture: its architecture.
        vector: the directory of the gated harm vector whose factors requests may scale.
        vector_hash: of its content, as it was compared with the base.
        vector_scale: its own λ: of β, a request's λ leaves 1 − λ(x) / λ.
        objectives: the adapter's.
        default: of requests that say nothing.
    """

    arm: str
    arm_sha256: str
    architecture: str
    objectives: tuple[str, ...]
    default: GuidedRequest
    arm_base: str | None = None
    arm_architecture: str | None = None
    vector: str | None = None
    vector_hash: str | None = None
    vector_scale: float = 0.0

    def parse(self, given: Mapping[str, Any] | None) -> GuidedRequest:
        """A request's fields, over the default.

        Raises:
            ProsocialError: what cannot be honoured.
        """
        return GuidedRequest.parse(given, self.objectives, self.default, has_vector=self.vector is not None)

    @classmethod
    def of(cls, vllm_config: Any) -> "Options":
        """Those of an engine.

        Raises:
            ProsocialError: it was started without them.
        """
        given = dict(vllm_config.additional_config or {}).get(KEY)
        if not isinstance(given, dict) or not {"arm", "arm_sha256", "architecture"} <= set(given):
            raise ProsocialError("the engine was not told its ARM; start it as `prosocial serve` prints")
        return cls._parse(given)

    @classmethod
    def here(cls) -> "Options":
        """Those of the engine that this process takes requests in for: vLLM does not tell it of the engine's.

        Raises:
            ProsocialError: nobody said.
        """
        if VARIABLE not in os.environ:
            raise ProsocialError(
                f"{VARIABLE} is not set, so that no preference can be checked; start by `prosocial serve`, or set it "
                "to json.dumps of the settings"
            )
        return cls._parse(json.loads(os.environ[VARIABLE]))

    @classmethod
    def _parse(cls, given: Mapping[str, Any]) -> "Options":
        objectives = arm_objectives(given["arm"])
        has_vector, fields = given.get("vector") is not None, {name: given[name] for name in FIELDS if name in given}
        default = GuidedRequest.parse(fields, objectives, has_vector=has_vector)
        return cls(
            arm=given["arm"],
            arm_sha256=given["arm_sha256"],
            architecture=given["architecture"],
            objectives=objectives,
            default=default,
            arm_base=given.get("arm_base"),
            arm_architecture=given.get("arm_architecture"),
            vector=given.get("vector"),
            vector_hash=given.get("vector_hash"),
            vector_scale=given.get("vector_scale", 0.0),
        )
