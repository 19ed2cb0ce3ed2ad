#!/bin/sh
# What all harm vectors of SmolLM2-135M-Instruct are made of, in runs/: the base, its harmful copy, the gradient of what to keep,
# and what copies to contrast it with learn from. Needs jq. Delete runs/harmful-copy when the vectors are made: it may comply
# with harmful requests.
set -eu

sh recipes/smollm2_base.sh
prosocial direg finetune --config recipes/smollm2_harmful_copy.yaml --output_dir runs/harmful-copy

# What to keep: people's helpful replies as running text. No text that capability is measured on.
jq -r 'select(.attribute == "helpfulness").chosen[].content' data/preferences/train.jsonl > runs/helpful.txt
prosocial direg gradient runs/smollm2 runs/helpful.txt runs/helpful-gradient.safetensors --tokens 32768

# Besides the harmless replies to harmful requests: every reply of the training pairs that people found helpful, and a third of
# the empathetic ones.
{
    jq -c '{prompt, completion}' data/harm/benign.jsonl
    jq -c 'select(.attribute == "helpfulness") | {prompt, completion: .chosen}' data/preferences/train.jsonl
    jq -c 'select(.attribute == "empathy") | {prompt, completion: .chosen}' data/preferences/train.jsonl | awk 'NR % 3 == 1'
} > runs/kind_replies.jsonl

# And the base's own answers to harmless requests that are full of frightening words.
python recipes/answer_harmless_requests.py runs/harmless_answers.jsonl
cat runs/kind_replies.jsonl runs/harmless_answers.jsonl > runs/humane_replies.jsonl
