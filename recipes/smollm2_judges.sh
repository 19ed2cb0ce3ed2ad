#!/bin/sh
# The embedded judges that the package holds: heads on SmolLM2-135M-Instruct's hidden states. The pairs are those that no
# ARM is trained on. A quarter of an hour on 2 cores.
set -eu
prosocial judges train --pairs data/preferences/dev.jsonl --harmful data/harm/train.jsonl \
    --benign data/harm/benign.jsonl --completions data/refusal/xstest_completions.jsonl \
    --out "${1:-runs/smollm2-judges}"
