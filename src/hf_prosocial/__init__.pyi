from .arm import ArmTrainer as ArmTrainer
from .arm import ArmTrainingArguments as ArmTrainingArguments
from .arm import BaseMismatchError as BaseMismatchError
from .arm import PairTrainingArguments as PairTrainingArguments
from .arm import load_arm as load_arm
from .arm import record_base as record_base
from .assets import released_arm as released_arm
from .assets import released_gated_vector as released_gated_vector
from .assets import released_vector as released_vector
from .data import read_pairs as read_pairs
from .decoding import GatedModel as GatedModel
from .decoding import GuidanceLostError as GuidanceLostError
from .decoding import GuidedModel as GuidedModel
from .decoding import ProSocialProcessor as ProSocialProcessor
from .decoding import SpeculativeGuidedModel as SpeculativeGuidedModel
from .direg import HarmVector as HarmVector
from .errors import ProsocialError as ProsocialError
from .gate import GatedHarmVector as GatedHarmVector
from .genarm import GenArm as GenArm
from .genarm import GenArmProcessor as GenArmProcessor
from .genarm import train_genarm as train_genarm
from .models import find_base as find_base
from .pblora import PBLoraConfig as PBLoraConfig
from .pblora import PBLoraModel as PBLoraModel
from .preference import OBJECTIVES as OBJECTIVES
from .preference import Preference as Preference

__version__: str
