"""A whole head at once, for tests: the product reads heads as they arrive."""

from __future__ import annotations

from loong_gateway.api.http_request import HeadReader, Limits, Refusal, RequestHead


def parse_head(data: bytes, limits: Limits | None = None) -> RequestHead:
    """Parse a whole head, the empty line included. Raises Refusal; an incomplete one is a bad request."""
    head = HeadReader(limits or Limits()).feed(data)
    if head is None:
        raise Refusal(400, "incomplete_head")
    return head
