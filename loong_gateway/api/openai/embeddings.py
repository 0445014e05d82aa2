"""POST /v1/embeddings, https://platform.openai.com/docs/api-reference/embeddings"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence

from loong_channels.waiting import Deadline
from loong_gateway.api.answers import Answer, json_answer
from loong_gateway.api.fields import BadFields
from loong_gateway.api.router import Request
from loong_gateway.api.wire import PeerGone
from loong_gateway.control import ControlPlane
from loong_gateway.providers.contract import ProviderFault

from .faults import provider_fault
from .following import while_there
from .names import target_of
from .options import whole_number
from .serving import usage_of

__all__ = ["Embed"]

MOST_TEXTS = 1024
MOST_CHARS = 2_000_000
MOST_DIMENSIONS = 16_384


class Embed:
    """The handler. Stateless, so thread-safe."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def create(self, request: Request, document: Mapping[str, object]) -> Answer:
        """Vectors for one text or several. Blocks for the provider; raises ApiFault and BadFields."""
        target = target_of(document.get("model"), request.head, self._control.config())
        texts = _texts(document.get("input"))
        encoding = document.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise BadFields("encoding_format: must be float or base64")
        dimensions = whole_number(document, "dimensions", 1, MOST_DIMENSIONS)
        try:
            with while_there(request, self._control.timers) as stop:
                made = self._control.embed(
                    texts,
                    profile=target.profile,
                    model=target.model,
                    dimensions=dimensions,
                    deadline=Deadline(target.timeout_s),
                    stop=stop,
                )
        except ProviderFault as fault:
            if request.gone():
                raise PeerGone from fault
            named = target.is_model_named
            raise provider_fault(
                fault.kind, str(fault), is_model_named=named, retry_after_s=fault.retry_after_s
            ) from fault
        rows = [
            {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
            for index, vector in enumerate(made.vectors)
        ]
        usage = usage_of(made.usage, "prompt_tokens", "output") or {"prompt_tokens": 0, "total_tokens": 0}
        counts = {name: usage[name] for name in ("prompt_tokens", "total_tokens")}
        model = str(document["model"])
        return json_answer(200, {"object": "list", "data": rows, "model": model, "usage": counts})


def _texts(given: object) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadFields("`input` must be a string or an array of strings.")
    if len(texts) > MOST_TEXTS:
        raise BadFields(f"input: must have at most {MOST_TEXTS} texts")
    if sum(map(len, texts)) > MOST_CHARS:
        raise BadFields(f"input: must have at most {MOST_CHARS} characters in all")
    if not all(text.strip() for text in texts):
        raise BadFields("input: must not hold an empty text")
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        raise BadFields("input: must be valid Unicode") from None
    return texts


def _written(vector: Sequence[float], encoding: object) -> object:
    if encoding == "float":
        return list(vector)
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
