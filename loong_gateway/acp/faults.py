"""Failures of agents as the faults that turns know."""

from __future__ import annotations

__all__ = ["KINDS", "before_quote"]

# What a failed peer means for a turn. What surely ends the same way again is no kind that is tried again.
KINDS = {
    "not_started": "provider_missing",
    "gone": "transport_failure",
    "timed_out": "timed_out",
    "interrupted": "interrupted",
    "refused": "request_rejected",
    "invalid": "response_shape_invalid",
    "flooded": "response_shape_invalid",
}
# By so many characters a quote is known; fewer than the second number tell nothing of anybody.
_QUOTED, _LEAST_QUOTED = 20, 8


def before_quote(message: str, asked: str) -> str:
    """What an agent says of a failure, on one line, up to where it repeats what it was asked."""
    beginning = " ".join(asked.split())[:_QUOTED]
    said, found, _ = message.partition(beginning) if len(beginning) >= _LEAST_QUOTED else (message, "", "")
    return f"{said}[hidden]" if found else message
