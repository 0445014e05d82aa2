"""Our side of the Agent Client Protocol against an agent that is made with the published package."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import threading
from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.contract import Completion, ProviderFault
from tests.gateway.acp.acp_rig import AcpRig, acp_rig
from tests.waiting import wait_until

acp = pytest.importorskip("acp")
AGENT = str(pathlib.Path(__file__).parent / "acp_echo_agent.py")
METHOD_NOT_FOUND = -32601


@contextlib.contextmanager
def published(directory: pathlib.Path, **environ: str) -> Iterator[AcpRig]:
    with acp_rig(directory) as rig:
        be(rig, **environ)
        yield rig


def be(rig: AcpRig, **environ: str) -> None:
    path = str(pathlib.Path(acp.__file__).parents[1])
    environ = {"PYTHONPATH": path, "NOTES": str(rig.notes_path), **environ}
    rig.be("", command=sys.executable, args=(AGENT,), env=environ)


class Asked:
    """A question in a thread of its own: `said` is what has come of the answer, `outcome` how it ended."""

    def __init__(self, rig: AcpRig, text: str) -> None:
        self.said: list[str] = []
        self.stop = StopToken()
        self.outcome: Completion | ProviderFault | None = None
        self._thread = threading.Thread(target=lambda: self._ask(rig, text))
        self._thread.start()

    def _ask(self, rig: AcpRig, text: str) -> None:
        try:
            self.outcome = rig.ask(text, stop=self.stop, on_text=self.said.append)
        except ProviderFault as fault:
            self.outcome = fault

    def end(self) -> Completion | ProviderFault | None:
        self.stop.set("user")
        self._thread.join(10)
        return self.outcome


def test_an_answer_comes_in_pieces_and_only_what_is_answer_belongs_to_it(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        pieces: list[str] = []
        assert rig.ask("echo 你好 😀", on_text=pieces.append).text == "echo: 你好 😀"
        assert pieces == ["echo: ", "你好 😀"]
        assert rig.ask("work").text == "first, last"
        long = "word\n" * 40_000
        assert rig.ask(f"echo {long}").text == f"echo: {long}".strip()
        assert len(rig.notes("new")) == 1


def test_a_question_that_is_stopped_cancels_the_turn_and_the_agent_works_on(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        asked = Asked(rig, "wait half")
        wait_until(lambda: asked.said == ["half"])
        outcome = asked.end()
        assert isinstance(outcome, ProviderFault) and outcome.kind == "interrupted"
        assert asked.said == ["half"]
        assert rig.notes("cancel") == [["cancel", True]]
        assert rig.ask("echo again").text == "echo: again"
        assert len(rig.notes("new")) == 1


def test_permissions_take_the_narrowest_option(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        rig.allows = True
        assert rig.ask("permission write a file").text == "yes"
        rig.allows = False
        assert rig.ask("permission write a file").text == "no"
        assert rig.asked == ["write a file"] * 2


def test_a_permission_that_waits_is_cancelled_with_its_turn(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        rig.patience_s = 10
        asked = Asked(rig, "permission write a file")
        wait_until(lambda: rig.asked)
        outcome = asked.end()
        assert isinstance(outcome, ProviderFault) and outcome.kind == "interrupted"
        assert rig.notes("outcome") == [["outcome", "cancelled", None]]
        assert rig.notes("cancel") == [["cancel", True]]
        assert rig.ask("echo again").text == "echo: again"


def test_an_agent_cannot_use_what_it_was_not_offered(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        assert rig.ask("hands /etc/passwd").text == "my own"
        assert rig.notes("refused") == [["refused", METHOD_NOT_FOUND]] * 2


@pytest.mark.parametrize("loads", ["1", "0", ""])
def test_a_session_goes_on_in_the_next_process_where_the_agent_can(
    tmp_path: pathlib.Path, loads: str
) -> None:
    environ = {"LOADS": loads} if loads else {}
    with published(tmp_path, **environ) as rig:
        assert rig.ask("echo one").text == "echo: one"
        ((_, first),) = rig.notes("new")
        rig.agents.close(Deadline(5))
        rig.agents = rig.pool()
        # What an agent tells again of the session is not taken for the answer.
        assert rig.ask("echo two").text == "echo: two"
        assert rig.notes("load") == ([["load", first]] if loads else [])
        last = first if loads == "1" else rig.notes("new")[-1][1]
        assert (last == first) == (loads == "1")
        session = rig.session()
        assert session is not None and session.agent_session_id == last


def test_a_refusal_a_failure_and_a_missing_login_are_told_apart(tmp_path: pathlib.Path) -> None:
    with published(tmp_path) as rig:
        kinds = [rig.fault("refuse").kind, rig.fault("fail the disk is gone").kind]
        assert rig.ask("echo again").text == "echo: again"
        be(rig, LOCKED="1")
        locked = rig.fault("echo", "b")
        assert [*kinds, locked.kind] == ["request_rejected", "request_rejected", "auth_rejected"]
        assert "A key" in str(locked)
