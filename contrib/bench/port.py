"""The benchmarks of the port's WebSocket side: round trips, and many clients at once."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contrib.port_client import PortClient
from tests.e2e.gateway import Gateway, config_for
from tests.fakes.process import Remote

from . import procfs
from .stand import START_S, percentile

TOKEN = "bench-port-secret-0001"
RPC_CALLS, RPC_WARM_UP, RPC_ROUNDS = 2000, 200, 3
CLIENTS, CLIENT_RUNS, CLIENT_AT_ONCE = 200, 60, 6
SETTLE_S = 2.0
WITNESS_EVERY_S = 0.01
# What the client that does not read has asked for and will not take: more than the system keeps for it.
UNREAD_CALLS = 5000
QUESTION_CHARS = 1500
MODEL_DELAY_MS = 50

Metrics = dict[str, Any]


@dataclass
class Port:
    """A port to measure, and the process behind it."""

    port: int
    pid: int


@contextlib.contextmanager
def floor(python: str, answer_bytes: int) -> Iterator[Port]:
    """The loop of port_floor.py."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "port_floor.py")
    command = [python, path, str(answer_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Port(int(process.stdout.readline().split()[1]), process.pid)
        finally:
            process.kill()


@contextlib.contextmanager
def gateway(script: str) -> Iterator[Port]:
    """The daemon with a model of its own and no channel."""
    with (
        Remote("tests.fakes.model", "--delay-ms", str(MODEL_DELAY_MS)) as model,
        tempfile.TemporaryDirectory(prefix="loong-bench-") as directory,
    ):
        config = config_for(None, f"{model.base_url}/v1")
        with Gateway(directory, config, command=[script], environ={"LOONG_GATEWAY_TOKEN": TOKEN}) as running:
            running.start(timeout=START_S)
            yield Port(running.port, running.pid)


@contextlib.contextmanager
def subject(name: str, script: str, python: str) -> Iterator[Port]:
    """The floor, which answers with as many bytes as `health` has, or loong."""
    opened = floor(python, answer_size(script)) if name == "floor" else gateway(script)
    with opened as port:
        yield port


def answer_size(script: str) -> int:
    """How long the answer to `health` is; without a loong to ask, about what it is."""
    if not script:
        return 600
    with gateway(script) as port:
        client = PortClient(port.port, TOKEN)
        size = len(json.dumps(client.ask("health")))
        client.close()
    return size


def rpc(name: str, script: str, python: str) -> Metrics:
    """Round trips of `health` on one connection, one after the other."""
    medians, p99s = [], []
    with subject(name, script, python) as port:
        client = PortClient(port.port, TOKEN, bare=name == "floor")
        for _ in range(RPC_WARM_UP):
            if client.ask("health").get("ok") is not True:
                raise RuntimeError(f"{name} does not answer health")
        before = procfs.cpu_s(port.pid)
        for _ in range(RPC_ROUNDS):
            took = sorted(_round_trip_ms(client) for _ in range(RPC_CALLS))
            medians.append(statistics.median(took))
            p99s.append(percentile(took, 0.99))
        used = procfs.cpu_s(port.pid) - before
        client.close()
    return {
        "p50_ms": round(statistics.median(medians), 4),
        "p99_ms": round(statistics.median(p99s), 4),
        "cpu_us_per_call": round(used * 1e6 / (RPC_CALLS * RPC_ROUNDS), 1),
    }


def _round_trip_ms(client: PortClient) -> float:
    begin = time.perf_counter()
    client.ask("health")
    return (time.perf_counter() - begin) * 1000


def clients(name: str, script: str, python: str) -> Metrics:
    """Memory per connected client, and what one that reads nothing does to the others while runs stream to all."""
    with subject(name, script, python) as port:
        warm = PortClient(port.port, TOKEN, bare=name == "floor")
        warm.ask("health")
        time.sleep(SETTLE_S)
        before = procfs.memory_mb(port.pid)["rss_mb"]
        crowd = [PortClient(port.port, TOKEN, bare=name == "floor") for _ in range(CLIENTS)]
        time.sleep(SETTLE_S)
        after = procfs.memory_mb(port.pid)["rss_mb"]
        found: Metrics = {"clients": CLIENTS, "kb_per_client": round((after - before) * 1024 / CLIENTS, 1)}
        if name == "loong":
            found.update(_with_one_stuck(port, crowd))
            found["peak_mb"] = procfs.memory_mb(port.pid)["peak_mb"]
            found["threads"] = procfs.threads(port.pid)
        for client in [warm, *crowd]:
            client.close()
    return found


def _with_one_stuck(port: Port, crowd: Sequence[PortClient]) -> Metrics:
    """Round trips of a witness while runs stream to the crowd, first when all read, then with one that does not."""
    found: Metrics = {}
    with _drained(crowd):
        _runs(port, "warm")
        found["normal"] = _runs(port, "normal")
        stuck = PortClient(port.port, TOKEN, room=4096)
        with contextlib.suppress(OSError):
            stuck.socket.settimeout(5)
            for _ in range(UNREAD_CALLS):
                stuck.send("health")
        found["stuck"] = _runs(port, "stuck")
        stuck.close()
    return {
        "normal_p99_ms": found["normal"]["p99_ms"],
        "stuck_p99_ms": found["stuck"]["p99_ms"],
        "delay_ms": round(found["stuck"]["p50_ms"] - found["normal"]["p50_ms"], 2),
        "normal_runs_s": found["normal"]["runs_s"],
        "stuck_runs_s": found["stuck"]["runs_s"],
        "ratio": round(found["stuck"]["runs_s"] / found["normal"]["runs_s"], 3),
        "unfinished": found["normal"]["unfinished"] + found["stuck"]["unfinished"],
    }


def _runs(port: Port, label: str) -> Metrics:
    """Ask for runs, some at once, until all have ended; meanwhile a witness asks for `health`."""
    over = threading.Event()
    took: list[float] = []

    def watch() -> None:
        witness = PortClient(port.port, TOKEN, scopes=())
        while not over.wait(WITNESS_EVERY_S):
            took.append(_round_trip_ms(witness))
        witness.close()

    thread = threading.Thread(target=watch)
    thread.start()
    begin = time.monotonic()
    asker = PortClient(port.port, TOKEN, scopes=("operator.write",))
    ended, started = 0, 0
    text = "streamed " * (QUESTION_CHARS // 9)
    try:
        while ended < CLIENT_RUNS:
            while started < min(CLIENT_RUNS, ended + CLIENT_AT_ONCE):
                key = f"{label}-{started}"
                params = {"message": text, "idempotencyKey": key, "sessionKey": f"{label}-{started}"}
                asker.send("agent", params, id=key)
                started += 1
            frame = asker.receive()
            status = (frame.get("payload") or {}).get("status")
            ended += frame.get("type") == "res" and status not in ("accepted", "in_flight")
    finally:
        over.set()
        thread.join()
        asker.close()
    took.sort()
    return {
        "p50_ms": percentile(took, 0.5),
        "p99_ms": round(percentile(took, 0.99), 2),
        "runs_s": round(time.monotonic() - begin, 2),
        "unfinished": CLIENT_RUNS - ended,
    }


@contextlib.contextmanager
def _drained(crowd: Sequence[PortClient]) -> Iterator[None]:
    """A thread takes whatever the crowd is sent, and looks at none of it."""
    over = threading.Event()
    selector = selectors.DefaultSelector()
    for client in crowd:
        client.socket.setblocking(False)
        selector.register(client.socket, selectors.EVENT_READ)

    def drain() -> None:
        while not over.is_set():
            for key, _ in selector.select(0.1):
                if not key.fileobj.recv(1 << 18):  # type: ignore[union-attr]
                    selector.unregister(key.fileobj)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        selector.close()
