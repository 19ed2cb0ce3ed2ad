from .config import EvaluationConfig as EvaluationConfig
from .config import read_config as read_config
from .figures.registry import Measured as Measured
from .figures.registry import register_figures as register_figures
from .report.results import refused_share as refused_share
from .report.write import REPORT as REPORT
from .run import evaluate as evaluate
