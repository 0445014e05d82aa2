"""The benchmarks. Each takes the subject's name, the console script and its interpreter, and returns its metrics."""

from __future__ import annotations

import http.client
import os
import statistics
import subprocess
import time
from typing import Any

from . import port, procfs
from .api import api
from .install import installed
from .million import sessions
from .stand import FIRST_CHAT, Stand, fate, percentile, stand, wait_polls, warm_up

STATUS_RUNS = 40
COLD_RUNS = 10
IDLE_SETTLE_S = 5.0
IDLE_S = 20.0
PACED_MESSAGES, PACED_EVERY_MS, PACED_CHATS = 400, 50, 20
THROUGHPUT_CHATS, THROUGHPUT_EACH, THROUGHPUT_DELAY_MS, THROUGHPUT_RUNS = 50, 4, 200, 3
BURST_MESSAGES, BURST_CHATS, BURST_DELAY_MS = 500, 100, 50
KILL_MESSAGES, KILL_CHATS, KILL_DELAY_MS, KILL_AFTER = 500, 50, 200, 160
HANG_CHATS, HANG_ROUNDS, HANG_EVERY_MS, HANG_DELAY_MS = 100, 4, 20, 50
QUIET_S = 10.0

Metrics = dict[str, Any]

# What the cheapest possible health check does: ask the port, read a line, look at it.
FLOOR_CHECK = """
import json, socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)
s.sendall(b"GET /v1/models HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
print(json.dumps({"status": int(s.recv(4096).split()[1])}))
"""


