"""Texts about the port: where it is opened, and why it could not be."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "port.busy": (
        "port {port} on {address} is taken{owner}",
        None,
        "free it, or take another: loong gateway run --port {other}",
        78,
    ),
    "port.no_auth": (
        "refusing to bind gateway to {bind} without auth",
        "gateway.auth.token, env LOONG_GATEWAY_TOKEN",
        "set the token there, then: {command}",
        78,
    ),
    "port.no_socket": (
        "the socket {path} cannot be opened: {detail}",
        "gateway.socket",
        "free the path, or write socket = false, then: loong gateway run",
        78,
    ),
    "port.unknown_bind": (
        'gateway.bind "{bind}" is neither loopback, lan, tailnet, auto, custom nor an address',
        "gateway.bind",
        "correct it, then: loong validate-config",
        78,
    ),
    "port.bad_bind_flag": (
        '--bind "{bind}" is neither loopback, lan, tailnet, auto, custom nor an address',
        None,
        "loong gateway run --bind loopback",
        2,
    ),
    "port.bad_port_flag": (
        "--port {given} is not a number from 0 to 65535",
        None,
        "loong gateway run --port 18789",
        2,
    ),
    "port.bad_variable": (
        'env LOONG_GATEWAY_PORT is "{given}", not a number from 0 to 65535',
        "env LOONG_GATEWAY_PORT",
        "unset it, then: loong gateway run",
        78,
    ),
    "port.no_custom_host": (
        "gateway.bind is custom, and gateway.customBindHost is not set to an address",
        "gateway.customBindHost",
        "write the address there, then: loong validate-config",
        78,
    ),
    "port.no_tailnet": (
        "this host has no address of a tailnet (100.64.0.0/10)",
        "gateway.bind",
        "loong gateway run --bind loopback",
        78,
    ),
    "port.failed": (
        "port {port} on {address} cannot be opened: {detail}",
        "gateway.bind, gateway.port",
        "correct them, then: loong gateway run",
        78,
    ),
    "port.not_ours": (
        "port {port} is held by pid {pid} of another user; --force ends only processes of your own",
        None,
        "take another port: loong gateway run --port {other}",
        78,
    ),
    "port.not_freed": (
        "port {port} is still held by pid {pid} after it was told to end",
        None,
        "take another port: loong gateway run --port {other}",
        78,
    ),
}
