#!/bin/sh
# Harm vectors that might turn fewer people away, from the data in data/ to runs/kinder: the benign copy learns from answers to
# harmless questions and people in need too, not from refusals of harmful requests alone; or entries that answers to people
# in need want most are left out. Needs jq. Delete runs/harmful-copy afterwards: it may comply with harmful requests.
set -eu
mkdir -p runs/kinder
sh recipes/smollm2_copies.sh

# What the benign copy learns from: besides the harmless replies to harmful requests, every reply of the training pairs that
# people found helpful, and a third of the empathetic ones.
{
    jq -c '{prompt, completion}' data/harm/benign.jsonl
    jq -c 'select(.attribute == "helpfulness") | {prompt, completion: .chosen}' data/preferences/train.jsonl
    jq -c 'select(.attribute == "empathy") | {prompt, completion: .chosen}' data/preferences/train.jsonl | awk 'NR % 3 == 1'
} > runs/benign_and_kind.jsonl
prosocial direg finetune --config recipes/smollm2_benign_copy.yaml --data runs/benign_and_kind.jsonl --max_steps 220 \
    --output_dir runs/kind-copy

# What one of them leaves alone in place of people's helpful replies: conversations of people in need.
python - > runs/support.txt << 'END'
import json
from pathlib import Path

from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("runs/smollm2")
rows = [json.loads(line) for line in Path("data/preferences/train.jsonl").read_text().splitlines()]
counselled = [row for row in rows if row["source"] == "counsel-chat" and row["attribute"] == "helpfulness"]
comforted = [row for row in rows if row["attribute"] == "empathy"][::9]
for row in counselled + comforted:
    print(tokenizer.apply_chat_template(row["prompt"] + row["chosen"], tokenize=False), end="")
END
prosocial direg gradient runs/smollm2 runs/support.txt runs/support-gradient.safetensors --tokens 32768

extract() {
    name=$1
    shift
    prosocial direg extract runs/smollm2 runs/harmful-copy "runs/kinder/$name.safetensors" --density 0.018 --compact "$@"
}
extract benign --benign runs/benign-copy --contrast 0.55 --protect runs/helpful-gradient.safetensors
extract protected --benign runs/benign-copy --contrast 0.55 --protect runs/support-gradient.safetensors --protected 0.003
extract kind --benign runs/kind-copy --contrast 0.55 --protect runs/helpful-gradient.safetensors
# Kept as baselines/smollm2-kinder-vector.
extract kind-whole --benign runs/kind-copy --contrast 1 --protect runs/helpful-gradient.safetensors
