"""A Space: the page, for an ARM on the Hub."""

from importlib.metadata import version

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard

from hf_prosocial.errors import ProsocialError

_README = """---
title: "{title}"
emoji: 💬
sdk: gradio
sdk_version: {gradio}
app_file: app.py
license: {licence}
models:
- {base}
- {repo_id}
---

# {title}

Talk to [{base}](https://huggingface.co/{base}), guided by [{repo_id}](https://huggingface.co/{repo_id}): a slider for
each objective, the unguided base beside it, and which tokens guidance changed. It is a demonstration by a small model,
and not a counsellor. In danger, call your country's emergency number, or find somebody to talk to at findahelpline.com.
"""
_APP = """from hf_prosocial.page import page
from hf_prosocial.session import ChatSession, asked_edit

page(ChatSession.load({base!r}, {repo_id!r}, asked_edit({base!r}, None, None))).launch()
"""


def push_space(repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Make, or renew, the Space of an ARM's own name: the page of `prosocial app` for it, in one commit.

    Args:
        repo_id: of the ARM, "organisation/name", as `push` published it; its card tells base and licence.
        private: of a new Space, as of `push`.
        token: as of `push`.

    Returns:
        The commit's address.

    Raises:
        PackageNotFoundError: gradio is not installed, whose version the Space names.
        ProsocialError: no ARM of that name on the Hub, which the Space would load.
        HfHubHTTPError: the Hub refused.
    """
    api = HfApi(token=token)
    if not api.file_exists(repo_id, "adapter_config.json"):
        raise ProsocialError(f"{repo_id} holds no ARM adapter on the Hub, which the Space would load; push it first")
    card = ModelCard.load(repo_id, token=token).data
    written = space_files(repo_id, str(card.base_model), str(card.license))
    operations = [CommitOperationAdd(name, text.encode()) for name, text in written.items()]
    api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    message = "The page of hf_prosocial"
    return api.create_commit(repo_id, operations, commit_message=message, repo_type="space").commit_url


def space_files(repo_id: str, base_model: str, licence: str) -> dict[str, str]:
    """The three files of a Space, by name.

    Args:
        repo_id: of the ARM.
        base_model, licence: of its base, as the Hub writes them.

    Raises:
        PackageNotFoundError: gradio is not installed.
    """
    title = f"{repo_id.partition('/')[2]}: choose how it answers"
    said = {"title": title, "gradio": version("gradio"), "licence": licence, "base": base_model, "repo_id": repo_id}
    return {
        "README.md": _README.format(**said),
        "app.py": _APP.format(base=base_model, repo_id=repo_id),
        "requirements.txt": f"hf-prosocial[app]=={version('hf-prosocial')}\n",
    }
