"""A GenARM: a base with a LoRA for each objective, and its record on disk."""

import threading
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from hf_prosocial.arm import check_adapter_file, check_base, check_names
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import check_hub_id
from hf_prosocial.models import sharing_weights
from hf_prosocial.records import GENARM, GenArmRecord


class GenArm:
    """Reward models for k objectives: a base with k LoRA adapters that are called after the objectives.

    log π_r(y | x, p) is Σ_i p_i log π_i(y | x): k forward passes and k adapters, where a PV-ARM has one.

    Attributes:
        model: the `PeftModel`, in evaluation mode, its weights frozen.
        record: the objectives, and what is known of the base.

    Args:
        model: with a LoRA adapter called after each of the objectives.
        record: as above.

    Raises:
        ValueError: an objective without an adapter of its name.
    """

    def __init__(self, model: PeftModel, record: GenArmRecord) -> None:
        missing = [name for name in record.objectives if name not in model.peft_config]
        if missing or not record.objectives:
            raise ProsocialError(
                f"no adapter for {missing or 'any objective'}; the adapters are {list(model.peft_config)}"
            )
        model.requires_grad_(False)
        self.model, self.record = model.eval(), record
        self._lock = threading.RLock()

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        base: PreTrainedModel,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        allow_mismatch: Collection[str] = (),
    ) -> "GenArm":
        """Load what `prosocial arm train-genarm` wrote.

        Args:
            directory: it, or a Hub id.
            base: the model that the adapters were trained on; it is not changed, and its memory is shared.
            tokenizer: the base's, to compare with the record.
            allow_mismatch: any of "base_weights", "tokenizer", "chat_template": differences to accept.

        Raises:
            BaseMismatchError: a recorded hash or template differs from what was found.
            OSError: no genarm.json there.
            ValueError: an adapter that is no plain LoRA, or arguments that make no sense.
        """
        check_names(allow_mismatch)
        record = cls.read_record(directory)
        model = sharing_weights(base)
        check_base(directory, record, model, tokenizer, allow_mismatch)
        first, *others = record.objectives
        arm = PeftModel.from_pretrained(model, str(directory), adapter_name=first, subfolder=first)
        for name in others:
            arm.load_adapter(str(directory), adapter_name=name, subfolder=name)
        for name, config in arm.peft_config.items():
            if not isinstance(config, LoraConfig):
                raise ProsocialError(f"{directory}/{name} holds a {config.peft_type} adapter; a GenArm has plain LoRAs")
            check_adapter_file(arm, directory, name, {"subfolder": name})
        return cls(arm, record)

    @staticmethod
    def read_record(directory: str | Path) -> GenArmRecord:
        """The record in a directory or a Hub repository, without its adapters.

        Raises:
            OSError: no genarm.json there.
        """
        if not Path(directory).is_dir():
            check_hub_id(str(directory))
        return GenArmRecord.read(cast(str, cached_file(str(directory), GENARM)))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names, in order."""
        return self.record.objectives

    @property
    def wrapped(self) -> PreTrainedModel:
        """The transformers model with the LoRA layers in it."""
        return cast(PreTrainedModel, self.model.base_model.model)

    @contextmanager
    def using(self, objective: str) -> Generator[None]:
        """Make one objective's adapter the active one for the duration of a `with` block, then what was before.

        Other threads wait: PEFT's active adapter is the model's, not a thread's.
        """
        with self._lock:
            before = self.model.active_adapters[0]
            self.model.set_adapter(objective, inference_mode=True)
            try:
                yield
            finally:
                self.model.set_adapter(before, inference_mode=True)
