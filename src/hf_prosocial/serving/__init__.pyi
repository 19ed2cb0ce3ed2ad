from .guided_request import GuidedRequest as GuidedRequest
from .transformers_serve import assemble as assemble
from .transformers_serve import check_flags as check_flags
from .transformers_serve import serve_command as serve_command
from .vllm_serve import has_vllm as has_vllm
from .vllm_serve import vllm_arguments as vllm_arguments
from .vllm_serve import vllm_command as vllm_command
from .vllm_serve import vllm_settings as vllm_settings
