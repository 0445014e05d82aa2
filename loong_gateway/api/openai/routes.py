"""The routes of the OpenAI API."""

from __future__ import annotations

from loong_gateway.api.router import Route
from loong_gateway.control import ControlPlane

from .chains import Chains
from .chat import ChatCompletions
from .embeddings import Embed
from .models import Models
from .responses import Responses
from .serving import Patience, checked

__all__ = ["openai_routes"]

# Conversations carry pictures and long histories.
BODY_BYTES = 16 << 20


def openai_routes(control: ControlPlane, patience: Patience | None = None) -> list[Route]:
    """The routes over `control`; `patience` is for tests and sites that cannot wait as long as usual."""
    waits = patience or Patience()
    handlers = {
        "/v1/chat/completions": ChatCompletions(control, waits).create,
        "/v1/responses": Responses(control, waits, Chains()).create,
        "/v1/embeddings": Embed(control).create,
    }
    return [
        Route("GET", "/v1/models", checked(Models(control).look), shape="openai", is_prefix=True),
        *(
            Route("POST", path, checked(handler), shape="openai", body_bytes=BODY_BYTES)
            for path, handler in handlers.items()
        ),
    ]
