from .transformers_serve import assemble as assemble
from .transformers_serve import check_flags as check_flags
from .transformers_serve import serve_command as serve_command
