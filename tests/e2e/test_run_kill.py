"""Runs that were accepted survive kill -9: each ends after the restart, and none is answered twice."""

from __future__ import annotations

import collections
import pathlib
import random
import sqlite3
import subprocess
import sys

from tests.e2e.gateway import ROOT

RUNS = 30


def process(store: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.run_process", str(store)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_accepted_runs_survive_a_kill(tmp_path: pathlib.Path) -> None:
    store = tmp_path / "store.sqlite3"
    fate = random.Random(1)
    accepted: list[str] = []
    for life in range(2):
        with process(store) as gateway:
            assert gateway.stdin is not None
            assert gateway.stdout is not None
            for number in range(RUNS):
                gateway.stdin.write(f"r{life}-{number} agent:main:s{number % 3} q{life}-{number}\n")
            gateway.stdin.flush()
            for _ in range(fate.randrange(5, RUNS)):
                accepted.append(gateway.stdout.readline().split()[1])
            gateway.kill()
            accepted += [line.split()[1] for line in gateway.stdout.read().splitlines() if " " in line]
    with process(store) as gateway:
        out, _ = gateway.communicate("", timeout=20)
        assert out == "idle\n"
    conn = sqlite3.connect(store)
    states = dict(conn.execute("SELECT id, state FROM run").fetchall())
    assert set(accepted) <= set(states)
    assert set(states.values()) == {"ended"}
    said = conn.execute("SELECT session, text FROM transcript WHERE role = 'user' ORDER BY n").fetchall()
    conn.close()
    assert set(collections.Counter(text for _, text in said).values()) == {1}
    assert {f"q{run[1:]}" for run in states} == {text for _, text in said}
    for session in {session for session, _ in said}:
        # In the order in which they were accepted.
        numbers = [tuple(map(int, text[1:].split("-"))) for own, text in said if own == session]
        assert numbers == sorted(numbers)
