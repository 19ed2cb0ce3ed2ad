#!/bin/sh
# An ARM by the recipe of the released one, but on a safe base: SmolLM2-135M-Instruct less 2.2 times the vector in baselines/.
# From the data in data/ to runs/smollm2-arm-on-safe-base; options after the command go to the training.
set -eu

if [ ! -d runs/smollm2-safe-base ]; then
    sh recipes/smollm2_base.sh
    prosocial direg subtract baselines/smollm2-refusals-vector runs/smollm2 runs/smollm2-safe-base --scale 2.2
fi

prosocial arm train --config recipes/smollm2_arm.yaml --base runs/smollm2-safe-base \
    --reference_log_probs recipes/smollm2_safe_base_reference.safetensors \
    --output_dir runs/smollm2-arm-on-safe-base "$@"
