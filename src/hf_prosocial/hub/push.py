"""Publishing: the files, a card and a record, in one commit."""

import re
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError

from hf_prosocial.direg import HarmVector, VectorRecord
from hf_prosocial.direg.choice import CHOICE, read_choice
from hf_prosocial.direg.describe import heat_map
from hf_prosocial.direg.record import RECORD_NAME
from hf_prosocial.files import sha256, write_json, write_text

from .cards import arm_card, safe_card, vector_card
from .evaluated_card import with_evaluation
from .publication import Publication, open_publication

HEAT_MAP = "harm-vector.png"
# A connection that broke raises an error of the HTTP library's own, of which the Hub's errors are a kind.
_BROKEN: Any = tuple(kind for kind in HfHubHTTPError.__bases__ if not issubclass(kind, OSError))
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def push(
    directory: str | Path,
    repo_id: str,
    *,
    base_model: str | None = None,
    licence: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    dry_run: str | Path | None = None,
    evaluation: str | Path | None = None,
) -> str:
    """Publish a safe checkpoint, an ARM adapter or a harm vector, with its card, in one commit.

    Weights are uploaded first and become visible with the commit alone, so that nothing is published by halves; after
    a failure, push again: what was uploaded is not sent twice.

    Args:
        directory: what to publish.
        repo_id: "organisation/name" on the Hub; created if there is none.
        base_model: the base's id on the Hub; by default the one recorded, where that is an id.
        licence: the base's licence, as the Hub writes it ("apache-2.0"); by default the one in the base's card.
        private: for a new repository.
        token: of the Hub; by default the one logged in with.
        dry_run: a folder that does not exist yet, to render the card, the record and the pictures to instead.
        evaluation: a variant's file in `eval_results` of `prosocial evaluate`, whose figures go into the card.

    Returns:
        The commit's address, or the folder.

    Raises:
        ValueError: what must not be published (see `open_publication`), a base or licence that is not known, or a file
            that holds no evaluation.
        FileExistsError: the folder of the dry run exists.
        HfHubHTTPError: the Hub refused.
        ConnectionError: the connection broke; the commit did not happen, or its answer was lost.
    """
    if not _HUB_ID.fullmatch(repo_id):
        raise ValueError(f"a repository is called organisation/name, found {repo_id!r}")
    publication = open_publication(directory)
    base = _base_model(publication, base_model)
    licence = licence or _licence(base, token)
    if dry_run is not None:
        folder = Path(dry_run)
        folder.mkdir(parents=True, exist_ok=False)
        _render(publication, folder, repo_id, base, licence, evaluation)
        return str(folder)
    with tempfile.TemporaryDirectory(prefix="prosocial-push-") as name:
        _render(publication, Path(name), repo_id, base, licence, evaluation)
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        files = [*publication.files, *sorted(Path(name).iterdir())]
        operations = [CommitOperationAdd(file.name, file) for file in {file.name: file for file in files}.values()]
        message = f"{publication.kind} made with hf_prosocial"
        try:
            return api.create_commit(repo_id, operations, commit_message=message).commit_url
        except HfHubHTTPError:
            raise
        except _BROKEN as error:
            raise ConnectionError(
                f"the connection broke ({error}); push again, what was uploaded is not sent twice"
            ) from error


def _render(
    publication: Publication, folder: Path, repo_id: str, base: str, licence: str, evaluation: str | Path | None
) -> None:
    """Write the card, the record and the pictures."""
    drawn = [file.name for file in publication.files if file.suffix == ".png" and file.name != HEAT_MAP]
    pictures = [*drawn, HEAT_MAP]
    if publication.kind == "ARM adapter":
        record = publication.record
        figures = _figures_of(publication.folder)
        card = arm_card(record, figures, repo_id=repo_id, licence=licence, pictures=drawn)
        hashes = {file.name: sha256(file) for file in publication.files if file.suffix == ".safetensors"}
        kept = {key: record[key] for key in record if key != "log"}
        machine = {"made_by": "prosocial arm train", **kept, "sha256": hashes}
    elif publication.kind == "harm vector":
        vector = HarmVector(publication.files[0])
        heat_map(vector.record, folder / HEAT_MAP)
        machine = {"made_by": "HarmVector.extract", "vector": vector.record.to_dict()}
        machine["vector_hash"] = vector.content_hash()
        if (publication.folder / CHOICE).is_file():
            machine["evidence"] = read_choice(publication.folder).content
        card = vector_card(machine, repo_id=repo_id, base=base, licence=licence, pictures=pictures)
    else:
        machine = publication.record
        heat_map(VectorRecord.from_dict(machine["vector"]), folder / HEAT_MAP)
        card = safe_card(machine, repo_id=repo_id, base=base, licence=licence, pictures=pictures)
    write_text(folder / "README.md", card if evaluation is None else with_evaluation(card, evaluation))
    write_json(folder / RECORD_NAME, machine)


def _figures_of(folder: Path) -> str:
    """The tables of a trained ARM's card, as training wrote them."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    match = re.search(r"^## Figures\n\n(.*?)^(?:!\[|## )", text, re.DOTALL | re.MULTILINE)
    return match.group(1).strip() if match else ""


def _base_model(publication: Publication, given: str | None) -> str:
    recorded = {
        "ARM adapter": lambda: publication.record["recipe"]["base"],
        "harm vector": lambda: publication.record["base"],
        "safe checkpoint": lambda: publication.record["vector"]["base"],
    }[publication.kind]()
    base = given or recorded
    if not _HUB_ID.fullmatch(base) or Path(base).exists():
        raise ValueError(f"the base is recorded as {recorded!r}, which is no Hub id; give the base's id as base_model")
    return base


def _licence(base: str, token: str | None) -> str:
    try:
        found = ModelCard.load(base, token=token).data.license
    except (OSError, ValueError) as error:
        raise ValueError(f"the card of {base} could not be read ({error}); give the base's licence") from error
    if not isinstance(found, str):
        raise ValueError(f"the card of {base} names no licence; give it")
    return found
