"""Publishing: the files, a card and a record, in one commit."""

import re
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError

from hf_prosocial.direg import HarmVector, heat_map
from hf_prosocial.errors import ProsocialError
from hf_prosocial.io import directory_beside, sha256, write_json, write_text
from hf_prosocial.records import (
    CHOICE,
    EXTRACTED,
    RECORD_NAME,
    TRAINED,
    TRAINING,
    ArmPublication,
    GatedVectorRecord,
    Record,
    TrainingRecord,
    VectorPublication,
    VectorRecord,
    read_choice,
    read_json,
)

from .cards import arm_card, safe_card, vector_card
from .custom_generate import write_custom_generate
from .evaluated_card import with_evaluation
from .gated_card import gated_card
from .publication import ADAPTER_CONFIG, Publication, open_publication

HEAT_MAP = "harm-vector.png"
# A connection that broke raises an error of the HTTP library's own, of which the Hub's errors are a kind.
_BROKEN: Any = tuple(kind for kind in HfHubHTTPError.__bases__ if not issubclass(kind, OSError))
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class _Page:
    """What a repository says beside its weights: the arguments of `push`, looked up."""

    repo_id: str
    base: str
    licence: str
    evaluation: str | Path | None
    custom_generate: bool


def push(
    directory: "str | Path | HarmVector",
    repo_id: str,
    *,
    base_model: str | None = None,
    licence: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    evaluation: str | Path | None = None,
    custom_generate: bool = False,
) -> str:
    """Publish a safe checkpoint, an ARM adapter or a harm vector, gated or not, with its card, in one commit.

    Weights are uploaded first and become visible with the commit alone, so that nothing is published by halves; after
    a failure, push again: what was uploaded is not sent twice.

    Args:
        directory: what to publish: a directory, or a `HarmVector`.
        repo_id: "organisation/name" on the Hub; created if there is none.
        base_model: the base's id on the Hub; by default the one recorded, where that is an id.
        licence: the base's licence, as the Hub writes it ("apache-2.0"); by default the one in the base's card.
        private: for a new repository.
        token: of the Hub; by default the one logged in with.
        evaluation: a variant's file in `eval_results` of `prosocial evaluate`, whose figures go into the card.
        custom_generate: of an ARM: add the file by which `model.generate(custom_generate=repo_id)` guides without this
            package.

    Returns:
        The commit's address.

    Raises:
        ValueError: what must not be published (see `open_publication`), a base or licence that is not known, a file
            that holds no evaluation, or `custom_generate` of something else than an ARM.
        HfHubHTTPError: the Hub refused.
        ConnectionError: the connection broke; the commit did not happen, or its answer was lost.
    """
    if isinstance(directory, HarmVector):
        with tempfile.TemporaryDirectory(prefix="harm-vector-") as saved:
            directory.save_pretrained(saved)
            options: dict[str, Any] = {"private": private, "token": token, "custom_generate": custom_generate}
            return push(saved, repo_id, base_model=base_model, licence=licence, evaluation=evaluation, **options)
    publication = open_publication(directory)
    page = _page(publication, repo_id, base_model, licence, token, evaluation, custom_generate)
    with tempfile.TemporaryDirectory(prefix="prosocial-push-") as name:
        _render(publication, page, Path(name))
        api = HfApi(token=token)
        existed = api.repo_exists(repo_id)
        api.create_repo(repo_id, private=private, exist_ok=True)
        files = {file.name: file for file in publication.files}
        files |= {file.relative_to(name).as_posix(): file for file in Path(name).rglob("*") if file.is_file()}
        operations = [CommitOperationAdd(path, files[path]) for path in sorted(files)]
        message = f"{publication.kind} made with hf_prosocial"
        try:
            return api.create_commit(repo_id, operations, commit_message=message).commit_url
        except HfHubHTTPError:
            if not existed:
                api.delete_repo(repo_id)  # It was made for this commit, and holds nothing.
            raise
        except _BROKEN as error:
            raise ConnectionError(
                f"the connection broke ({error}); push again, what was uploaded is not sent twice"
            ) from error


def render(
    directory: str | Path,
    folder: str | Path,
    repo_id: str,
    *,
    base_model: str | None = None,
    licence: str | None = None,
    token: str | None = None,
    evaluation: str | Path | None = None,
    custom_generate: bool = False,
) -> Path:
    """Write what `push` would add to the weights (card, record, pictures) to a folder, and send nothing.

    Args:
        directory: what would be published.
        folder: where to; it must not exist yet.
        repo_id: as of `push`.
        base_model: as of `push`.
        licence: as of `push`.
        token: as of `push`.
        evaluation: as of `push`.
        custom_generate: as of `push`.

    Returns:
        The folder.

    Raises:
        FileExistsError: it exists.
        ValueError: as `push`.
    """
    folder, publication = Path(folder), open_publication(directory)
    page = _page(publication, repo_id, base_model, licence, token, evaluation, custom_generate)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; choose another folder for the dry run, or remove it first")
    with directory_beside(folder) as work:
        _render(publication, page, work)
    return folder


