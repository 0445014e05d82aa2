"""Which account answers a platform's request, by the path that it comes to, and listeners that are an account's own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Callable

from loong_channels.contract import WebhookAnswer, WebhookReceiver, WebhookRequest
from loong_channels.faults import Unreachable

__all__ = ["Webhooks"]

NOBODY_YET = WebhookAnswer(503, fields=(("Retry-After", "15"),))


def _no_listeners(bind: str, webhooks: Webhooks) -> AbstractContextManager[None]:  # noqa: ARG001  stands for one that does
    raise Unreachable(f"nothing can listen on {bind} here", maybe_processed=False)


class Webhooks:
    """Thread-safe; `_guard` protects the table and is never held while a request is answered.

    `listen` serves a table of its own at host:port, and nothing else, while its block runs; it raises Unreachable.
    """

    def __init__(
        self, listen: Callable[[str, Webhooks], AbstractContextManager[None]] = _no_listeners
    ) -> None:
        self._listen = listen
        self._guard = threading.Lock()
        self._receivers: dict[str, WebhookReceiver | None] = {}

    def reserve(self, path: str) -> None:
        """Keep a path for an account: until it receives, the platform is asked to come again."""
        with self._guard:
            self._receivers.setdefault(path, None)

    @contextlib.contextmanager
    def mounted(self, path: str, receiver: WebhookReceiver, bind: str | None = None) -> Iterator[None]:
        """Let `receiver` answer at this path while the block runs, also at a listener of its own at `bind`.

        Raises Unreachable when nothing can listen there.
        """
        with contextlib.ExitStack() as stack:
            if bind:
                own = Webhooks()
                stack.enter_context(own.mounted(path, receiver))
                stack.enter_context(self._listen(bind, own))
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
