"""Whether a base can be aligned, and what is found out about it and the machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import listed
from hf_prosocial.models import find_base, preferred_device
from hf_prosocial.records import read_json

PAIRS_A_STEP = 8
_HELLO = [{"role": "user", "content": "Hello."}]
_LENGTH = 384
"""The most tokens of a pair's replies that are trained on."""


@dataclass(frozen=True)
class Machine:
    """What was found out, and is told.

    Attributes:
        device: where models run.
        dtype: of the base while it is trained on.
        attention: kernel of the trainings.
        rows: of a micro-batch; as many micro-batches as make eight rows a step.
        processes: that train together.
    """

    device: str
    dtype: Literal["bfloat16", "float32"]
    attention: str
    rows: int
    processes: int

    @property
    def micro_batches(self) -> int:
        """For each process and step."""
        return max(1, PAIRS_A_STEP // (self.rows * self.processes))

    def __str__(self) -> str:
        step = f"{self.rows} rows at a time on each of {self.processes} processes, {PAIRS_A_STEP} a step"
        return f"{self.device}, {self.dtype}, {self.attention} attention, {step}"


def check_base(base: str) -> None:
    """Refuse what cannot be edited or trained on, before anything is made.

    Raises:
        OSError: no such base.
        ProsocialError: an adapter, quantised weights, or no chat template that can be used.
    """
    source = find_base(base)
    folder = Path(source.location)
    if folder.is_dir() and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ProsocialError(
            f"{base} is an adapter, not a model; merge it into its base (PEFT's merge_and_unload), save and align that"
        )
    if source.gguf_file is None and folder.is_dir() and (folder / "config.json").is_file():
        quantised = read_json(folder / "config.json").get("quantization_config")
        if quantised:
            method = quantised.get("quant_method", "an unnamed method") if isinstance(quantised, dict) else quantised
            raise ProsocialError(
                f"{base} is quantised ({method}), and a harm vector is subtracted from whole weights; name the model "
                "that it was quantised from"
            )
    _check_template(base, source.load_tokenizer())


def _check_template(base: str, tokenizer: PreTrainedTokenizerBase) -> None:
    if not tokenizer.chat_template:
        raise ProsocialError(
            f"{base} has no chat template, so that nothing says how a conversation is written; set "
            "tokenizer.chat_template to the one that it was trained with, and tokenizer.save_pretrained into its folder"
        )
    try:
        text = tokenizer.apply_chat_template(_HELLO, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ProsocialError(f"the chat template of {base} cannot write a user's message: {error}") from error
    if "Hello." not in str(text):
        raise ProsocialError(f"the chat template of {base} does not write what the user says")


def check_guide_base(base: str, guide_base: str) -> None:
    """Refuse a smaller model whose tokens are others.

    Raises:
        OSError: no such model.
        ProsocialError: tokens that differ, or no chat template.
    """
    own, other = (find_base(one).load_tokenizer() for one in (base, guide_base))
    mine, its = own.get_vocab(), other.get_vocab()
    differing = sorted(token for token in {*mine, *its} if mine.get(token) != its.get(token))
    if differing:
        raise ProsocialError(
            f"{guide_base} has other tokens than {base} ({len(differing)} differ: {listed(differing[:3])}), so that "
            "its ARM could not guide it; name a model of the same family"
        )
    _check_template(guide_base, other)


def machine_for(base: str, processes: int, before: Machine | None = None) -> Machine:
    """Device, dtype, attention and micro-batch for a base.

    On an accelerator the micro-batch is probed: rows of the greatest length, trained on once. On a processor, where a
    machine without memory kills whoever asks for it, it is estimated from the memory that is free.

    Args:
        base: as `find_base` takes it.
        processes: that train together.
        before: as an earlier run found it, whose rows are taken where device and processes are the same.

    Raises:
        ProsocialError: processes that cannot share the eight rows of a step evenly.
    """
    if PAIRS_A_STEP % processes:
        raise ProsocialError(
            f"a step has {PAIRS_A_STEP} rows, which {processes} processes cannot share; start 1, 2, 4 or 8"
        )
    device = preferred_device()
    name = "processor" if device.type == "cpu" else str(device)
    if before is not None and (before.device, before.processes) == (name, processes):
        return before
    if device.type == "cpu":
        rows = rows_in_memory(_sizes(base), psutil.virtual_memory().available // processes)
        return Machine("processor", "bfloat16", "eager", max(1, min(rows, PAIRS_A_STEP // processes)), processes)
    return Machine(str(device), "bfloat16", "sdpa", _probed_rows(base, device, processes), processes)


@dataclass(frozen=True)
class Sizes:
    """Of a model: parameters, vocabulary, layers, and width of the hidden states."""

    parameters: int
    vocabulary: int
    layers: int
    hidden: int


def rows_in_memory(sizes: Sizes, available: int) -> int:
    """The most pairs, a power of two from 1 to 8, that a training step can hold in so many bytes.

    A token of a pair takes about 24 bytes for each entry of the vocabulary (log-probabilities and their gradients) and
    55 for each layer and hidden entry: measured on SmolLM2-135M with attention by matrices of 384 tokens. Of the
    memory, two fifths are left for everything else.
    """
    a_token = 24 * sizes.vocabulary + 55 * sizes.layers * sizes.hidden
    left = 0.6 * available - 4 * sizes.parameters
    rows = PAIRS_A_STEP
    while rows > 1 and rows * 2 * _LENGTH * a_token > left:
        rows //= 2
    return rows


def _sizes(base: str) -> Sizes:
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    source = find_base(base)
    options = {} if source.gguf_file is None else {"gguf_file": source.gguf_file}
    config = AutoConfig.from_pretrained(source.location, **options)
    with init_empty_weights():
        model: Any = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config(decoder=True)
    parameters = sum(weights.numel() for weights in model.parameters())
    return Sizes(parameters, text.vocab_size, text.num_hidden_layers, text.hidden_size)


def _probed_rows(base: str, device: torch.device, processes: int) -> int:
    """The most rows of 384 tokens, a power of two up to what a step needs, that a LoRA can be trained on at once."""
    from accelerate.utils import find_executable_batch_size
    from peft import LoraConfig, get_peft_model

    model = find_base(base).load_model(torch.bfloat16).to(device)
    trained = get_peft_model(model.train(), LoraConfig(r=16, target_modules="all-linear"))
    length = min(_LENGTH, model.config.get_text_config().max_position_embeddings)

    @find_executable_batch_size(starting_batch_size=max(1, PAIRS_A_STEP // processes))
    def probe(batch_size: int) -> int:
        # A pair is read as two replies.
        ids = torch.full((2 * batch_size, length), 5, device=device)
        trained(input_ids=ids, labels=ids).loss.backward()
        trained.zero_grad()
        return batch_size

    return probe()
