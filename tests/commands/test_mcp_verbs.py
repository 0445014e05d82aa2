"""`loong runtime mcp list` and `show`, and what the doctor says of tool servers, without a gateway."""

from __future__ import annotations

import pathlib
import sys

from tests.commands.loong_cli import Here

FAKE = str(pathlib.Path(__file__).parents[1] / "fakes" / "mcp_server.py")


def server(name: str, mode: str, more: str = "") -> str:
    return f'[mcp.servers.{name}]\ncommand = "{sys.executable}"\nargs = ["-I", "-S", "{FAKE}", "{mode}"]\n{more}\n'


CONFIG = server("good", "good") + server("bad", "crash") + server("off", "good", "enabled = false")


def test_list_starts_each_once_and_says_how_it_went(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG + '[tools]\nallow = ["mcp.bad.*"]\n')
    ran = loong("runtime", "mcp", "list")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        "bad: failed: it ended with exit code 1; its last words: no module named nothing",
        "good: ready, 9 tools; not used: tools.allow names none of its tools (mcp.good.*)",
        "off: switched off",
    ]
    rows = loong("list-mcp-servers", "--json").document["servers"]
    assert [(row["name"], row["state"], row["allowed"]) for row in rows] == [
        ("bad", "failed", True),
        ("good", "ready", False),
        ("off", "stopped", False),
    ]


def test_show_names_the_tools_and_knows_only_what_is_configured(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG)
    ran = loong("show-mcp-server", "good")
    assert (ran.code, ran.out.splitlines()[1]) == (0, "  tool: mcp.good.echo")
    missing = loong("runtime", "mcp", "show", "other")
    assert (missing.code, 'no tool server "other"; known: bad, good, off' in missing.err) == (2, True)
    empty = Here(tmp_path / "x", "") if (tmp_path / "x").mkdir() is None else None
    assert empty is not None
    assert "no tool server is configured" in empty("runtime", "mcp", "list").out


def test_the_doctor_starts_each_server(tmp_path: pathlib.Path) -> None:
    loong = Here(tmp_path, CONFIG + server("gone", "good", f'cwd = "{tmp_path}/none"'))
    checks = loong("doctor", "--json", "--skip-model-probe").document["checks"]
    found = {one["name"]: (one["level"], one["detail"]) for one in checks if "tool server" in one["name"]}
    assert set(found) == {"tool server bad", "tool server good", "tool server gone"}
    assert found["tool server bad"][0] == "fail" and "no module named nothing" in found["tool server bad"][1]
    assert found["tool server good"] == (
        "warn",
        "it offers 9 tools, and tools.allow names none of them, so it is not used.",
    )
    assert found["tool server gone"] == (
        "fail",
        "it cannot be started: its directory: no such file or directory.",
    )
