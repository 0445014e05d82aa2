"""Programs that the configuration names, run with words and nothing else."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import sys
import threading
from types import SimpleNamespace

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.tools.contract import BadArgument, ToolFailed
from loong_gateway.tools.shell import shell_tools
from tests.gateway.tools.tool_rig import by_name, config_of, context, toml
from tests.waiting import wait_until


def tools(root: pathlib.Path, *allowed: str) -> SimpleNamespace:
    config = config_of(f"[tools]\nfile_root = {toml(str(root))}\nshell_allow = {toml(list(allowed))}\n")
    return by_name(shell_tools(lambda: config))


def script(path: pathlib.Path, text: str) -> str:
    """A program at an absolute path; returns it."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_words_reach_the_program_as_they_are(tmp_path: pathlib.Path) -> None:
    words = ["a b", "$HOME", "`id`", ";", "*", ""]
    told = tools(tmp_path, "printf").shell_run(program="printf", args=["%s|", *words])
    assert told == {"exitCode": 0, "ending": "exited", "stdout": "a b|$HOME|`id`|;|*||", "stderr": ""}


def test_only_what_is_named_is_started(tmp_path: pathlib.Path) -> None:
    run = tools(tmp_path, "printf").shell_run
    for program in (
        "sh",
        "/usr/bin/printf",
        "./printf",
        "printf ",
        "PRINTF",
        "",
        "printf;id",
        "../bin/printf",
    ):
        with pytest.raises(BadArgument):
            run(program=program)
    with pytest.raises(BadArgument):
        run(program="printf", args=["a\0b"])
    with pytest.raises(ToolFailed):
        run(program="printf", args=["\ud800"])
    with pytest.raises(ToolFailed, match="cannot be found"):
        tools(tmp_path, "no-such-program-here").shell_run(program="no-such-program-here")
    with pytest.raises(ToolFailed, match="cannot be started"):
        tools(tmp_path, str(tmp_path)).shell_run(program=str(tmp_path))


def test_it_sees_no_environment_no_input_and_no_other_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOONG_GATEWAY_TOKEN", "secret")
    (tmp_path / "root").mkdir()
    program = script(
        tmp_path / "look", "env | cut -d= -f1 | sort; cat; pwd; ls /proc/self/fd 2>/dev/null | wc -l"
    )
    lines = tools(tmp_path / "root", program).shell_run(program=program)["stdout"].split()
    assert set(lines[:-2]) - {"PWD", "SHLVL", "_", "OLDPWD"} == {"HOME", "LANG", "PATH", "TMPDIR"}
    assert lines[-2] == str(tmp_path / "root")


def test_how_it_ended_is_told(tmp_path: pathlib.Path) -> None:
    program = script(tmp_path / "fail", "echo out; echo err >&2; exit 7")
    told = tools(tmp_path, program).shell_run(program=program)
    assert told == {"exitCode": 7, "ending": "exited", "stdout": "out\n", "stderr": "err\n"}
    program = script(tmp_path / "kill", "kill -9 $$")
    assert tools(tmp_path, program).shell_run(program=program)["exitCode"] == -9


def test_one_that_writes_too_much_is_ended(tmp_path: pathlib.Path) -> None:
    told = tools(tmp_path, "yes").shell_run(program="yes")
    assert told["ending"] == "flooded"
    assert len(told["stdout"]) == 262_144


def test_one_that_takes_too_long_is_ended_with_its_children(tmp_path: pathlib.Path) -> None:
    program = script(tmp_path / "slow", "sleep 60 & echo $!; trap 'echo told' TERM; wait; wait")
    told = tools(tmp_path, program).shell_run(context(0.3), program=program)
    assert told["ending"] == "timed_out"
    assert is_gone(int(told["stdout"].split()[0]))


def test_a_stop_ends_it_at_once(tmp_path: pathlib.Path) -> None:
    program = script(tmp_path / "slow", "echo $$ > pid; exec sleep 60")
    stop = StopToken()
    told: list[dict] = []
    run = tools(tmp_path, program).shell_run
    worker = threading.Thread(target=lambda: told.append(run(context(50, stop=stop), program=program)))
    worker.start()
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    stop.set("stopped")
    worker.join(10)
    assert told[0]["ending"] == "stopped"
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_what_it_leaves_running_is_ended_with_it(tmp_path: pathlib.Path) -> None:
    program = script(tmp_path / "leave", "sleep 60 >/dev/null 2>&1 & echo $!")
    told = tools(tmp_path, program).shell_run(program=program)
    assert told["ending"] == "exited"
    assert is_gone(int(told["stdout"]))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the system has no such call")
def test_its_resources_are_bounded(tmp_path: pathlib.Path) -> None:
    program = script(
        tmp_path / "limits", 'while [ "$(ulimit -t)" = unlimited ]; do :; done; ulimit -c; ulimit -t'
    )
    core, seconds = tools(tmp_path, program).shell_run(context(5), program=program)["stdout"].split()
    assert core == "0"
    assert int(seconds) <= 10


def test_without_names_or_a_root_there_is_no_such_tool(tmp_path: pathlib.Path) -> None:
    assert not by_name(shell_tools(config_of)).shell_run.tool.available()
    assert tools(tmp_path, "printf").shell_run.tool.available()
    assert tools(tmp_path, "printf").shell_run.tool.acts


def is_gone(pid: int) -> bool:
    """Whether a process ends within the usual patience; one that nobody has reaped is gone as well."""

    def look() -> bool:
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            if sys.platform != "linux":
                return False
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        return True

    wait_until(look)
    return look()
