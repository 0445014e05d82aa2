"""The verbs about outside agents, without a gateway."""

from __future__ import annotations

import pathlib
import sys

import pytest

from tests.commands.loong_cli import ROOT, Here, Loong, running_owner

AGENT = ROOT / "tests" / "fakes" / "acp_agent.py"


def home(tmp_path: pathlib.Path, manner: str = "good", more: str = "") -> Loong:
    work = tmp_path / "work"
    work.mkdir()
    backend = f'[acp.backends.codex]\ncommand = "{sys.executable}"\nargs = ["{AGENT}", "{manner}"]\ncwd = "{work}"\n'
    return Here(tmp_path, f'[acp]\nenabled = true\n{backend}env = {{ KEY = "s3cret" }}\n{more}')


def test_off_is_said_and_no_fault(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, "")
    status = loong("runtime", "acp", "status", "--json")
    assert (status.code, status.document["availability"], status.document["observability"]) == (
        0,
        "disabled",
        None,
    )
    assert (
        loong("acp-status").out == "Agents are disabled; 0 sessions are stored, no gateway uses them now.\n"
    )
    doctor = loong("acp-doctor")
    assert (doctor.code, doctor.err.splitlines()[0]) == (2, "error: agents are switched off")
    sessions = loong("list-acp-sessions", "--json")
    assert sessions.document == {
        "config": str(loong.config),
        "sqlite_path": loong.places.store,
        "sessions": [],
    }
    dispatch = loong("runtime", "acp", "dispatch", "--message", "@codex x", "--json")
    assert (dispatch.code, dispatch.document["dispatch"]["reason"]) == (1, "dispatch_disabled")
    assert loong("acp-dispatch", "--message", "@codex x").out == "no agent: dispatch_disabled\n"
    observability = loong("acp-observability", "--json")
    assert (observability.code, observability.document["snapshot"]) == (1, None)


def test_what_is_configured_is_shown_without_what_may_be_secret(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)
    backends = loong("runtime", "acp", "backends", "--json")
    document = backends.document
    assert (document["enabled"], document["selected"]["id"], len(document["available"])) == (True, "codex", 1)
    assert document["control_plane"]["max_concurrent_sessions"] == 8
    assert "s3cret" not in backends.out
    assert loong("list-acp-backends").out == f"codex *  {sys.executable}\n"
    dispatch = loong("acp-dispatch", "--channel", "feishu", "--message", "codex: look")
    assert (dispatch.code, dispatch.out) == (0, "allowed: agent codex (automatic_agent_prefixed)\n")


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("stillborn", "it ended with exit code 3"),
        ("locked", "wants a login first"),
        ("newer", "speaks version 2"),
    ],
)
def test_doctor_says_why_an_agent_does_not_get_ready(tmp_path: pathlib.Path, manner: str, words: str) -> None:
    ran = home(tmp_path, manner)("runtime", "acp", "doctor", "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert words in ran.document["error"] and ran.document["fix"]


def test_a_secret_of_an_agent_that_is_missing_is_found_by_both_doctors(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)
    loong.config.write_text(loong.config.read_text().replace('"s3cret"', '{ env = "NOT_SET" }'))
    ran = loong("runtime", "acp", "doctor", "--agent", "codex", "--json")
    assert (ran.code, ran.document["ok"]) == (1, False)
    assert "NOT_SET" in ran.document["error"]
    found = loong("doctor", "--json").document["checks"]
    (agent,) = [one for one in found if one["name"] == "agent codex"]
    assert agent["level"] == "fail" and "NOT_SET" in agent["detail"]


def test_doctor_says_that_an_agent_is_ready(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)
    ran = loong("runtime", "acp", "doctor", "--json")
    assert (ran.code, ran.document["protocol_version"], ran.document["load_session"]) == (0, 1, True)
    assert "Agent codex (fake 1.0) is ready" in loong("acp-doctor").out


def test_the_large_doctor_looks_for_the_program_and_the_directory(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)

    def check() -> str:
        checks = loong("doctor", "--json").document["checks"]
        (found,) = [one for one in checks if one["name"] == "agent codex"]
        return f"{found['level']} {found['detail']}"

    assert check().startswith("pass ")
    loong.config.write_text(loong.config.read_text().replace(sys.executable, "/no/such/program"))
    assert check() == "fail acp.backends.codex.command: there is no program /no/such/program."
    (tmp_path / "work").rmdir()
    assert "has no directory to work in" in check()


def test_the_status_page_has_a_line_for_agents_that_are_on(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)

    def line() -> list[str]:
        return [line for line in loong("status").out.splitlines() if line.startswith("Agents")]

    assert line() == ["Agents    available, 0 sessions stored"]
    said = {"turns": {"active": 1, "queue_depth": 0, "completed": 2, "failed": 3}}
    with running_owner(loong, acp=said):
        assert line() == [
            "Agents    available, 0 sessions stored, 1 working now, 2 turns done, 3 failed",
        ]
    loong.config.write_text(loong.config.read_text().replace(str(tmp_path / "work"), "/no/such/place"))
    assert "unavailable: agent codex has no directory to work in: /no/such/place is not there" in line()[0]
    loong.config.write_text(loong.config.read_text().replace("enabled = true", "enabled = false"))
    assert line() == []


def test_flags_of_other_programs_are_taken_and_said_to_do_nothing(tmp_path: pathlib.Path) -> None:
    ran = Loong(tmp_path, '[provider]\nkind = "echo"\n')("ask", "--message", "hi", "--acp-cwd", "/x")
    assert (ran.code, ran.out) == (0, "echo: hi\n")
    assert ran.err == "warning: --acp-cwd does nothing here; what an agent is given stands in acp.backends\n"


def test_an_agent_is_asked_through_the_gateway_only(tmp_path: pathlib.Path) -> None:
    loong = home(tmp_path)
    alone = loong("ask", "--acp", "--message", "hi")
    assert (alone.code, alone.out) == (2, "")
    assert "only be asked through the running gateway" in alone.err
    with running_owner(loong) as owner:
        owner.answers["/v1/turn"] = (200, {"output_text": "it is done"})
        assert loong("ask", "--acp", "--message", "hi").out == "it is done\n"
        assert loong("ask", "--message", "hi").code == 0
    assert [body.get("acp") for _, body in owner.requests] == [True, None]
