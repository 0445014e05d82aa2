"""One call of a provider over all its attempts, and what became of all calls."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import wall_ms
from loong_gateway.providers.adaptations import shorten
from loong_gateway.providers.contract import CallOptions, Message
from loong_gateway.providers.errors import Failure

__all__ = ["CallState", "Counts"]


class CallState:
    """One call of `complete`, `embed` or `models`, over all its attempts. Used by one thread."""

    def __init__(
        self,
        messages: list[Message],
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None,
        options: CallOptions | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        self.messages = messages
        self.options = options or CallOptions()
        self._hidden = hidden
        self.deadline = deadline
        self.stop = stop
        self.on_text = on_text
        self._delivered = False
        self._shortened = False

    def deliver(self, piece: str) -> None:
        """Hand a piece of text to whoever wants it; from then on nothing is tried again."""
        if self.on_text is not None and piece:
            self._delivered = True
            self.on_text(piece)

    def judged(self, failure: Failure) -> Failure:
        """The failure as it counts for this turn: what the reader has seen cannot be taken back."""
        if not self._delivered or failure.kind in ("interrupted", "request_rejected"):
            return failure
        return replace(failure, text="provider.broken_stream", retry="no", next_model=False)

    def shorten(self) -> bool:
        """Drop the older half of the history, once; False when there is nothing to drop."""
        shorter = shorten(self.messages)
        if self._shortened or len(shorter) == len(self.messages):
            return False
        self._shortened = True
        self.messages = shorter
        return True

    def drop_images(self) -> bool:
        """Leave the text with its placeholders alone; False when there are no pictures."""
        if not any(message.images for message in self.messages):
            return False
        self.messages = [replace(message, images=()) for message in self.messages]
        return True

    def hidden(self, key: str) -> list[str]:
        """What must never show up in an error: the key, and what people wrote."""
        texts = [key, *self._hidden, *[message.content for message in self.messages]]
        for message in self.messages:
            if message.tool_calls:
                texts += [call.arguments for call in message.tool_calls]
        return [text for text in texts if text]


class Counts:
    """What happened so far. Thread-safe; `_guard` protects the numbers."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._numbers: dict[str, object] = {
            "calls": 0,
            "failed": 0,
            "last_success_ms": None,
            "last_failure_ms": None,
            "last_error": None,
        }
        self._calls = 0
        self._failed = 0
        self._images_refused = 0

    def dropped_images(self) -> None:
        """One more message was asked again without its pictures."""
        with self._guard:
            self._images_refused += 1

    def succeeded(self) -> None:
        """One more answer."""
        with self._guard:
            self._calls += 1
            self._numbers["last_success_ms"] = wall_ms()

    def failed(self, kind: str) -> None:
        """One more failure of this kind; being stopped is none."""
        with self._guard:
            self._calls += 1
            if kind != "interrupted":
                self._failed += 1
                self._numbers.update(last_failure_ms=wall_ms(), last_error=kind)

    def snapshot(self) -> dict[str, object]:
        """The numbers as JSON values."""
        with self._guard:
            counts = {"calls": self._calls, "failed": self._failed, "images_refused": self._images_refused}
            return {**self._numbers, **counts}
