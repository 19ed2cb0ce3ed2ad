#!/bin/sh
# The fronts of kinds of harm vectors of SmolLM2-135M-Instruct whose benign copy learned from refusals of harmful requests, and
# the vector that was taken from them (baselines/smollm2-refusals-vector); about an hour on two cores. Needs jq. Delete
# runs/harmful-copy afterwards: it may comply with harmful requests.
set -eu

sh recipes/smollm2_copies.sh
prosocial direg finetune --config recipes/smollm2_benign_copy.yaml --output_dir runs/benign-copy

measure() {
    prosocial direg sweep runs/smollm2 runs/harmful-copy "$@" \
        --benign runs/benign-copy --protect runs/helpful-gradient.safetensors \
        --harmful-rows data/harm/train.jsonl --benign-rows data/harm/benign.jsonl \
        --text data/capability/wikitext2_valid.txt --questions data/capability/commonsenseqa.jsonl \
        --safe-prompts data/safety/xstest.jsonl
}

# The fronts of all kinds of vectors. A LoRA on the linear layers moves 0.789 of the entries: density 0.788 is all of it.
measure runs/direg-sweep --density 0.02 --density 0.1 --density 0.788 --scale 0.1 --scale 0.5 --scale 1 --scale 2 \
    --contrast 1 --contrast 0.55 --kind plain --kind contrast --kind contrast0.55-protected \
    --text-tokens 4096 --question-count 20 --prompt-count 30

# The vector that fits into 10 MB, and its λ.
measure runs/refusals-vector-sweep --density 0.018 --compact --scale 2 --scale 2.1 --scale 2.2 \
    --contrast 0.55 --kind contrast0.55-protected --text-tokens 32768 --question-count 100 --prompt-count 125 \
    --refusal-limit 0.08
prosocial direg save runs/refusals-vector-sweep runs/smollm2-refusals-vector
