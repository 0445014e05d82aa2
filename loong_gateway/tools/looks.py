"""The tools that clients of the port may call: they look and change nothing."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from loong_gateway.control import ControlPlane
from loong_gateway.tools.contract import Tool, ToolContext
from loong_gateway.tools.sessions import session_tools

__all__ = ["built_in_tools"]

MODELS_S = 10.0
SHOWN_OF_SURFACE = (
    "channel",
    "account",
    "phase",
    "trouble",
    "identity",
    "last_error",
    "last_inbound_ms",
    "last_outbound_ms",
)


def built_in_tools(control: ControlPlane, now_ms: Callable[[], int]) -> list[Tool]:
    """All of them, over `control`."""
    looks = _Looks(control, now_ms)
    return [
        Tool("time", "the time of this host", looks.time),
        *session_tools(control),
        Tool("channels_status", "how the accounts of the channels are", looks.channels_status),
        Tool("models_list", "the models of the configured providers", looks.models_list),
    ]


class _Looks:
    """Each method is the body of a tool."""

    def __init__(self, control: ControlPlane, now_ms: Callable[[], int]) -> None:
        self._control = control
        self._now_ms = now_ms

    def time(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        now_ms = self._now_ms()
        here = datetime.datetime.fromtimestamp(now_ms / 1000).astimezone()
        return {
            "epochMs": now_ms,
            "iso": here.isoformat(timespec="seconds"),
            "utc": here.astimezone(datetime.timezone.utc).isoformat(timespec="seconds"),
            "timezone": here.tzname(),
        }

    def channels_status(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        status = self._control.status()
        surfaces = status.get("surfaces")
        return {
            "ready": status.get("ready"),
            "degradedReasons": status.get("degraded_reasons"),
            "accounts": [
                {name: surface.get(name) for name in SHOWN_OF_SURFACE}
                for surface in (surfaces if isinstance(surfaces, list) else ())
            ],
        }

    def models_list(self, _given: Mapping[str, object], _context: ToolContext) -> Mapping[str, object]:
        found = self._control.models(refresh=False, timeout_s=MODELS_S)
        return {"models": [dict(one) for one in found]}
