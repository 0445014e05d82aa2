"""Writes and reads embeddings as OpenAI publishes them. No socket.

https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from loong_gateway.providers.answer import parse_json, read_usage
from loong_gateway.providers.contract import Embeddings, Usage
from loong_gateway.providers.errors import AttemptFailed, shape_failure

__all__ = ["BATCH_TEXTS", "embedding_payload", "joined", "read_embeddings"]

# So that one answer stays well below what is read of any answer.
BATCH_TEXTS = 64
MAX_DIMENSIONS = 16_384
# Vectors are passed on as numbers of 32 bits as well, which can be no larger.
LARGEST = 3.4028234663852886e38


def embedding_payload(model: str, texts: Sequence[str], dimensions: int | None) -> dict[str, Any]:
    """A request body. `dimensions` None leaves the length of the vectors to the model."""
    payload: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    if dimensions is not None:
        payload["dimensions"] = dimensions
    return payload


def read_embeddings(body: bytes, *, count: int, model: str) -> Embeddings:
    """The vectors in an answer of status 200 to `count` texts. Raises AttemptFailed."""
    document = parse_json(body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list) or len(data) != count:
        raise AttemptFailed(shape_failure("it does not hold one vector for each text"))
    found: dict[int, Sequence[float]] = {}
    for place, row in enumerate(data):
        if not isinstance(row, dict):
            raise AttemptFailed(shape_failure("a vector is no object"))
        index = row.get("index", place)
        if not isinstance(index, int):
            raise AttemptFailed(shape_failure("the index of a vector is no number"))
        found[index] = _vector(row.get("embedding"))
    if set(found) != set(range(count)):
        raise AttemptFailed(shape_failure("the vectors do not belong to the texts"))
    named = document.get("model")
    return Embeddings(
        tuple(found[place] for place in range(count)),
        named if isinstance(named, str) and named else model,
        read_usage(document.get("usage")),
    )


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """The answers to the parts of one question as one; tokens are counted where every part counted them."""
    counts = [None if part.usage is None else part.usage.input or part.usage.total for part in parts]
    known = [count for count in counts if count is not None]
    total = sum(known) if len(known) == len(parts) else None
    usage = None if total is None else Usage(total, None, total)
    return Embeddings(tuple(vector for part in parts for vector in part.vectors), parts[0].model, usage)


def _vector(value: object) -> Sequence[float]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_DIMENSIONS:
        raise AttemptFailed(shape_failure("a vector is not a list of numbers"))
    try:
        made = array("d", value)
    except (TypeError, OverflowError):
        raise AttemptFailed(shape_failure("a vector is not a list of numbers")) from None
    if not all(-LARGEST <= number <= LARGEST for number in made):
        raise AttemptFailed(shape_failure("a vector holds what is no number"))
    return made
