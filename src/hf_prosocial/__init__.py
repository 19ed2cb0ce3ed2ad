"""Safe, humane decoding for open language models: ProSocialAlign (arXiv 2512.06515) for transformers and PEFT.

A preference weighs five objectives; a small reward model, conditioned on it, guides any causal language model that
shares its tokenizer, token by token:

    from hf_prosocial import Preference, ProSocialProcessor, load_arm

    arm = load_arm("path-or-hub-id")                                # a PeftModel with a PBLoRA adapter
    preference = Preference(empathy=0.5, helpfulness=0.5)           # on the simplex, or an error that says why not
    processor = ProSocialProcessor(arm, preference, beta=1.0)       # a transformers LogitsProcessor
    model.generate(**inputs, logits_processor=[processor])          # scores (rows, vocabulary) are guided at each step

What there is:

- `HarmVector`: what harmful fine-tuning changes most, found and subtracted from a checkpoint on disk.
- `GatedHarmVector`, `GatedModel`: one subtracted while the model runs, where a gate takes the prompt for harmful.
- `Preference`: weights over named objectives.
- `PBLoraConfig`, `PBLoraModel`: the adapter, as a PEFT tuner; `bake(preference)` makes it an ordinary LoRA.
- `ArmTrainer`, `ArmTrainingArguments`, `read_pairs`: train one from preference pairs.
- `train_genarm`, `GenArm`, `GenArmProcessor`: the baseline, one LoRA for each objective, under the same data and loss.
- `load_arm`: an adapter and its base, checked against each other.
- `ProSocialProcessor`, `GuidanceLostError`: guided inference, and what is raised where guidance would be lost.
- `GuidedModel`: the same in one forward pass, where the ARM is an adapter on the base's own weights.
- `SpeculativeGuidedModel`: a small ARM drafts for the large base that it guides.
"""

import lazy_loader

# Loaded when first asked for: torch and PEFT take seconds to import, and `prosocial --help` needs neither. The names
# stand in __init__.pyi, for people and for type checkers.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
