"""A mixture: which public sources become which rows, as a file that anyone can read and change."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from importlib.resources import files as package_files
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import listed, read_mapping, sha256, validated

_FOLDERS = {"prompts": ("safety", "support"), "training_prompts": ("gate",)}
_FOLDERS |= {"judged": ("refusal",), "texts": ("capability",)}
MIXTURES = "hf_prosocial.data.sources.mixtures"


@dataclass(frozen=True)
class SourceFile:
    """One file of a source, from one place: GitHub at a commit, any address, a Hub dataset at a revision, or a disk.

    Attributes:
        name: where it lies in a folder of raw files, and in the cache.
        repository, commit, path: on GitHub.
        url: its address elsewhere.
        dataset, revision, config, split: on the Hub. A revision that is not a commit's 40 hexadecimal digits moves: the
            rows may be others the next time, which is said when they are built.
        local: a path, from the mixture's own folder.
        sha256: of its content. Downloads need it; for a Hub dataset its commit stands for it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    name: str
    repository: str | None = None
    commit: str | None = None
    path: str | None = None
    url: str | None = None
    dataset: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str = "train"
    local: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        places = [name for name in ("repository", "url", "dataset", "local") if getattr(self, name) is not None]
        if len(places) != 1:
            raise ValueError(
                f"{self.name}: say where it is by one of repository, url, dataset, local; found {places or 'none'}"
            )
        if self.repository and not (self.commit and self.path):
            raise ValueError(f"{self.name}: a repository needs a commit and a path, or what it holds may change")
        if (self.repository or self.url) and not self.sha256:
            raise ValueError(f"{self.name}: a download needs its sha256")
        if self.dataset and self.revision is None:
            raise ValueError(f"{self.name}: a dataset needs its revision, best a commit's 40 hexadecimal digits")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{self.name}: a url begins with http:// or https://; a file on a disk is local")
        if Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise ValueError(f"{self.name}: a name leads out of the folder of raw files")

    @property
    def pinned(self) -> bool:
        """Whether its rows are the same whenever they are fetched."""
        return self.sha256 is not None or re.fullmatch("[0-9a-f]{40}", self.revision or "") is not None

    @property
    def address(self) -> str:
        """Where it is from, as people are told."""
        if self.repository:
            return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.path}"
        if self.dataset:
            return f"datasets/{self.dataset} at {self.revision} ({self.config or 'default'}, {self.split})"
        return self.url or str(self.local)


@dataclass(frozen=True)
class Source:
    """Files of one origin, under one licence.

    Attributes:
        licence: its SPDX name.
        about: where to read of it.
        files: of which it consists.
        redistribute: whether the licence lets others hand the rows on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    licence: str
    about: str
    files: list[SourceFile]
    redistribute: bool = True


@dataclass(frozen=True)
class Use:
    """How a source becomes rows.

    Attributes:
        source: its name in the mixture.
        converter: its registered name, or `module:function`.
        options: of the converter.
        files: the names of the source's files to read; all by default.
        per_prompt, per_group, at_most: the most rows of one prompt, of one group, and of all.
        shortest, longest: of prompt and reply together, in characters; others are left out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    source: str
    converter: str
    options: dict[str, Any] = field(default_factory=dict)
    files: list[str] | None = None
    per_prompt: Annotated[int, Field(ge=1)] | None = None
    per_group: Annotated[int, Field(ge=1)] | None = None
    at_most: Annotated[int, Field(ge=1)] | None = None
    shortest: int = 1
    longest: int = 2000


