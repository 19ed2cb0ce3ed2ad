"""The API pages of the documentation, one a package, from the faces: `python tools/api_pages.py`, or --check."""

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, PAGES = ROOT / "src" / "hf_prosocial", ROOT / "docs" / "api"


def faces() -> dict[str, dict[str, str]]:
    """For each package, where each name of its face is defined. "" is the root."""
    found = {}
    for init in [SOURCE / "__init__.py", *sorted(SOURCE.glob("*/__init__.py"))]:
        package = "" if init.parent == SOURCE else init.parent.name
        stub = init.with_suffix(".pyi")
        tree = ast.parse((stub if stub.is_file() else init).read_text(encoding="utf-8"))
        names = {
            alias.asname or alias.name: f"{package}.{node.module}".strip(".")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
            for alias in node.names
        }
        own = {node.name: package for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
        if names or own:
            found[package] = dict(sorted((names | own).items()))
    return found


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    every = faces()
    found = {"index.md": _index(every)}
    for package, names in every.items():
        if not package:
            continue
        doc = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text(encoding="utf-8"))) or ""
        parts = [f"# hf_prosocial.{package}", doc.partition("\n")[0]]
        parts += [f"::: hf_prosocial.{module}.{name}" for name, module in names.items()]
        found[f"{package}.md"] = "\n\n".join(parts) + "\n"
    return found


def _index(every: dict[str, dict[str, str]]) -> str:
    lines = ["# API", "", "What `from hf_prosocial import ...` gives, and the packages with the rest.", ""]
    for name, module in every[""].items():
        package = module.split(".")[0]
        if package in every:
            lines.append(f"- [`{name}`]({package}.md#hf_prosocial.{_definer(every, package, name)}.{name})")
    lines += ["", "Of the root itself:", "", "::: hf_prosocial.preference.Preference", ""]
    lines += [
        "::: hf_prosocial.preference.OBJECTIVES",
        "",
        "::: hf_prosocial.errors.ProsocialError",
        "",
        "Packages:",
        "",
    ]
    lines += [f"- [hf_prosocial.{package}]({package}.md)" for package in every if package]
    return "\n".join(lines) + "\n"


def _definer(every: dict[str, dict[str, str]], package: str, name: str) -> str:
    return every[package].get(name, package)


def main() -> int:
    """Write the pages, or tell which are not as the faces are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check, wanted = parser.parse_args().check, pages()
    there = {file.name: file.read_text(encoding="utf-8") for file in PAGES.glob("*.md")}
    stale = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
    if not check:
        PAGES.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if name in wanted:
                (PAGES / name).write_text(wanted[name], encoding="utf-8")
            else:
                (PAGES / name).unlink()
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
