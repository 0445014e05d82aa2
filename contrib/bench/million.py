"""A store with a million messages over ten thousand conversations: what a turn, a list and a start take on it."""

from __future__ import annotations

import functools
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib
from typing import Any

from contrib.port_client import PortClient
from loong_channels.contract import Address, Inbound, Outbound
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import MemorySettings
from loong_gateway.messaging.memory import recall
from loong_gateway.storage import inbox, migrations, outbox, transcripts, usage
from loong_gateway.storage.connection import Connection
from loong_gateway.storage.file import StoreFile
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.payloads import encode_inbound, encode_outbound
from loong_gateway.storage.store import Store
from loong_gateway.storage.usage import Spent
from tests.e2e.gateway import Gateway

from . import procfs
from .stand import START_S, percentile

MESSAGES, SESSIONS, SETTLED = 1_000_000, 10_000, 100_000
TURNS, RUNS, CALLS = 500, 7, 20
TOKEN = "bench-port-secret-0001"
CONFIG = f'[provider]\nkind = "echo"\n[gateway.auth]\nmode = "token"\ntoken = "{TOKEN}"\n'
WORDS = "some words of a message as people write them, " * 4
SETTINGS = MemorySettings("window_plus_summary", 12, 1200, "", fail_open=True)

Metrics = dict[str, Any]


def sessions(name: str, script: str, python: str) -> Metrics:
    """The figures; nothing for the floor, which keeps nothing."""
    del python
    if name != "loong":
        return {}
    with tempfile.TemporaryDirectory(prefix="loong-bench-") as directory:
        gateway = Gateway(directory, CONFIG, command=[script])
        shutil.copyfile(_template(), gateway.store_path)
        os.chmod(gateway.store_path, 0o600)
        figures = {**_turns(gateway.store_path), **_commands(gateway, script, "")}
        try:
            figures.update(_live(gateway, script))
        finally:
            gateway.close()
    return figures


def key_of(number: int) -> str:
    """The key of a conversation."""
    return f"agent:main:telegram:work:direct:{number}"


