"""The port under siege: slow clients, noise and ambiguous requests at once, while somebody asks whether it lives."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

from tests.e2e.gateway import Gateway, config_for
from tests.gateway.api.smuggling import CORPUS, SMUGGLED

from .report import Outcome

__all__ = ["run"]

SLOW = 300
DRIP_S = 0.05
LOOK_S = 0.01
ENOUGH = 300
LONGEST_S = 0.25
PATIENCE_S = 10.0
SECRET = "siege-secret-0123456789"
MORE = f'[gateway.auth]\ntoken = "{SECRET}"\n'


def run(noise: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """At least so many connections with random bytes, beside 300 slow ones and ambiguous requests with one more behind.

    Held: 99 of 100 questions are answered in 250 ms, every ambiguous request is refused, none of what stands behind one
    is done, and the gateway stops as usual.
    """
    outcome = Outcome("port-siege", noise, seed)
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="loong-siege-"))
        config = config_for(None, "http://127.0.0.1:9/v1", more=MORE)
        gateway = stack.enter_context(Gateway(directory, config, command=command))
        gateway.start()
        quiet = _ask(gateway.port, 100)
        siege = _Siege(gateway.port, noise, seed)
        with siege.laid():
            loud: list[float] = []
            while siege.goes_on():
                loud += _ask(gateway.port, 1)
                if len(loud) >= ENOUGH:
                    siege.enough.set()
                siege.over.wait(LOOK_S)
        outcome.failures += siege.failures
        outcome.metrics.update(
            {
                "slow": SLOW,
                "noise": siege.made,
                "ambiguous": siege.ambiguous,
                "asked": len(loud),
                "quiet_p99_ms": round(_percentile(quiet, 0.99) * 1000, 1),
                "p50_ms": round(_percentile(loud, 0.5) * 1000, 1),
                "p99_ms": round(_percentile(loud, 0.99) * 1000, 1),
                "max_ms": round(max(loud) * 1000, 1),
                "rss_mb": round(_rss_bytes(gateway.pid) / 1e6, 1),
            }
        )
        if _percentile(loud, 0.99) > LONGEST_S:
            outcome.failures.append("a hundredth of the questions waited for more than 250 ms")
        if gateway.process is None or gateway.process.poll() is not None:
            outcome.failures.append("the gateway ended")
        elif gateway.stop() != 0:
            outcome.failures.append("the gateway did not stop as usual")
    outcome.duration_s = time.monotonic() - begin
    return outcome


class _Siege:
    """Three attackers, a thread each. `over` is set when the noise and the ambiguous requests are through.

    The noise goes on until `enough` was set.
    """

    def __init__(self, port: int, noise: int, seed: int) -> None:
        self._port = port
        self._noise = noise
        self._random = random.Random(seed)
        self._working = 2
        self.over = threading.Event()
        self.enough = threading.Event()
        self.made = 0
        self._guard = threading.Lock()
        self.ambiguous = 0
        self.failures: list[str] = []

    @contextlib.contextmanager
    def laid(self) -> Iterator[None]:
        """Begin with all three, and end them."""
        slow_done = threading.Event()
        attackers = [
            threading.Thread(target=self._drip, args=(slow_done,)),
            threading.Thread(target=self._make_noise),
            threading.Thread(target=self._confuse),
        ]
        for attacker in attackers:
            attacker.start()
        try:
            yield
        finally:
            slow_done.set()
            for attacker in attackers:
                attacker.join()

    def goes_on(self) -> bool:
        """Whether the noise or the ambiguous requests are not through."""
        return not self.over.is_set()

    def _drip(self, done: threading.Event) -> None:
        clients: list[socket.socket] = []
        while not done.wait(DRIP_S):
            for client in list(clients):
                try:
                    client.send(b"a")
                except OSError:
                    clients.remove(client)
                    client.close()
            while len(clients) < SLOW and not done.is_set():
                # Whoever is cut for a newcomer comes back as one.
                with contextlib.suppress(OSError):
                    clients.append(self._connect())
                    clients[-1].send(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        for client in clients:
            client.close()

    def _make_noise(self) -> None:
        while self.made < self._noise or not self.enough.is_set():
            self.made += 1
            with contextlib.suppress(OSError), self._connect() as client:
                client.sendall(self._random.randbytes(self._random.randrange(1, 2000)))
        self._ended()

    def _confuse(self) -> None:
        smuggled = SMUGGLED % SECRET.encode()
        for name, (raw, status) in CORPUS.items():
            try:
                with self._connect() as client:
                    client.sendall(raw + smuggled)
                    answer = b""
                    while piece := client.recv(65536):
                        answer += piece
            except OSError:
                # Cut to let somebody else in: nothing was served.
                continue
            self.ambiguous += 1
            if answer and not answer.startswith(b"HTTP/1.1 %d " % status):
                self.failures.append(f"{name}: {answer[:40]!r} instead of {status}")
            if answer.count(b"HTTP/1.1 ") > 1:
                self.failures.append(f"{name}: what stood behind it was answered")
        self._ended()

    def _ended(self) -> None:
        with self._guard:
            self._working -= 1
            if not self._working:
                self.over.set()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)


def _ask(port: int, count: int) -> list[float]:
    """How long each of so many questions took, a connection for each."""
    taken = []
    for _ in range(count):
        begin = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/healthz")
            good = connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            good = False
        finally:
            connection.close()
        # No answer counts like one that came too late.
        taken.append(time.monotonic() - begin if good else PATIENCE_S)
    return taken


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _rss_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
