"""Methods about the gateway as a whole: restart, identity, secrets, events of the system; and what it has none of."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping

from loong_gateway.api.wakes import WAKE_MODES, wake
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line, plural
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunRefused

from .calls import ADMIN, READ, WRITE, Call, Method, RpcFault
from .params import BadParam

__all__ = ["methods"]

logger = logging.getLogger("loong.port")

LONGEST_TEXT = 4096
LONGEST_DELAY_MS = 600_000
LONGEST_NAME = 256
MOST_TAGS = 32
MOST_ISSUES = 32
# What a presence entry may say, as the protocol names it.
TEXTS = (
    "host", "ip", "version", "platform", "deviceFamily", "modelIdentifier", "mode", "reason", "deviceId", "instanceId",
)  # fmt: skip
LISTS = ("roles", "scopes", "tags")


def methods(control: ControlPlane, *, announce: Callable[[Mapping[str, object]], None]) -> list[Method]:
    """The methods over `control`.

    `announce` lists something among those present and tells everyone: it is handed fields of a presence entry, `text`
    among them.
    """
    gateway = _Gateway(control, announce)
    return [
        Method("gateway.identity.get", READ, gateway.identity),
        Method("gateway.restart.preflight", READ, gateway.preflight, waits=True),
        Method("gateway.restart.request", ADMIN, gateway.restart, waits=True),
        Method("secrets.reload", ADMIN, gateway.reload_secrets, waits=True),
        Method("system-event", ADMIN, gateway.system_event),
        Method("wake", WRITE, gateway.wake, waits=True, starts_work=True),
        Method("last-heartbeat", READ, lambda _call: None),
        Method("set-heartbeats", ADMIN, _set_heartbeats),
        Method("cron.status", READ, lambda _call: {"enabled": False, "jobs": 0, "nextWakeAtMs": None}),
        Method("cron.list", READ, _no_jobs),
    ]


class _Gateway:
    def __init__(self, control: ControlPlane, announce: Callable[[Mapping[str, object]], None]) -> None:
        self._control = control
        self._announce = announce

    def identity(self, _call: Call) -> object:
        # There is no key pair here. Who compares this over time learns whether it is the same home on the same host.
        name = f"{os.uname().nodename}\n{self._control.config().path}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return {"deviceId": digest, "publicKey": ""}

    def preflight(self, _call: Call) -> object:
        return self._preflight()

    def restart(self, call: Call) -> object:
        reason = call.params.text("reason", longest=LONGEST_NAME) or "over the port"
        delay_ms = call.params.integer("delayMs", minimum=0, maximum=LONGEST_DELAY_MS, default=0)
        assert delay_ms is not None
        state = self._preflight()
        try:
            outcome = self._control.request_restart(one_line(reason), delay_s=delay_ms / 1000)
        except CommandError as error:
            raise _refusal(error) from error
        status = "scheduled" if outcome == "requested" else "coalesced"
        # Another one may have been asked for before, and none begins soon after the last.
        due_ms = round((self._control.restart_due_in_s() or 0.0) * 1000)
        return {"ok": True, "status": status, "preflight": state, "restart": {"delayMs": due_ms}}

    def _preflight(self) -> dict[str, object]:
        """What a restart would interrupt: what is on disk goes on after it, but not for who follows it now."""
        active = len(self._control.runs.active())
        safe = not active
        return {
            "safe": safe,
            "counts": {"activeRuns": active, "totalActive": active},
            "blockers": []
            if safe
            else [{"kind": "run", "count": active, "message": plural(active, "active run")}],
            "summary": "safe to restart now"
            if safe
            else f"a restart would interrupt {plural(active, 'active run')}",
        }

    def reload_secrets(self, _call: Call) -> object:
        try:
            outcomes = self._control.reload_secrets()
        except CommandError as error:
            raise RpcFault("UNAVAILABLE", error.message) from error
        return {"ok": True, "warningCount": sum(one.outcome == "unavailable" for one in outcomes)}

    def system_event(self, call: Call) -> object:
        params = call.params
        text = params.required_text("text", longest=LONGEST_TEXT)
        if not text.strip():
            raise BadParam("at /text: must NOT have fewer than 1 characters")
        entry: dict[str, object] = {"text": one_line(text, LONGEST_TEXT)}
        for name in TEXTS:
            value = params.text(name, longest=LONGEST_NAME)
            if value and value.strip():
                entry[name] = one_line(value)
        for name in LISTS:
            values = [value for value in params.texts(name, most=MOST_TAGS) if value]
            if values:
                entry[name] = values
        idle_s = params.integer("lastInputSeconds", minimum=0, maximum=2**31)
        if idle_s is not None:
            entry["lastInputSeconds"] = idle_s
        self._announce(entry)
        return {"ok": True}

    def wake(self, call: Call) -> object:
        mode = call.params.required_text("mode", longest=LONGEST_NAME)
        if mode not in WAKE_MODES:
            raise BadParam("at /mode: must be equal to one of the allowed values")
        text = call.params.required_text("text", longest=LONGEST_TEXT)
        session = self._control.sessions.resolve("main")
        assert session is not None
        try:
            wake(self._control, mode, text, session, origin="rpc")
        except RunRefused as refused:
            raise RpcFault("UNAVAILABLE", str(refused), retryable=True) from refused
        return {"ok": True}


def _refusal(error: CommandError) -> RpcFault:
    """Why there is no restart; a configuration that no start would take is the asker's to mend."""
    if error.code != "restart.refused":
        return RpcFault("UNAVAILABLE", error.message)
    lines = error.details or (error.message,)
    issues = [{"path": "", "message": one_line(line, 500)} for line in lines[:MOST_ISSUES]]
    return RpcFault("INVALID_REQUEST", error.message, details={"issues": issues})


def _set_heartbeats(call: Call) -> object:
    if "enabled" not in call.params:
        raise BadParam("must have required property 'enabled'")
    call.params.flag("enabled")
    # There are none to be switched on; the answer says how it is.
    return {"ok": True, "enabled": False}


def _no_jobs(_call: Call) -> object:
    return {"jobs": [], "total": 0, "offset": 0, "limit": 50, "hasMore": False, "nextOffset": None}