def build(path: str) -> None:
    """Write the store: the messages of all conversations mixed, and as many settled rows as are kept."""
    file = StoreFile(path, check=False)
    file.open()
    conn = file.writer
    assert conn is not None
    now_ms = wall_ms()
    conn.execute("PRAGMA synchronous=OFF")
    conn.execute("BEGIN")
    conn.executemany(
        "INSERT INTO session(id, route, started_ms, last_ms, messages) VALUES(?, ?, ?, ?, ?)",
        (
            (key_of(n), key_of(n), now_ms - 10**9, now_ms - n * 1000, MESSAGES // SESSIONS)
            for n in range(SESSIONS)
        ),
    )
    conn.executemany(
        "INSERT INTO transcript(session, role, at_ms, text) VALUES(?, ?, ?, ?)",
        (
            (key_of(turn * 7919 % SESSIONS), role, now_ms - MESSAGES + turn, f"{turn} {WORDS}")
            for turn in range(MESSAGES // 2)
            for role in ("user", "assistant")
        ),
    )
    _settled(conn, now_ms)
    conn.execute("COMMIT")
    file.close(checkpoint=True)


def _settled(conn: Connection, now_ms: int) -> None:
    received = encode_inbound(_inbound(0, 0, now_ms))
    sent = encode_outbound(Outbound(_inbound(0, 0, now_ms).address, WORDS, "key"))
    crcs = zlib.crc32(received), zlib.crc32(sent)
    conn.executemany(
        "INSERT INTO inbox(channel, account, conversation, event_id, message_id, lane, received_ms, stored_ms,"
        " state, crc, payload) VALUES('telegram', 'work', ?, ?, ?, ?, ?, ?, 'done', ?, ?)",
        (
            (f"{n % SESSIONS}", f"old{n}", f"{n}", f"{n % SESSIONS}", now_ms, now_ms - n, crcs[0], received)
            for n in range(SETTLED)
        ),
    )
    conn.executemany(
        "INSERT INTO outbox(id, grp, part, channel, account, lane, state, expires_ms, stored_ms, crc, payload)"
        " VALUES(?, ?, 0, 'telegram', 'work', ?, 'sent', ?, ?, ?, ?)",
        (
            (f"old{n}", f"old{n}", f"{n % SESSIONS}", now_ms, now_ms - n, crcs[1], sent)
            for n in range(SETTLED)
        ),
    )


def _template() -> str:
    """The path of a store that is built once for each shape."""
    shape = migrations.STEPS[-1][0]
    path = os.path.join(tempfile.gettempdir(), f"loong-bench-million-{shape}-{os.getuid()}.sqlite3")
    if not os.path.exists(path):
        build(f"{path}.part")
        os.replace(f"{path}.part", path)
    return path


def _inbound(number: int, session: int, now_ms: int) -> Inbound:
    address = Address("telegram", "work", str(session))
    return Inbound(
        address=address,
        event_id=f"bench{number}",
        message_id=f"bench{number}",
        sender_id="1",
        text=WORDS,
        received_ms=now_ms,
        sent_ms=now_ms,
    )


def _turns(path: str) -> Metrics:
    """What a turn spends on the store from the claim to the commit of its answer, and before it the intake's commit."""
    threads = ThreadRegistry()
    store = Store.open(path, threads=threads)
    anywhere = random.Random(7)
    took, taken_in = [], []
    try:
        for number in range(TURNS):
            session, now_ms = anywhere.randrange(SESSIONS), wall_ms()
            inbound = _inbound(number, session, now_ms)
            begin = time.perf_counter()
            (row,) = store.write(functools.partial(inbox.add, batch=[inbound], now_ms=now_ms))
            taken_in.append((time.perf_counter() - begin) * 1000)
            begin = time.perf_counter()
            store.submit_lazy(functools.partial(inbox.claim, seq=row.seq))
            past = store.read(functools.partial(recall, route=key_of(session), settings=SETTINGS))
            assert len(past.history) == 24
            store.write(functools.partial(_settle, seq=row.seq, inbound=inbound, now_ms=now_ms))
            took.append((time.perf_counter() - begin) * 1000)
    finally:
        store.close(Deadline(START_S))
        threads.join_all(Deadline(START_S))
    took, taken_in = sorted(took), sorted(taken_in)
    return {
        "turn_p50_ms": round(percentile(took, 0.5), 2),
        "turn_p99_ms": round(percentile(took, 0.99), 2),
        "intake_p99_ms": round(percentile(taken_in, 0.99), 2),
    }


def _settle(conn: Connection, *, seq: int, inbound: Inbound, now_ms: int) -> None:
    key = key_of(int(inbound.address.conversation))
    inbox.settle(conn, seq, "done")
    transcripts.remember(conn, key, WORDS, WORDS, now_ms)
    usage.add(conn, Spent("default", "echo", key, {"input": 9, "output": 3}), now_ms)
    part = Part(f"r{seq}", f"r{seq}", 0, seq, Outbound(inbound.address, WORDS, f"r{seq}"), now_ms + 1000)
    outbox.add(conn, [part], now_ms=now_ms, first_sending=True)


def _commands(gateway: Gateway, script: str, prefix: str) -> Metrics:
    """Whole processes, the store in the memory of the system."""
    lines = {
        "list_ms": ["sessions", "list"],
        "list_json_ms": ["sessions", "list", "--limit", "1000", "--json"],
        "status_ms": ["status"],
        "gateway_status_ms": ["gateway", "status"],
    }
    return {
        prefix + name: round(statistics.median(_wall_ms(gateway, [script, *words]) for _ in range(RUNS)), 1)
        for name, words in lines.items()
    }


def _wall_ms(gateway: Gateway, command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, env=gateway.environ, capture_output=True, check=False)
    return (time.perf_counter() - begin) * 1000


def _live(gateway: Gateway, script: str) -> Metrics:
    begin = time.perf_counter()
    gateway.start(timeout=START_S)
    figures: Metrics = {"start_s": round(time.perf_counter() - begin, 2)}
    figures.update(_commands(gateway, script, "live_"))
    client = PortClient(gateway.port, TOKEN)
    try:
        for name, params in (
            ("rpc_list_ms", {"includeLastMessage": True}),
            ("rpc_search_ms", {"search": "99"}),
        ):
            calls = []
            for _ in range(CALLS):
                begin = time.perf_counter()
                client.ask("sessions.list", params)
                calls.append((time.perf_counter() - begin) * 1000)
            figures[name] = round(statistics.median(calls), 1)
    finally:
        client.close()
    figures["rss_mb"] = procfs.memory_mb(gateway.pid)["rss_mb"]
    figures["store_mb"] = round(pathlib.Path(gateway.store_path).stat().st_size / 1e6)
    return figures
