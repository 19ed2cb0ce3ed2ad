"""GUI-Gen, guided inference: π(y_t | x, y_<t, p) ∝ π_s(y_t | x, y_<t) · π_r(y_t | x, y_<t, p)^β."""

from .guide import GuidanceLostError
from .guided_model import GuidedModel
from .processor import ProSocialProcessor
from .speculative_model import SpeculativeGuidedModel

__all__ = ["GuidanceLostError", "GuidedModel", "ProSocialProcessor", "SpeculativeGuidedModel"]
