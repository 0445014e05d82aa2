"""Texts about restarting a gateway."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "restart.refused": (
        "the restart was refused, the gateway goes on as it is: {detail}",
        "{where}",
        "{fix}",
        1,
    ),
    "restart.no_program": (
        "the restart was refused, the gateway goes on as it is: {path} cannot be run any more",
        "{path}",
        "put the interpreter back there, or end this gateway: loong gateway stop",
        1,
    ),
    "restart.not_here": (
        "loong {verb} is not restarted by a request",
        None,
        "end it, then start it again by hand: loong gateway stop",
        1,
    ),
    "restart.stopping": (
        "the gateway is being stopped, so it is not restarted",
        None,
        "wait for its end, then: loong gateway run",
        1,
    ),
    "restart.failed": (
        "the gateway has ended and could not go on as a new process, {program}: {detail}",
        "{program}",
        "loong gateway run",
        70,
    ),
    "restart.ended": (
        "the gateway ended and did not come back: {detail}",
        None,
        "{look}",
        1,
    ),
    "restart.not_ready": (
        "the restart was asked for, and {waited} later the gateway is not ready: {detail}",
        None,
        "{status}",
        1,
    ),
}
