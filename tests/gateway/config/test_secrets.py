"""Fetching secrets: every form, every way to fail, and never a value in a text."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import pytest

from loong_gateway.config.secrets import SecretUnavailable, open_to_others, peek, resolve, shape_problem
from loong_gateway.config.snapshot import SecretRef

CANARY = "canary-0123456789"


def ref(form: str, value: object = None, fallback: tuple[str, ...] = ()) -> SecretRef:
    return SecretRef(form, value, "telegram.bot_token", fallback)


def refusal(reference: SecretRef, environ: dict[str, str] | None = None) -> SecretUnavailable:
    with pytest.raises(SecretUnavailable) as caught:
        resolve(reference, environ or {})
    error = caught.value
    assert CANARY not in f"{error} {error.message} {error.where} {error.fix} {error.values} {error!r}"
    assert error.fix
    assert error.exit_code == 2
    return error


def program(text: str) -> SecretRef:
    return ref("exec", (sys.executable, "-S", "-c", text))


def test_inline_and_variable() -> None:
    assert resolve(ref("inline", CANARY), {}) == CANARY
    assert resolve(ref("env", "A"), {"A": f"  {CANARY}\n"}) == CANARY


def test_a_present_reference_decides_alone() -> None:
    error = refusal(ref("env", "A", ("B",)), {"B": CANARY})
    assert (error.code, error.message) == ("secret.env_not_set", "env A is not set")
    assert error.where == "telegram.bot_token"


def test_an_absent_reference_tries_its_variables_in_order() -> None:
    absent = ref("absent", None, ("A", "B"))
    assert resolve(absent, {"B": CANARY}) == CANARY
    assert resolve(absent, {"A": "first", "B": CANARY}) == "first"
    assert resolve(absent, {"A": "  ", "B": CANARY}) == CANARY
    assert refusal(absent).message == "env A or B is not set"
    assert refusal(ref("absent")).code == "secret.not_set"


def test_a_blank_variable_is_not_set() -> None:
    assert refusal(ref("env", "A"), {"A": " \n"}).code == "secret.env_not_set"


def test_a_file_loses_its_trailing_newlines(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "secret"
    file.write_text(CANARY + "\r\n\n")
    assert resolve(ref("file", str(file)), {}) == CANARY


def test_files_that_cannot_serve(tmp_path: pathlib.Path) -> None:
    missing = refusal(ref("file", str(tmp_path / "none")))
    assert missing.message == f"file {tmp_path}/none cannot be read: no such file or directory"
    assert "not a regular file" in refusal(ref("file", str(tmp_path))).message
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(ref("file", str(tmp_path / "pipe"))).message
    (tmp_path / "large").write_text("x" * 70_000)
    assert "larger than 64 KiB" in refusal(ref("file", str(tmp_path / "large"))).message
    (tmp_path / "empty").write_text("\n")
    assert "it is empty" in refusal(ref("file", str(tmp_path / "empty"))).message
    (tmp_path / "binary").write_bytes(b"\xff\xfe" + CANARY.encode())
    assert refusal(ref("file", str(tmp_path / "binary"))).code == "secret.bad_shape"


@pytest.mark.parametrize(
    "value", [f"two {CANARY}", f"{CANARY}\tx", f"{CANARY}é", f"{CANARY}\x07", f"a\n{CANARY}"]
)
def test_unusable_shapes_are_refused_wherever_they_come_from(value: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text(value)
    assert shape_problem(value)
    for reference in (ref("inline", value), ref("env", "A"), ref("file", str(tmp_path / "secret"))):
        assert refusal(reference, {"A": value}).code == "secret.bad_shape"


def test_a_program_is_asked_without_a_shell_and_without_input() -> None:
    assert resolve(program(f"import sys; assert sys.stdin.read() == ''; print('{CANARY}')"), {}) == CANARY
    assert resolve(ref("exec", ("/bin/echo", "$HOME;x")), {}) == "$HOME;x"


def test_a_program_sees_the_given_environment_only() -> None:
    assert (
        resolve(program("import os; print(os.environ['A'] + str('HOME' in os.environ))"), {"A": "b"})
        == "bFalse"
    )


def test_programs_that_cannot_serve() -> None:
    assert "exit code 3" in refusal(program(f"print('{CANARY}'); raise SystemExit(3)")).message
    assert "no such file" in refusal(ref("exec", ("/nonexistent/program", CANARY))).message
    assert "more than 64 KiB" in refusal(program("print('x' * 1_000_000)")).message
    assert "it is empty" in refusal(program("pass")).message
    assert refusal(ref("exec", ())).code == "secret.exec_failed"


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: pathlib.Path) -> None:
    pids = tmp_path / "pids"
    text = (
        "import os, subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)']);"
        f"open({str(pids)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    assert "no answer within 5 s" in refusal(program(text)).message
    child = int(pids.read_text())
    limit = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < limit, "the child of the program is still there"


def is_running(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_peeking_runs_no_program(tmp_path: pathlib.Path) -> None:
    trace = tmp_path / "trace"
    assert peek(program(f"open({str(trace)!r}, 'w'); print('x')"), {}) is None
    assert not trace.exists()
    assert peek(ref("env", "A"), {}) is None
    assert peek(ref("env", "A"), {"A": "b"}) == "b"


def test_references_show_no_value() -> None:
    assert CANARY not in repr(ref("inline", CANARY))
    assert ref("inline", CANARY).display == "inline"


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o600, ""), (0o640, ""), (0o644, "readable"), (0o602, "writable"), (0o666, "readable and writable")],
)
def test_modes_are_judged_by_what_everybody_may_do(mode: int, words: str) -> None:
    assert open_to_others(mode) == words
