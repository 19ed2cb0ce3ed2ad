from .likelihoods import GuidedByGenArm as GuidedByGenArm
from .margins import measure_genarm_margins as measure_genarm_margins
from .model import GenArm as GenArm
from .processor import GenArmProcessor as GenArmProcessor
from .run import train_genarm_from as train_genarm_from
from .training import GenArmTrainer as GenArmTrainer
from .training import genarm_record as genarm_record
from .training import train_genarm as train_genarm
