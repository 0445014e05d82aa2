"""The log of a gateway over its port: its last lines, and what is added from then on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Callable

from loong_channels.waiting import StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import duration
from loong_gateway.commands.rpc_client import READ, RpcClient, RpcRefused
from loong_gateway.commands.rpc_target import RpcTarget
from loong_gateway.commands.rpc_verbs import table_of

__all__ = ["POLL_S", "PortLog"]

POLL_S = 1.0
CALL_S = 10.0
MOST_LINES = 5000
MOST_BYTES = 1_000_000


class PortLog:
    """Asks again and again on one connection; one that is lost is made anew for `patience_s`, as over a restart.

    `find` says where the gateway is, anew for each connection. `cursor` is a byte offset into the log's file, None
    before the first answer. Used from one thread.
    """

    def __init__(self, find: Callable[[], RpcTarget], patience_s: float, warn: Callable[[str], None]) -> None:
        self.cursor: int | None = None
        self._find = find
        self._patience_s = patience_s
        self._warn = warn
        self._client: RpcClient | None = None
        self._was_connected = False

    def last(self, count: int) -> list[bytes]:
        """The last lines, as many as the protocol gives but no more than `count`, oldest first. Raises CommandError."""
        wanted = {"limit": min(max(count, 1), MOST_LINES), "maxBytes": MOST_BYTES}
        lines = self._taken(self._ask(wanted))
        return lines[-count:] if count else []

    def added(self, stop: StopToken) -> list[bytes]:
        """What was added since the last call. Blocks for `patience_s` while the gateway is away.

        That it is away is said once. Raises CommandError.
        """
        params: dict[str, object] = {"limit": MOST_LINES, "maxBytes": MOST_BYTES}
        if self.cursor is not None:
            params["cursor"] = self.cursor
        end = time.monotonic() + self._patience_s
        is_told = False
        while True:
            try:
                return self._taken(self._ask(params))
            except RpcRefused:
                raise
            except CommandError as error:
                is_away = error.code in ("rpc.closed", "rpc.unreachable", "rpc.not_admitted") or (
                    error.code.startswith("control.")
                )
                if not self._was_connected or not is_away or time.monotonic() >= end:
                    raise
                if not is_told:
                    is_told = True
                    self._warn(f"{error.message}; it is asked again for {duration(self._patience_s)}")
            stop.wait(POLL_S / 2)

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _ask(self, params: Mapping[str, object]) -> Mapping[str, object]:
        try:
            if self._client is None:
                self._client = RpcClient.connect(self._find(), [READ])
            answer = table_of(self._client.call("logs.tail", params, timeout_s=CALL_S))
        except RpcRefused:
            raise
        except CommandError:
            self.close()
            raise
        self._was_connected = True
        return answer

    def _taken(self, answer: Mapping[str, object]) -> list[bytes]:
        cursor, lines, skipped = answer.get("cursor"), answer.get("lines"), answer.get("skippedBytes")
        if isinstance(cursor, int):
            self.cursor = cursor
        if isinstance(skipped, int) and skipped:
            self._warn(f"{skipped} bytes of the log came too fast and were left out")
        found = lines if isinstance(lines, list) else []
        return [line.encode("utf-8", "replace") for line in found if isinstance(line, str)]
