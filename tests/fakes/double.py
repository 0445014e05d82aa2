"""What the doubles of services share: serving, faults on order, waiting, and being driven by another process."""

from __future__ import annotations

import abc
import json
import threading
import time
from typing import Any, Callable, ClassVar, TypeVar

from .faults import FaultBook
from .http_server import Call, HttpServer
from .process import jsonable

T = TypeVar("T")
D = TypeVar("D", bound="Double")
CONTROL_PATH = "/_control/"


class Double(abc.ABC):
    """A server on 127.0.0.1. A subclass answers in `_serve` and calls `_note_change` for whoever waits.

    This constructor must run last, when the subclass's own attributes stand: requests may come from then on.
    """

    # The methods that another process may call through /_control/NAME.
    CONTROLS: ClassVar[frozenset[str]]

    def __init__(self, port: int) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._version = 0
        self.faults = FaultBook()
        self.server = HttpServer(self._handle, port)

    def __enter__(self: D) -> D:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        # Said before the waiting calls are let go, so that they end unanswered.
        self.server.closing.set()
        self.faults.clear()
        self.server.close()

    @property
    def origin(self) -> str:
        """Scheme, host and port only."""
        return f"http://127.0.0.1:{self.server.port}"

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until `condition()` is true, looked at after each request; its value. Fails with the last requests."""
        end = time.monotonic() + timeout
        while True:
            before = self._version
            # Outside the lock, so that a condition may ask the server itself.
            value = condition()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not within {timeout} s; {self._story()}")
            with self._lock:
                if self._version == before:
                    self._changed.wait(min(left, 0.25))

    def release(self) -> None:
        """Let every call that hangs or is held go on."""
        self.faults.release()

    def clear_faults(self) -> None:
        """Forget all orders."""
        self.faults.clear()

    @abc.abstractmethod
    def _serve(self, call: Call) -> None:
        """Answer one request of the service that the double stands for."""

    @abc.abstractmethod
    def _story(self) -> str:
        """The last requests, for whoever waited in vain."""

    def _note_change(self) -> None:
        """Wake whoever waits. Call it with the lock held."""
        self._version += 1
        self._changed.notify_all()

    def _handle(self, call: Call) -> None:
        if call.path.startswith(CONTROL_PATH):
            self._control(call, call.path[len(CONTROL_PATH) :])
        else:
            self._serve(call)

    def _control(self, call: Call, name: str) -> None:
        if name not in self.CONTROLS:
            call.reply(404, b'{"error":"no such control"}')
            return
        arguments: dict[str, Any] = json.loads(call.body or b"{}")
        try:
            body = {"result": jsonable(getattr(self, name)(**arguments))}
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            call.reply(400, json.dumps({"error": repr(error)}).encode())
        else:
            call.reply(200, json.dumps(body).encode())
