from __future__ import annotations

import json
import pathlib
import threading
from dataclasses import replace

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.acp.agents import NOTHING_SAID_TEXT
from loong_gateway.config.agent_snapshot import AcpSettings
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.storage import acp_sessions
from tests.gateway.acp.acp_rig import WAIT_S, AcpRig, acp_rig
from tests.waiting import wait_until


def stopped_when_it_works(rig: AcpRig, stop: StopToken) -> threading.Thread:
    def end() -> None:
        rig.wait_note("request", "session/prompt")
        stop.set("user")

    thread = threading.Thread(target=end)
    thread.start()
    return thread


def test_turns_of_one_session_are_answered_by_one_process(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        grown: list[str] = []
        first = rig.ask("hello", on_text=grown.append)
        assert (first.text, first.model, first.truncated) == ("echo: hello", "codex", False)
        assert grown == ["echo: ", "hello"]
        assert rig.ask("long").truncated
        assert rig.ask("nothing").text == NOTHING_SAID_TEXT.format(agent="codex")
        assert len(rig.notes("request", "initialize")) == len(rig.notes("request", "session/new")) == 1
        session = rig.session()
        assert session is not None
        assert (session.state, session.backend, session.last_error) == ("ready", "codex", None)
        assert session.agent_session_id is not None and session.agent_session_id.startswith("sess-")
        figures = rig.agents.snapshot()
        assert figures is not None
        assert figures["turns"]["completed"] == 3 and figures["runtime_cache"]["active_sessions"] == 1


def test_an_agent_is_given_little_and_works_where_it_should(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        rig.be("good", env={"EXTRA": SecretRef("env", "GIVEN", "")})
        given = json.loads(rig.ask("environment").text)
        assert (given["cwd"], given["GIVEN"]) == (str(tmp_path / "work"), "1")
        assert given["EXTRA"] == "from-elsewhere"
        assert "SECRET" not in given
        assert rig.ask("read").text == "-32601"


def test_an_agent_whose_secret_is_missing_is_not_started(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        rig.be("good", env={"EXTRA": SecretRef("env", "OTHER", "")})
        with pytest.raises(ProviderFault, match="it is not set") as caught:
            rig.ask("hello")
        assert caught.value.where == "acp.backends.codex.env"


@pytest.mark.parametrize(("allows", "answer"), [(True, "once"), (False, "no")])
def test_a_permission_is_asked_for(tmp_path: pathlib.Path, allows: bool, answer: str) -> None:
    with acp_rig(tmp_path) as rig:
        rig.allows = allows
        assert rig.ask("permission").text == answer
        assert rig.asked == ["delete all files"]


def test_a_storm_of_permissions_is_answered_with_no(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, "storm") as rig:
        rig.allows = True
        assert rig.ask("go").text == "100 of 300"
        assert len(rig.asked) == 100


def test_a_turn_that_is_stopped_is_cancelled_and_its_process_serves_on(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        stop = StopToken()
        thread = stopped_when_it_works(rig, stop)
        assert rig.fault("wait", stop=stop).kind == "interrupted"
        thread.join()
        assert len(rig.notes("notice", "session/cancel")) == 1
        assert rig.ask("on").text == "echo: on"
        assert len(rig.notes("request", "initialize")) == 1


def test_one_that_does_not_hear_the_cancelling_is_ended(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, "deaf") as rig:
        stop = StopToken()
        thread = stopped_when_it_works(rig, stop)
        assert rig.fault("wait", stop=stop).kind == "interrupted"
        thread.join()
        wait_until(lambda: not rig.processes(), what="the end of the agent")
        rig.be("good")
        assert rig.ask("on").text == "echo: on"


def test_a_turn_that_takes_too_long_is_cancelled(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, turn_timeout_ms=200) as rig:
        fault = rig.fault("wait")
        assert (fault.kind, str(fault)) == ("timed_out", "agent codex did not end within 0.2 s")
        assert len(rig.notes("notice", "session/cancel")) == 1


@pytest.mark.parametrize(
    ("manner", "kind", "words"),
    [
        ("silent", "timed_out", "it did not answer in time"),
        ("garbage", "response_shape_invalid", "its output is not JSON-RPC"),
        ("stillborn", "transport_failure", "it ended with exit code 3"),
        ("newer", "not_supported", "speaks version 2 of the protocol"),
        ("locked", "auth_rejected", "wants a login first (Log in on the web)"),
    ],
)
def test_one_that_does_not_get_ready_fails_with_a_reason(
    tmp_path: pathlib.Path, manner: str, kind: str, words: str
) -> None:
    with acp_rig(tmp_path, manner, startup_timeout_ms=200 if manner == "silent" else 15_000) as rig:
        fault = rig.fault("hello")
        assert fault.kind == kind
        assert words in str(fault) and fault.fix
        wait_until(lambda: not rig.processes(), what="the end of the agent")
        session = rig.session()
        assert session is not None and session.state == "error" and words in str(session.last_error)
        # Nobody was asked anything, so that it may be asked later.
        assert not rig.store.read(lambda conn: acp_sessions.was_begun(conn, "inbox:1"))


@pytest.mark.parametrize(
    ("manner", "kind"),
    [
        ("mortal", "transport_failure"),
        ("odd", "response_shape_invalid"),
        ("huge", "response_shape_invalid"),
        ("flood", "response_shape_invalid"),
    ],
)
def test_one_that_fails_in_a_turn_costs_that_turn(tmp_path: pathlib.Path, manner: str, kind: str) -> None:
    with acp_rig(tmp_path, manner) as rig:
        assert rig.fault("hello").kind == kind
        rig.be("good")
        assert rig.ask("on").text == "echo: on"
        figures = rig.agents.snapshot()
        assert figures is not None
        assert figures["turns"]["failed"] == 1 and figures["errors_by_code"] == {kind: 1}
        assert rig.audited == [("ConnectorInvoked", what, "codex") for what in (kind, "completed")]


def test_one_that_refuses_serves_on(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        assert rig.fault("refuse").kind == "request_rejected"
        assert rig.ask("on").text == "echo: on"
        assert len(rig.notes("request", "initialize")) == 1


def test_starts_that_fail_pause(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        rig.be("good", command="/no/such/program")
        assert [rig.fault("x").kind for _ in range(2)] == ["provider_missing"] * 2
        resting = rig.fault("x")
        assert (resting.kind, resting.retry_after_s) == ("provider_overloaded", 1.0)
        assert "failed to start 2 times" in str(resting)
        rig.be("good")
        rig.clock.advance(1.0)
        assert rig.ask("on").text == "echo: on"


def test_a_turn_that_was_handed_over_before_is_not_handed_over_again(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, "mortal") as rig:
        assert rig.fault("pay", turn="inbox:7").kind == "transport_failure"
        rig.be("good")
        again = rig.ask("pay", turn="inbox:7")
        assert "may have done part of it already" in again.text
        assert len(rig.notes("request", "session/prompt")) == 1
        rig.store.write(lambda conn: acp_sessions.forget(conn, "inbox:7"))
        assert rig.ask("pay", turn="inbox:7").text == "echo: pay"


def test_what_was_begun_before_a_crash_is_told_although_agents_are_off_by_now(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, "mortal") as rig:
        rig.fault("pay", turn="inbox:7")
        rig.settings = AcpSettings(enabled=False)
        rig.agents = rig.pool()
        rig.agents.recover()
        assert rig.agents.choose(rig.origin(turn="inbox:8"), "pay") is None
        chosen = rig.agents.choose(rig.origin(turn="inbox:7"), "pay")
        assert chosen is not None
        answer = chosen.complete(deadline=Deadline(WAIT_S), stop=StopToken())
        assert "may have done part of it already" in answer.text


@pytest.mark.parametrize("manner", ["good", "forgetful"])
def test_a_session_goes_on_after_a_restart_where_the_agent_can(tmp_path: pathlib.Path, manner: str) -> None:
    with acp_rig(tmp_path, manner) as rig:
        rig.ask("one")
        before = rig.session()
        rig.agents.close(Deadline(5))
        wait_until(lambda: not rig.processes(), what="the end of the agent")
        after = rig.session()
        assert before is not None and after is not None and (before.state, after.state) == ("ready", "closed")
        rig.agents = rig.pool()
        # What the agent tells again of before is no part of the answer.
        assert rig.ask("two").text == "echo: two"
        now = rig.session()
        assert now is not None
        assert (now.agent_session_id == before.agent_session_id) == (manner == "good")


def test_one_that_rests_is_ended_when_its_time_is_over_and_goes_on_later(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, session_idle_ttl_ms=60_000) as rig:
        rig.ask("one")
        rig.clock.advance(59)
        rig.agents.tick()
        assert rig.processes()
        rig.clock.advance(2)
        rig.agents.tick()
        wait_until(lambda: not rig.processes(), what="the end of the agent")
        figures = rig.agents.snapshot()
        assert figures is not None
        assert (figures["runtime_cache"]["evicted_total"], figures["runtime_cache"]["active_sessions"]) == (
            1,
            0,
        )
        assert rig.ask("two").text == "echo: two"
        assert len(rig.notes("request", "session/load")) == 1


def test_the_one_that_rested_longest_gives_its_place_away(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, max_concurrent_sessions=2) as rig:
        for name in ("a", "b", "c"):
            rig.ask("hello", name)
            rig.clock.advance(1)
        states = [session.state for name in ("a", "b", "c") if (session := rig.session(name))]
        assert states == ["closed", "ready", "ready"]


def test_who_finds_no_place_waits_no_longer_than_allowed(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, max_concurrent_sessions=1) as rig:
        stop = StopToken()
        busy = threading.Thread(target=lambda: rig.fault("wait", stop=stop))
        busy.start()
        rig.wait_note("request", "session/prompt")
        full = rig.fault("hello", "b", limit_s=0.05)
        assert (full.kind, str(full)) == ("timed_out", "all 1 agents that may run at once are busy")
        stop.set("user")
        busy.join()
        assert rig.ask("hello", "b").text == "echo: hello"


def test_what_an_agent_repeats_of_its_task_gets_into_no_error(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        fault = rig.fault("quote my private wish\nand " + "more of it " * 100)
        assert fault.kind == "request_rejected" and "I do not know how to" in str(fault)
        session = rig.session()
        assert session is not None and session.last_error is not None
        assert "private" not in f"{fault} {session.last_error}" and "more" not in str(fault)


def test_an_agent_may_call_its_session_by_what_is_no_text(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path, "surrogate") as rig:
        assert [rig.ask("hello").text, rig.ask("again").text] == ["echo: hello", "echo: again"]
        session = rig.session()
        assert session is not None
        assert (session.state, session.agent_session_id) == ("ready", "sess-\\ud800")


def test_turns_of_one_session_wait_for_each_other(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        stop = StopToken()
        answers: list[str] = []
        first = threading.Thread(target=lambda: rig.fault("wait", stop=stop))
        first.start()
        rig.wait_note("request", "session/prompt")
        second = threading.Thread(target=lambda: answers.append(rig.ask("later").text))
        second.start()
        wait_until(lambda: (rig.agents.snapshot() or {})["turns"]["queue_depth"] == 1)
        assert len(rig.notes("request", "session/prompt")) == 1
        stop.set("user")
        first.join()
        second.join()
        assert answers == ["echo: later"]


def test_no_agent_works_in_the_home_or_nowhere(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        for cwd, words in (
            (str(tmp_path / "home"), "is in the gateway's home"),
            (str(tmp_path / "gone"), "is not there"),
            (None, "neither acp.backends has one nor tools.file_root"),
        ):
            rig.be("good", cwd=cwd)
            fault = rig.fault("hello")
            assert fault.kind == "provider_missing" and words in str(fault)
        rig.settings = replace(rig.settings, backends={})
        assert "nothing is configured" in str(rig.fault("hello"))
        assert rig.notes() == []
