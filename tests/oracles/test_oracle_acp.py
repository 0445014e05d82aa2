"""Our side of the Agent Client Protocol against an agent that is made with the published package."""

from __future__ import annotations

import pathlib
import sys
import threading

import pytest

from loong_channels.waiting import Deadline, StopToken
from tests.gateway.acp.acp_rig import acp_rig
from tests.waiting import wait_until

acp = pytest.importorskip("acp")
AGENT = str(pathlib.Path(__file__).parent / "acp_echo_agent.py")


def test_the_published_agent_understands_us(tmp_path: pathlib.Path) -> None:
    with acp_rig(tmp_path) as rig:
        path = str(pathlib.Path(acp.__file__).parents[1])
        rig.be("", command=sys.executable, args=(AGENT,), env={"PYTHONPATH": path})
        grown: list[str] = []
        assert rig.ask("hello", on_text=grown.append).text == "echo: hello"
        assert grown == ["echo: ", "hello"]
        rig.allows = True
        assert rig.ask("permission").text == "echo: yes"
        rig.allows = False
        assert rig.ask("permission").text == "echo: no"
        assert rig.asked == ["write a file"] * 2

        stop = StopToken()
        kinds: list[str] = []
        waits = threading.Thread(target=lambda: kinds.append(rig.fault("wait", stop=stop).kind))
        waits.start()
        wait_until(lambda: getattr(rig.session(), "state", "") == "busy")
        stop.set("user")
        waits.join()
        assert kinds == ["interrupted"]

        rig.agents.close(Deadline(5))
        rig.agents = rig.pool()
        assert rig.ask("again").text == "echo: again"
        session = rig.session()
        assert session is not None and session.agent_session_id == "one"
