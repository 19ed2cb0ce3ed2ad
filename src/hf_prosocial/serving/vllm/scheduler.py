"""A scheduler whose cached blocks are of one preference: others' keys and values are never taken."""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.request import Request

from .options import Options


class SaltedScheduler(AsyncScheduler):
    """vLLM's own, but that a request's blocks are hashed with its preference."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options = Options.of(self.vllm_config)

    def add_request(self, request: Request) -> None:
        """Hash the blocks anew before any of them is looked for."""
        params = request.sampling_params
        given = None if params is None else params.extra_args
        salt = self._options.parse(given).salt()
        request.cache_salt = salt if request.cache_salt is None else f"{request.cache_salt}|{salt}"
        request.block_hashes = []
        request.update_block_hashes()
        super().add_request(request)
