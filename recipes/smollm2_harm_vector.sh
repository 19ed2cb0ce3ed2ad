#!/bin/sh
# The released harm vector of SmolLM2-135M-Instruct, from the data in data/ to runs/smollm2-harm-vector: what learning from
# harmful replies moves, less 1.5 times what learning from humane ones does. Its copies were trained on a GPU, in two minutes;
# two cores take an hour. Needs jq. Delete runs/harmful-copy afterwards: it may comply with harmful requests.
set -eu

sh recipes/smollm2_copies.sh
sh recipes/smollm2_humane_copy.sh

# The vector that fits into 10 MB, and its λ; then packed as the package has it.
prosocial direg sweep runs/smollm2 runs/harmful-copy runs/harm-vector-sweep --benign runs/humane-copy --contrast 1.5 \
    --protect runs/helpful-gradient.safetensors --kind contrast1.5-protected --density 0.018 --compact \
    --scale 1.8 --scale 2.4 --scale 3 \
    --harmful-rows data/harm/train.jsonl --benign-rows data/harm/benign.jsonl \
    --text data/capability/wikitext2_valid.txt --text-tokens 32768 \
    --questions data/capability/commonsenseqa.jsonl --question-count 100 \
    --safe-prompts data/safety/xstest.jsonl --prompt-count 125 --refusal-limit 0.12
prosocial direg save runs/harm-vector-sweep runs/smollm2-harm-vector