@dataclass(frozen=True)
class Text:
    """Running text from a source's only file: its first so many characters, up to a line's end."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    source: str
    characters: Annotated[int, Field(ge=1)] = 400_000


@dataclass(frozen=True)
class Mixture:
    """What is built from what; see docs/guides/data.md.

    Attributes:
        sources: by name.
        objectives: preference pairs of each objective.
        completions: what copies of a model are fine-tuned on: harmful ones, and the humane contrast to them.
        prompts: of benchmarks, by the file that they are written to. No training row has one of them.
        training_prompts: prompts for training, such as the gate's, by file; none that is held out.
        judged: replies that people labelled, by file.
        texts: running text, by file.
        held_out: share of each objective's pairs that no training sees; one number, or one for each objective.
        least_held_out: pairs of each objective, where there are enough.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    sources: dict[str, Source]
    objectives: dict[str, list[Use]]
    completions: dict[Literal["harmful", "humane"], list[Use]] = field(default_factory=dict)
    prompts: dict[str, list[Use]] = field(default_factory=dict)
    training_prompts: dict[str, list[Use]] = field(default_factory=dict)
    judged: dict[str, list[Use]] = field(default_factory=dict)
    texts: dict[str, Text] = field(default_factory=dict)
    held_out: float | dict[str, float] = 0.12
    least_held_out: int = 80
    note: str | None = None

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ValueError("it has no objective; an ARM needs at least one, with its pairs")
        unknown = sorted({use.source for _, use in self.uses()} - set(self.sources))
        unknown += [text.source for text in self.texts.values() if text.source not in self.sources]
        if unknown:
            raise ValueError(f"it uses sources that it does not list: {listed(unknown)}; it has {sorted(self.sources)}")
        for _, use in self.uses():
            strangers = set(use.files or ()) - {one.name for one in self.sources[use.source].files}
            if strangers:
                raise ValueError(f"{use.source} has no file {listed(sorted(strangers))}")
        shares = self.held_out if isinstance(self.held_out, dict) else dict.fromkeys(self.objectives, self.held_out)
        if set(shares) != set(self.objectives) or not all(0 < share <= 0.5 for share in shares.values()):
            raise ValueError("held_out: a share in (0, 0.5], or one for each objective")
        named = Counter(file.name for source in self.sources.values() for file in source.files)
        twice = sorted(name for name, count in named.items() if count > 1)
        if twice:
            raise ValueError(f"{listed(twice)}: files of two sources have one name; put a folder's name before it")
        strange = sorted(name for name in self.objectives if not re.fullmatch(r"\w[\w .-]*", name))
        if strange:
            raise ValueError(f"objectives {strange}: a name has letters, digits, spaces, dots and dashes")
        self._check_written()

    def _check_written(self) -> None:
        """Files lie where their readers look for them, and no two are the same."""
        sections = {"prompts": self.prompts, "training_prompts": self.training_prompts, "judged": self.judged}
        for section, names in {**sections, "texts": self.texts}.items():
            for name in names:
                folder, _, rest = name.partition("/")
                ending = ".txt" if section == "texts" else ".jsonl"
                if folder not in _FOLDERS[section] or not re.fullmatch(rf"[\w-]+{re.escape(ending)}", rest):
                    allowed = " or ".join(f"{one}/NAME{ending}" for one in _FOLDERS[section])
                    raise ValueError(f"{section}: {name} is not called {allowed}")
        for name, text in self.texts.items():
            if len(self.sources[text.source].files) != 1:
                raise ValueError(f"{name}: running text is from a source of one file; {text.source} has more")

    def uses(self) -> list[tuple[str, Use]]:
        """Every use with the section that it stands in."""
        sections: list[tuple[str, list[Use]]] = [*self.objectives.items(), *self.completions.items()]
        sections += [*self.prompts.items(), *self.training_prompts.items(), *self.judged.items()]
        return [(name, use) for name, uses in sections for use in uses]

    def written(self) -> list[str]:
        """The files that it names itself."""
        return [*self.prompts, *self.training_prompts, *self.judged, *self.texts]

    def share(self, objective: str) -> float:
        """Of an objective's pairs, what is held out."""
        return self.held_out[objective] if isinstance(self.held_out, dict) else self.held_out


def mixture_file(mixture: str | Path) -> Path:
    """Where a mixture is: one of this package's by name, or a file.

    Raises:
        ProsocialError: neither.
    """
    folder = Path(str(package_files(MIXTURES)))
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if str(mixture) in known:
        return folder / f"{mixture}.yaml"
    if Path(mixture).is_dir():
        raise ProsocialError(f"{mixture} is a folder, not a mixture; data that are built already go to align as --data")
    if not Path(mixture).is_file():
        raise ProsocialError(f"no mixture {str(mixture)!r}: neither a file nor one of {known}")
    return Path(mixture)


def read_mixture(mixture: str | Path = "default") -> Mixture:
    """Read one, by name or from a file; every fault in it is named.

    Raises:
        OSError: the file cannot be read.
        ProsocialError: no such mixture, or one that cannot be built.
    """
    file = mixture_file(mixture)
    return validated(Mixture, read_mapping(file), str(mixture))


def inputs_hash(mixture: str | Path) -> str:
    """SHA-256 over a mixture's file, the local files that it names, and the modules of converters beside it.

    Raises:
        OSError: a file that is not there.
        ProsocialError: as `read_mixture`.
    """
    file, read = mixture_file(mixture), read_mixture(mixture)
    locals_ = [file.parent / one.local for source in read.sources.values() for one in source.files if one.local]
    modules = [file.parent / f"{use.converter.partition(':')[0]}.py" for _, use in read.uses() if ":" in use.converter]
    beside = sorted({*locals_, *(module for module in modules if module.is_file())})
    lines = [sha256(file), *(f"{path.name} {sha256(path)}" for path in beside)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
