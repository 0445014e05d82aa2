"""The log: what a line looks like, what never gets into it, and that it survives disks, floods and mistakes."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.logs.log import LogControl, configure, short_name
from loong_gateway.logs.redaction import Redactor
from loong_gateway.owner.paths import Places
from tests.waiting import wait_until

SECRET = "hush-hush-0001"


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A configured log in a directory of its own."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.places = Places(home=str(directory), state=str(directory), config=str(directory / "config.toml"))
        self.redactor = Redactor()
        self.redactor.register(SECRET)
        self.clock = HandClock()
        options = {"level": "info", "stderr": None, "environ": {}, "clock": self.clock, **options}
        self.control: LogControl = configure(self.places, redactor=self.redactor, **options)

    def lines(self, suffix: str = "") -> list[dict[str, object]]:
        assert self.control.flush(10)
        path = Path(self.control.path + suffix)
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def messages(self) -> list[object]:
        return [line["message"] for line in self.lines()]


@pytest.fixture(name="start")
def log_starter(tmp_path: Path) -> Iterator[object]:
    started: list[Log] = []

    def start(**options: object) -> Log:
        started.append(Log(tmp_path, **options))
        return started[-1]

    yield start
    for log in started:
        log.control.close()


logger = logging.getLogger("loong.channel.telegram.work")


def fail(reason: str, message: str) -> None:
    """Log an exception with its traceback."""
    try:
        {}[reason]
    except KeyError:
        logger.exception(message)


def test_a_line_is_one_json_object_with_the_usual_members(start: object) -> None:
    log = start()
    logger.warning("poll failed after %d s", 3)
    (line,) = log.lines()
    assert line["message"] == "poll failed after 3 s"
    assert (line["level"], line["logger"]) == ("warning", "loong.channel.telegram.work")
    assert line["thread"] == threading.current_thread().name
    assert str(line["time"]).endswith("+00:00")
    assert line["_meta"]["logLevelName"] == "WARNING"
    assert json.loads(line["_meta"]["name"]) == {"subsystem": "telegram/work"}


def test_the_file_is_ours_alone(start: object) -> None:
    log = start()
    logger.info("hello")
    log.lines()
    assert os.stat(log.control.path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(log.control.path)).st_mode & 0o777 == 0o700


def test_a_file_that_others_could_read_is_narrowed(start: object, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "gateway.log"
    path.write_text("")
    path.chmod(0o644)
    log = start()
    logger.info("hello")
    assert len(log.lines()) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_before_something_is_logged(start: object, tmp_path: Path) -> None:
    log = start()
    assert log.control.flush(10)
    assert list(tmp_path.iterdir()) == []


def test_levels_are_obeyed(start: object) -> None:
    log = start(level="warning")
    logger.info("no")
    logger.warning("yes")
    assert log.messages() == ["yes"]


def test_other_packages_get_through_from_warning_up_and_are_scrubbed(start: object) -> None:
    log = start(level="debug")
    logging.getLogger("another.package").debug("noise")
    logging.getLogger("another.package").warning("Retrying /bot123456:AAHsecret/getUpdates")
    assert log.messages() == ["Retrying /bot123456:***/getUpdates"]


def test_secrets_never_reach_a_line(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr, level="debug")
    logger.info("key %s", SECRET)
    logger.info("key %s", {"key": SECRET})
    logger.info(f"key {SECRET}")  # noqa: G004
    for before, behind in ((9000, 0), (4090, 9000), (1024 * 1024 - 5, 9000)):
        logger.info("%s%s%s", "x" * before, SECRET, "x" * behind)
    fail(f"bad key {SECRET}", "failed")
    for _ in range(20):
        logger.info(f"{SECRET} {'y' * 290}{SECRET}")  # noqa: G004
    log.clock.now += 100
    log.control.close()
    text = Path(log.control.path).read_text() + stderr.getvalue()
    assert SECRET not in text
    assert SECRET[:10] not in text
    assert text.count("***") > 20


def test_a_traceback_is_kept_in_the_file_and_is_one_line_for_people(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr)
    fail("no such thing", "lookup failed")
    (line,) = log.lines()
    assert "Traceback" in str(line["trace"])
    assert stderr.getvalue().count("\n") == 1
    assert "lookup failed (KeyError: 'no such thing')" in stderr.getvalue()


def test_at_debug_people_see_the_traceback(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr, level="debug")
    fail("no such thing", "lookup failed")
    log.lines()
    assert "    Traceback" in stderr.getvalue()


def test_a_message_cannot_forge_a_line_or_steer_a_terminal(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr)
    logger.info("name %s", "x\n2026-01-01 error forged\x1b[2J\r\u202e")
    assert len(log.lines()) == 1
    assert stderr.getvalue().count("\n") == 1
    assert "\x1b" not in stderr.getvalue()
    assert "\\n2026-01-01" in stderr.getvalue()


def test_text_that_no_encoding_carries_is_logged_all_the_same(start: object) -> None:
    log = start(stderr=io.StringIO())
    logger.info("odd %s", "\udc80\U0001f409\0")
    assert log.messages() == ["odd \udc80\U0001f409\0"]


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def test_logging_never_raises(start: object) -> None:
    log = start()
    logger.info("two %s %s", "arguments")  # noqa: PLE1206
    logger.info("%d", "no number")
    logger.info("%s", Hostile())
    logger.info(Hostile())
    logger.info("fine")
    assert log.messages()[-1] == "fine"
    assert log.messages()[0] == "two %s %s (arguments do not fit)"


def test_what_repeats_is_summed_up(start: object) -> None:
    log = start()
    for number in range(1000):
        logger.warning("poll failed: %d", number)
    logger.warning("something else")
    assert log.messages() == [f"poll failed: {n}" for n in range(10)] + ["something else"]
    log.clock.now += 61
    logger.warning("poll failed: %d", 1000)
    assert log.messages()[-2:] == [
        "990 more within 60 s, the last one: poll failed: 999",
        "poll failed: 1000",
    ]


def test_a_flood_that_ended_is_summed_up_by_itself(start: object) -> None:
    log = start()
    for _ in range(15):
        logger.warning("again")
    assert len(log.lines()) == 10
    log.clock.now += 60
    log.control._sinks[0].poke()
    wait_until(lambda: log.messages()[-1] == "5 more within 60 s, the last one: again")
    assert log.lines()[-1]["logger"] == logger.name


def test_the_end_of_the_log_sums_up_what_is_open(start: object) -> None:
    log = start()
    for _ in range(15):
        logger.warning("again")
    log.control.close()
    assert log.messages()[-1] == "5 more within 60 s, the last one: again"


def test_the_same_words_of_two_accounts_are_two_things(start: object) -> None:
    log = start()
    for account in ("a", "b"):
        for _ in range(10):
            logging.getLogger(f"loong.channel.telegram.{account}").warning("poll failed")
    assert len(log.lines()) == 20


def test_the_memory_of_repeats_is_bounded(start: object) -> None:
    log = start()
    for number in range(3000):
        logger.info(f"template {number}")  # noqa: G004
    assert len(log.control._handler._seen) <= 1024
    assert log.control._sinks[0].dropped == 0


def test_a_deleted_log_is_made_again_and_so_is_its_directory(start: object) -> None:
    log = start()
    logger.info("one")
    assert log.messages() == ["one"]
    os.unlink(log.control.path)
    logger.info("two")
    assert log.messages() == ["two"]
    os.unlink(log.control.path)
    os.rmdir(os.path.dirname(log.control.path))
    logger.info("three")
    assert log.messages() == ["three"]


def test_a_log_that_was_moved_away_is_begun_anew(start: object) -> None:
    log = start()
    logger.info("one")
    log.lines()
    os.rename(log.control.path, log.control.path + ".kept")
    logger.info("two")
    assert log.messages() == ["two"]
    assert [line["message"] for line in log.lines(".kept")] == ["one"]


def test_a_line_torn_by_a_kill_does_not_swallow_the_next(start: object, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gateway.log").write_text('{"message": "to')
    log = start()
    logger.info("whole")
    assert log.control.flush(10)
    torn, whole = Path(log.control.path).read_text().splitlines()
    assert torn == '{"message": "to'
    assert json.loads(whole)["message"] == "whole"


def test_a_full_device_costs_entries_and_nothing_else(start: object) -> None:
    stderr = io.StringIO()
    log = start(file="/dev/full", stderr=stderr)
    logger.info("one")
    logger.info("two")
    assert log.control.flush(10)
    assert log.control._sinks[0].dropped == 2
    assert stderr.getvalue().count("\n") == 2


def test_a_log_goes_on_by_itself_when_there_is_space_again(tmp_path: Path) -> None:
    script = f"""
        import logging, resource, signal, sys
        from loong_gateway.logs.log import configure
        from loong_gateway.owner.paths import Places
        from loong_gateway.logs.redaction import Redactor
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        places = Places(home={str(tmp_path)!r}, state={str(tmp_path)!r}, config="")
        control = configure(places, level="info", stderr=None, redactor=Redactor())
        logger = logging.getLogger("loong.test")
        logger.info("before"); control.flush(10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
        for number in range(5):
            logger.info("full %s " + "x" * number, "y" * 100); control.flush(10)
        lost = control._sinks[0].dropped
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        logger.info("after"); control.close()
        print(lost, control._sinks[0].dropped)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lost, dropped = map(int, done.stdout.split())
    assert lost == dropped >= 4
    messages = []
    for line in (tmp_path / "logs" / "gateway.log").read_text().splitlines():
        try:
            messages.append(json.loads(line)["message"])
        except ValueError:
            # The one line that the full disk cut off.
            messages.append("torn")
    assert messages[0] == "before"
    assert messages[-2:] == [f"{lost} log entries were dropped before this one", "after"]
    assert messages.count("torn") == 1


def test_a_stuck_reader_of_stderr_holds_nobody_up(start: object) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stuck, os.fdopen(reader, "rb") as far:
        log = start(stderr=stuck)
        for number in range(20_000):
            logger.info(f"line {number} %s", "x" * 500)  # noqa: G004
        assert log.control._sinks[0].flush(Deadline(10))
        assert log.control._sinks[1].dropped > 0
        assert len(Path(log.control.path).read_text().splitlines()) > 1000
        draining = threading.Thread(target=far.read)
        draining.start()
        log.control.close()
        stuck.close()
        draining.join(10)


def test_a_closed_stderr_is_survived(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr)
    stderr.close()
    logger.info("one")
    assert log.messages() == ["one"]


def test_closing_twice_and_logging_afterwards_is_harmless(start: object) -> None:
    log = start()
    logger.info("one")
    log.control.close()
    log.control.close()
    logger.info("two")
    assert log.messages() == ["one"]


def test_a_closed_log_leaves_the_loggers_as_they_were(start: object) -> None:
    ours = logging.getLogger("loong")
    before = (ours.level, ours.propagate, list(ours.handlers))
    log = start()
    assert not ours.propagate
    log.control.close()
    assert (ours.level, ours.propagate, ours.handlers) == before


def test_under_journald_lines_carry_a_priority_and_no_time(start: object, tmp_path: Path) -> None:
    with open(tmp_path / "journal", "w", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        log = start(stderr=stream, environ={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        logger.info("one")
        logger.warning("two")
        logger.error("three")
        log.lines()
    lines = (tmp_path / "journal").read_text().splitlines()
    assert lines == ["<6>telegram/work: one", "<4>telegram/work: two", "<3>telegram/work: three"]


def test_a_journal_that_stderr_no_longer_leads_to_does_not_count(start: object) -> None:
    stderr = io.StringIO()
    log = start(stderr=stderr, environ={"JOURNAL_STREAM": "1:2"})
    logger.info("one")
    log.lines()
    stamp, level, text = stderr.getvalue().split(maxsplit=2)
    assert stamp.startswith("20")
    assert (level, text) == ("info", "telegram/work: one\n")


def test_on_a_terminal_there_is_no_time(start: object) -> None:
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream, os.fdopen(controller, "rb", buffering=0) as far:
        log = start(stderr=stream)
        logger.warning("one")
        log.lines()
        assert far.read(100) == b"warning telegram/work: one\r\n"


@pytest.mark.parametrize(
    ("logger_name", "short"),
    [
        ("loong.channel.telegram.work", "telegram/work"),
        ("loong.channel.telegram", "telegram"),
        ("loong.channel.telegram.a.b", "telegram/a.b"),
        ("loong.lanes", "lanes"),
        ("loong", "loong"),
        ("urllib3.pool", "urllib3.pool"),
        ("root", "root"),
    ],
)
def test_loggers_have_short_names_for_people(logger_name: str, short: str) -> None:
    assert short_name(logger_name) == short


def test_a_sum_says_the_last_message_in_full_and_without_secrets(start: object) -> None:
    log = start()
    for number in range(12):
        logger.warning("attempt failed: %s %s", number, SECRET)
    log.control.close()
    (message,) = log.messages()[10:]
    assert message.startswith("2 more within 60 s, the last one: attempt failed: 11 ")
    assert SECRET not in message
