"""What is recorded from any thread gets to the file, or is counted."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Sequence

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.audit import recorder as recorder_module
from loong_gateway.audit.chain import check
from loong_gateway.audit.journal import Journal, Record
from loong_gateway.audit.recorder import MOST_WAITING, Recorder, plain
from loong_gateway.base.threads import ThreadRegistry
from tests.waiting import wait_until


class HeldJournal(Journal):
    """Writes when it is let, and fails while it has an error."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.error: OSError | None = None

    def append(self, records: Sequence[Record], *, lost: int = 0) -> None:
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        super().append(records, lost=lost)


@pytest.fixture
def journal(tmp_path: pathlib.Path) -> HeldJournal:
    return HeldJournal(str(tmp_path / "audit" / "events.jsonl"))


def test_records_of_many_threads_are_all_there_and_no_thread_stays(journal: HeldJournal) -> None:
    threads = ThreadRegistry()
    recorder = Recorder(journal, threads)
    assert threads.alive() == []
    journal.gate.set()

    def work(who: int) -> None:
        for number in range(20):
            recorder.record("PlaneInvoked", {"who": who, "n": number}, agent="main")

    workers = [threading.Thread(target=work, args=(who,)) for who in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    recorder.close(Deadline(10))
    assert threads.alive() == []
    found = [one["kind"]["PlaneInvoked"] for one in journal.newest(1000)]
    assert len(found) == 100
    for who in range(5):
        assert [one["n"] for one in found if one["who"] == who] == list(range(20))
    assert check(journal.lines()).first_break is None
    assert (recorder.facts().events, recorder.facts().lost, recorder.facts().trouble) == (100, 0, "")


def test_what_finds_no_room_is_counted_and_told_in_the_journal(journal: HeldJournal) -> None:
    recorder = Recorder(journal, ThreadRegistry())
    for number in range(MOST_WAITING + 7):
        recorder.record("PlaneInvoked", {"n": number})
    assert recorder.facts().lost == 7
    journal.gate.set()
    recorder.close(Deadline(20))
    kinds = [one["kind"] for one in journal.newest(2000)]
    assert {"JournalRecovered": {"lost": 7}} in kinds
    assert len(kinds) == MOST_WAITING + 1
    assert recorder.facts().lost == 7


def test_what_the_disk_refuses_waits_and_is_written_later(journal: HeldJournal) -> None:
    recorder = Recorder(journal, ThreadRegistry())
    journal.gate.set()
    journal.error = OSError(28, os.strerror(28))
    recorder.record("PlaneInvoked", {"n": 1})
    wait_until(lambda: recorder.facts().trouble != "")
    assert "space" in recorder.facts().trouble
    journal.error = None
    recorder.look()
    wait_until(lambda: recorder.facts().events == 1)
    assert recorder.facts().trouble == ""
    recorder.close(Deadline(10))
    assert len(journal.newest(10)) == 1


def test_the_same_refusal_is_recorded_once_in_a_while_with_its_number(
    journal: HeldJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(journal, ThreadRegistry())
    journal.gate.set()
    for _ in range(50):
        recorder.record("AuthorizationDenied", {"reason": "missing_scope", "method": "a"})
    recorder.record("AuthorizationDenied", {"reason": "missing_scope", "method": "b"})
    monkeypatch.setattr(recorder_module, "REPEATED_EVERY_S", 0.0)
    recorder.record("AuthorizationDenied", {"reason": "missing_scope", "method": "a"})
    recorder.close(Deadline(10))
    found = [one["kind"]["AuthorizationDenied"] for one in journal.newest(100)]
    assert found == [
        {"reason": "missing_scope", "method": "a"},
        {"reason": "missing_scope", "method": "b"},
        {"reason": "missing_scope", "method": "a", "repeated": 49},
    ]


def test_facts_are_made_small_plain_and_one_line() -> None:
    facts = plain(
        {
            "text": "a\nb\x1b" + "x" * 500,
            "list": ["a", ["b"], 1],
            "table": {"a": 1},
            "number": 1 << 70,
            "truth": True,
            "lone": "\ud800",
            "none": None,
            "float": 1.5,
            **{str(n): n for n in range(50)},
        }
    )
    assert len(str(facts["text"])) == 200
    assert "\n" not in str(facts["text"])
    assert facts["list"] == ["a", "...", 1]
    assert facts["number"] == str(1 << 70)
    assert (facts["truth"], facts["none"], facts["float"], facts["lone"]) == (True, None, "1.5", "?")
    assert len(facts) == 24
