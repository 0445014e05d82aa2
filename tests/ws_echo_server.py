"""python tests/ws_echo_server.py --port N: a WebSocket server that says everything back, for suites of the protocol.

It is the gateway's own listener, handshake and frames; only the limits are its own. Prints `READY <port>`; SIGTERM
ends it. Loopback only.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from loong_channels.waiting import Deadline  # noqa: E402
from loong_gateway.api.answers import json_answer  # noqa: E402
from loong_gateway.api.auth import Auth  # noqa: E402
from loong_gateway.api.bind import open_listener  # noqa: E402
from loong_gateway.api.listener import Listener  # noqa: E402
from loong_gateway.api.router import Route, Session, Takeover  # noqa: E402
from loong_gateway.api.wire import TooSlow  # noqa: E402
from loong_gateway.api.ws.flusher import Flusher  # noqa: E402
from loong_gateway.api.ws.web_socket import Closed, SocketLimits, accept  # noqa: E402
from loong_gateway.base.threads import ThreadRegistry  # noqa: E402
from tests.gateway.api.port_kit import gateway_settings  # noqa: E402

LIMITS = SocketLimits(message_bytes=32 << 20, buffered_bytes=64 << 20, fragments=200_000)
LOOK_S = 60.0


def echo(session: Session, flusher: Flusher) -> None:
    """Serve one connection to its end."""
    with accept(session, flusher, LIMITS) as socket:
        session.authenticated()
        while not socket.closed:
            try:
                message = socket.receive(Deadline(LOOK_S))
            except TooSlow:
                continue
            except Closed:
                return
            if isinstance(message, str):
                socket.send(message.encode())
            else:
                socket.send(message, binary=True)
            # While it waits it holds nothing.
            del message


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any that is free")
    settings = gateway_settings(port=parser.parse_args().port)
    signals = {signal.SIGTERM, signal.SIGINT}
    # Before there are threads, for they inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threads = ThreadRegistry()
    flusher = Flusher(threads)
    bound = open_listener(settings, environ={})
    listener = Listener(
        bound.sockets,
        [Route("GET", "/healthz", lambda _: json_answer(200, {"ok": True}), access="open")],
        Auth(secret=None, control_token="none"),
        settings,
        threads,
        takeovers=[Takeover("websocket", lambda session: echo(session, flusher))],
    )
    listener.start()
    print(f"READY {bound.port}", flush=True)
    signal.sigwait(signals)
    listener.stop(Deadline(5.0))
    flusher.stop(Deadline(1.0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
