"""Turns with tools through a real gateway: five rounds, approvals, and kill -9 in the middle."""

from __future__ import annotations

import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from tests.e2e.gateway import ROOT
from tests.e2e.world import staged
from tests.waiting import wait_until

LOOKS = '["time", "session_status", "sessions_list", "channels_status", "sessions_history"]'
TOOLS = f"""
[tools]
allow = {LOOKS}
"""
FIVE = "call time {}\ncall session_status {}\ncall sessions_list {}\ncall channels_status {}\ncall sessions_history {}"


def told(call) -> list[dict]:
    """What the model was told of tools in one question."""
    return [json.loads(one["content"]) for one in call.body["messages"] if one["role"] == "tool"]


def test_a_conversation_of_five_rounds(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path, more=TOOLS) as (gateway, telegram, model):
        gateway.start()
        telegram.say(FIVE)
        telegram.wait_messages(1)
        assert telegram.texts() == [f"re: {FIVE}"]
        assert len(model.calls) == 6
        assert model.refused == []
        results = told(model.calls[-1])
        assert [sorted(one)[0] for one in results] == [
            "epochMs",
            "activeRuns",
            "count",
            "accounts",
            "hasMore",
        ]
        assert results[3]["accounts"][0]["phase"] == "ready"
        summary = json.loads(gateway.run("status", "--json").stdout)
        assert summary["gateway"]["runtime"]["visible_tool_count"] == 5


def test_a_call_waits_for_a_person_in_the_chat_and_on_the_host(tmp_path: pathlib.Path) -> None:
    written = tmp_path / "root" / "a.txt"
    written.parent.mkdir()
    more = f'[tools]\nallow = ["file.write"]\nfile_root = "{written.parent}"\n'
    asking = 'call file_write {"path":"a.txt","text":"%s"}'
    with staged(tmp_path, more=more) as (gateway, telegram, model):
        gateway.start()
        telegram.say(asking % "one")
        telegram.wait_messages(1)
        asked = re.fullmatch(
            r"May I run file\.write with path=a\.txt, text=one\? "
            r"Answer /approve (\w+) or /deny \1 within 5 min\.",
            telegram.texts()[0],
        )
        assert asked is not None
        telegram.say(f"/approve {asked[1]}", forward_origin={"type": "user"})
        telegram.say(f"/approve {asked[1]}")
        telegram.wait_messages(4)
        assert telegram.texts()[1:] == [f"re: {asking % 'one'}", "Approved.", "Approved."]
        assert written.read_text(encoding="utf-8") == "one"
        telegram.say(asking % "two")
        telegram.wait_messages(5)
        (row,) = json.loads(gateway.run("approvals", "list", "--json").stdout)["approvals"]
        assert (row["tool"], row["entry"]) == ("file.write", "chat")
        assert gateway.run("approvals", "deny", row["id"]).stdout == f"{row['id']}: refused\n"
        telegram.wait_messages(6)
        assert model.calls[-1].body["messages"][-1]["content"] == REFUSED
        assert written.read_text(encoding="utf-8") == "one"
        again = gateway.run("approvals", "approve", row["id"])
        assert (again.returncode, "loong approvals list" in again.stderr) == (1, True)


def test_who_asks_on_a_terminal_is_told_how_to_allow_the_call(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    more = f'[tools]\nallow = ["file.write"]\nfile_root = "{root}"\n'
    with staged(tmp_path, more=more) as (gateway, _, _):
        gateway.start()
        asking = subprocess.Popen(
            [*gateway.command, "ask", "--message", 'call file_write {"path":"a.txt","text":"one"}'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=gateway.environ,
        )
        assert asking.stderr is not None
        said = [asking.stderr.readline() for _ in range(3)]
        assert said[0] == "waiting: file.write with path=a.txt, text=one needs a decision\n"
        allow = re.search(r"loong (approvals approve \w+)$", said[1])
        assert allow is not None
        assert gateway.run(*allow[1].split()).returncode == 0
        answer, more_said = asking.communicate(timeout=15)
        assert (answer[:4], more_said, asking.returncode) == ("re: ", "", 0)
        assert (root / "a.txt").read_text(encoding="utf-8") == "one"


REFUSED = "Error: a person refused this call; it was not made"
NOTES = """
[tools]
allow = ["note.add", "look.up"]
[tools.approval]
mode = "disabled"
"""
ASKED = 'call look_up {"text":"a"}\ncall note_add {"text":"b"}\ncall look_up {"text":"c"}'


@pytest.mark.parametrize("where", ["looking", "before", "after"])
def test_a_call_that_acts_is_never_made_twice_over_a_kill(tmp_path: pathlib.Path, where: str) -> None:
    notes = tmp_path / "notes.txt"
    with staged(tmp_path, more=NOTES) as (gateway, telegram, model):
        gateway.launcher = [sys.executable, "-m", "tests.e2e.kill_tools"]
        gateway.arguments = ["0", str(tmp_path / "moments.txt")]
        gateway.environ.update(PYTHONPATH=ROOT, LOONG_TEST_NOTES=str(notes), LOONG_TEST_DIE=where)
        telegram.say(ASKED)
        assert gateway.spawn().wait(15) == -signal.SIGKILL
        assert telegram.texts() == []
        asked = len(model.calls)
        gateway.environ["LOONG_TEST_DIE"] = ""
        gateway.spawn()
        telegram.wait_messages(1)
        assert len(model.calls) == 4
        assert asked == (1 if where == "looking" else 2)
        assert notes.read_text(encoding="utf-8") == "b\n" if where != "before" else not notes.exists()
        results = [one["content"] for one in model.calls[-1].body["messages"] if one["role"] == "tool"]
        assert results[0] == results[2] == '{"found": true}'
        assert ("may have happened, or not" in results[1]) == (where != "looking")


@pytest.mark.parametrize("how", ["the chat stops it", "the client leaves"])
def test_a_program_that_runs_for_a_turn_ends_with_it(tmp_path: pathlib.Path, how: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\necho $$ > started\nexec sleep 600\n", encoding="ascii")
    program.chmod(0o755)
    more = f"""
[tools]
allow = ["shell.run"]
file_root = "{root}"
shell_allow = ["{program}"]
[tools.approval]
mode = "disabled"
"""
    asking = f'call shell_run {{"program":"{program}"}}'
    started = root / "started"
    with staged(tmp_path, more=more) as (gateway, telegram, model):
        gateway.start()
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
        if how == "the chat stops it":
            telegram.say(asking)
        else:
            token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
            body = json.dumps({"model": "loong", "messages": [{"role": "user", "content": asking}]})
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", body, headers)
        pid = int(wait_until(lambda: started.exists() and started.read_text(), what="the program"))
        if how == "the chat stops it":
            telegram.say("/stop")
        connection.close()
        wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), what="the end of the program")
        telegram.say("and now?")
        wait_until(lambda: "re: and now?" in telegram.texts(), what="the next answer")
        assert model.refused == []
