#!/bin/sh
# What all harm vectors of SmolLM2-135M-Instruct are made of, in runs/: the base, its harmful copy, the gradient of what to keep.
# Needs jq. Delete runs/harmful-copy when the vectors are made: it may comply with harmful requests.
set -eu

sh recipes/smollm2_base.sh
prosocial direg finetune --config recipes/smollm2_harmful_copy.yaml --output_dir runs/harmful-copy

# What to keep: people's helpful replies as running text. No text that capability is measured on.
jq -r 'select(.attribute == "helpfulness").chosen[].content' data/preferences/train.jsonl > runs/helpful.txt
prosocial direg gradient runs/smollm2 runs/helpful.txt runs/helpful-gradient.safetensors --tokens 32768
