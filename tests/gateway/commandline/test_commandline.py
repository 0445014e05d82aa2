"""The command line: every spelling finds its verb, every mistake gets one line and a next step."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from loong_gateway import VERSION
from loong_gateway.base.faults import CommandError
from loong_gateway.commandline import elsewhere, parser
from loong_gateway.commandline.verbs import ALIASES, SELDOM, VERBS, find_verb
from loong_gateway.control import work_units
from loong_gateway.owner.paths import resolve_places

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, str(ROOT / "loong.py")]
NO_HOME = {"LOONG_HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}


def run(words: list[str], environ: dict[str, str], **streams: object) -> subprocess.CompletedProcess[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(words, env=environ, text=True, check=False, timeout=30, **streams)


def loong(
    *arguments: str, home: Path | str = "/nonexistent/home", **extra: str
) -> subprocess.CompletedProcess[str]:
    environ = {"LOONG_HOME": str(home), "HOME": "/nonexistent", "PATH": "/usr/bin:/bin", **extra}
    return run([*COMMAND, *arguments], environ)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which the word LOONG is the command, without a home."""
    return run(["bash", "-c", line.replace("LOONG", shlex.join(COMMAND))], NO_HOME)


# -- finding the verb -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "verb", "rest"),
    [
        ("gateway status --json", "gateway status", "--json"),
        ("--json gateway status", "gateway status", "--json"),
        ("--config c gateway --profile p status --deep", "gateway status", "--config c --profile p --deep"),
        ("--config=c gateway status", "gateway status", "--config=c"),
        ("gateway", "gateway run", ""),
        ("gateway --port 5 --verbose", "gateway run", "--port 5 --verbose"),
        ("--dev gateway --session demo", "gateway run", "--dev --session demo"),
        ("gateway run --port 5", "gateway run", "--port 5"),
        ("channels", "channels list", ""),
        ("channels --json", "channels list", "--json"),
        ("channels send telegram --text x", "channels send", "telegram --text x"),
        ("telegram-send --text x", "channels send", "telegram --text x"),
        ("telegram serve --once", "channels serve", "telegram --once"),
        ("lark-send --text x", "channels send", "lark --text x"),
        ("list-models --json", "runtime models list", "--json"),
        ("runtime models list", "runtime models list", ""),
        ("list-mcp-servers --json", "runtime mcp list", "--json"),
        ("show-mcp-server files", "runtime mcp show", "files"),
        ("config validate", "validate-config", ""),
        ("list-acp-sessions --json", "runtime acp sessions", "--json"),
        ("list-acp-backends", "runtime acp backends", ""),
        ("acp-doctor --agent x", "runtime acp doctor", "--agent x"),
        ("ask --message gateway", "ask", "--message gateway"),
        ("", "", ""),
        ("--dev", "", "--dev"),
    ],
)
def test_every_spelling_finds_its_verb(line: str, verb: str, rest: str) -> None:
    call = find_verb(line.split())
    assert (call.verb, call.rest) == (verb, rest.split())


@pytest.mark.parametrize(
    ("line", "said", "fix"),
    [
        ("gatway status", 'unknown command "gatway"; did you mean gateway?', "loong gateway status"),
        (
            "gateway stauts --json",
            'unknown command "gateway stauts"; did you mean status?',
            "loong gateway status",
        ),
        ("docter", 'unknown command "docter"; did you mean doctor?', "loong doctor"),
        ("valid", 'unknown command "valid"; did you mean validate-config?', "loong validate-config"),
        (
            "telegramsend",
            'unknown command "telegramsend"; did you mean telegram-send?',
            "loong telegram-send",
        ),
        ("xyzzy", 'unknown command "xyzzy"', "loong --help"),
        (
            "channels xyzzy",
            'unknown command "channels xyzzy"; known: list, send, serve, status',
            "loong channels --help",
        ),
        (
            "runtime",
            '"loong runtime" needs one more word: models, mcp, acp, work-unit',
            "loong runtime --help",
        ),
        ("config", '"loong config" needs one more word: validate', "loong config validate"),
    ],
)
def test_a_word_that_is_no_verb_leads_to_the_nearest_one(line: str, said: str, fix: str) -> None:
    with pytest.raises(CommandError) as caught:
        find_verb(line.split())
    assert (caught.value.message, caught.value.fix, caught.value.exit_code) == (said, fix, 2)


def test_the_help_of_a_group_of_other_spellings_says_what_each_does() -> None:
    lines = parser.group_help("work-unit").splitlines()
    assert "  work-unit claim      lease the one that is due next" in lines


