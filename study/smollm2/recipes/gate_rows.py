"""People in need, to learn from and to set a threshold by: `python recipes/gate_rows.py` writes both into runs/.

One in eight of data/gate/people.jsonl goes to runs/gate_people_calibration.jsonl, the others to runs/gate_people.jsonl.
"""

from pathlib import Path

APART = 8

if __name__ == "__main__":
    rows = Path("data/gate/people.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    parts = {"gate_people_calibration": rows[::APART]}
    parts["gate_people"] = [row for at, row in enumerate(rows) if at % APART]
    Path("runs").mkdir(exist_ok=True)
    for name, some in parts.items():
        Path("runs", f"{name}.jsonl").write_text("".join(some), encoding="utf-8")
        print(f"{name}: {len(some)}")
