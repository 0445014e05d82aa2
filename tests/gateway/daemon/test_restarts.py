"""When a gateway restarts, and what it hands to the process that it becomes."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import threading

import pytest

from loong_gateway.api.bind import open_listener
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.daemon.main_loop import MainLoop
from loong_gateway.daemon.restarts import COOLDOWN_S, RESTARTING, Restarts
from loong_gateway.daemon.successor import VARIABLE, Inheritance, inherited, is_supervised, program
from loong_gateway.owner.files import stop_requested
from loong_gateway.owner.lock import OwnerLock, lock_state, request_stop
from loong_gateway.owner.paths import Places, resolve_places
from tests.clocks import HandClock
from tests.gateway.api.port_kit import gateway_settings
from tests.waiting import wait_until


class Rig:
    """Restarts over a loop that somebody else turns. `refusal` is what the rehearsal raises."""

    def __init__(self, *, is_successor: bool = False, program: str = sys.executable) -> None:
        self.clock = HandClock()
        self.loop = MainLoop([], self.clock)
        self.refusal: CommandError | None = None
        self.may_look = threading.Event()
        self.may_look.set()
        began_s = self.clock.monotonic_s() if is_successor else None
        self.restarts = Restarts(self.loop, self.rehearse, program, self.clock, ThreadRegistry(), began_s)

    def rehearse(self) -> None:
        assert self.may_look.wait(10)
        if self.refusal is not None:
            raise self.refusal

    def asked(self) -> str | None:
        self.loop.gather()
        return self.loop.stop_reason if self.loop.restarting else None


def test_the_first_request_is_carried_out_and_the_next_ones_are_the_same() -> None:
    rig = Rig()
    assert rig.restarts.due_in_s() is None
    assert [rig.restarts.request("x", 0.0) for _ in range(3)] == [
        "requested",
        "already_requested",
        "already_requested",
    ]
    assert (rig.asked(), rig.restarts.due_in_s()) == (RESTARTING, 0.0)
    assert rig.restarts.request("x", 0.0) == "already_requested"


def test_a_delay_is_kept() -> None:
    rig = Rig()
    assert rig.restarts.request("x", 5.0) == "requested"
    rig.clock.advance(4.9)
    rig.restarts.look()
    assert (rig.asked(), rig.restarts.request("y", 0.0)) == (None, "already_requested")
    rig.clock.advance(0.2)
    rig.may_look.clear()
    rig.restarts.look()
    rig.restarts.look()
    assert rig.restarts.due_in_s() == 0.0
    rig.may_look.set()
    wait_until(rig.asked)


def test_a_restart_waits_until_the_last_one_is_long_enough_ago() -> None:
    rig = Rig(is_successor=True)
    rig.clock.advance(10.0)
    assert rig.restarts.request("x", 0.0) == "requested"
    assert rig.restarts.due_in_s() == COOLDOWN_S - 10.0
    rig.clock.advance(COOLDOWN_S)
    assert rig.asked() is None
    rig.restarts.look()
    wait_until(rig.asked)


def test_what_would_not_start_is_refused_with_its_place() -> None:
    rig = Rig()
    rig.refusal = CommandError("port.unknown_bind", bind="nowhere")
    with pytest.raises(CommandError, match=r"the gateway goes on as it is: gateway\.bind") as caught:
        rig.restarts.request("x", 0.0)
    assert (caught.value.where, caught.value.exit_code) == ("gateway.bind", 1)
    assert (rig.asked(), rig.restarts.due_in_s()) == (None, None)
    gone = Rig(program="/nowhere/python")
    with pytest.raises(CommandError, match="/nowhere/python cannot be run any more"):
        gone.restarts.request("x", 0.0)


def test_what_became_unusable_while_a_restart_waited_gives_it_up() -> None:
    rig = Rig()
    assert rig.restarts.request("x", 5.0) == "requested"
    rig.refusal = CommandError("port.unknown_bind", bind="nowhere")
    rig.clock.advance(6.0)
    rig.restarts.look()
    wait_until(lambda: rig.restarts.due_in_s() is None)
    assert rig.asked() is None
    rig.refusal = None
    assert (rig.restarts.request("x", 0.0), rig.asked()) == ("requested", RESTARTING)


def test_a_stop_goes_before_a_restart_whichever_came_first() -> None:
    rig = Rig()
    rig.restarts.request("x", 0.0)
    assert (rig.asked(), rig.loop.times_asked) == (RESTARTING, 0)
    rig.loop.ask_to_stop("sigterm received")
    assert (rig.asked(), rig.loop.stop_reason, rig.loop.times_asked) == (None, "sigterm received", 1)
    stopped = Rig()
    stopped.loop.ask_to_stop("sigterm received")
    stopped.loop.gather()
    with pytest.raises(CommandError, match="is being stopped"):
        stopped.restarts.request("x", 0.0)
    stopped.loop.ask_to_restart("x")
    assert stopped.asked() is None


# --- what is handed over


@pytest.fixture(name="places")
def places_of_a_home(tmp_path: pathlib.Path) -> Places:
    return resolve_places({}, {"LOONG_HOME": str(tmp_path / "home")})


def test_the_adopted_lock_is_the_same_one_and_a_stop_request_stays_valid(places: Places) -> None:
    lock = OwnerLock.acquire(places)
    assert request_stop(places) == "requested"
    adopted = OwnerLock.adopt(places, lock.fileno)
    assert adopted is not None
    assert (adopted.owner_token, adopted.fileno) == (lock.owner_token, lock.fileno)
    assert stop_requested(places, adopted.owner_token)
    assert not os.get_inheritable(adopted.fileno)
    assert lock_state(places).held
    adopted.release()
    assert not lock_state(places).held


def test_what_is_no_lock_of_this_home_is_not_adopted(places: Places, tmp_path: pathlib.Path) -> None:
    places.create()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert OwnerLock.adopt(places, other) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(other)
    assert OwnerLock.adopt(places, 987) is None
    lock = OwnerLock.acquire(places)
    second = os.open(places.owner_lock, os.O_RDWR)
    assert OwnerLock.adopt(places, second) is None
    lock.release()


def test_an_inheritance_is_for_the_process_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(text: str) -> Inheritance | None:
        environ = {VARIABLE: text, "X": "1"}
        monkeypatch.setenv(VARIABLE, text)
        found = inherited(environ)
        assert (environ, VARIABLE in os.environ) == ({"X": "1"}, False)
        return found

    me = os.getpid()
    assert given(f"{me},5,6,7") == Inheritance(5, (6, 7))
    assert given(f"{me},5") == Inheritance(5, ())
    for text in (f"{me + 1},5,6", f"{me}", "", "x,5", f"{me},-5", f"{me}{',5' * 10}"):
        assert given(text) is None
    assert inherited({}) is None


def test_listening_sockets_are_taken_over_where_they_are_wanted() -> None:
    first = open_listener(gateway_settings(), environ={})
    again = open_listener(
        gateway_settings(port=first.port), environ={}, handed=[sock.detach() for sock in first.sockets]
    )
    assert again.port == first.port
    with socket.create_connection((again.address, again.port), timeout=5):
        pass
    elsewhere = open_listener(
        gateway_settings(), port_override=0, environ={}, handed=[again.sockets[0].detach()]
    )
    assert elsewhere.port == first.port
    moved = open_listener(
        gateway_settings(bind="127.0.0.2"), environ={}, handed=[elsewhere.sockets[0].detach()]
    )
    assert (moved.address, moved.port == first.port) == ("127.0.0.2", False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first.port), timeout=5)
    fresh = open_listener(gateway_settings(), environ={}, handed=[moved.sockets[0].detach(), 987])
    for sock in fresh.sockets:
        sock.close()


def test_the_program_is_this_interpreter_with_its_arguments() -> None:
    code = "from loong_gateway.daemon.successor import program; print(*program(), sep='\\n')"
    root = str(pathlib.Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "gateway", "run"],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == sys.executable
    assert done.stdout.splitlines()[-2:] == ["gateway", "run"]
    assert program()[0] == sys.executable


@pytest.mark.parametrize(
    ("environ", "supervised"),
    [
        ({}, False),
        ({"NOTIFY_SOCKET": "/run/x"}, True),
        ({"INVOCATION_ID": "a", "SYSTEMD_EXEC_PID": str(os.getpid())}, True),
        ({"INVOCATION_ID": "a", "SYSTEMD_EXEC_PID": "1"}, False),
        ({"XPC_SERVICE_NAME": "0"}, False),
        ({"XPC_SERVICE_NAME": "application.com.apple.Terminal"}, False),
    ],
)
def test_who_is_supervised(environ: dict[str, str], supervised: bool) -> None:
    assert is_supervised(environ) is supervised
