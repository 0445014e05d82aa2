"""Which account answers a platform's request, by the path that it comes to on the gateway's port."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from loong_channels.contract import WebhookAnswer, WebhookReceiver, WebhookRequest

__all__ = ["Webhooks"]

NOBODY_YET = WebhookAnswer(503, fields=(("Retry-After", "15"),))


class Webhooks:
    """Thread-safe; `_guard` protects the table and is never held while a request is answered."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._receivers: dict[str, WebhookReceiver | None] = {}

    def reserve(self, path: str) -> None:
        """Keep a path for an account: until it receives, the platform is asked to come again."""
        with self._guard:
            self._receivers.setdefault(path, None)

    @contextlib.contextmanager
    def mounted(self, path: str, receiver: WebhookReceiver) -> Iterator[None]:
        """Let `receiver` answer at this path while the block runs."""
        with self._guard:
            self._receivers[path] = receiver
        try:
            yield
        finally:
            with self._guard:
                # Another life of the account may have begun before this one was over.
                if self._receivers[path] is receiver:
                    self._receivers[path] = None

    def has(self, path: str) -> bool:
        """Whether the path belongs to an account."""
        with self._guard:
            return path in self._receivers

    def answer(self, path: str, request: WebhookRequest) -> WebhookAnswer:
        """What the account of a path says to a request; 503 while it does not receive. Blocks for a commit."""
        with self._guard:
            receiver = self._receivers.get(path)
        return NOBODY_YET if receiver is None else receiver.answer(request)
