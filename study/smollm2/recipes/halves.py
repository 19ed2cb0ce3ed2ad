"""Every second prompt of each benchmark to choose a setting by, the others to report on: `python recipes/halves.py`."""

from pathlib import Path

FILES = ("support/dev", *(f"safety/{name}" for name in ("xstest", "catqa", "dangerousqa", "harmfulqa")))
FILES += ("safety/medsafetybench", "safety/simplesafetytests")

if __name__ == "__main__":
    for file in FILES:
        lines = Path("data", f"{file}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        for half, chosen in (("choose", lines[::2]), ("report", lines[1::2])):
            out = Path("runs", half, Path(file).parent.name)
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{Path(file).name}.jsonl").write_text("".join(chosen), encoding="utf-8")
