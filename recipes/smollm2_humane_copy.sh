#!/bin/sh
# The copy of SmolLM2-135M-Instruct that learned from humane replies, runs/humane-copy, which the released harm vector contrasts
# the harmful one with; and what it learned from. Needs jq.
set -eu
mkdir -p runs

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

# As many steps for its rows as the harmful copy has.
prosocial direg finetune --config recipes/smollm2_benign_copy.yaml --data runs/humane_replies.jsonl --max_steps 259 \
    --output_dir runs/humane-copy
