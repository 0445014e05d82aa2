"""The life of an owner as its operator sees it: a real daemon, real signals, the doubles of the outside world."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import select
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.request

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.world import staged
from tests.fakes.telegram import FakeTelegram
from tests.small_disk import mounted, occupy
from tests.waiting import wait_until

WAIT_S = 20.0


def answers(telegram):
    return list(telegram.texts())


def test_a_message_is_answered_and_the_owner_can_be_inspected_and_stopped(world):
    gateway, telegram, _ = world
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
    assert answers(telegram) == ["re: hello"]
    gateway.wait_status(lambda document: document["surfaces"][0]["phase"] == "ready")
    document, code = gateway.status()
    assert (code, document["phase"], document["running"], document["ready"]) == (0, "running", True, True)
    assert document["surfaces"][0]["identity"] == "@test_bot"
    log = pathlib.Path(gateway.home, "logs", "gateway.log")
    wait_until(lambda: "ready in " in log.read_text(), what="the line about being ready")
    said = [json.loads(text)["message"] for text in log.read_text().splitlines()]
    assert said[0] == f"log file: {log}"
    assert said[1].startswith("http server listening: http://127.0.0.1:")
    assert any(text.startswith("ready in ") and text.endswith("1 of 1 surface") for text in said)
    assert gateway.stop() == 0
    document, code = gateway.status()
    assert (code, document["phase"], document["running"]) == (3, "stopped", False)
    assert document["shutdown_reason"] == "shutdown requested: gateway stop requested"
    assert document["port"] is None


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGTERM, "sigterm received"),
        (signal.SIGINT, "ctrl-c received"),
        (signal.SIGHUP, "sighup received"),
    ],
)
def test_a_signal_stops_cleanly_and_says_which(world, number, reason):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("these tests were started so that nobody heeds this signal")
    gateway, *_ = world
    gateway.start()
    gateway.signal(number)
    assert gateway.wait_exit() == 0
    assert gateway.status()[0]["shutdown_reason"] == f"shutdown requested: {reason}"


@pytest.mark.parametrize("way", ["signal", "command", "port"])
def test_a_stop_lets_a_running_turn_end_and_its_reply_leave(world, way):
    gateway, telegram, model = world
    gateway.start()
    model.set_delay(1.5)
    telegram.say("slow")
    model.wait_calls(1)
    if way == "signal":
        assert gateway.terminate() == 0
    elif way == "command":
        assert gateway.stop() == 0
    else:
        token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
        request = urllib.request.Request(
            f"{gateway.url}/api/gateway/stop",
            data=b"{}",
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            assert answer.status == 200
        assert gateway.wait_exit() == 0
    assert answers(telegram) == ["re: slow"]


def test_a_second_stop_request_cuts_the_turn_which_runs_again_at_the_next_start(world):
    gateway, telegram, model = world
    gateway.start()
    model.fault("hang")
    telegram.say("hanging")
    model.wait_calls(1)
    gateway.signal(signal.SIGTERM)
    gateway.wait_status(lambda document: document["phase"] == "stopping")
    gateway.signal(signal.SIGTERM)
    assert gateway.wait_exit() == 0
    assert answers(telegram) == []
    model.clear_faults()
    gateway.start()
    telegram.wait_messages(1)
    assert answers(telegram) == ["re: hanging"]


def test_after_a_kill_the_slot_is_free_at_once_and_the_message_is_answered_once(world):
    gateway, telegram, model = world
    gateway.start()
    model.fault("hang")
    telegram.say("hello")
    model.wait_calls(1)
    gateway.kill()
    document, code = gateway.status()
    assert (code, document["phase"], document["running"]) == (3, "failed", False)
    assert document["last_error"]
    model.clear_faults()
    gateway.start()
    telegram.wait_messages(1)
    gateway.stop()
    assert answers(telegram) == ["re: hello"]


def test_a_frozen_owner_is_reported_as_stalled_in_time_and_nothing_is_stolen(world):
    gateway, *_ = world
    gateway.start()
    gateway.signal(signal.SIGSTOP)
    try:
        # The heartbeat lies in the lock file's time: an old one is what 15 s of silence would leave.
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 60 * 10**9
        os.utime(os.path.join(gateway.home, "owner.lock"), ns=(boot_ns, boot_ns))
        document, code = gateway.status()
        assert (code, document["stale"], document["running"], document["lock_held"]) == (1, True, False, True)
        assert gateway.run("gateway", "run").returncode == 78
    finally:
        gateway.signal(signal.SIGCONT)
    gateway.wait_status(lambda document: not document["stale"] and document["ready"])


def test_a_second_owner_is_refused_with_the_holders_pid(world):
    gateway, *_ = world
    gateway.start()
    refused = gateway.run("gateway", "run", "--port", "0")
    assert refused.returncode == 78
    assert f"pid={gateway.pid}" in refused.stderr
    refused = gateway.run("telegram-serve", "--port", "0")
    assert refused.returncode == 78


def test_of_twenty_starts_at_once_one_becomes_the_owner(world):
    gateway, *_ = world
    starts = [
        subprocess.Popen(
            [*gateway.command, "gateway", "run", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=gateway.environ,
            text=True,
        )
        for _ in range(20)
    ]
    try:
        wait_until(lambda: sum(start.poll() is not None for start in starts) == 19, 60.0, "19 refusals")
        living = [start for start in starts if start.poll() is None]
        assert {start.returncode for start in starts if start not in living} == {78}
        assert wait_until(lambda: gateway.status()[0].get("ready"), WAIT_S)
        assert gateway.status()[0]["pid"] == living[0].pid
    finally:
        for start in starts:
            if start.poll() is None:
                start.terminate()
            start.communicate(timeout=WAIT_S)


def test_a_busy_port_is_refused_with_78_and_leaves_the_slot_free(world):
    gateway, *_ = world
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind(("127.0.0.1", gateway.port))
        busy.listen()
        refused = gateway.run("gateway", "run")
        assert refused.returncode == 78
        assert str(gateway.port) in refused.stderr
        assert gateway.status()[1] == 3
    gateway.start()


def test_a_missing_config_stops_the_start_and_says_what_to_do(tmp_path):
    with Gateway(tmp_path) as gateway:
        refused = gateway.run("gateway", "run")
        assert refused.returncode == 78
        assert "no configuration" in refused.stderr
        assert "fix:" in refused.stderr


def test_five_early_deaths_keep_the_channels_off_until_resume(world):
    gateway, telegram, _ = world
    # A token the platform does not know: the surface never becomes ready, so no start makes progress.
    telegram.revoke()
    for _ in range(5):
        gateway.spawn()
        gateway.wait_status(lambda document: document["phase"] == "running")
        gateway.kill()
    gateway.start()
    document, code = gateway.status()
    assert (code, document["degraded_reasons"]) == (1, ["crash_loop"])
    assert document["running_surface_count"] == 0
    reloaded = gateway.run("secrets", "reload")
    assert reloaded.returncode == 0, reloaded.stderr
    assert ": stopped, the channels are off after several early ends" in reloaded.stdout
    telegram.reinstate()
    assert gateway.run("gateway", "resume").returncode == 0
    gateway.wait_status(lambda document: document["degraded_reasons"] == [])
    telegram.say("hello")
    telegram.wait_messages(1)


def test_nothing_is_written_outside_the_home(world):
    gateway, telegram, _ = world
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
    gateway.stop()
    assert sorted(os.listdir(gateway.directory)) == ["gateway-output.txt", "loong-home"]
    modes = {
        path: os.stat(path).st_mode & 0o077
        for root, _, files in os.walk(gateway.home)
        for path in [root, *(os.path.join(root, name) for name in files)]
    }
    assert {path for path, mode in modes.items() if mode} == set()


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path):
    with mounted(tmp_path, "4m") as disk, staged(disk) as (gateway, telegram, _):
        gateway.start()
        telegram.say("before")
        telegram.wait_messages(1)
        filler = occupy(disk)
        for number in range(20):
            telegram.say(f"during {number}")
        # With no room for status files either, their age is what shows.
        full = {"store_unwritable", "status_unwritable"}
        gateway.wait_status(lambda document: full & set(document["degraded_reasons"]))
        assert gateway.status()[1] == 1
        filler.unlink()
        telegram.wait_messages(21, timeout=30)
        gateway.wait_status(lambda document: document["ready"] and not document["degraded_reasons"], 30)
        assert sorted(answers(telegram)) == sorted(["re: before", *(f"re: during {n}" for n in range(20))])
        gateway.stop()


def test_a_corrupt_store_is_set_aside_and_the_gateway_serves_on(world):
    gateway, telegram, _ = world
    gateway.start()
    gateway.stop()
    with open(gateway.store_path, "r+b") as file:
        file.write(b"this is no database " * 50)
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
    document, code = gateway.status()
    assert (code, document["ready"], document["degraded_reasons"]) == (1, True, ["store_set_aside"])
    assert any("corrupt" in name or "damaged" in name for name in os.listdir(gateway.home)), os.listdir(
        gateway.home
    )


def test_one_hanging_model_call_does_not_hold_up_other_chats(tmp_path):
    chats = range(1001, 1041)
    with staged(tmp_path, chats=chats) as (gateway, telegram, model):
        for chat in chats:
            telegram.add_private(chat)
        gateway.start()
        model.fault("hang")
        telegram.say("stuck", chat_id=1001)
        model.wait_calls(1)
        for chat in chats[1:]:
            telegram.say(f"hello {chat}", chat_id=chat)
        telegram.wait_messages(len(chats) - 1)
        assert "re: stuck" not in answers(telegram)
        gateway.kill()


def test_serve_owns_the_home_for_one_channel_and_can_be_stopped(world):
    gateway, telegram, _ = world
    gateway.arguments = ["telegram-serve"]
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
    assert gateway.status()[0]["mode"] == "multi_channel_serve"
    stopped = gateway.run("telegram-serve", "--stop")
    assert "serve stop requested" in stopped.stdout
    assert gateway.wait_exit() == 0
    assert "already_stopped" in gateway.run("channels", "serve", "telegram", "--stop").stdout


def test_the_only_account_can_be_selected_by_the_name_that_the_status_shows(world):
    gateway, telegram, _ = world
    gateway.start()
    shown = gateway.status()[0]["surfaces"][0]["account"]
    assert gateway.terminate() == 0
    refused = gateway.run("gateway", "run", "--channel-account", "telegram=work")
    assert (refused.returncode, "configured accounts: none" in refused.stderr) == (2, True)
    gateway.arguments = ["gateway", "run", "--channel-account", f"telegram={shown}"]
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)


def test_serve_once_takes_one_batch_and_ends(world):
    gateway, telegram, _ = world
    telegram.say("one")
    telegram.say("two")
    served = gateway.run("channels", "serve", "telegram", "--once")
    assert served.returncode == 0, served.stdout + served.stderr
    assert answers(telegram) == ["re: one", "re: two"]


def test_a_send_goes_through_the_owner_while_there_is_one(world):
    gateway, telegram, _ = world
    telegram.add_private(1001)
    gateway.start()
    sent = gateway.run("channels", "send", "telegram", "--target", "1001", "--text", "from the operator")
    assert sent.returncode == 0, sent.stderr
    assert answers(telegram) == ["from the operator"]
    with contextlib.closing(sqlite3.connect(f"file:{gateway.store_path}?mode=ro", uri=True)) as store, store:
        assert store.execute("SELECT state FROM outbox").fetchall() == [("sent",)]


class Terminal:
    """A person at a terminal: a pseudo-terminal with the daemon on it."""

    def __init__(self, arguments, environ):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execvpe(arguments[0], arguments, environ)
        self.seen = ""

    def read_until(self, text, timeout=WAIT_S, *, since=0):
        end = time.monotonic() + timeout
        while text not in self.seen[since:]:
            readable, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"{text!r} did not appear in {self.seen!r}"
            try:
                piece = os.read(self.descriptor, 4096)
            except OSError:
                piece = b""
            assert piece, f"the terminal closed before {text!r}: {self.seen!r}"
            self.seen += piece.decode()

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def exit_code(self):
        with contextlib.suppress(OSError):
            while os.read(self.descriptor, 4096):
                pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(status)


def test_a_session_chats_on_the_terminal_and_exit_stops_the_owner(tmp_path):
    with Gateway(tmp_path) as gateway:
        environ = {key: value for key, value in gateway.environ.items() if key != "LOONG_HOME"}
        terminal = Terminal(
            [*gateway.command, "--dev", "gateway", "run", "--session", "demo", "--port", "0"], environ
        )
        terminal.read_until("ready in ")
        # However the two come to be printed, the prompt stands below what was said last.
        terminal.read_until("you> ", since=terminal.seen.index("ready in "))
        terminal.type("hello\n")
        terminal.read_until("loong> ")
        terminal.read_until("hello")
        terminal.type("/exit\n")
        assert terminal.exit_code() == 0
        shown = subprocess.run(
            [*gateway.command, "--dev", "gateway", "status", "--json"],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "foreground CLI host exited" in shown.stdout
        assert '"attached_cli_session": "demo"' in shown.stdout


def test_a_start_on_a_full_disk_says_so_and_asks_to_be_tried_again(tmp_path):
    with (
        mounted(tmp_path, "1m") as disk,
        FakeTelegram() as telegram,
        Gateway(disk, config_for(telegram, None)) as gateway,
    ):
        filler = occupy(disk)
        refused = gateway.run("gateway", "run")
        assert refused.returncode in (75, 78), refused.stderr
        assert refused.stderr.startswith("error: ")
        assert "fix:" in refused.stderr
        assert "internal error" not in refused.stderr
        filler.unlink()
        gateway.start()


def test_force_on_a_terminal_asks_first_and_a_no_leaves_everything_alone(world):
    gateway, *_ = world
    gateway.start()
    terminal = Terminal([*gateway.command, "gateway", "run", "--force"], gateway.environ)
    terminal.read_until("Go on? [y/N] ")
    assert f"pid {gateway.pid}" in terminal.seen
    terminal.type("n\n")
    assert terminal.exit_code() == 2
    assert gateway.status()[0]["pid"] == gateway.pid


def test_stop_in_a_chat_ends_the_answer_and_sends_nothing_twice(world):
    gateway, telegram, model = world
    gateway.start()
    model.fault("hang")
    telegram.say("long question")
    model.wait_calls(1)
    telegram.say("/stop")
    telegram.say("next")
    telegram.wait_messages(2)
    assert answers(telegram) == ["No answer is being written now.", "re: next"]


def test_a_chat_on_a_terminal_shows_the_answer_of_the_gateway_as_it_grows_and_its_end_ends_it(tmp_path):
    with staged(tmp_path) as (gateway, _, model):
        model.piece_delay_s = 0.3
        gateway.start()
        terminal = Terminal([*gateway.command, "chat", "--session", "s"], gateway.environ)
        terminal.read_until("you> ")
        terminal.type("a question that takes its time to be answered\n")
        terminal.read_until("re: ")
        assert "answered" not in terminal.seen.partition("re: ")[2]
        os.kill(terminal.pid, signal.SIGINT)
        terminal.read_until("bye.")
        assert terminal.exit_code() == 0
        assert model.wait_for(lambda: model.calls[0].abandoned, WAIT_S)
