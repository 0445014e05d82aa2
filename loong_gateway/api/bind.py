"""Opens the port: which address and number, by whose word, and never to the network without a secret."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import shlex
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import CommandError
from loong_gateway.config.snapshot import GatewaySettings

from .port_owner import other_port, port_owner

__all__ = ["Bound", "check_bind", "choose_port", "first_tailnet_address", "open_listener"]

BACKLOG = 512
BUSY_S = 0.5
BUSY_POLL_S = 0.05
EPHEMERAL_TRIES = 8
LOOPBACK = ("127.0.0.1", "::1")
TAILNET = ipaddress.ip_network("100.64.0.0/10")
TAILNET_RESOLVER = "100.100.100.100"
# The host has no IPv6, or has it switched off.
NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
# https://man7.org/linux/man-pages/man7/netdevice.7.html
SIOCGIFADDR = 0x8915


class Bound(NamedTuple):
    """Listening sockets, the address and port to reach them by, and where the port number came from.

    `source`: "cli", "ephemeral_cli", "env", "config" or "default".
    """

    sockets: list[socket.socket]
    address: str
    port: int
    source: str

    @property
    def url(self) -> str:
        """The address as a person or a browser would write it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


def open_listener(
    settings: GatewaySettings,
    *,
    port_override: int | None = None,
    bind_override: str | None = None,
    environ: Mapping[str, str] = os.environ,
    handed: Sequence[int] = (),
) -> Bound:
    """Bind and listen. Blocks up to 0.5 s for a port that is just being given up.

    The overrides are the values of --port and --bind. `handed` are descriptors of sockets that listen already, from
    before a restart: used when they are what is wanted now, else closed. Raises CommandError `port.*`.
    """
    taken = _take(handed)
    try:
        addresses, port, source = check_bind(
            settings, port_override=port_override, bind_override=bind_override, environ=environ
        )
    except CommandError:
        _close(taken)
        raise
    if taken and _are_wanted(taken, addresses, port):
        return Bound(taken, addresses[0], int(taken[0].getsockname()[1]), source)
    _close(taken)
    try:
        sockets = _open_patiently(addresses, port)
    except OSError as error:
        raise _refusal(error, addresses[0], port) from error
    return Bound(sockets, addresses[0], int(sockets[0].getsockname()[1]), source)


def check_bind(
    settings: GatewaySettings,
    *,
    port_override: int | None,
    bind_override: str | None,
    environ: Mapping[str, str],
) -> tuple[tuple[str, ...], int, str]:
    """Which addresses and port `open_listener` would open, and by whose word the port; opens nothing.

    Raises CommandError `port.*` for what can be known to fail beforehand.
    """
    port, source = choose_port(settings, port_override, environ)
    addresses = _choose_addresses(settings, bind_override)
    if not all(ipaddress.ip_address(a).is_loopback for a in addresses) and not _has_secret(settings, environ):
        again = (
            f"loong gateway run --bind {shlex.quote(bind_override)}" if bind_override else "loong gateway run"
        )
        raise CommandError("port.no_auth", bind=bind_override or settings.bind, command=again)
    return addresses, port, source


def _take(descriptors: Sequence[int]) -> list[socket.socket]:
    """The sockets behind descriptors that were handed over; none of them when one is no socket."""
    taken: list[socket.socket] = []
    for descriptor in descriptors:
        try:
            taken.append(socket.socket(fileno=descriptor))
        except OSError:
            _close(taken)
            return []
        taken[-1].set_inheritable(False)
    return taken


def _are_wanted(sockets: Sequence[socket.socket], addresses: Sequence[str], port: int) -> bool:
    """Whether these sockets are what would be opened; a second address may be missing where there is no IPv6."""
    names = [sock.getsockname() for sock in sockets]
    hosts = [str(name[0]) for name in names]
    return hosts == list(addresses[: len(hosts)]) and all(port in (0, name[1]) for name in names)


