"""`loong logs`: the last lines, the right ones, over rotation, for people and for machines."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.commands import logs
from loong_gateway.commands.common import Context
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places

WORK = "loong.channel.telegram.work"


def line(message: str, *, level: str = "info", logger: str = "loong.lanes", **more: object) -> str:
    moment = "2026-11-20T10:00:00.000+00:00"
    return json.dumps({"time": moment, "level": level, "logger": logger, "message": message, **more}) + "\n"


class Home:
    """A home with a log, and the command run on it."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(home=str(directory), state=str(directory), config=str(directory / "config.toml"))
        self.path = directory / "logs" / "gateway.log"
        self.stderr = ""

    def write(self, text: str, suffix: str = "", mode: str = "w") -> None:
        self.path.parent.mkdir(exist_ok=True)
        with open(f"{self.path}{suffix}", mode, encoding="utf-8") as file:
            file.write(text)

    def run(self, *words: str, json_wanted: bool = False) -> list[str]:
        parser = argparse.ArgumentParser()
        logs.add_arguments(parser)
        out, err = io.StringIO(), io.StringIO()
        context = Context(self.places, {}, stdin=io.StringIO(), stdout=out, stderr=err, json=json_wanted)
        assert logs.run(parser.parse_args(words), context) == 0
        self.stderr = err.getvalue()
        return out.getvalue().splitlines()

    def messages(self, *words: str) -> list[str]:
        return [json.loads(text)["message"] for text in self.run(*words, json_wanted=True)]


@pytest.fixture(name="home")
def home_of_a_gateway(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_a_log_it_says_so_and_is_no_failure(home: Home) -> None:
    assert home.run() == [f"No log yet: {home.path} is written while the gateway runs."]
    assert home.run(json_wanted=True) == []
    assert home.stderr.startswith("No log yet")


def test_a_running_gateway_that_has_written_nothing_is_not_said_to_be_away(home: Home) -> None:
    home.places.create()
    lock = OwnerLock.acquire(home.places)
    try:
        assert home.run() == [f"No log yet: the gateway runs and has written nothing to {home.path}."]
    finally:
        lock.release()
    home.write("")
    assert home.run() == []
    assert home.stderr == f"No log yet: {home.path} is written while the gateway runs.\n"


def test_the_last_lines_are_shown_oldest_first(home: Home) -> None:
    home.write("".join(line(f"m{n}") for n in range(500)))
    assert home.messages("--lines", "3") == ["m497", "m498", "m499"]
    assert len(home.messages()) == 100
    assert home.messages("--lines", "0") == []


def test_older_files_are_read_when_the_newest_has_too_few(home: Home) -> None:
    home.write(line("e") + line("f"))
    home.write(line("c") + line("d"), ".1")
    home.write(line("a") + line("b"), ".2")
    assert home.messages("--lines", "5") == ["b", "c", "d", "e", "f"]
    os.unlink(home.path)
    assert home.messages("--lines", "3") == ["b", "c", "d"]


def test_lines_longer_than_a_block_stay_whole(home: Home) -> None:
    texts = ["x" * 70_000, "y" * 200_000, "short", "z" * 65_536]
    home.write("".join(line(text) for text in texts))
    assert home.messages() == texts


def test_an_unfinished_last_line_is_shown(home: Home) -> None:
    home.write(line("whole") + "torn off")
    assert home.messages() == ["whole", "torn off"]


def test_a_large_log_is_not_read_whole(home: Home) -> None:
    home.path.parent.mkdir()
    with open(home.path, "wb") as file:
        # Sparse: reading all of it would take memory and minutes.
        file.truncate(20 * 1024 * 1024 * 1024)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + line("last").encode())
    try:
        assert home.messages("--lines", "1") == ["last"]
    finally:
        os.unlink(home.path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--level", "warning"], ["w", "e", "t"]),
        (["--level", "error"], ["e"]),
        (["--channel", "telegram"], ["t"]),
        (["--channel", "telegram=work"], ["t"]),
        (["--channel", "telegram/work"], ["t"]),
        (["--channel", "telegram=wor"], []),
        (["--channel", "Telegram"], ["t"]),
        (["--channel", "wecom"], []),
        (["--level", "error", "--channel", "telegram"], []),
        ([], ["i", "raw text", "w", "e", "t"]),
    ],
)
def test_filters(home: Home, words: list[str], expected: list[str]) -> None:
    home.write(
        line("i")
        + "raw text\n"
        + line("w", level="warning")
        + line("e", level="error")
        + line("t", level="warning", logger=WORK)
    )
    assert home.messages(*words) == expected


