"""logs.tail: whole lines by byte positions, however the file grows, is cut or is moved away."""

from __future__ import annotations

import pathlib

import pytest

from loong_gateway.api.rpc.methods_logs import methods
from loong_gateway.api.rpc.params import BadParam
from tests.gateway.api.small_call import ask, refusal

KEYS = {"file", "cursor", "size", "lines", "truncated", "reset", "skippedBytes"}


class Log:
    """A log file and the method over it."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.path = directory / "gateway.log"
        self._methods = methods(self, lambda text: text.replace("hunter2-hunter2", "***"))

    def log_file(self) -> str:
        return str(self.path)

    def write(self, text: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)

    def tail(self, **params: object) -> dict[str, object]:
        answer = ask(self._methods, "logs.tail", params)
        assert set(answer) <= KEYS
        assert answer.pop("file") == str(self.path)
        return answer

    def refusal(self, **params: object) -> Exception:
        return refusal(self._methods, "logs.tail", params)


@pytest.fixture
def log(tmp_path: pathlib.Path) -> Log:
    return Log(tmp_path)


def test_a_missing_file_is_an_empty_one(log: Log) -> None:
    assert log.tail() == {"cursor": 0, "size": 0, "lines": []}
    assert log.tail(cursor=5) == {"cursor": 0, "size": 0, "lines": [], "reset": True}


def test_follows_line_by_line(log: Log) -> None:
    log.write("one\ntwo\n")
    assert log.tail() == {"cursor": 8, "size": 8, "lines": ["one", "two"]}
    assert log.tail(cursor=8) == {"cursor": 8, "size": 8, "lines": []}
    log.write("three\nunfinish")
    assert log.tail(cursor=8) == {"cursor": 14, "size": 22, "lines": ["three"]}
    assert log.tail(cursor=14) == {"cursor": 14, "size": 22, "lines": []}
    log.write("ed\n")
    assert log.tail(cursor=14) == {"cursor": 25, "size": 25, "lines": ["unfinished"]}


def test_positions_count_bytes(log: Log) -> None:
    log.write("日志\n")
    assert log.tail() == {"cursor": 7, "size": 7, "lines": ["日志"]}
    log.write("é\n")
    assert log.tail(cursor=7)["lines"] == ["é"]


def test_only_the_newest_lines_and_bytes(log: Log) -> None:
    log.write("".join(f"line {number}\n" for number in range(10)))
    assert log.tail(limit=2) == {"cursor": 70, "size": 70, "lines": ["line 8", "line 9"], "truncated": True}
    assert log.tail(maxBytes=16) == {
        "cursor": 70,
        "size": 70,
        "lines": ["line 8", "line 9"],
        "truncated": True,
    }
    assert log.tail(cursor=63, limit=1) == {"cursor": 70, "size": 70, "lines": ["line 9"]}
    assert log.tail(cursor=49, limit=1) == {"cursor": 70, "size": 70, "lines": ["line 9"], "truncated": True}


def test_a_window_that_begins_with_a_line_keeps_it(log: Log) -> None:
    log.write("one\ntwo\n")
    assert log.tail(maxBytes=4)["lines"] == ["two"]


def test_jumps_over_what_is_too_much(log: Log) -> None:
    log.write("one\n" + "x" * 100 + "\nlast\n")
    assert log.tail(cursor=4, maxBytes=10) == {
        "cursor": 110,
        "size": 110,
        "lines": ["last"],
        "truncated": True,
        "reset": True,
        "skippedBytes": 96,
    }


def test_a_line_longer_than_the_window_does_not_hold_it_up(log: Log) -> None:
    log.write("y" * 50)
    first = log.tail(cursor=0, maxBytes=10)
    assert first["lines"] == []
    log.write("y\nnext\n")
    assert log.tail(cursor=first["cursor"], maxBytes=10)["lines"] == ["next"]


def test_a_file_that_was_moved_away_is_begun_anew(log: Log) -> None:
    log.write("a long line of the old file\n")
    cursor = log.tail()["cursor"]
    log.path.rename(log.path.with_suffix(".log.1"))
    log.write("new\n")
    assert log.tail(cursor=cursor) == {"cursor": 4, "size": 4, "lines": ["new"], "reset": True}


def test_what_became_a_secret_later_is_masked(log: Log) -> None:
    log.write('{"message":"with hunter2-hunter2 in it"}\n')
    assert log.tail()["lines"] == ['{"message":"with *** in it"}']


def test_bytes_that_are_no_text_do_not_stop_it(log: Log) -> None:
    log.path.write_bytes(b"\xff\xfe\nfine\n")
    assert log.tail()["lines"] == ["\ufffd\ufffd", "fine"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"limit": 0}, "at /limit: must be >= 1"),
        ({"limit": 5001}, "at /limit: must be <= 5000"),
        ({"maxBytes": 1_000_001}, "at /maxBytes: must be <= 1000000"),
        ({"cursor": -1}, "at /cursor: must be >= 0"),
        ({"cursor": "0"}, "at /cursor: must be integer"),
    ],
    ids=["limit_low", "limit_high", "bytes_high", "cursor_low", "cursor_text"],
)
def test_parameters_have_bounds(log: Log, params: dict[str, object], message: str) -> None:
    with pytest.raises(BadParam, match=message):
        log.tail(**params)


def test_what_is_no_file_is_refused(log: Log) -> None:
    log.path.mkdir()
    fault = log.refusal()
    assert fault.code == "UNAVAILABLE"
    assert fault.retryable
