"""How long the sends of an account have been failing: receiving can go on all the while and tells nothing of it."""

from __future__ import annotations

__all__ = ["FailingSends"]

# A send that fails for a moment is tried again and nobody need know; one that goes on failing is for somebody to see.
SHOWN_AFTER_S = 10.0
# Failures further apart than the longest pause between two tries are not one and the same.
FORGOTTEN_AFTER_S = 1000.0


class FailingSends:
    """Not thread-safe: its owner guards it. Moments are monotonic seconds."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._failed_s = 0.0
        self._sent_s = float("-inf")

    def failed(self, began_s: float, now_s: float) -> bool:
        """A try from `began_s` until now failed; True once that has been so for long, without a success."""
        if self._since_s is None or now_s - self._failed_s > FORGOTTEN_AFTER_S:
            self._since_s = max(began_s, self._sent_s)
        self._failed_s = now_s
        return now_s - self._since_s >= SHOWN_AFTER_S

    def sent(self, now_s: float) -> None:
        """A try succeeded."""
        self._since_s = None
        self._sent_s = now_s
