"""What an evaluation will ask: the prompts of every benchmark, by whom they are answered, under which preferences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_prosocial.data import Prompt, read_prompts, spread
from hf_prosocial.io import sha256
from hf_prosocial.preference import Preference

from .config import BenchmarkConfig
from .multi_objective import edges, simplex_design


@dataclass(frozen=True)
class Benchmark:
    """One benchmark, ready to be asked.

    Attributes:
        name: its name.
        config: what the recipe says of it.
        sha256: of its file.
        prompts, preferences: each prompt is answered under all of them.
        variants: that answer it, the reference first.
        max_new_tokens: the most of a reply.
    """

    name: str
    config: BenchmarkConfig
    sha256: str
    prompts: tuple[Prompt, ...]
    preferences: tuple[Preference, ...]
    variants: tuple[str, ...]
    max_new_tokens: int


def plan_benchmarks(
    configs: Mapping[str, BenchmarkConfig],
    variants: Mapping[str, Sequence[str]],
    objectives: Sequence[str],
    *,
    max_new_tokens: int,
) -> dict[str, Benchmark]:
    """The prompts of every benchmark, by name.

    Args:
        configs: by name.
        variants: which answer each, the reference first.
        objectives: that preferences weigh.
        max_new_tokens: of a reply, where a benchmark does not say.

    Raises:
        OSError: no such file.
        ValueError: a file without a prompt, or a preference that is none.
    """
    found = {}
    for name, config in configs.items():
        if not Path(config.file).is_file():
            raise FileNotFoundError(f"the benchmark {name}: no file {config.file}")
        prompts = spread(read_prompts(config.file, name), config.count)
        found[name] = Benchmark(
            name,
            config,
            sha256(config.file),
            tuple(prompts),
            tuple(preferences_of(config.preferences, objectives)),
            tuple(variants[name]),
            config.max_new_tokens or max_new_tokens,
        )
    return found


def preferences_of(said: Sequence[str], objectives: Sequence[str]) -> list[Preference]:
    """What the configuration's words mean, each preference once.

    Raises:
        ValueError: neither a word nor weights.
    """
    found: dict[Preference, None] = {}
    for one in said:
        if one == "uniform":
            chosen = [Preference.uniform(objectives=objectives)]
        elif one == "one_hot":
            chosen = [Preference.one_hot(name, objectives=objectives) for name in objectives]
        elif one == "edges":
            chosen = edges(objectives)
        elif one == "simplex":
            chosen = simplex_design(objectives)
        else:
            chosen = [Preference.parse(one, objectives=objectives)]
        found |= dict.fromkeys(chosen)
    return list(found)
