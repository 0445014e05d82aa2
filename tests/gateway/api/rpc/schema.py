"""Checks values against shapes written by hand: closed objects, as the published schemas of the protocol have them."""

from __future__ import annotations

from typing import Any


class Maybe:
    """A member that may be missing."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


class Each:
    """A list, or an object by any names, of one shape."""

    def __init__(self, shape: Any, kind: type = list) -> None:
        self.shape = shape
        self.kind = kind


def check(value: Any, shape: Any, where: str = "") -> None:
    """Fail unless the value has the shape: a dict is a closed object, a callable a test, anything else a constant."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        required = {name for name, inner in shape.items() if not isinstance(inner, Maybe)}
        assert required <= value.keys(), (where, required - value.keys())
        assert value.keys() <= shape.keys(), (where, value.keys() - shape.keys())
        for name, inner in value.items():
            wanted = shape[name]
            check(inner, wanted.shape if isinstance(wanted, Maybe) else wanted, f"{where}/{name}")
    elif isinstance(shape, Each):
        assert isinstance(value, shape.kind), where
        for name, inner in value.items() if shape.kind is dict else enumerate(value):
            check(inner, shape.shape, f"{where}/{name}")
    elif callable(shape):
        assert shape(value), (where, value)
    else:
        assert value == shape, (where, value)


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def any_text(value: Any) -> bool:
    return isinstance(value, str)


def count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def anything(value: Any) -> bool:
    return True


def flag(value: Any) -> bool:
    return isinstance(value, bool)


VERSIONS = {"presence": count, "health": count}
PERSON = {
    "ts": count,
    **{
        name: Maybe(text)
        for name in (
            *"host ip version platform deviceFamily modelIdentifier".split(),
            *"timeZone mode reason deviceId instanceId".split(),
        )
    },
    "text": Maybe(any_text),
    **{name: Maybe(count) for name in ("lastInputSeconds", "onlineSince", "lastActivityAt")},
    **{name: Maybe(Each(text)) for name in ("tags", "roles", "scopes", "watchedSessions")},
}
SESSIONS = {
    "path": any_text,
    "count": count,
    "recent": Each({"key": any_text, "updatedAt": anything, "age": anything}),
}
HEALTH = {
    "ok": True,
    "ts": count,
    "durationMs": Maybe(count),
    "channels": Maybe(Each(anything, dict)),
    "channelOrder": Maybe(Each(any_text)),
    "channelLabels": Maybe(Each(any_text, dict)),
    "heartbeatSeconds": Maybe(count),
    "defaultAgentId": Maybe(any_text),
    "agents": Maybe(
        Each(
            {
                "agentId": any_text,
                "name": Maybe(any_text),
                "isDefault": flag,
                "heartbeat": anything,
                "sessions": SESSIONS,
            }
        )
    ),
    "sessions": Maybe(SESSIONS),
    "configReload": Maybe({"hotReloadStatus": lambda value: value in ("active", "disabled")}),
    "eventLoop": Maybe(anything),
}
HELLO = {
    "type": "hello-ok",
    "protocol": 4,
    "server": {"version": text, "connId": text, "buildId": Maybe(text), "bootId": Maybe(text)},
    "features": {"methods": Each(text), "events": Each(text), "capabilities": Maybe(Each(text))},
    "snapshot": {
        "presence": Each(PERSON),
        "health": HEALTH,
        "stateVersion": VERSIONS,
        "uptimeMs": count,
        "configPath": Maybe(text),
        "stateDir": Maybe(text),
        "authMode": Maybe(lambda value: value in ("none", "token", "password", "trusted-proxy")),
        "appliedConfigHash": Maybe(text),
        "sessionDefaults": Maybe(
            {"defaultAgentId": text, "mainKey": text, "mainSessionKey": text, "scope": Maybe(text)}
        ),
    },
    "auth": {"role": text, "scopes": Each(text)},
    "policy": {
        "maxPayload": count,
        "maxBufferedBytes": count,
        "tickIntervalMs": count,
        "attachments": Maybe({"maxBytes": count, "maxImageBytes": count}),
    },
}
