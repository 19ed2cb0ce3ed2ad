#!/bin/sh
# Harm vectors beside the released one, from the data in data/ to runs/other-vectors: their benign copies learn from less, or from
# more of the same; or entries that answers to people in need want most are left out. Needs jq. Delete runs/harmful-copy
# afterwards: it may comply with harmful requests.
set -eu
mkdir -p runs/other-vectors
sh recipes/smollm2_copies.sh
sh recipes/smollm2_humane_copy.sh

copy() {
    prosocial direg finetune --config recipes/smollm2_benign_copy.yaml --data "$1" --max_steps "$2" --output_dir "$3"
}
copy data/harm/benign.jsonl 110 runs/benign-copy
copy runs/kind_replies.jsonl 220 runs/kind-copy
# The answers to harmless requests three times.
cat runs/humane_replies.jsonl runs/harmless_answers.jsonl runs/harmless_answers.jsonl > runs/answers_thrice.jsonl
copy runs/answers_thrice.jsonl 314 runs/answers-thrice-copy

# What one of them leaves alone in place of people's helpful replies: conversations of people in need.
python - > runs/support.txt << 'END_OF_PYTHON'
import json
from pathlib import Path

from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("runs/smollm2")
rows = [json.loads(line) for line in Path("data/preferences/train.jsonl").read_text().splitlines()]
counselled = [row for row in rows if row["source"] == "counsel-chat" and row["attribute"] == "helpfulness"]
comforted = [row for row in rows if row["attribute"] == "empathy"][::9]
for row in counselled + comforted:
    print(tokenizer.apply_chat_template(row["prompt"] + row["chosen"], tokenize=False), end="")
END_OF_PYTHON
prosocial direg gradient runs/smollm2 runs/support.txt runs/support-gradient.safetensors --tokens 32768

extract() {
    name=$1
    shift
    prosocial direg extract runs/smollm2 runs/harmful-copy "runs/other-vectors/$name.safetensors" --density 0.018 --compact "$@"
}
extract benign --benign runs/benign-copy --contrast 0.55 --protect runs/helpful-gradient.safetensors
extract protected --benign runs/benign-copy --contrast 0.55 --protect runs/support-gradient.safetensors --protected 0.003
extract kind --benign runs/kind-copy --contrast 0.55 --protect runs/helpful-gradient.safetensors
extract kinder --benign runs/kind-copy --contrast 1 --protect runs/helpful-gradient.safetensors
extract humane --benign runs/humane-copy --contrast 1 --protect runs/helpful-gradient.safetensors
extract answers-thrice --benign runs/answers-thrice-copy --contrast 1 --protect runs/helpful-gradient.safetensors