def test_when_nothing_matches_it_says_so_beside_the_result(home: Home) -> None:
    home.write(line("i"))
    assert home.run("--channel", "wecom") == []
    assert home.stderr == f"no lines match in {home.path}\n"
    assert home.run("--lines", "0") == []
    assert home.stderr == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("telegrm", '--channel "telegrm" names no channel; did you mean telegram?'),
        ("telegram=wrk", 'telegram has no account "wrk" (configured: work); did you mean work?'),
    ],
)
def test_a_channel_or_account_that_nobody_knows_is_refused(home: Home, given: str, said: str) -> None:
    home.write(line("old", logger="loong.channel.telegram.gone"))
    Path(home.places.config).touch(mode=0o600)
    Path(home.places.config).write_text('[telegram.accounts.work]\nbot_token = { env = "T" }\n', "utf-8")
    with pytest.raises(CommandError) as caught:
        home.run("--channel", given)
    assert (caught.value.message, caught.value.exit_code) == (said, 2)
    # What was logged of an account that is configured no more can still be read.
    assert home.messages("--channel", "telegram=gone") == ["old"]


def test_lines_are_counted_after_the_filters(home: Home) -> None:
    home.write(line("wanted", level="error") + line("other") * 1000)
    assert home.messages("--lines", "1", "--level", "error") == ["wanted"]


def test_people_see_time_level_source_and_text(home: Home) -> None:
    home.write(line("poll failed", level="warning", logger=WORK, trace="Traceback\n  File"))
    first, *rest = home.run()
    assert first.endswith(" warning telegram/work: poll failed")
    assert first.startswith("2026-11-20 ")
    assert rest == ["    Traceback", "      File"]


@pytest.mark.parametrize(
    "raw",
    [
        line("x\x1b[2J\ny"),
        line("x", logger="loong.\x1b[2J", level="\x1b[2J", time="\x1b[2J"),
        "raw \x1b[2J text\n",
        "\x00\x01\n",
        '{"message": 1}\n',
        '{"message": "x", "time": 5, "trace": ["a"]}\n',
        "[" * 100_000 + "\n",
        '"text"\n',
    ],
    ids=["message", "members", "raw", "control", "number", "types", "nested", "text"],
)
def test_no_line_can_steer_the_terminal_or_break_the_command(home: Home, raw: str) -> None:
    home.write(raw)
    shown = home.run()
    assert shown
    assert not any("\x1b" in text or "\x00" in text for text in shown)
    for text in home.run(json_wanted=True):
        assert "message" in json.loads(text)


def test_the_log_of_the_configuration_is_the_one_that_is_shown(home: Home, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[logging]\nfile = "{tmp_path}/elsewhere.log"\n')
    (tmp_path / "elsewhere.log").write_text(line("elsewhere"))
    home.write(line("usual"))
    assert home.messages() == ["elsewhere"]
    (tmp_path / "config.toml").write_text("broken [")
    assert home.messages() == ["usual"]


def test_a_wrong_number_is_wrong_usage(home: Home) -> None:
    for given in ("-1", "1000001"):
        with pytest.raises(CommandError) as refused:
            home.run("--lines", given)
        assert refused.value.exit_code == 2


def test_a_log_that_cannot_be_read_is_named(home: Home) -> None:
    home.path.mkdir(parents=True)
    with pytest.raises(CommandError) as refused:
        home.run()
    assert (refused.value.code, refused.value.exit_code) == ("logs.unreadable", 2)
    assert refused.value.where == str(home.path)


@pytest.fixture(name="following")
def following_process(home: Home) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, "LOONG_HOME": home.places.home, "PYTHONUNBUFFERED": "1"}
    code = "import sys; from loong_gateway.commandline.main import main; sys.exit(main(sys.argv[1:]))"
    home.write(line("before"))
    process = subprocess.Popen(
        [sys.executable, "-c", code, "logs", "--follow"], env=environ, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_following_survives_rotation_deletion_and_truncation(
    home: Home, following: subprocess.Popen[str]
) -> None:
    def next_message() -> str:
        return following.stdout.readline().rstrip("\n").rpartition(": ")[2]

    assert next_message() == "before"
    home.write(line("one"), mode="a")
    assert next_message() == "one"
    home.write(line("two"), mode="a")
    os.rename(home.path, f"{home.path}.1")
    home.write(line("three"))
    assert [next_message(), next_message()] == ["two", "three"]
    os.unlink(home.path)
    home.write(line("four"))
    assert next_message() == "four"
    home.write("")
    home.write(line("5"), mode="a")
    assert next_message() == "5"
    following.send_signal(signal.SIGINT)
    assert following.wait(10) == 0
