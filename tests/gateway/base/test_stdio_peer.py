"""Children that speak JSON-RPC, as real processes: well, badly, and not at all."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.child_process import child_environment
from loong_gateway.base.stdio_peer import PeerFailed, PeerLimits, PeerProgram, StdioPeer
from loong_gateway.base.threads import ThreadRegistry
from tests.waiting import wait_until

FAKE = str(pathlib.Path(__file__).parents[2] / "fakes" / "stdio_peer.py")
Start = Callable[..., StdioPeer]


def program(mode: str, **more: Any) -> PeerProgram:
    # Without site-packages an interpreter starts in half the time.
    return PeerProgram("fake", (sys.executable, "-I", "-S", FAKE, mode), **more)


@pytest.fixture
def start() -> Iterator[Start]:
    threads = ThreadRegistry()
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    peers = []

    def begin(mode: str, **more: Any) -> StdioPeer:
        peers.append(StdioPeer(program(mode), threads, **more))
        return peers[-1]

    yield begin
    for peer in peers:
        peer.close(Deadline(1.0))
    assert threads.join_all(Deadline(15)) == []
    for peer in peers:
        with pytest.raises(ProcessLookupError):
            os.kill(peer.pid, 0)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= len(before)


def ask(peer: StdioPeer, method: str, params: object = None, seconds: float = 20.0) -> Any:
    return peer.request(method, params, deadline=Deadline(seconds), stop=StopToken())


def fault(peer: StdioPeer, method: str = "echo", seconds: float = 20.0) -> PeerFailed:
    with pytest.raises(PeerFailed) as raised:
        ask(peer, method, seconds=seconds)
    return raised.value


def test_asks_and_is_told_what_went_wrong(start: Start) -> None:
    peer = start("plain")
    assert ask(peer, "echo", {"text": "ü\n"}) == {"text": "ü\n"}
    refused = fault(peer, "refuse")
    assert (refused.kind, str(refused), refused.code) == ("refused", "no such thing", -32000)
    assert fault(peer, "broken").kind == "invalid"
    assert ask(peer, "twice") == 1
    assert ask(peer, "unknown_id") == "said"
    assert peer.alive and peer.failure is None
    peer.close(Deadline(10))
    assert not peer.alive and fault(peer).kind == "gone"


def test_a_thousand_requests_at_once(start: Start) -> None:
    peer = start("plain")
    results: dict[int, Any] = {}

    def some(first: int) -> None:
        for number in range(first, 1000, 20):
            results[number] = ask(peer, "echo", number)

    workers = [threading.Thread(target=some, args=(first,)) for first in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {number: number for number in range(1000)}


def test_large_messages_both_ways(start: Start) -> None:
    text = "x" * (3 << 20)
    assert ask(start("plain"), "echo", text) == text


def test_notices_come_before_what_was_sent_after_them(start: Start) -> None:
    seen = []
    peer = start("plain", on_notice=lambda method, params: seen.append((method, params)))
    assert ask(peer, "count_then_answer", 300) == "counted"
    assert seen == [("counted", number) for number in range(300)]


def test_a_notice_that_cannot_be_taken_ends_nothing(start: Start) -> None:
    def bad(method: str, params: object) -> None:
        raise RuntimeError("a bug")

    peer = start("plain", on_notice=bad)
    assert ask(peer, "count_then_answer", 2) == "counted"


def test_its_own_requests_are_answered_in_order_while_we_ask(start: Start) -> None:
    def back(method: str, params: Any) -> object:
        if params["number"] == 1:
            raise PeerFailed("refused", "not that one", code=-32001)
        if params["number"] == 2:
            raise RuntimeError("a bug")
        # Whoever answers may ask.
        return ask(held[0], "echo", params["number"]) if ready.wait(20) else None

    held: list[StdioPeer] = []
    ready = threading.Event()
    held.append(start("ask_back", on_request=back))
    ready.set()
    answers = wait_until(lambda: (got := ask(held[0], "answers")) and len(got) == 50 and got)
    assert [one["id"] for one in answers] == [f"mine-{number}" for number in range(50)]
    assert answers[1]["error"] == {"code": -32001, "message": "not that one"}
    assert answers[2]["error"] == {"code": -32603, "message": "internal error"}
    assert answers[49]["result"] == 49


def test_what_it_asks_is_refused_where_nobody_answers(start: Start) -> None:
    peer = start("ask_back")
    answers = wait_until(lambda: ask(peer, "answers"))
    assert answers[0]["error"]["code"] == -32601


def test_a_number_used_twice_at_once_ends_it(start: Start) -> None:
    go = threading.Event()
    peer = start("same_id", on_request=lambda *_: go.wait(20))
    assert wait_until(lambda: peer.failure).kind == "invalid"
    go.set()


def test_no_answer_in_time_and_a_stop(start: Start) -> None:
    peer = start("plain")
    cancelled: list[int] = []
    with pytest.raises(PeerFailed) as raised:
        peer.request("silence", None, deadline=Deadline(0.01), stop=StopToken(), on_cancel=cancelled.append)
    assert raised.value.kind == "timed_out"
    stop = StopToken()
    stop.set()
    with pytest.raises(PeerFailed) as raised:
        peer.request("silence", None, deadline=Deadline(20), stop=stop, on_cancel=cancelled.append)
    assert raised.value.kind == "interrupted" and cancelled == [1, 2]
    assert ask(peer, "echo", 1) == 1


def test_who_does_not_read_delays_nobody(start: Start) -> None:
    peer = start("hang", limits=PeerLimits(waiting_bytes=1 << 20))
    text = "x" * (900 << 10)
    with pytest.raises(PeerFailed) as raised:
        ask(peer, "echo", text, seconds=0.01)
    assert raised.value.kind == "timed_out"
    with pytest.raises(PeerFailed) as raised:
        ask(peer, "echo", text)
    assert "does not read" in str(raised.value)
    peer.notify("echo", text)


def test_its_exit_code_and_last_words_are_told(start: Start) -> None:
    failed = fault(start("exit"))
    assert failed.kind == "gone"
    assert str(failed) == "it ended with exit code 3; its last words: [31mcannot go on: no such table"


def test_a_killed_child_is_noticed_by_whoever_waits(start: Start) -> None:
    failed = fault(start("plain"), "kill")
    assert (failed.kind, str(failed)) == ("gone", "it ended with signal SIGKILL")


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("flood_stdout", "flooded", "more than anybody can read"),
        ("blank_lines", "flooded", "more than anybody can read"),
        ("endless_stderr", "flooded", "more than anybody can read"),
        ("only_noise", "invalid", "not JSON-RPC"),
        ("long_line", "invalid", "a line of more than"),
        ("mid_line", "gone", "exit code 0"),
        ("close_output", "gone", "it closed its output"),
    ],
)
def test_what_is_not_borne(start: Start, mode: str, kind: str, words: str) -> None:
    peer = start(mode, limits=PeerLimits(waiting_bytes=1 << 20))
    failed = fault(peer)
    assert (failed.kind, words in str(failed)) == (kind, True), str(failed)


def test_who_answers_for_ever_is_ended(start: Start) -> None:
    peer = start("plain", limits=PeerLimits(waiting_bytes=1 << 20))
    assert ask(peer, "for_ever") == 0
    assert wait_until(lambda: peer.failure).kind == "flooded"


def test_who_closes_its_input_is_ended(start: Start) -> None:
    peer = start("close_input")
    failed = wait_until(lambda: next((f for f in [fault(peer, seconds=0.2)] if f.kind == "gone"), None))
    assert "it closed its input" in str(failed)


def test_asks_of_its_own_are_bounded(start: Start) -> None:
    go = threading.Event()
    peer = start("ask_back", limits=PeerLimits(waiting_messages=5), on_request=lambda *_: go.wait(20))
    assert wait_until(lambda: peer.failure).kind == "flooded"
    go.set()


def test_a_little_noise_is_borne_and_kept_as_its_words(start: Start) -> None:
    peer = start("noise")
    assert ask(peer, "echo", 1) == 1
    assert peer.stderr_tail()[0] == "starting up"


def test_what_it_writes_for_people_is_bounded(start: Start) -> None:
    peer = start("flood_stderr", limits=PeerLimits(stderr_bytes=4096))
    assert ask(peer, "echo", 1) == 1
    assert sum(map(len, peer.stderr_tail())) <= 4096


def test_its_descendants_end_with_it(start: Start) -> None:
    seen: list[Any] = []
    peer = start("grandchild", on_notice=lambda method, params: seen.append(params))
    wait_until(lambda: not peer.alive and seen)
    peer.close(Deadline(10))

    def is_gone() -> bool:
        try:
            with open(f"/proc/{seen[0]}/stat", encoding="ascii") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(is_gone)


def test_who_ignores_the_polite_signal_is_killed(start: Start) -> None:
    peer = start("stubborn")
    ask(peer, "echo", 1)
    peer.close(Deadline(0.3))
    wait_until(lambda: peer.failure and not os.path.exists(f"/proc/{peer.pid}"))


def test_an_outside_kill_is_seen_without_asking(start: Start) -> None:
    peer = start("plain")
    os.kill(peer.pid, signal.SIGKILL)
    assert wait_until(lambda: peer.failure).kind == "gone"


def test_what_cannot_be_started(tmp_path: pathlib.Path) -> None:
    threads = ThreadRegistry()
    for command, cwd in ((("no-such-program-here",), None), ((), None), (("true",), str(tmp_path / "none"))):
        with pytest.raises(PeerFailed) as raised:
            StdioPeer(PeerProgram("none", command, cwd), threads)
        assert raised.value.kind == "not_started"
    assert "directory" in str(raised.value)
    assert threads.alive() == []


def test_it_is_given_what_was_named_and_nothing_else() -> None:
    environ = {"PATH": "/bin", "HOME": "/home/me", "MY_TOKEN": "secret", "OTHER": "2", "A": "1"}
    given = child_environment(("A", "MISSING"), {"OTHER": "3"}, environ)
    assert given == {"PATH": "/bin", "HOME": "/home/me", "A": "1", "OTHER": "3"}
    threads = ThreadRegistry()
    peer = StdioPeer(program("plain", env=given), threads)
    seen, descriptors = ask(peer, "environ")
    peer.close(Deadline(10))
    assert {name: value for name, value in seen.items() if name != "LC_CTYPE"} == given
    # The three streams, and the directory that is being listed.
    assert descriptors in (0, 4)
