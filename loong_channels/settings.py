"""One row per setting: the table that drives parsing, defaults, validation, help and reload. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Setting", "host_and_port"]


@dataclass(frozen=True)
class Setting:
    """A configurable value.

    `kind` is one of: "bool", "int", "float", "text", "path", "url", "ws_url" (URL of a WebSocket service), "proxy" (URL
    of a proxy), "choice", "texts" (list of text), "ints" (list of whole numbers), "ids" (list of text or whole numbers,
    kept as text), "int_ids" (list of whole numbers, kept as text; digits in quotes pass with a warning), "headers"
    (table of text), "env" (table of variables, each text or a reference to a secret), "secret".
    `minimum` and `maximum` bound numbers; a value outside is an error, or moved to the bound with a warning when
    `clamp`. `reload` says what a change needs: "hot" (read at use), "channel" (its account restarts) or "restart"
    (the process does). For a secret, `env` is the variable tried when the config says nothing, and the key
    `<name>_env` may name another; `several` allows more than one in it, separated by `,` or `;` or a new line.
    """

    name: str
    kind: str
    default: object = None
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    clamp: bool = False
    choices: tuple[str, ...] = ()
    reload: str = "hot"
    env: str | None = None
    several: bool = False


def host_and_port(text: str) -> tuple[str, int]:
    """The parts of an address to listen at; "" as host is loopback. Raises ValueError with what was expected."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal() and len(port) <= 5) or int(port) > 65535:
        raise ValueError("expected host:port")
    return host.strip("[]") or "127.0.0.1", int(port)
