#!/bin/sh
# SmolLM2-135M-Instruct, dequantised to fp32, as the checkpoint directory runs/smollm2.
set -eu

python -c "
from hf_prosocial.bases import find_base
model, tokenizer = find_base().load()
model.save_pretrained('runs/smollm2')
tokenizer.save_pretrained('runs/smollm2')"
