"""`loong validate-config` as a process: forms of output and exit codes."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BROKEN = "[gateway]\nport = 'x'\nprot = 1\n"
SECRET = "987654:AAcanary-canary-canary-canary"


def run(home: pathlib.Path, *args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    if text is not None:
        (home / "config.toml").write_text(text)
        (home / "config.toml").chmod(0o600)
    return subprocess.run(
        [sys.executable, str(ROOT / "loong.py"), "validate-config", *args],
        env={"LOONG_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_valid_file(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, text="[gateway]\nport = 5\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Config is valid.\nconfig={tmp_path}/config.toml valid=true\n"


def test_every_finding_stands_on_a_line_of_its_own(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, text=BROKEN)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Config is invalid: 1 error, 1 warning.",
        "  config.toml:2:8  gateway.port: expected a whole number, got text",
        "    fix: write, for example: 10",
        "  config.toml:3:1  warning: gateway.prot: unknown key; did you mean port?",
        "    fix: write port instead",
        f"config={tmp_path}/config.toml valid=false diagnostics=2 errors=1 warnings=1",
    ]


def test_warnings_alone_are_no_failure_unless_asked(tmp_path: pathlib.Path) -> None:
    assert run(tmp_path, text="prot = 1").returncode == 0
    done = run(tmp_path, "--fail-on-diagnostics")
    assert done.returncode == 2
    assert done.stderr == "error: config validation failed with 1 diagnostic(s)\n"
    assert run(tmp_path, "--fail-on-diagnostics", text="").returncode == 0
    assert run(tmp_path, "--fail-on-diagnostics", text=BROKEN).returncode == 2


@pytest.mark.parametrize("flags", [["--json"], ["--output", "json"]])
def test_the_document_has_the_fields_of_the_contract(tmp_path: pathlib.Path, flags: list[str]) -> None:
    text = f'[telegram]\nbot_token_env = "{SECRET}"\n'
    done = run(tmp_path, *flags, text=text)
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert list(document) == [
        "diagnostics_schema_version",
        "config",
        "valid",
        "error_count",
        "warning_count",
        "locale",
        "supported_locales",
        "diagnostics",
    ]
    assert (document["valid"], document["error_count"], document["warning_count"]) == (False, 1, 0)
    (entry,) = document["diagnostics"]
    assert entry["severity"] == "error"
    assert entry["code"] == "config.env_pointer.secret_literal"
    assert entry["problem_type"] == "urn:loong:problem:config.env_pointer.secret_literal"
    assert entry["field_path"] == "telegram.bot_token_env"
    assert entry["inline_field_path"] == "telegram.bot_token"
    assert entry["example_env_name"] == "TELEGRAM_BOT_TOKEN"
    assert entry["suggested_env_name"] is None
    assert (entry["line"], entry["column"]) == (2, 17)
    assert all(isinstance(value, str) for value in entry["message_variables"].values())
    for name in ("title_key", "title", "message_key", "message_locale", "message"):
        assert isinstance(entry[name], str)


@pytest.mark.parametrize(
    ("text", "kind", "valid"),
    [
        ("", "urn:loong:problem:none", True),
        ("prot = 1", "urn:loong:problem:config.validation_warning", True),
        (BROKEN, "urn:loong:problem:config.validation_failed", False),
    ],
)
def test_problem_details(tmp_path: pathlib.Path, text: str, kind: str, valid: bool) -> None:
    document = json.loads(run(tmp_path, "--output", "problem-json", text=text).stdout)
    assert (document["type"], document["valid"]) == (kind, valid)
    assert {"title", "detail", "instance", "errors"} <= set(document)


def test_a_missing_file_is_an_error_here(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [
        "Config is invalid: 1 error.",
        "  config.toml  there is no config file",
    ]
    document = json.loads(run(tmp_path, "--json").stdout)
    assert document["diagnostics"][0]["code"] == "config.file.missing"


def test_another_file_can_be_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "other.toml").write_text("prot = 1")
    (tmp_path / "other.toml").chmod(0o600)
    done = run(tmp_path, "--config", str(tmp_path / "other.toml"))
    assert done.returncode == 0
    assert "other.toml:1:1  warning: prot: unknown key" in done.stdout


def test_contradictory_and_unknown_flags_are_refused(tmp_path: pathlib.Path) -> None:
    for flags in (["--json", "--output", "text"], ["--locale", "xx"], ["--output", "yaml"]):
        done = run(tmp_path, *flags, text="")
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")


def test_nothing_is_written(tmp_path: pathlib.Path) -> None:
    run(tmp_path, text=BROKEN)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
