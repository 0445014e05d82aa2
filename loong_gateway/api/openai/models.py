"""GET /v1/models and /v1/models/{id}, https://platform.openai.com/docs/api-reference/models"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from loong_gateway.api.answers import Answer, json_answer
from loong_gateway.api.router import Request
from loong_gateway.control import ControlPlane

from .faults import ApiFault
from .names import OWN, model_names, target_of

__all__ = ["Models"]

# Every percent sign begins an escape, and what is escaped is UTF-8.
_ESCAPED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})+")


class Models:
    """The handler of both. Stateless, so thread-safe; asks nobody."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def look(self, request: Request, _document: Mapping[str, object]) -> Answer:
        """All that `model` can be, or the one that the path names. Raises ApiFault."""
        config = self._control.config()
        if not request.tail:
            rows = [_model(name) for name in model_names(config)]
            return json_answer(200, {"object": "list", "data": rows})
        name = _decoded(request.tail)
        target_of(name, request.head, config)
        return json_answer(200, _model(name))


def _decoded(tail: str) -> str:
    try:
        name = unquote(tail, errors="strict") if _ESCAPED.fullmatch(tail) else ""
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable():
        raise ApiFault(400, "invalid_value", "Invalid model id.")
    return name


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": OWN, "permission": []}
