"""[mcp.servers.NAME]: what is read, what is refused, and that nothing of an environment is shown."""

from __future__ import annotations

import pytest
import tomli

from loong_gateway.config.hiding import REDACTED, hidden, restored
from loong_gateway.config.loading import validate_source
from loong_gateway.config.snapshot import SecretRef

SERVER = '[mcp.servers.files]\ncommand = "files-server"\n'


def found(text: str) -> list[tuple[str, str]]:
    config, diagnostics = validate_source("/home/c/config.toml", text.encode(), environ={})
    assert (config is None) == any(one.severity == "error" for one in diagnostics)
    return [(one.code, one.message) for one in diagnostics if "mcp" in one.field_path]


@pytest.mark.parametrize("table", ["mcp.servers.files", "acp.backends.codex"])
def test_an_environment_holds_texts_and_references(table: str) -> None:
    text = (
        f'[{table}]\ncommand = "x"\n'
        f'[{table}.env]\nA = "b c"\nEMPTY = ""\nKEY = {{ env = "MY_KEY" }}\nF = {{ file = "key" }}\n'
    )
    config, diagnostics = validate_source("/home/c/config.toml", text.encode(), environ={})
    assert config is not None, diagnostics
    program = config.mcp["files"] if "files" in config.mcp else config.acp.backends["codex"]
    assert program.env == {
        "A": "b c",
        "EMPTY": "",
        "KEY": SecretRef("env", "MY_KEY", f"{table}.env.KEY", ()),
        "F": SecretRef("file", "/home/c/key", f"{table}.env.F", ()),
    }
    assert "MY_KEY" not in repr(program)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[mcp.servers.files]\nargs = []\n", "has no command"),
        ('[mcp.servers."a.b"]\ncommand = "x"\n', "is no name for a server"),
        (SERVER + '[mcp.servers.Files]\ncommand = "x"\n', "is the name of files in other letters"),
        (SERVER + '[mcp.servers.files.env]\n"A B" = "x"\n', "is no variable"),
        (SERVER + "[mcp.servers.files.env]\nA = 7\n", "expected text or a table"),
        (SERVER + '[mcp.servers.files.env]\nA = { file = "x", env = "Y" }\n', "exactly one of"),
        (SERVER + "[mcp.servers.files.env]\nA = { env = 'sk-0123456789abcdef01' }\n", ""),
    ],
)
def test_what_cannot_work_is_refused(text: str, words: str) -> None:
    problems = found(text)
    assert len(problems) == 1 and words in problems[0][1], problems
    assert "0123456789abcdef" not in problems[0][1]


def test_a_server_that_is_switched_off_needs_no_command() -> None:
    assert found("[mcp.servers.files]\nenabled = false\n") == []


def test_nothing_of_an_environment_is_shown_but_references() -> None:
    text = (
        SERVER
        + '[mcp.servers.files.env]\nA = "canary-012345"\nKEY = { env = "MY_KEY" }\nX = { exec = ["p", "canary-6"] }\n'
    )
    table = tomli.loads(text)
    shown = hidden(table)
    assert shown["mcp"]["servers"]["files"]["env"] == {
        "A": REDACTED,
        "KEY": {"env": "MY_KEY"},
        "X": {"exec": ["p", REDACTED]},
    }
    assert restored(shown, table) == table
