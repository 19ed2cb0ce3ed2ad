"""What clients and operators are told over HTTP: a header of every reply, and counters for Prometheus."""

import json
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from urllib.parse import quote

from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hf_prosocial.errors import ProsocialError
from hf_prosocial.serving.guided_request import FIELDS, GuidedRequest

from .options import Options

DEFAULT, GUIDED_BY = "x-prosocial-default", "x-prosocial-guided-by"
_HTTP_ERROR = 400
# Of a body's own fields: the name in Python, and a plural. vLLM passes over what it does not know.
_GENERATING = (
    "/v1/chat/completions",
    "/v1/chat/completions/batch",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/invocations",
)
_TRUE = ("true", "1", "yes", "on", "t", "y")
_SLIPS = ("extra_args", "preferences")
_answered = Counter("prosocial_requests", "Requests answered, by whether guidance acted (β > 0).", ["guidance"])
_weights = Counter("prosocial_preference_weight", "Weights of the preferences that guided, summed up.", ["objective"])
_refused = Counter("prosocial_refused_requests", "Requests refused for a preference that cannot be honoured.")


async def guidance(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """A middleware for vLLM's server: says what guided a reply, and counts.

    Preferences that cannot be honoured are refused by the engine; here only what would not reach it.
    """
    options = _options()
    asked = _asked(request.url.path, await request.body(), options) if request.method == "POST" else None
    response = _refusal(str(asked)) if isinstance(asked, _NotHandedOnError) else await call_next(request)
    response.headers[DEFAULT] = _said(options.default)
    if isinstance(asked, ProsocialError) and response.status_code == _HTTP_ERROR:
        _refused.inc()
    if isinstance(asked, GuidedRequest) and response.status_code < _HTTP_ERROR:
        response.headers[GUIDED_BY] = _said(asked)
        _count(asked)
    return response


class _NotHandedOnError(ProsocialError):
    """A preference that vLLM would drop, and answer by the default."""


@cache
def _options() -> Options:
    return Options.here()


def _asked(path: str, body: bytes, options: Options) -> GuidedRequest | ProsocialError | None:
    """What a request for text asks for; why it cannot be had; None of any other request."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    given = fields.get("vllm_xargs")
    astray = sorted({*FIELDS, *_SLIPS} & set(fields))
    if astray:
        return _NotHandedOnError(
            f"{', '.join(astray)}: a preference goes into vllm_xargs, and would be passed over here"
        )
    if path not in _GENERATING:
        return _NotHandedOnError(f"{path} hands no preference on; leave vllm_xargs out") if given else None
    if given and str(fields.get("use_beam_search")).lower() in _TRUE:
        return _NotHandedOnError("vLLM's beam search hands no preference on; leave vllm_xargs or use_beam_search out")
    if isinstance(given, dict):  # vLLM takes these for 1 and 0.
        given = {name: int(value) if isinstance(value, bool) else value for name, value in given.items()}
    try:
        return options.parse(given if isinstance(given, dict) else None)
    except ProsocialError as error:
        return error


def _refusal(message: str) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": _HTTP_ERROR}
    return JSONResponse({"error": error}, _HTTP_ERROR)


def _count(asked: GuidedRequest) -> None:
    _answered.labels("on" if asked.beta > 0 else "off").inc()
    if asked.beta == 0:
        return
    for name, weight in asked.preference.items():
        _weights.labels(name).inc(weight)


def _said(asked: GuidedRequest) -> str:
    fields: dict[str, Any] = asked.fields() if asked.beta > 0 else asked.fields() | {"preference": "none, the base"}
    said = "; ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    return quote(said, safe="=,;:. -+")  # Names may hold what a header may not.
