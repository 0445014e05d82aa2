from __future__ import annotations

import json
import pathlib
import random
import signal
import subprocess
import threading

from loong_gateway.storage import counters, cursors, inbox, outbox
from tests.gateway.storage.store_help import events, opened, run_python

# Takes messages, answers them, sends the answers; every acknowledgement goes to a ledger that is synced before it
# counts, so the ledger never says more than the store had promised.
LIFE = """
import json, os, sys, threading
from tests.gateway.storage.store_help import NOW_MS, message, part
from loong_gateway.storage import counters, cursors, inbox, outbox
from loong_gateway.storage.store import Store
from loong_gateway.base.threads import ThreadRegistry

path, ledger_path, life = sys.argv[1:]
ledger = os.open(ledger_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

def note(kind, value):
    os.write(ledger, (json.dumps([kind, value]) + "\\n").encode())
    os.fsync(ledger)

store = Store.open(path, threads=ThreadRegistry())
store.write(lambda conn: outbox.recover(conn))
pending = store.write(lambda conn: inbox.recover(conn, max_crashes=1000)).pending
print("ready", flush=True)

def answer(seq):
    store.submit_lazy(lambda conn: inbox.claim(conn, seq))
    group = f"reply:{seq}"
    def done(conn):
        if inbox.finish(conn, seq):
            outbox.add(conn, [part(group)], now_ms=NOW_MS, first_sending=True)
    store.write(done)
    note("answered", seq)
    store.write(lambda conn: outbox.mark_sent(conn, f"{group}:0", ("1",)))
    note("sent", seq)

def receive(thread):
    for n in range(1_000_000):
        event = f"{life}-{thread}-{n:06}"
        def take(conn):
            rows = inbox.add(conn, [message(event)], NOW_MS)
            cursors.put(conn, f"offset-{life}-{thread}", event)
            return rows
        (row,) = store.write(take)
        note("accepted", event)
        answer(row.seq)

for seq, _ in pending:
    answer(seq)
for thread in range(3):
    threading.Thread(target=receive, args=(thread,)).start()
"""


def test_nothing_acknowledged_is_lost_to_kill_9_at_random_moments(tmp_path: pathlib.Path) -> None:
    path, ledger = tmp_path / "s", tmp_path / "ledger"
    moments = random.Random(20)
    pause = threading.Event()
    for life in range(10):
        child = run_python(LIFE, str(path), str(ledger), str(life), stdout=subprocess.PIPE)
        with child:
            assert child.stdout.readline() == b"ready\n"
            pause.wait(moments.uniform(0.0, 0.15))
            child.send_signal(signal.SIGKILL)
        _check(path, ledger)
    assert len(ledger.read_text().splitlines()) > 100


def _check(path: pathlib.Path, ledger: pathlib.Path) -> None:
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    noted: dict[str, set] = {"accepted": set(), "answered": set(), "sent": set()}
    for line in lines:
        kind, value = json.loads(line)
        noted[kind].add(value)
    with opened(path) as store:
        assert store.set_aside is None
        stored = store.read(events)
        assert noted["accepted"] <= set(stored)
        assert len(stored) == len(set(stored))
        done = {row[0] for row in store.read(_rows("SELECT seq FROM inbox WHERE state = 'done'"))}
        replies = store.read(_rows("SELECT id, state FROM outbox"))
        assert noted["answered"] <= done
        assert {identifier for identifier, _ in replies} == {f"reply:{seq}:0" for seq in done}
        sent = {identifier for identifier, state in replies if state == "sent"}
        assert {f"reply:{seq}:0" for seq in noted["sent"]} <= sent
        for name, value in store.read(_rows("SELECT name, value FROM cursor")):
            assert value in stored, name
        assert store.read(_rows("PRAGMA integrity_check")) == [("ok",)]


def _rows(statement: str):
    return lambda conn: conn.execute(statement).fetchall()


def test_counts_survive_a_kill(tmp_path: pathlib.Path) -> None:
    program = """
import os, sys
from loong_gateway.storage import counters
from loong_gateway.storage.store import Store
from loong_gateway.base.threads import ThreadRegistry
store = Store.open(sys.argv[1], threads=ThreadRegistry())
store.write(lambda conn: counters.bump(conn, "n", 3))
os.kill(os.getpid(), 9)
"""
    for _ in range(2):
        run_python(program, str(tmp_path / "s")).wait(20)
    with opened(tmp_path / "s") as store:
        assert store.read(counters.counters) == {"n": 6}
        assert store.read(lambda conn: cursors.get(conn, "none")) is None
        assert store.read(inbox.counts) == store.read(outbox.counts) == {}