def test_every_alias_stands_for_a_verb_of_the_table() -> None:
    known = {row[0] for row in VERBS}
    for spelling in ALIASES:
        assert find_verb(spelling.split()).verb in known, spelling


def test_no_verb_is_listed_twice_and_aliases_are_not_listed() -> None:
    names = [row[0] for row in VERBS]
    assert len(set(names)) == len(names)
    assert not set(names) & set(ALIASES)


# -- every verb's module ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "name", "said"), VERBS)
def test_every_verb_explains_itself_on_one_screen(
    verb: str, name: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    module = parser.load(name)
    with pytest.raises(SystemExit) as caught:
        parser.parse(verb, module, ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 24, text
    assert lines[0].endswith(".")
    assert f"usage: loong {verb}" in text
    assert text.count("\nExample: ") == 2, text
    assert lines[-1].startswith("Exit codes: 0 ")
    assert said


@pytest.mark.parametrize(("verb", "name", "said"), VERBS)
def test_every_example_is_a_command_that_parses(verb: str, name: str, said: str) -> None:
    module = parser.load(name)
    for example in module.EXAMPLES:
        words = split(example)
        assert words[0] == "loong"
        call = find_verb(words[1:])
        assert call.module == name, (example, said)
        parser.parse(call.verb, parser.load(call.module), call.rest)


def split(example: str) -> list[str]:
    """The words of the first `loong` command in a shell line."""
    words = shlex.split(example.rsplit("|", maxsplit=1)[-1] if "| loong" in example else example)
    return words[words.index("loong") :]


# -- a process of its own ---------------------------------------------------------------------------------------------


def test_version_and_help_go_to_stdout() -> None:
    done = loong("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"loong {VERSION}\n", "", 0)
    for arguments in (
        ["--help"],
        ["-h"],
        ["gateway", "--help"],
        ["channels", "-h"],
        ["gateway", "stop", "--help"],
    ):
        done = loong(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert len(done.stdout.splitlines()) <= 24


def test_hidden_spellings_are_not_in_the_overview() -> None:
    listed = {line.split("  ")[1] for line in loong("--help").stdout.splitlines() if line.startswith("  ")}
    assert listed == {row[0] for row in VERBS} - set(SELDOM)
    assert set(SELDOM) < {row[0] for row in VERBS}
    also = next(line for line in loong("--help").stdout.splitlines() if line.startswith("Also: "))
    for group in {verb.split()[0] for verb in SELDOM}:
        grouped = loong(group, "--help").stdout
        for verb in (one for one in SELDOM if one.startswith(f"{group} ")):
            assert f" {verb.split()[1]}" in also
            assert verb in grouped


def test_bare_loong_tells_the_state_and_the_next_step(tmp_path: Path) -> None:
    done = loong(home=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert lines[0] == "Gateway is not running; it was never started here."
    assert lines[1] == f"  next: write {tmp_path}/config.toml, then: loong validate-config"
    (tmp_path / "config.toml").write_text("")
    assert loong(home=tmp_path).stdout.splitlines()[1] == "  next: loong gateway run"
    assert loong("--dev", home=tmp_path).stdout.splitlines()[1] == "  next: loong --dev gateway run"


def test_an_unknown_option_names_the_nearest_one() -> None:
    done = loong("gateway", "stop", "--no-wiat")
    assert done.stderr.splitlines() == [
        'error: unknown option "--no-wiat"; did you mean --no-wait?',
        "  fix: loong gateway stop --no-wait",
    ]
    assert (done.stdout, done.returncode) == ("", 2)


@pytest.mark.parametrize(
    ("arguments", "said", "fix"),
    [
        (["--jsn", "gateway", "status"], '"--jsn"; did you mean --json?', "loong --json gateway status"),
        (["gateway", "--jsn", "status"], '"--jsn"; did you mean --json?', "loong gateway --json status"),
        (["--profil=x", "gateway", "stop"], "did you mean --profile?", "loong --profile=x gateway stop"),
        (["logs", "--lines", "5", "--folow"], "did you mean --follow?", "loong logs --lines 5 --follow"),
        (["ask", "--mesage", "it's"], "did you mean --message?", "loong ask --message 'it'\"'\"'s'"),
        (
            ["gateway", "stop", "--no-wiat", "--tmeout"],
            "did you mean --no-wait?",
            "loong gateway stop --help",
        ),
        (["--nonsense"], 'unknown option "--nonsense"', "loong --help"),
        (["logs", "--lines", "abc"], '--lines "abc" is not a whole number', "loong logs --help"),
        (["gateway", "stop", "--timeout", "x"], "--timeout: ", "loong gateway stop --help"),
        (
            ["logs", "--level", "wraning"],
            '--level "wraning" is not known; did you mean warning?',
            "loong logs --level warning",
        ),
        (
            ["logs", "--level=x"],
            '--level "x" is not known; known: debug, info, warning, error',
            "loong logs --help",
        ),
        (["ask", "--message"], "--message needs a value", "loong ask --help"),
        (["gateway", "stop", "--no-wait=1"], "--no-wait takes no value", "loong gateway stop --help"),
        (["channels", "send", "telegram"], "--target is missing", "loong channels send --help"),
        (
            ["channels", "send", "x", "--target", "1", "--text", "x", "--wait", "--no-wait"],
            "--wait and --no-wait exclude each other",
            "loong channels send --help",
        ),
        (["gateway", "status", "--profile", ""], "--profile needs a value", "loong gateway status --help"),
        (["gateway", "run", "--session", " "], "--session needs a value", "loong gateway run --help"),
        (["--config=", "status"], "--config needs a value", "loong status --help"),
        (
            ["channels", "send", "telegram", "--target", "1", "--text", "x", "--account", ""],
            "--account needs a value",
            "loong channels send --help",
        ),
    ],
)
def test_a_mistake_is_named_in_our_words_and_the_fix_is_the_whole_line(
    arguments: list[str], said: str, fix: str
) -> None:
    done = loong(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[0]
    assert done.stderr.splitlines()[1:] == [f"  fix: {fix}"]


@pytest.mark.parametrize(
    ("verb", "code"),
    [("gateway status", 4), ("gateway run", 78), ("status", 2), ("channels", 2), ("logs", 2), ("doctor", 1)],
)
def test_a_home_that_is_a_file_is_named_with_a_way_out(tmp_path: Path, verb: str, code: int) -> None:
    home = tmp_path / "file"
    home.touch()
    done = loong(*verb.split(), home=home)
    assert done.returncode == code
    said = done.stdout + done.stderr
    assert "not a directory" in said
    assert str(home) in said
    assert "fix: " in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_and_version_are_words_as_well() -> None:
    assert loong("help").stdout == loong("--help").stdout
    assert loong("help", "gateway", "stop").stdout == loong("gateway", "stop", "--help").stdout
    assert loong("version").stdout == loong("--version").stdout == f"loong {VERSION}\n"


@pytest.mark.parametrize(
    "arguments",
    [["gateway", "status", "extra"], ["gateway", "stop", "--timeout"], ["--nonsense"], ["--config"]],
)
def test_every_wrong_call_is_one_error_with_a_next_step(arguments: list[str]) -> None:
    done = loong(*arguments)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("  fix: loong")
    assert len(lines) == 2


def test_errors_are_a_document_as_well_when_json_is_wanted() -> None:
    done = loong("--json", "gatway", "status")
    assert done.stderr.startswith('error: unknown command "gatway"')
    assert json.loads(done.stdout) == {
        "error": {
            "code": "usage.unknown_command",
            "message": 'unknown command "gatway"; did you mean gateway?',
            "fix": "loong gateway status",
            "exit_code": 2,
        }
    }
    assert done.returncode == 2


def test_a_profile_that_cannot_be_is_refused_on_the_quick_path_too() -> None:
    done = loong("gateway", "status", "--profile", "../x")
    assert done.returncode == 2
    assert done.stderr.startswith('error: the profile "../x" cannot be used')


def test_a_defect_is_one_line_and_a_private_report_without_the_users_words(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from loong_gateway.commandline import main as cli\n"
        "from loong_gateway.commands import gateway_stop\n"
        "def run(args, context): raise RuntimeError('what a user wrote')\n"
        "gateway_stop.run = run\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )

    words = [sys.executable, "-c", code, str(ROOT), "gateway", "stop"]
    environ = {"LOONG_HOME": str(tmp_path)}
    done = run([*words, "--json"], environ)
    assert done.returncode == 70
    report = next((tmp_path / "logs").iterdir())
    assert done.stderr.splitlines() == [
        "error: internal error: RuntimeError in <string>:4",
        f"  where: {report}",
        "  fix:   loong doctor",
    ]
    assert json.loads(done.stdout)["error"]["exit_code"] == 70
    assert stat.S_IMODE(os.stat(report).st_mode) == 0o600
    assert "what a user wrote" in report.read_text()
    assert "Traceback" in run([*words, "--verbose"], environ).stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = shell("LOONG gateway status | true; echo ${PIPESTATUS[0]}")
    assert done.stderr == ""
    assert done.stdout in ("141\n", "3\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["gateway", "status"], ["--json", "gatway"]])
def test_output_that_cannot_be_written_is_told_and_nothing_else_is_written(
    tmp_path: Path, unbuffered: str, arguments: list[str]
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w", encoding="ascii") as full:
        environ = {"LOONG_HOME": str(tmp_path), "PYTHONUNBUFFERED": unbuffered}
        done = run([*COMMAND, *arguments], environ, stdout=full)
    assert done.returncode == 2
    assert "error: the result cannot be written: no space left on device\n" in done.stderr
    assert "internal error" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_error_that_cannot_be_written_keeps_its_exit_code(tmp_path: Path, unbuffered: str) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w", encoding="ascii") as full:
        environ = {"LOONG_HOME": str(tmp_path), "PYTHONUNBUFFERED": unbuffered}
        done = run(
            [*COMMAND, "--config", str(tmp_path / "none.toml"), "gateway", "run"], environ, stderr=full
        )
    assert (done.returncode, done.stdout) == (78, "")


def test_closed_streams_change_nothing_but_what_is_seen() -> None:
    done = shell("LOONG gateway status <&- >&- 2>&-; echo $?")
    assert done.stdout == "3\n"


def test_an_interrupt_ends_quietly_with_130(tmp_path: Path) -> None:
    owner_process = ROOT / "tests" / "gateway" / "owner" / "owner_process.py"
    environ = {"LOONG_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, str(owner_process)], env=environ, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline().startswith("held")
        os.kill(holder.pid, signal.SIGSTOP)
        waiting = subprocess.Popen(
            [*COMMAND, "gateway", "stop"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "gateway stop requested\n"
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=10)
        assert (errors, waiting.returncode) == ("", 130)
    finally:
        holder.kill()
        holder.wait(10)
        holder.stdout.close()


# -- a gateway elsewhere ----------------------------------------------------------------------------------------------

ELSEWHERE = {"LOONG_GATEWAY_URL": "ws://127.0.0.1:9", "LOONG_GATEWAY_TOKEN": "port-secret-0001"}
NOT_USED = "LOONG_GATEWAY_URL is not used by this command: it is for the gateway of this host"


@pytest.mark.parametrize(
    "line",
    [
        "gateway stop",
        "gateway restart",
        "gateway resume",
        "gateway channel stop telegram=work",
        "channels send telegram --target 1 --text x",
        "telegram-send --target 1 --text x",
        "sessions delete notes --yes",
    ],
)
def test_what_acts_on_this_host_is_refused_while_another_is_named(line: str, tmp_path: Path) -> None:
    done = loong("--profile", "work", *line.split(), home=tmp_path, **ELSEWHERE)
    assert done.returncode == 2 and "nothing was done" in done.stderr
    assert "unset LOONG_GATEWAY_URL, then: loong --profile work " in done.stderr
    assert NOT_USED not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ["status", "channels list", "validate-config", ""])
def test_what_looks_at_this_host_says_that_another_is_not_asked(line: str, tmp_path: Path) -> None:
    done = loong(*line.split(), home=tmp_path, **ELSEWHERE)
    assert done.stderr.splitlines().count(NOT_USED) == 1
    assert NOT_USED not in loong(*line.split(), home=tmp_path, LOONG_GATEWAY_URL=" ").stderr


def test_every_verb_asks_elsewhere_refuses_or_says_so() -> None:
    refused = set(elsewhere.REFUSED)
    assert refused < {row[0] for row in VERBS}
    changing = {f"runtime work-unit {verb.name}" for verb in work_units.VERBS.values() if verb.changes}
    assert changing == {verb for verb in refused if verb.startswith("runtime work-unit")}
    for verb, name, _ in VERBS:
        module = parser.load(name)
        flags = argparse.ArgumentParser()
        module.add_arguments(flags)
        goes = "--url" in flags.format_help()
        assert not (goes and verb in refused), verb


@pytest.mark.parametrize(
    ("fix", "spelled"),
    [
        ("loong gateway status", "loong --dev gateway status"),
        (
            "find it: loong logs    then: loong doctor",
            "find it: loong --dev logs    then: loong --dev doctor",
        ),
        ("loong --dev gateway run", "loong --dev gateway run"),
        ("pip install 'loong[crypto]'", "pip install 'loong[crypto]'"),
        ("wait for loong to end", "wait for loong to end"),
    ],
)
def test_a_fix_is_for_the_same_gateway(fix: str, spelled: str) -> None:
    assert resolve_places({"dev": True}, {"LOONG_HOME": "/h"}).spelled(fix) == spelled
    assert resolve_places({}, {"LOONG_HOME": "/h"}).spelled(fix) == fix
