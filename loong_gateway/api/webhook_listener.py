"""A listener for one platform account: as strict as the port, without anything of the gateway's own."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

from loong_channels.faults import Unreachable
from loong_channels.net_sockets import reason_of
from loong_channels.settings import host_and_port
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import GatewaySettings
from loong_gateway.messaging.webhooks import Webhooks

from .auth import Auth
from .listener import Listener

__all__ = ["listening"]

logger = logging.getLogger("loong.http")

BACKLOG = 128
STOP_S = 1.5


@contextlib.contextmanager
def listening(
    bind: str, webhooks: Webhooks, settings: GatewaySettings, threads: ThreadRegistry
) -> Iterator[None]:
    """Serve `webhooks` at host:port while the block runs. Ends within 1.5 s. Raises Unreachable."""
    try:
        host, port = host_and_port(bind)
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.create_server(address, family=family, backlog=BACKLOG)
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        raise Unreachable(f"cannot listen on {bind}: {reason}", maybe_processed=False) from error
    # All of a platform's requests may come through one proxy.
    settings = replace(settings, max_per_peer=settings.max_unauthenticated)
    listener = Listener([sock], [], Auth(secret=None, control_token=""), settings, threads, webhooks=webhooks)
    try:
        listener.start()
        logger.info("webhooks are taken on %s:%d", host, sock.getsockname()[1])
        yield
    finally:
        stuck = listener.stop(Deadline(STOP_S))
        if stuck:
            logger.warning("threads of the listener on %s did not end in time: %s", bind, stuck)
