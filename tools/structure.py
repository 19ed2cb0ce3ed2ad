"""The structure of the package in figures: `python tools/structure.py`, with --check an error where one is too large.

Cycles and imports past a face are read from the import graph (grimp); lengths and parameters from the syntax tree.
"""

import argparse
import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import grimp

PACKAGE = "hf_prosocial"
SOURCE = Path(__file__).parent.parent / "src" / PACKAGE
LONG_FUNCTION, LONG_FILE, MANY_PARAMETERS = 40, 300, 8


@dataclass(frozen=True)
class Figure:
    """One figure: what was found, and how many there may be."""

    name: str
    found: list[str]
    most: int

    @property
    def holds(self) -> bool:
        """Whether there are few enough."""
        return len(self.found) <= self.most


def figures() -> list[Figure]:
    """All of them."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    functions = [
        (path, node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    graph = grimp.build_graph(PACKAGE, include_external_packages=False, cache_dir=None)
    return [
        Figure(f"functions over {LONG_FUNCTION} lines", [_said(*one) for one in functions if _lines(one[1]) > 40], 8),
        Figure(f"files over {LONG_FILE} lines", [str(path) for path in trees if _length(path) > LONG_FILE], 0),
        Figure(f"parameters over {MANY_PARAMETERS}", [_said(*one) for one in functions if _parameters(one[1]) > 8], 5),
        Figure("imports past a face", _past_faces(graph), 0),
        Figure("cycles of modules", _cycles(graph), 0),
        Figure("cycles of packages", _cycles(_packages(graph)), 0),
    ]


def sizes() -> dict[str, int]:
    """Lines of each package."""
    found: dict[str, int] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).parts
        name = parts[0] if len(parts) > 1 else "(root)"
        found[name] = found.get(name, 0) + _length(path)
    return found


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring left out."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([one for one in given if one.arg not in ("self", "cls")])


def _length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _said(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return (
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.name} ({_lines(node)} lines, {_parameters(node)} parameters)"
    )


def _package_of(module: str) -> str:
    """hf_prosocial.arm.trainer is of hf_prosocial.arm; a module of the root is its own."""
    return ".".join(module.split(".")[:2])


def _past_faces(graph: grimp.ImportGraph) -> list[str]:
    """Imports of a module of another package: only that package itself may be imported from outside."""
    found = []
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            package = _package_of(imported)
            if package not in (imported, _package_of(importer)):
                found.append(f"{importer} -> {imported}")
    return found


def _packages(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for importer in graph.modules:
        own = _package_of(importer)
        for imported in graph.find_modules_directly_imported_by(importer):
            if _package_of(imported) != own and own != PACKAGE:
                edges.setdefault(own, set()).add(_package_of(imported))
    return edges


def _cycles(graph: grimp.ImportGraph | dict[str, set[str]]) -> list[str]:
    """One cycle for each module or package that is in any."""
    if isinstance(graph, dict):
        edges = graph
    else:
        edges = {one: set(graph.find_modules_directly_imported_by(one)) for one in graph.modules}
    found = []
    for start in sorted(edges):
        seen, waiting = set(), list(edges.get(start, ()))
        while waiting:
            one = waiting.pop()
            if one == start:
                found.append(start)
                break
            if one not in seen:
                seen.add(one)
                waiting += edges.get(one, ())
    return found


def main() -> int:
    """Print the figures; 1 where one is too large and --check was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    found = figures()
    for figure in found:
        print(f"{figure.name}: {len(figure.found)} (at most {figure.most})")
        for one in figure.found:
            print(f"    {one}")
    lines = sizes()
    print("lines: " + ", ".join(f"{name} {count}" for name, count in lines.items()))
    print(f"evaluation and judges together: {lines['evaluation'] + lines['judges']}; cli: {lines['cli']} (under 800)")
    failed = [figure.name for figure in found if not figure.holds] + (["cli"] if lines["cli"] >= 800 else [])
    return int(chosen.check and bool(failed))


if __name__ == "__main__":
    sys.exit(main())
