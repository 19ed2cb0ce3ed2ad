"""Compiles the parts of a base that no adapter changes."""

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

# One matrix multiplication or one look-up each: nothing to fuse.
_SINGLE_KERNELS = (nn.Linear, nn.Embedding)


def compile_unadapted(model: nn.Module) -> list[str]:
    """torch.compile the largest modules without an adapter in them, norms and MLPs mostly; lengths may change.

    Memory-bound operations between their matrix multiplications are fused; weights and names stay as they are.

    Args:
        model: transformers' model, its adapters in place; changed in place.

    Returns:
        the names of the compiled modules.
    """
    compiled = []
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        adapted = any(isinstance(part, BaseTunerLayer) for part in module.modules())
        if adapted or isinstance(module, nn.ModuleList):
            waiting += [(f"{name}.{child}".lstrip("."), part) for child, part in module.named_children()]
        elif any(True for _ in module.parameters()) and not isinstance(module, _SINGLE_KERNELS):
            module.compile(dynamic=True)
            compiled.append(name)
    return compiled
