"""Runs: one id, one execution; what they remember, how they end, who is told."""

from __future__ import annotations

import queue
import threading
import tracemalloc

import pytest

from loong_gateway.base import bus
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.control.runs import ReplyTarget, RunRefused, RunRequest
from loong_gateway.messaging import run_ends
from loong_gateway.messaging.run_rows import encode_request
from loong_gateway.messaging.runs import MOST_BYTES, MOST_EARLY
from loong_gateway.providers.contract import CallOptions, Completion, Image, Message, ProviderFault, ToolCall
from loong_gateway.storage import runs, transcripts
from tests.gateway.messaging.engine_rig import WAIT_S
from tests.gateway.messaging.run_rig import SESSION, Watching, runs_at
from tests.waiting import wait_until


@pytest.fixture
def rig(tmp_path):
    with runs_at(tmp_path / "store.sqlite3") as made:
        yield made


class Held:
    """A model that says one piece and goes on when it is let, or stopped."""

    def __init__(self, *rest: str) -> None:
        self.began = threading.Event()
        self.release = threading.Event()
        self.rest = rest

    def __call__(self, call, stop, on_text):
        if on_text is not None:
            on_text("one ")
        self.began.set()
        with stop.watch(self.release.set):
            assert self.release.wait(WAIT_S)
        if stop.is_set():
            raise ProviderFault("interrupted", "stopped")
        for piece in self.rest:
            if on_text is not None:
                on_text(piece)
        return Completion("one " + "".join(self.rest), "scripted")


def history(rig, key=SESSION):
    return rig.store.read(lambda conn: transcripts.window(conn, transcripts.active_session(conn, key), 99))


def test_a_run_of_a_session_is_answered_with_its_history_and_remembered(rig):
    rig.ask("a", "one", session=SESSION)
    result = rig.ask("b", "two", session=SESSION)
    assert (result.state, result.text, result.session_id) == ("ok", "re: two", SESSION)
    assert rig.asked(1) == [("user", "one"), ("assistant", "re: one"), ("user", "two")]
    assert len(history(rig)) == 4


def test_a_run_by_itself_sees_and_leaves_nothing(rig):
    rig.ask("a", "one")
    rig.ask("b", "two")
    assert rig.asked(1) == [("user", "two")]
    assert history(rig) == []


def test_what_the_caller_tells_comes_after_the_history(rig):
    rig.ask("a", "one", session=SESSION)
    messages = (Message("assistant", "told"), Message("user", "two"))
    options = CallOptions(temperature=0.5)
    rig.ask("b", "two", session=SESSION, messages=messages, system="Be kind.", model="m", options=options)
    call = rig.provider.calls[1]
    assert call.messages[0].content.endswith("Be kind.")
    assert rig.asked(1)[2:] == [("assistant", "told"), ("user", "two")]
    assert (call.model, call.options) == ("m", options)


def test_one_id_is_run_once(rig):
    held = Held("two")
    rig.provider.script = [held]
    first = rig.start("a", session=SESSION)
    assert held.began.wait(WAIT_S)
    late = Watching()
    ticket = rig.runs.start(RunRequest("a", "hello", session=SESSION), late)
    assert ticket.state == "in_flight"
    held.release.set()
    assert first.wait() == late.wait()
    assert ("".join(first.pieces), "".join(late.pieces)) == ("one two", "one two")
    again = rig.runs.start(RunRequest("a", "hello"))
    assert (again.state, again.result.text) == ("ended", "one two")
    assert len(rig.provider.calls) == 1


