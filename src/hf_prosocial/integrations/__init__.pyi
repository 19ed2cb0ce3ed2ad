from .lm_eval import ProSocialLM as ProSocialLM
from .lm_eval import run_lm_eval as run_lm_eval