def write_arm_card(directory: str | Path) -> None:
    """Write the card of a trained ARM into its own directory, as README.md.

    Raises:
        ProsocialError: the directory holds no whole ARM.
    """
    publication = open_publication(directory)
    base = str(cast(TrainingRecord, publication.record).recipe["base"])
    page = _Page("path-or-hub-id", base, "apache-2.0", None, custom_generate=False)
    write_text(publication.folder / "README.md", _arm_card(publication, page))


def _page(
    publication: Publication,
    repo_id: str,
    base_model: str | None,
    licence: str | None,
    token: str | None,
    evaluation: str | Path | None,
    custom_generate: bool,
) -> _Page:
    if not _HUB_ID.fullmatch(repo_id):
        raise ProsocialError(f"a repository is called organisation/name, found {repo_id!r}")
    if custom_generate and publication.kind != "ARM adapter":
        raise ProsocialError(
            f"custom_generate guides by an ARM adapter; {publication.folder} holds a {publication.kind}"
        )
    base = _base_model(publication, base_model)
    return _Page(repo_id, base, licence or licence_of(base, token), evaluation, custom_generate)


def _render(publication: Publication, page: _Page, folder: Path) -> None:
    """Write the card, the record and the pictures; a gated vector's record stands in its own file."""
    record, repo_id, base, licence = publication.record, page.repo_id, page.base, page.licence
    published: Record | None = None
    pictures = [*_drawn(publication), HEAT_MAP]
    if isinstance(record, TrainingRecord):
        hashes = {file.name: sha256(file) for file in publication.files if file.suffix == ".safetensors"}
        record = replace(record, recipe=record.recipe | {"base": base})
        record.write(folder / TRAINING)
        config = read_json(publication.folder / ADAPTER_CONFIG) | {"base_model_name_or_path": base}
        write_json(folder / ADAPTER_CONFIG, config)
        kept = {one.name: getattr(record, one.name) for one in fields(record) if one.name != "log"}
        published = ArmPublication(made_by=TRAINED, sha256=hashes, **kept)
        card = _arm_card(publication, page)
        if page.custom_generate:
            write_custom_generate(folder, repo_id, config)
    elif isinstance(record, GatedVectorRecord):
        card = gated_card(record, repo_id=repo_id, base=base, licence=licence)
    elif isinstance(record, VectorRecord):
        heat_map(record, folder / HEAT_MAP)
        has_choice = (publication.folder / CHOICE).is_file()
        evidence = read_choice(publication.folder).record if has_choice else None
        published = VectorPublication(EXTRACTED, record, HarmVector(publication.files[0]).content_hash(), evidence)
        card = vector_card(published, repo_id=repo_id, base=base, licence=licence, pictures=pictures)
    else:
        heat_map(record.vector, folder / HEAT_MAP)
        published = record
        card = safe_card(record, repo_id=repo_id, base=base, licence=licence, pictures=pictures)
    write_text(folder / "README.md", card if page.evaluation is None else with_evaluation(card, page.evaluation))
    if published is not None:
        published.write(folder / RECORD_NAME)


def _arm_card(publication: Publication, page: _Page) -> str:
    return arm_card(
        cast(TrainingRecord, publication.record),
        repo_id=page.repo_id,
        base=page.base,
        licence=page.licence,
        pictures=_drawn(publication),
        custom_generate=page.custom_generate,
    )


def _drawn(publication: Publication) -> list[str]:
    return [file.name for file in publication.files if file.suffix == ".png" and file.name != HEAT_MAP]


def _base_model(publication: Publication, given: str | None) -> str:
    record = publication.record
    if isinstance(record, TrainingRecord):
        recorded = str(record.recipe["base"])
    elif isinstance(record, GatedVectorRecord):
        recorded = str(record.base_model_name_or_path)
    else:
        recorded = record.base if isinstance(record, VectorRecord) else record.vector.base
    base = given or recorded
    if hub_id_of(base) is None:
        raise ProsocialError(
            f"the base is recorded as {recorded!r}, which is no Hub id; give the base's id (base_model=, --base-model)"
        )
    return base


def hub_id_of(base: str) -> str | None:
    """A base's id on the Hub; None of a folder or file."""
    return base if _HUB_ID.fullmatch(base) and not Path(base).exists() else None


def licence_of(base: str, token: str | None = None) -> str:
    """A base's licence, as the card on the Hub names it.

    Args:
        base: its id.
        token: of the Hub; by default the one logged in with.

    Raises:
        ProsocialError: no card that can be read, or one that names none.
    """
    try:
        found = ModelCard.load(base, token=token).data.license
    except (OSError, ValueError) as error:
        raise ProsocialError(
            f"the card of {base} could not be read ({error}); give the base's licence (licence=, --licence)"
        ) from error
    if not isinstance(found, str):
        raise ProsocialError(f"the card of {base} names no licence; give it (licence=, --licence)")
    return found