def test_many_who_start_the_same_run_at_once_start_one(rig):
    states = []
    threads = [
        threading.Thread(
            target=lambda: states.append(
                rig.runs.start(RunRequest("a", "hi", durable=True, session=SESSION)).state
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert states.count("accepted") == 1
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert len(rig.provider.calls) == 1


def test_accepted_comes_before_anything_of_the_run(rig):
    rig.listen()
    seen = []
    rig.runs.start(RunRequest("a", "hi", session=SESSION), None, lambda _: seen.append(len(rig.told_events)))
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert seen == [0]
    assert rig.told_events


@pytest.mark.parametrize("durable", [False, True])
def test_a_run_that_is_aborted_remembers_nothing(rig, durable):
    held = Held()
    rig.provider.script = [held]
    watcher = rig.start("a", session=SESSION, durable=durable)
    queued = rig.start("b", session=SESSION, durable=durable)
    assert held.began.wait(WAIT_S)
    assert rig.runs.abort(session="agent:main:other") == []
    assert rig.runs.abort(session=SESSION) == ["a", "b"]
    assert (watcher.wait().stop_reason, queued.wait().state) == ("rpc", "aborted")
    assert history(rig) == []
    assert len(rig.provider.calls) == 1
    assert rig.runs.active() == []


def test_the_word_stop_ends_what_runs_in_its_session(rig):
    held = Held()
    rig.provider.script = [held]
    watcher = rig.start("a", session=SESSION)
    assert held.began.wait(WAIT_S)
    assert rig.ask("b", "/stop", session=SESSION).state == "ok"
    assert watcher.wait().stop_reason == "user"


def test_a_command_is_obeyed_and_not_asked(rig):
    rig.ask("a", "one", session=SESSION)
    assert "new session" in rig.ask("b", "/new", session=SESSION).text
    rig.ask("c", "two", session=SESSION)
    assert rig.asked(1) == [("user", "two")]


def test_a_run_that_waits_too_long_times_out(rig):
    held = Held()
    rig.provider.script = [held]
    rig.start("a", session=SESSION)
    assert held.began.wait(WAIT_S)
    watcher = rig.start("b", session=SESSION, timeout_s=5, durable=True)
    rig.clock.advance(6)
    rig.runs.tick()
    assert watcher.wait().state == "timed_out"


def test_a_failure_says_why_and_is_remembered_by_its_id_only(rig):
    rig.provider.script = [ProviderFault("auth_rejected", "the key was refused")]
    result = rig.ask("a", session=SESSION, durable=True)
    assert (result.state, result.error_code, history(rig)) == ("error", "auth_rejected", [])
    assert rig.runs.start(RunRequest("a", "x")).result == result


def test_a_run_that_asks_for_tools_is_well_and_remembers_nothing(rig):
    calls = (ToolCall("1", "f", "{}"),)
    rig.provider.script = [lambda *_: Completion("", "scripted", tool_calls=calls)]
    result = rig.ask("a", session=SESSION, durable=True)
    assert (result.state, result.tool_calls, history(rig)) == ("ok", calls, [])


def test_results_are_forgotten_after_a_while(rig):
    rig.ask("a")
    wait_until(lambda: not rig.runs.active(), what="the end")
    rig.clock.advance(301)
    rig.runs.tick()
    assert rig.runs.watch("a", print) is None


def test_what_was_said_long_ago_is_read_from_disk_again(rig, monkeypatch):
    monkeypatch.setattr(run_ends, "MOST_BYTES", 3000)
    texts = {name: name * 1000 for name in "abcdef"}
    for name, text in texts.items():
        rig.provider.script = [text]
        rig.ask(name, session=SESSION, durable=True)
    for name, text in texts.items():
        ticket = rig.runs.start(RunRequest(name, "again", session=SESSION, durable=True))
        assert (ticket.state, ticket.result.text) == ("ended", text)
    assert len(rig.provider.calls) == len(texts)


def test_runs_that_have_ended_cost_little_whatever_they_said(rig, monkeypatch):
    length, number = 200_000, 30
    monkeypatch.setattr(run_ends, "MOST_BYTES", length)
    monkeypatch.setattr(bus, "KEPT_CHARS", length)
    rig.bus.listen(lambda _: None)
    rig.provider.script = [lambda *_: Completion("x" * length, "scripted") for _ in range(number)]
    rig.runs.start(RunRequest("a0", "hello", session="s", durable=True), first := Watching())
    first.wait()
    tracemalloc.start()
    try:
        for n in range(1, number):
            ended = threading.Event()
            rig.runs.start(RunRequest(f"a{n}", "hello", session=f"s{n}", durable=True))
            rig.runs.watch(f"a{n}", lambda _, ended=ended: ended.set())
            assert ended.wait(WAIT_S)
        assert tracemalloc.get_traced_memory()[0] < number * length / 4
    finally:
        tracemalloc.stop()


def test_who_watches_the_end_hears_of_it_once_or_not_at_all(rig):
    held = Held()
    rig.provider.script = [held]
    watcher = rig.start("a")
    assert held.began.wait(WAIT_S)
    heard, left = [], []
    rig.runs.watch("a", heard.append)
    rig.runs.watch("a", left.append)()
    held.release.set()
    watcher.wait()
    wait_until(lambda: heard, what="the end")
    rig.runs.watch("a", heard.append)
    assert (len(heard), left) == (2, [])


def test_a_watcher_that_fails_does_not_harm_the_run(rig):
    class Broken(Watching):
        def grown(self, piece):
            raise RuntimeError

    watcher = rig.start("a", watcher=Broken())
    rig.runs.start(RunRequest("b", "hi"), good := Watching())
    assert good.wait().state == "ok"
    assert rig.runs.watch("a", watcher.ended) is not None


@pytest.mark.parametrize("code", ["unknown_profile", "busy", "stopping", "store_unwritable"])
def test_a_run_is_refused_with_a_code(rig, code, monkeypatch):
    how = {"profile": "none"} if code == "unknown_profile" else {}
    if code == "busy":
        monkeypatch.setattr(rig.lanes, "full", lambda _: True)
    if code == "stopping":
        rig.stop()
    rig.listen()
    if code == "store_unwritable":

        def refuse(_):
            raise StoreUnwritable("full")

        monkeypatch.setattr(rig.store, "write", refuse)
    with pytest.raises(RunRefused) as refused:
        rig.runs.start(RunRequest("a", "hi", durable=True, **how))
    monkeypatch.undo()
    assert refused.value.code == code
    assert rig.told_events == []
    assert rig.runs.active() == []
    assert rig.runs.watch("a", print) is None


def test_the_answer_is_sent_with_the_run(rig):
    target = ReplyTarget("telegram", None, "7")
    result = rig.ask("a", session=SESSION, durable=True, deliver=target)
    assert result.delivery == "queued"
    wait_until(rig.channel.texts, what="the delivery")
    assert rig.channel.texts() == ["re: hello"]
    assert rig.channel.sent[0].idempotency_key == "send-run-a-0"


def test_a_target_that_cannot_be_reached_is_refused_unless_that_is_all_the_same(rig):
    with pytest.raises(CommandError):
        rig.start("a", deliver=ReplyTarget("nowhere", None, "7"))
    assert rig.ask("b", deliver=ReplyTarget("nowhere", None, "7", best_effort=True)).delivery == "refused"


def test_accepted_runs_are_begun_again_in_order_after_a_restart(rig):
    held = Held()
    rig.provider.script = [held]
    picture = (Image("image/png", b"\x89PNG"),)
    options = CallOptions(stop=("x",))
    first = rig.start("a", "one", session=SESSION, durable=True, images=picture, options=options)
    second = rig.start("b", "two", session=SESSION, durable=True)
    gone = rig.start("c", "three", session=SESSION)
    assert held.began.wait(WAIT_S)
    rig.listen()
    rig.stop()
    assert gone.wait().stop_reason == "shutdown"
    rig.lanes.cut()
    rig.settle()
    # Of what the next process begins again nothing is said here: it ends there, and only once.
    assert (first.results.empty(), second.results.empty()) == (True, True)
    assert {event.payload["runId"] for event in rig.told_events} == {"c"}
    assert rig.runs.start(RunRequest("a", "one", session=SESSION, durable=True)).state == "in_flight"
    rig.restart()
    assert rig.runs.recover() == 2
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert [text for role, text in history(rig) if role == "user"] == ["one", "two"]
    assert (rig.provider.calls[1].messages[-1].images, rig.provider.calls[1].options) == (picture, options)
    rig.restart()
    assert rig.runs.recover() == 0
    ticket = rig.runs.start(RunRequest("b", "two", session=SESSION, durable=True))
    assert (ticket.state, ticket.result.text) == ("ended", "re: two")


def test_a_run_that_kills_the_gateway_again_and_again_is_given_up(rig):
    request = RunRequest("a", "poison", session=SESSION, durable=True)
    rig.stop()
    rig.store.write(lambda conn: runs.add(conn, "a", encode_request(request), rig.clock.wall_ms()))
    for _ in range(rig.config.delivery.max_crash_attempts + 1):
        rig.store.write(lambda conn: runs.claim(conn, "a"))
        rig.store.write(runs.pending)
    rig.restart()
    assert rig.runs.recover() == 0
    ticket = rig.runs.start(request)
    assert (ticket.state, ticket.result.error_code) == ("ended", "internal")
    assert rig.provider.calls == []


def test_a_damaged_run_ends_as_an_error(rig):
    rig.store.write(lambda conn: runs.add(conn, "a", b"{}", 1))
    rig.store.write(lambda conn: conn.execute("UPDATE run SET crc = 1"))
    assert rig.runs.recover() == 0
    assert rig.runs.start(RunRequest("a", "x", durable=True)).result.state == "error"


def test_what_waits_is_bounded_in_bytes(rig):
    held = Held()
    rig.provider.script = [held]
    picture = Image("image/png", bytes(MOST_BYTES // 4))
    first = rig.start("a", session=SESSION, images=(picture,))
    assert held.began.wait(WAIT_S)
    message = Message("user", "look", images=(picture,))
    waiting = [rig.start(f"b{number}", session=SESSION, messages=(message,)) for number in range(2)]
    for text, images in (("look", (picture,)), ("x" * len(picture.content), ())):
        with pytest.raises(RunRefused) as refused:
            rig.start("c", text, images=images)
        assert refused.value.code == "busy"
    # What is small, and what is known, is not refused.
    assert rig.ask("d").state == "ok"
    assert rig.runs.start(RunRequest("b0", "look", images=(picture,))).state == "in_flight"
    rig.runs.abort(session=SESSION)
    assert {one.wait().state for one in [first, *waiting]} == {"aborted"}
    assert rig.ask("c", images=(picture,) * 2).state == "ok"


def test_one_question_alone_may_be_of_any_size(rig):
    result = rig.ask("a", images=(Image("image/png", bytes(MOST_BYTES)),) * 2)
    assert result.state == "ok"


def test_a_run_that_is_not_known_yet_can_be_waited_for(rig):
    assert rig.runs.watch("a", print) is None
    ends = queue.SimpleQueue()
    kept = [rig.runs.watch("a", ends.put, early=True) for _ in range(2)]
    taken_back = rig.runs.watch("a", lambda _: ends.put("not wanted"), early=True)
    taken_back()
    held = Held("two")
    rig.provider.script = [held]
    rig.start("a")
    kept[1]()
    held.release.set()
    assert ends.get(timeout=WAIT_S).text == "one two"
    wait_until(lambda: not rig.runs.active(), what="the end")
    assert ends.empty()


def test_only_so_many_wait_for_what_is_not_known(rig):
    leave = [rig.runs.watch(f"r{number % 8}", lambda _: None, early=True) for number in range(MOST_EARLY)]
    assert None not in leave
    assert rig.runs.watch("one more", lambda _: None, early=True) is None
    leave[0]()
    leave[0]()
    assert rig.runs.watch("one more", lambda _: None, early=True) is not None


def test_who_waited_early_is_told_of_a_run_that_only_the_store_remembers(rig):
    rig.ask("a", durable=True)
    rig.settle()
    rig.restart()
    ends = queue.SimpleQueue()
    rig.runs.watch("a", ends.put, early=True)
    ticket = rig.runs.start(RunRequest("a", "again", durable=True))
    assert (ticket.state, ends.get(timeout=WAIT_S)) == ("ended", ticket.result)


def test_answers_are_timed_and_failures_counted_under_their_profile(rig):
    rig.ask("a")
    rig.provider.script = [ProviderFault("rate_limited", "429"), ProviderFault("rate_limited", "429")]
    rig.ask("b", profile=rig.config.active_provider)
    rig.ask("c")
    rig.ask_channel("d")
    counts, _ = rig.metrics.histograms()["turn"].read()
    assert sum(counts) == 4
    assert rig.metrics.get(f"provider_errors:rate_limited:{rig.config.active_provider}") == 2


def test_what_is_stopped_is_not_counted_as_a_failure_of_the_provider(rig):
    held = Held()
    rig.provider.script = [held]
    watcher = rig.start("a", session=SESSION)
    assert held.began.wait(WAIT_S)
    rig.runs.abort(run_id="a")
    watcher.wait()
    assert not rig.metrics.any("provider_errors:")


def test_a_run_and_a_turn_of_one_conversation_are_remembered_whole_in_the_order_of_their_ends(rig):
    key = "agent:main:telegram:work:direct:7"
    slow = Held("two")
    rig.provider.script = [slow, "quick"]
    watcher = rig.start("a", "by the port", session=key, durable=True)
    assert slow.began.wait(WAIT_S)
    # It waits for no run: one that takes long must not keep a person waiting.
    rig.ask_channel("by the channel")
    slow.release.set()
    watcher.wait()
    assert [text for _, text in history(rig, key)] == ["by the channel", "quick", "by the port", "one two"]
    assert rig.asked(0) == [("user", "by the port")]
    assert rig.asked(1) == [("user", "by the channel")]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_was_asked_before_a_new_session_is_no_part_of_it(rig, is_first):
    key = "agent:main:telegram:work:direct:7"
    if not is_first:
        rig.ask("z", "earlier", session=key)
    slow = Held("two")
    rig.provider.script = [slow]
    watcher = rig.start("a", "by the port", session=key)
    assert slow.began.wait(WAIT_S)
    rig.ask_channel("/new")
    slow.release.set()
    result = watcher.wait()
    assert history(rig, key) == []
    assert result.session_id == key
    said = rig.store.read(lambda conn: transcripts.window(conn, key, 99))
    assert [text for _, text in said][-2:] == ["by the port", "one two"]


def test_what_was_asked_before_its_session_was_deleted_begins_it_anew(rig):
    slow = Held("two")
    rig.provider.script = [slow]
    watcher = rig.start("a", session=SESSION)
    assert slow.began.wait(WAIT_S)
    rig.store.write(lambda conn: transcripts.forget(conn, SESSION))
    slow.release.set()
    assert watcher.wait().session_id == SESSION
    assert [text for _, text in history(rig)] == ["hello", "one two"]
