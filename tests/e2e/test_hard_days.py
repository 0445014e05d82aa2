"""What an operator hopes never to see: stuck models, poison, floods, a held home; a real daemon gets through."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys

from tests.e2e.gateway import Gateway
from tests.e2e.world import staged
from tests.waiting import wait_until

WAIT_S = 30.0
LIMITS = "[delivery]\nmax_crash_attempts = 1\n[gateway]\ncrash_loop_boots = 0\n"
LISTEN = """
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("up", flush=True)
sys.stdin.read()
"""
APOLOGY = "Sorry, I could not answer this message. Please try again later."


def test_a_model_that_drips_for_ever_is_cut_at_the_turns_deadline(tmp_path):
    limits = "turn_timeout_ms = 1500\nrequest_timeout_ms = 1000"
    with staged(tmp_path, provider_extra=limits) as (gateway, telegram, model):
        gateway.start()
        model.fault("drip", where={"question~": "slow"}, seconds=0.2)
        telegram.say("slow")
        telegram.say("quick")
        telegram.wait_messages(2, timeout=WAIT_S)
        assert telegram.texts() == [APOLOGY, "re: quick"]


def test_a_message_that_kills_the_process_is_given_up_with_one_notice(tmp_path):
    with staged(tmp_path, more=LIMITS) as (gateway, telegram, model):
        for calls in (1, 2):
            model.fault("hang")
            gateway.start()
            if calls == 1:
                telegram.say("poison")
            model.wait_calls(calls)
            # The claim may wait a moment for company before it is on disk.
            wait_until(lambda: claimed(gateway) == 1, WAIT_S, "claim on disk")
            gateway.kill()
        model.clear_faults()
        gateway.start()
        telegram.say("after")
        telegram.wait_messages(2, timeout=WAIT_S)
        assert telegram.texts() == [APOLOGY, "re: after"]
        assert gateway.surface()["inbox"]["failed"] == 1


def claimed(gateway: Gateway) -> int:
    store = sqlite3.connect(f"file:{gateway.store_path}?mode=ro", uri=True)
    try:
        return store.execute("SELECT count(*) FROM inbox WHERE state = 'claimed'").fetchone()[0]
    finally:
        store.close()


def test_one_flooded_chat_is_answered_in_order_and_the_others_are_served(tmp_path):
    chats = (1001, 1002)
    with staged(tmp_path, chats=chats) as (gateway, telegram, _):
        telegram.add_private(1002)
        gateway.start()
        for number in range(300):
            telegram.say(f"flood {number}", chat_id=1001)
        telegram.say("me too", chat_id=1002)
        telegram.wait_messages(301, timeout=WAIT_S)
        assert telegram.texts(1001) == [f"re: flood {number}" for number in range(300)]
        assert telegram.texts(1002) == ["re: me too"]


def test_force_stops_our_own_owner_and_a_foreign_listener(world):
    gateway, *_ = world
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(gateway.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert listener.stdout is not None
        listener.stdout.readline()
        assert gateway.run("gateway", "run").returncode == 78
        refused = gateway.run("gateway", "run", "--force")
        assert refused.returncode == 2
        assert "no terminal to ask on" in refused.stderr
        gateway.start("--force", "--yes")
        assert listener.wait(WAIT_S) == -signal.SIGTERM
    finally:
        listener.kill()
        listener.communicate()
    first = gateway.process
    assert first is not None
    gateway.process = None
    gateway.start("--force", "--yes")
    assert first.wait(WAIT_S) == 0
    assert gateway.status()[0]["pid"] == gateway.pid
    assert "--force: stop the gateway that owns" in gateway.output()


def test_force_leaves_a_listener_alone_whose_port_it_does_not_take(tmp_path):
    with socket.socket() as bystander:
        bystander.bind(("127.0.0.1", 0))
        bystander.listen()
        config = f"[gateway]\nport = {bystander.getsockname()[1]}\n"
        with Gateway(tmp_path, config) as gateway:
            # The variable wins over the config: the port that the config names belongs to somebody else here, to us.
            gateway.start("--force", "--yes")
            assert "--force" not in gateway.output()
            assert gateway.status()[0]["port"] == gateway.port


def test_a_state_directory_that_vanishes_is_told_and_the_runtime_files_come_back(world):
    gateway, *_ = world
    gateway.start()
    runtime_dir = os.path.join(gateway.home, "gateway-runtime")
    # In one step: the gateway writes there while we are at it.
    os.rename(runtime_dir, f"{runtime_dir}.gone")
    shutil.rmtree(f"{runtime_dir}.gone")
    gateway.wait_status(lambda document: document["ready"] and not document["degraded_reasons"], WAIT_S)
    assert gateway.stop() == 0


def test_a_standard_output_that_nobody_reads_holds_nothing_up(world):
    gateway, telegram, _ = world
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    gateway.process = subprocess.Popen(
        [*gateway.command, *gateway.arguments],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        env=gateway.environ,
    )
    gateway.wait_ready()
    telegram.say("hello")
    telegram.wait_messages(1)
    assert gateway.stop() == 0
    os.close(reading)
    os.close(writing)


def test_the_port_answers_while_every_worker_is_busy(tmp_path):
    chats = range(1001, 1005)
    two = "[gateway]\nworkers = 2\n"
    with staged(tmp_path, chats=chats, more=two) as (gateway, telegram, model):
        gateway.start()
        for chat in chats:
            telegram.add_private(chat)
            model.fault("hang")
            telegram.say("busy", chat_id=chat)
        model.wait_calls(2)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 200")
        assert gateway.status()[0]["ready"]
        model.clear_faults()
        model.release()
        telegram.wait_messages(4, timeout=WAIT_S)
