"""What people are told of the licences of the data that they built."""

from hf_prosocial.io import markdown_table

from .mixture import Mixture


def licence_page(mixture: Mixture) -> str:
    """A page: each source, its licence, where it is from, and whether its rows may be handed on."""
    rows = [
        (name, one.licence, "yes" if one.redistribute else "**no**", one.about)
        for name, one in sorted(mixture.sources.items())
    ]
    files = [
        f"- `{file.name}`: {file.address}" + (f" (SHA-256 {file.sha256})" if file.sha256 else "")
        for name in sorted(mixture.sources)
        for file in mixture.sources[name].files
    ]
    parts = [
        "# Where these rows are from",
        "The rows keep the licences of their sources. Name the sources where you pass rows on; rows of a source whose "
        "licence forbids that are for you alone.",
        markdown_table(("source", "licence", "may be handed on", "read of it"), rows),
        "## Files",
        "\n".join(files),
    ]
    return "\n\n".join(parts) + "\n"


def not_to_hand_on(mixture: Mixture) -> list[str]:
    """Sources whose licence forbids to hand their rows on."""
    return sorted(name for name, one in mixture.sources.items() if not one.redistribute)
