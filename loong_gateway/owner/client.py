"""Talks to the live owner of a home over its own port, with the control token that it left for local commands.

Plain: `gateway status --deep` uses it.
"""

from __future__ import annotations

import time

from loong_gateway.base.atomic import read_private
from loong_gateway.base.faults import CommandError
from loong_gateway.base.pause import pause
from loong_gateway.base.tinyjson import dumps, loads
from loong_gateway.base.wording import one_line
from loong_gateway.owner import loopback
from loong_gateway.owner.files import reason
from loong_gateway.owner.lock import live_document, lock_state
from loong_gateway.owner.paths import Places

__all__ = ["ControlClient"]

_REFUSED = (401, 403)
# How long a request waits for an owner that is between two processes, and how often it looks.
PATIENCE_S = 5.0
PAUSE_S = 0.1
# Phases in which a holder of the lock may not answer yet, or not any more; None before it has published one.
PASSING = (None, "starting", "stopping")


class ControlClient:
    """Asks the owner of `places`. Keeps no connection; each call reads anew where the owner is. Thread-safe.

    For `patience_s`, but no longer than one request may take, a call waits for an owner that is between two processes.
    """

    def __init__(self, places: Places, *, patience_s: float = PATIENCE_S) -> None:
        self._places = places
        self._patience_s = patience_s

    def available(self) -> bool:
        """True when somebody holds the lock and has published an open port and a token. Does not connect."""
        try:
            self.find()
        except CommandError:
            return False
        return True

    def check(self, *, timeout_s: float = 1.0) -> None:
        """Ask whether the owner answers at all; a frozen one takes connections and never does.

        Blocks up to `timeout_s`; raises CommandError `control.unreachable`, and then nothing was asked.
        """
        try:
            self.get("/healthz", timeout_s=timeout_s)
        except CommandError as error:
            if error.code != "control.no_answer":
                raise
            address, detail = error.values["address"], error.values["detail"]
            raise self._unreachable(address, detail) from error

    def get(self, path: str, *, timeout_s: float = 5.0) -> dict[str, object]:
        """The JSON object at `path`. Blocks up to `timeout_s`; raises CommandError `control.…`.

        After `control.no_answer` the request may have been heard, after any other code it was not carried out.
        """
        return self._call("GET", path, b"", timeout_s)

    def post(self, path: str, body: dict[str, object], *, timeout_s: float = 5.0) -> dict[str, object]:
        """Post a JSON object and return the one that answers. As `get`."""
        return self._call("POST", path, dumps(body).encode(), timeout_s)

    def _call(self, method: str, path: str, body: bytes, timeout_s: float) -> dict[str, object]:
        """One request; while the gateway is between two processes, again what was surely not carried out."""
        end = time.monotonic() + min(self._patience_s, timeout_s)
        while True:
            asked = None
            try:
                asked = self.find()
                return self._exchange(asked, method, path, body, timeout_s)
            except CommandError as error:
                was_heard = error.code == "control.failed" or (
                    error.code == "control.no_answer" and method != "GET"
                )
                if was_heard or time.monotonic() >= end or not self.has_moved(asked):
                    raise
            pause(PAUSE_S)

    def has_moved(self, asked: tuple[str, int, str] | None) -> bool:
        """Whether what `find` gave is not true any more, or soon will not be: the owner is starting or stopping.

        None stands for a `find` that failed. Does not connect.
        """
        try:
            return self._holder().get("phase") in PASSING or (asked is not None and self.find() != asked)
        except CommandError as error:
            return error.code == "control.not_yet"

    def _exchange(
        self, asked: tuple[str, int, str], method: str, path: str, body: bytes, timeout_s: float
    ) -> dict[str, object]:
        host, port, token = asked
        address = f"{host}:{port}"
        headers = [("Authorization", f"Bearer {token}"), ("Accept", "application/json")]
        if method == "POST":
            headers.append(("Content-Type", "application/json"))
        try:
            status, answer = loopback.exchange(
                host, port, method, path, timeout_s=timeout_s, headers=headers, body=body
            )
        except loopback.NotConnected as error:
            raise self._unreachable(address, reason(error)) from error
        except TimeoutError as error:
            raise self.no_answer(address, f"no answer within {timeout_s:g} s") from error
        except OSError as error:
            raise self.no_answer(address, reason(error)) from error
        except ValueError as error:
            raise self.no_answer(address, str(error)) from error
        return self.judged(address, status, answer)

    def judged(self, address: str, status: int, answer: bytes) -> dict[str, object]:
        """The object of an answer. Raises CommandError for one that is a refusal or a failure."""
        document = _object(answer)
        if status in _REFUSED:
            raise CommandError(
                "control.refused", address=address, path=self._places.control_token, look=self._look
            )
        if status >= 300 or document is None:
            raise _failed(status, document, self._places.command("logs --lines 50"))
        return document

    def find(self) -> tuple[str, int, str]:
        """Host, port and token of the live owner; does not connect. Raises CommandError `control.…`."""
        holder = self._holder()
        try:
            token = (read_private(self._places.control_token, 4_096) or b"").decode("ascii").strip()
        except (OSError, ValueError) as error:
            detail = reason(error) if isinstance(error, OSError) else "its token file is damaged"
            raise self._unreachable(self._places.state, detail) from error
        host, port = holder.get("bind_address"), holder.get("port")
        if not isinstance(host, str) or not isinstance(port, int):
            raise self._missing(holder, self._places.state, "it has not opened a port")
        if not token.isprintable() or not token:
            raise self._missing(holder, f"{host}:{port}", "its token file is missing")
        return loopback.reachable_host(host), port, token

    def _holder(self) -> dict[str, object]:
        """What is known of the live owner. Raises CommandError `control.…`."""
        try:
            state = lock_state(self._places)
            holder = live_document(self._places, state) if state.held else {}
        except OSError as error:
            raise self._unreachable(self._places.state, reason(error)) from error
        if not state.held:
            raise CommandError("control.not_running", start=self._places.command("gateway run"))
        return holder

    @property
    def _look(self) -> str:
        return self._places.command("gateway status")

    def _missing(self, holder: dict[str, object], address: str, detail: str) -> CommandError:
        if holder.get("phase") in PASSING:
            return CommandError("control.not_yet", detail=detail, look=self._look)
        return self._unreachable(address, detail)

    def _unreachable(self, address: object, detail: object) -> CommandError:
        return CommandError("control.unreachable", address=address, detail=detail, look=self._look)

    def no_answer(self, address: str, detail: str) -> CommandError:
        """The error of a request that was sent and not answered."""
        return CommandError("control.no_answer", address=address, detail=detail, look=self._look)


def _object(body: bytes) -> dict[str, object] | None:
    try:
        value = loads(body.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _failed(status: int, document: dict[str, object] | None, look: str) -> CommandError:
    """The error of an answer, with the place and the next step that the owner names, if it does."""
    failed = CommandError("control.failed", status=status, detail=_detail(document), look=look)
    said = (document or {}).get("error")
    if isinstance(said, dict):
        where, fix = (
            one_line(text) if isinstance(text := said.get(key), str) else "" for key in ("where", "fix")
        )
        failed.where = where or failed.where
        failed.fix = fix or failed.fix
        findings = said.get("findings")
        failed.details = tuple(one_line(one) for one in findings) if isinstance(findings, list) else ()
    return failed


def _detail(document: dict[str, object] | None) -> str:
    if document is None:
        return "something that is not a JSON object"
    error = document.get("error")
    message = error.get("message") if isinstance(error, dict) else error or document.get("message")
    return one_line(message or "no reason was given")
