"""Which gateway a verb asks: the one of this home, or the one that an address names."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import os
import re
import select
import shlex
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands.common import URL_VARIABLE, Context
from loong_gateway.owner.client import ControlClient

__all__ = ["RpcTarget", "own_target", "rpc_target", "wants_remote"]

TOKEN_VARIABLE = "LOONG_GATEWAY_TOKEN"  # noqa: S105  a name
MOST_TOKEN_BYTES = 4096
# How long a program behind a pipe may take to say a token.
TOKEN_S = 30.0
PRIVATE_NAMES = (".local", ".ts.net", ".localhost")
_PORTLESS = re.compile(r"^wss?://[^/]+$")


@dataclass(frozen=True)
class RpcTarget:
    """A gateway and what opens it. `source` says where the token comes from, `look` is the command to try next.

    `is_remote`: it was named by an address, and nothing of this home may be read or written for it. `flags` are those
    that name it, after a verb. `found` is what `ControlClient.find` said of the one of this home.
    """

    url: str
    address: str
    token: str = field(repr=False)
    source: str
    is_remote: bool
    look: str
    egress: Egress
    flags: str = ""
    found: tuple[str, int, str] | None = field(default=None, repr=False)

    def command(self, verb: str) -> str:
        """The command line that asks the same gateway for something else."""
        return f"loong {verb}{self.flags}"


def wants_remote(args: argparse.Namespace, context: Context) -> bool:
    """True when the gateway is named by an address; then local state is not looked at."""
    return bool((args.url or context.environ.get(URL_VARIABLE) or "").strip())


def rpc_target(args: argparse.Namespace, context: Context) -> RpcTarget:
    """The gateway that `--url`, its variable or this home names. Does not connect. Raises CommandError."""
    given = (args.url or context.environ.get(URL_VARIABLE) or "").strip()
    if given:
        return _named(given, args, context)
    if args.token_file:
        raise CommandError("rpc.token_alone")
    return own_target(context)


def own_target(context: Context) -> RpcTarget:
    """The gateway of this home. Does not connect. Raises CommandError `control.…`."""
    host, port, token = ControlClient(context.places).find()
    shown = f"[{host}]" if ":" in host else host
    return RpcTarget(
        url=f"ws://{shown}:{port}/",
        address=f"{shown}:{port}",
        token=token,
        source=context.places.control_token,
        is_remote=False,
        look=context.places.command("gateway status"),
        # The owner of this home listens on this host: there is no proxy in between.
        egress=Egress(proxy="", environ={}),
        found=(host, port, token),
    )


def _named(given: str, args: argparse.Namespace, context: Context) -> RpcTarget:
    source = "--url" if args.url else f"env {URL_VARIABLE}"
    host, address = _checked(given, source)
    if given.startswith("ws://") and not _is_private(host):
        raise CommandError("rpc.in_the_clear", host=host, source=source)
    flags = f" --url {shlex.quote(given)}"
    if args.token_file:
        flags += f" --token-file {shlex.quote(args.token_file)}"
        token, kept = _read_token(args.token_file, shlex.quote(given)), args.token_file
    else:
        token, kept = context.environ.get(TOKEN_VARIABLE, "").strip(), f"env {TOKEN_VARIABLE}"
    if not token:
        raise CommandError("rpc.no_token", url=shlex.quote(given))
    if not token.isascii() or not token.isprintable():
        raise CommandError(
            "rpc.token_file", detail="it is no single printable word", path=kept, url=shlex.quote(given)
        )
    url = f"{given}/" if _PORTLESS.match(given) else given
    look = f"loong gateway health{flags}"
    return RpcTarget(url, address, token, kept, True, look, Egress(environ=context.environ), flags)


def _checked(given: str, source: str) -> tuple[str, str]:
    """Host, and host and port as they are shown. Raises CommandError `rpc.bad_url`."""
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise CommandError("rpc.bad_url", detail=one_line(error), source=source) from error
    if parts.scheme not in ("ws", "wss"):
        raise CommandError(
            "rpc.bad_url", detail="it begins neither with ws:// nor with wss://", source=source
        )
    if parts.query or parts.fragment:
        raise CommandError("rpc.bad_url", detail="nothing may stand behind its path", source=source)
    if not host or port == 0 or "@" in parts.netloc or not given.isascii() or not given.isprintable():
        detail = "a token in it would be seen by others" if "@" in parts.netloc else "it names no usable host"
        raise CommandError("rpc.bad_url", detail=detail, source=source)
    shown = f"[{host}]" if ":" in host else host
    return host, f"{shown}:{port or (443 if parts.scheme == 'wss' else 80)}"


def _is_private(host: str) -> bool:
    """Whether plain text to this host stays on this host or on a network that is not everybody's."""
    if host == "localhost" or host.endswith(PRIVATE_NAMES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private or address in ipaddress.ip_network("100.64.0.0/10")


def _beginning(path: str, deadline: Deadline) -> bytes:
    """The first bytes of a file or of a pipe, such as `<(pass show gateway)`. Raises OSError."""
    # Without O_NONBLOCK opening a pipe that nobody writes to would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    data = b""
    try:
        while len(data) <= MOST_TOKEN_BYTES:
            if not select.select([descriptor], [], [], deadline.remaining())[0]:
                raise OSError(errno.ETIMEDOUT, "it said nothing in time")
            piece = os.read(descriptor, MOST_TOKEN_BYTES)
            if not piece:
                break
            data += piece
    finally:
        os.close(descriptor)
    return data


def _read_token(path: str, url: str) -> str:
    try:
        data = _beginning(path, Deadline(TOKEN_S))
    except OSError as error:
        detail = (error.strerror or str(error)).lower()
        raise CommandError("rpc.token_file", detail=detail, path=path, url=url) from error
    token = data.decode("utf-8", "replace").strip()
    if not token or len(data) > MOST_TOKEN_BYTES:
        detail = "it is empty" if not token else "it is too long for a token"
        raise CommandError("rpc.token_file", detail=detail, path=path, url=url)
    return token