def _wall_ms(command: list[str], environ: dict[str, str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ, check=False)
    return (time.perf_counter() - begin) * 1000


def status(name: str, script: str, python: str) -> Metrics:
    """Wall time of a health check against a running subject, as a multiple of the bare interpreter's."""
    with stand(name, script, python) as at:
        gateway = getattr(at.subject, "gateway", None)
        if gateway is None:
            command, environ = [python, "-c", FLOOR_CHECK, str(at.model.port)], {"PATH": os.environ["PATH"]}
        else:
            command, environ = [script, "gateway", "status", "--json"], gateway.environ
        bare, full = [], []
        for _ in range(STATUS_RUNS + 3):
            bare.append(_wall_ms([python, "-c", "pass"], environ))
            full.append(_wall_ms(command, environ))
    bare_ms, full_ms = statistics.median(bare[3:]), statistics.median(full[3:])
    return {
        "python_ms": round(bare_ms, 1),
        "check_ms": round(full_ms, 1),
        "multiple": round(full_ms / bare_ms, 2),
    }


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def cold(name: str, script: str, python: str) -> Metrics:
    """Seconds from the start of the process to its first poll and its first HTTP 200."""
    polls, answers = [], []
    for _ in range(COLD_RUNS):
        with stand(name, script, python, start=False) as at:
            gateway = getattr(at.subject, "gateway", None)
            begin = time.monotonic()
            at.subject.spawn()
            if gateway is not None:
                while not _healthy(gateway.port):
                    if time.monotonic() > begin + 30:
                        raise RuntimeError(f"no answer on /healthz\n{gateway.output()[-2000:]}")
                    time.sleep(0.002)
                answers.append(time.monotonic() - begin)
            wait_polls(at.telegram, 1)
            polls.append(at.telegram.ask("state")["first_poll_at"] - begin)
    both = [max(pair) for pair in zip(polls, answers or polls)]
    metrics = {
        "first_poll_s": round(statistics.median(polls), 3),
        "cold_s": round(statistics.median(both), 3),
    }
    if answers:
        metrics["first_200_s"] = round(statistics.median(answers), 3)
    return metrics


def idle(name: str, script: str, python: str) -> Metrics:
    """Size and processor share of a subject with one channel and nothing to do."""
    with stand(name, script, python) as at:
        time.sleep(IDLE_SETTLE_S)
        before = procfs.fine_cpu_s(at.subject.pid)
        time.sleep(IDLE_S)
        used = procfs.fine_cpu_s(at.subject.pid) - before
        sizes = procfs.memory_mb(at.subject.pid)
        return {
            "rss_mb": sizes["rss_mb"],
            "pss_mb": sizes["pss_mb"],
            "core_percent": round(used / IDLE_S * 100, 3),
            "threads": procfs.threads(at.subject.pid),
        }


def paced(name: str, script: str, python: str) -> Metrics:
    """Overhead of a reply and processor time per message, one message every 50 ms, a model that answers at once."""
    with stand(name, script, python) as at:
        warm_up(at, PACED_CHATS)
        before = procfs.cpu_s(at.subject.pid)
        at.telegram.ask("pace", count=PACED_MESSAGES, interval_ms=PACED_EVERY_MS, chats=PACED_CHATS)
        at.telegram.ask(
            "wait_count", count=PACED_MESSAGES, timeout=PACED_MESSAGES * PACED_EVERY_MS / 1000 + 30
        )
        used = procfs.cpu_s(at.subject.pid) - before
        result = fate(at.telegram.ask("state"))
    return {
        "messages": result.asked,
        "lost": result.lost,
        "p50_ms": round(percentile(result.latencies_ms, 0.5), 2),
        "p99_ms": round(percentile(result.latencies_ms, 0.99), 2),
        "cpu_ms_per_message": round(used * 1000 / max(result.answered, 1), 2),
    }


def throughput(name: str, script: str, python: str) -> Metrics:
    """50 chats with 4 messages each and a provider that takes 200 ms, against 4 x 200 ms."""
    ideal_s = THROUGHPUT_EACH * THROUGHPUT_DELAY_MS / 1000
    count = THROUGHPUT_CHATS * THROUGHPUT_EACH
    times, lost, disorder, used = [], 0, 0, 0.0
    with stand(name, script, python, delay_ms=THROUGHPUT_DELAY_MS) as at:
        warm_up(at, THROUGHPUT_CHATS)
        for _ in range(THROUGHPUT_RUNS):
            before = procfs.cpu_s(at.subject.pid)
            at.telegram.ask("pace", count=count, interval_ms=0, chats=THROUGHPUT_CHATS)
            at.telegram.ask("wait_count", count=count, timeout=120)
            used += procfs.cpu_s(at.subject.pid) - before
            result = fate(at.telegram.ask("state"))
            times.append(result.last_at - result.first_at)
            lost += result.lost
            disorder += result.chats_out_of_order
            at.telegram.ask("reset_record")
        running = at.model.ask("state")["max_running"]
    return {
        "time_s": round(statistics.median(times), 3),
        "of_ideal": round(statistics.median(times) / ideal_s, 3),
        "lost": lost,
        "chats_out_of_order": disorder,
        "max_at_once": running,
        "cpu_ms_per_message": round(used * 1000 / (count * THROUGHPUT_RUNS), 2),
    }


def burst(name: str, script: str, python: str) -> Metrics:
    """500 messages over 100 chats at one moment."""
    with stand(name, script, python, delay_ms=BURST_DELAY_MS) as at:
        before = procfs.cpu_s(at.subject.pid)
        at.telegram.ask("pace", count=BURST_MESSAGES, interval_ms=0, chats=BURST_CHATS)
        at.telegram.ask("wait_count", count=BURST_MESSAGES, timeout=120)
        used = procfs.cpu_s(at.subject.pid) - before
        result = fate(at.telegram.ask("state"))
        sizes = procfs.memory_mb(at.subject.pid)
        return {
            "lost": result.lost,
            "twice": result.twice,
            "chats_out_of_order": result.chats_out_of_order,
            "peak_mb": sizes["peak_mb"],
            "time_s": round(result.last_at - result.first_at, 2),
            "cpu_ms_per_message": round(used * 1000 / max(result.answered, 1), 2),
            "threads": procfs.threads(at.subject.pid),
        }


def kill(name: str, script: str, python: str) -> Metrics:
    """kill -9 amid 500 messages, then a restart."""
    with stand(name, script, python, delay_ms=KILL_DELAY_MS) as at:
        at.telegram.ask("pace", count=KILL_MESSAGES, interval_ms=0, chats=KILL_CHATS)
        at.telegram.ask("wait_count", count=KILL_AFTER, timeout=60)
        at.subject.kill()
        at_kill = fate(at.telegram.ask("state"))
        sending = sending_parts(at)
        killed_at = time.monotonic()
        at.subject.spawn()
        _wait_quiet(at, KILL_MESSAGES)
        state = at.telegram.ask("state")
        result = fate(state)
    recovered = [sent["at"] for sent in state["messages"] if sent["at"] > killed_at]
    return {
        "answered_before_kill": at_kill.answered,
        "never_answered": result.lost,
        "answered_twice": result.twice,
        "sending_at_kill": sending,
        "chats_out_of_order": result.chats_out_of_order,
        "first_answer_after_s": round(min(recovered) - killed_at, 2) if recovered else None,
    }


def sending_parts(at: Stand) -> int:
    """How many parts the store says were on their way at the moment of the kill."""
    gateway = getattr(at.subject, "gateway", None)
    if gateway is None:
        return 0
    # Another process opens the store, so that nothing of it stays in this one.
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "print(c.execute(\"SELECT count(*) FROM outbox WHERE state = 'sending'\").fetchone()[0])"
    )
    done = subprocess.run(
        ["python3", "-c", code, gateway.store_path], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def _wait_quiet(at: Stand, count: int) -> None:
    """Wait until everything was answered, or nothing came for some seconds."""
    seen, since = -1, time.monotonic()
    while True:
        now_seen = at.telegram.ask("wait_count", count=count, timeout=1)
        distinct = fate(at.telegram.ask("state")).answered
        if distinct >= count:
            return
        if now_seen != seen:
            seen, since = now_seen, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            return


def hang(name: str, script: str, python: str) -> Metrics:
    """The p99 of 99 chats while one chat's model call hangs, against the same load without it."""
    found = {}
    with stand(name, script, python, delay_ms=HANG_DELAY_MS) as at:
        warm_up(at, HANG_CHATS)
        for case in ("normal", "hanging"):
            start = 0 if case == "normal" else 500_000
            if case == "hanging":
                at.model.ask("fault", kind="hang", where={"question~": "hang me"})
                at.telegram.ask("say", text="hang me m999999", chat_id=FIRST_CHAT)
                at.model.ask("wait_calls", count=1)
                at.telegram.ask("reset_record")
            others = HANG_CHATS - 1
            count = others * HANG_ROUNDS
            at.telegram.ask(
                "pace",
                count=count,
                interval_ms=HANG_EVERY_MS,
                chats=others,
                first_chat_id=FIRST_CHAT + 1,
                start=start,
            )
            at.telegram.ask("wait_count", count=count, timeout=count * HANG_EVERY_MS / 1000 + 30)
            result = fate(at.telegram.ask("state"))
            found[case] = percentile(result.latencies_ms, 0.99)
            found[f"{case}_lost"] = result.lost
            at.telegram.ask("reset_record")
        at.model.ask("release")
    return {
        "normal_p99_ms": round(found["normal"], 1),
        "hanging_p99_ms": round(found["hanging"], 1),
        "ratio": round(found["hanging"] / found["normal"], 3),
        "lost": found["normal_lost"] + found["hanging_lost"],
    }


def size(name: str, script: str, python: str) -> Metrics:  # noqa: ARG001 - all benchmarks are called alike
    """What the installation adds to an empty virtual environment."""
    return installed(script) if name == "loong" else {}


MEASURES = {
    "status": status,
    "cold": cold,
    "idle": idle,
    "paced": paced,
    "throughput": throughput,
    "burst": burst,
    "kill": kill,
    "hang": hang,
    "api": api,
    "size": size,
    "rpc": port.rpc,
    "clients": port.clients,
    "sessions": sessions,
}