def _close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def first_tailnet_address() -> str | None:
    """The first address of this host within 100.64.0.0/10, or None."""
    candidates: list[str | None] = [*_interface_addresses()] if sys.platform == "linux" else []
    candidates.append(_address_towards(TAILNET_RESOLVER))
    return next((a for a in candidates if a and ipaddress.ip_address(a) in TAILNET), None)


def choose_port(
    settings: GatewaySettings, override: int | None, environ: Mapping[str, str]
) -> tuple[int, str]:
    """The port number that `open_listener` would ask for, and where it comes from. Raises CommandError `port.*`."""
    if override is not None:
        if not 0 <= override <= 65535:
            raise CommandError("port.bad_port_flag", given=override)
        return override, "cli" if override else "ephemeral_cli"
    given = environ.get("LOONG_GATEWAY_PORT")
    if given:
        if not (given.isascii() and given.isdigit() and len(given) <= 5 and int(given) <= 65535):
            raise CommandError("port.bad_variable", given=given)
        return int(given), "env"
    return settings.port, settings.port_source


def _choose_addresses(settings: GatewaySettings, override: str | None) -> tuple[str, ...]:
    bind = (settings.bind if override is None else override).strip().lower()
    if bind in ("loopback", "localhost", "auto"):
        return LOOPBACK
    if bind == "lan":
        return ("0.0.0.0",)  # noqa: S104  asked for by name, and only with a secret
    if bind == "tailnet":
        address = first_tailnet_address()
        if address is None:
            raise CommandError("port.no_tailnet")
        return (address,)
    code = "port.unknown_bind" if override is None else "port.bad_bind_flag"
    if bind == "custom":
        bind, code = settings.custom_bind_host or "", "port.no_custom_host"
    try:
        return (str(ipaddress.ip_address(bind.strip("[]"))),)
    except ValueError:
        raise CommandError(code, bind=bind) from None


def _has_secret(settings: GatewaySettings, environ: Mapping[str, str]) -> bool:
    """True when there is a secret that a client on the network could prove; the mode says which one counts."""
    ref = settings.password if settings.auth_mode == "password" else settings.token
    if ref.form == "absent":
        return any(environ.get(name) for name in ref.fallback_env)
    if ref.form == "env":
        return bool(environ.get(str(ref.value)))
    return bool(ref.value)


def _open_patiently(addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    deadline = Deadline(BUSY_S)
    never = StopToken()
    while True:
        try:
            return _open_all(addresses, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or deadline.expired:
                raise
        never.wait(BUSY_POLL_S)


def _open_all(addresses: tuple[str, ...], port: int) -> list[socket.socket]:
    """Listen on every address with one port number. A free number may be taken on the second address: try others."""
    for attempt in range(EPHEMERAL_TRIES):
        sockets = [_open(addresses[0], port)]
        chosen = int(sockets[0].getsockname()[1])
        try:
            for address in addresses[1:]:
                try:
                    sockets.append(_open(address, chosen))
                except OSError as error:
                    if error.errno not in NO_SUCH_FAMILY:
                        raise
        except OSError as error:
            for sock in sockets:
                sock.close()
            if port or error.errno != errno.EADDRINUSE or attempt == EPHEMERAL_TRIES - 1:
                raise
        else:
            return sockets
    raise AssertionError("unreachable: the last attempt returns or raises")


def _open(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(error: OSError, address: str, port: int) -> CommandError:
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(port)
        by = "" if owner is None else f" by pid {owner.pid} ({owner.command})"
        return CommandError("port.busy", port=port, address=address, owner=by, other=other_port(port))
    detail = (error.strerror or str(error)).lower()
    return CommandError("port.failed", port=port, address=address, detail=detail)


def _interface_addresses() -> list[str]:
    """The first IPv4 address of every interface, in the order of the interfaces. Linux only."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                # An interface without an IPv4 address.
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _address_towards(target: str) -> str | None:
    """The address that packets to `target` would leave from. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((target, 53))
            return str(sock.getsockname()[0])
        except OSError:
            return None
