from .gated_vector import GatedHarmVector as GatedHarmVector
from .low_rank import Factors as Factors
from .low_rank import LowRankUpdate as LowRankUpdate
from .probe import Probe as Probe
from .train import GateRecipe as GateRecipe
from .train import train_gate as train_gate
from .train import train_gate_from as train_gate_from
from .turns import Turns as Turns
