"""What came with a message, on its way to the model: over a real store, with a scripted channel and model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from loong_channels.aes import CryptoMissing
from loong_channels.contract import Attachment, Media
from loong_channels.faults import Interrupted, Overloaded, Refused, TimedOut, Unreachable
from loong_channels.waiting import StopToken
from loong_gateway.messaging.attachments import TEXT_BYTES
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.turns import TurnTask
from loong_gateway.providers.contract import Image, ProviderFault
from loong_gateway.storage import inbox
from tests.gateway.messaging.engine_rig import CONFIG, Rig, rig_at

SEES = CONFIG + b"images = true\n"
PNG = b"\x89PNG\r\n\x1a\nrest"
FAILED = "attachments_failed:telegram=work"
READ = "attachments_read:telegram=work"
NOTE = "[document a.txt: could not be fetched]"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rig_at(tmp_path / "store.sqlite3") as made:
        yield made


@pytest.fixture
def seeing(tmp_path: Path) -> Iterator[Rig]:
    with rig_at(tmp_path / "store.sqlite3", SEES) as made:
        yield made


def document(name: str | None = "a.txt", id: str = "1", **more: object) -> Attachment:
    return Attachment("document", name, ref={"id": id}, **more)  # type: ignore[arg-type]


def photo(id: str = "1") -> Attachment:
    return Attachment("photo", ref={"id": id})


def ask(rig: Rig, text: str, *attachments: Attachment, stop: StopToken | None = None) -> Later | None:
    return rig.ask(text, attachments=attachments, stop=stop)


def asked(rig: Rig, call: int = -1) -> str:
    """The message as the model saw it, with the ids of its marks written as ID."""
    return re.sub(r"(--- (?:begin|end)) [0-9a-f]{8}", r"\1 ID", rig.provider.calls[call].messages[-1].content)


def images(rig: Rig, call: int = -1) -> list[Image]:
    return [image for message in rig.provider.calls[call].messages for image in message.images]


def test_a_text_stands_in_the_message_where_its_placeholder_was(rig: Rig) -> None:
    rig.channel.media = {"1": Media(b"one\ntwo\n")}
    ask(rig, "read this\n[document a.txt]", document())
    assert asked(rig) == ('read this\n--- begin ID: document "a.txt", 8 bytes ---\none\ntwo\n--- end ID ---')
    assert rig.metrics.get(READ) == 1
    assert set(rig.inbox_states().values()) == {"done"}


@pytest.mark.parametrize("kind", ["forward", "card"])
def test_what_was_forwarded_takes_the_place_of_its_placeholder(rig: Rig, kind: str) -> None:
    word = {"forward": "forwarded messages", "card": "card"}[kind]
    rig.channel.media = {"1": Media(b"Ann: hi", mime="text/plain")}
    ask(rig, f"[{word}]", Attachment(kind, mime="text/plain", ref={"id": "1"}))
    assert asked(rig) == f"--- begin ID: {word}, 7 bytes ---\nAnn: hi\n--- end ID ---"


def test_a_long_text_is_cut_with_a_note(rig: Rig) -> None:
    rig.channel.media = {"1": Media(b"x" * 200_000)}
    ask(rig, "[document a.txt]", document())
    shown = asked(rig)
    assert "x" * TEXT_BYTES in shown and "x" * (TEXT_BYTES + 1) not in shown
    assert shown.endswith("--- end ID: cut here, 65.5 kB of 200.0 kB are shown ---")


def test_follow_up_questions_see_what_was_read(rig: Rig) -> None:
    rig.channel.media = {"1": Media(b"the secret word is tree")}
    ask(rig, "[document a.txt]", document())
    rig.ask("which word?")
    earlier = rig.provider.calls[1].messages[-3]
    assert earlier == rig.provider.calls[0].messages[-1]
    assert rig.channel.fetched == ["1"]


def test_the_history_of_several_files_is_bounded_by_what_one_may_have(rig: Rig) -> None:
    rig.channel.media = {str(n): Media(b"x" * 60_000) for n in range(4)}
    ask(rig, "see", *(document(id=str(n)) for n in range(4)))
    assert asked(rig).count("x" * 60_000) == 4
    rig.ask("and now?")
    kept = rig.provider.calls[1].messages[-3].content
    assert TEXT_BYTES - 100 < kept.count("x") <= TEXT_BYTES + 8
    assert kept.count("cut here, 16.4 kB of 60.0 kB") == 4


def test_a_picture_goes_to_a_model_that_sees_and_only_its_placeholder_is_remembered(seeing: Rig) -> None:
    seeing.channel.media = {"1": Media(PNG)}
    ask(seeing, "look\n[photo]", photo())
    assert asked(seeing) == "look\n[photo]"
    assert images(seeing) == [Image("image/png", PNG)]
    seeing.ask("and?")
    assert images(seeing) == []
    assert [m.content for m in seeing.provider.calls[1].messages[-3:]] == [
        "look\n[photo]",
        "re: look\n[photo]",
        "and?",
    ]


def test_a_model_that_does_not_see_costs_no_fetch(rig: Rig) -> None:
    ask(rig, "look\n[photo]", photo())
    assert rig.channel.fetched == []
    assert asked(rig) == "look\n[photo]"
    assert images(rig) == []


def test_a_picture_is_what_its_bytes_say(seeing: Rig) -> None:
    seeing.channel.media = {"1": Media(b"BM not a picture for models"), "2": Media(PNG), "3": Media(PNG)}
    pieces = "[photo]\n[document a.png]\n[document b.txt]"
    ask(seeing, pieces, photo(), document("a.png", "2"), document("b.txt", "3"))
    assert asked(seeing) == "[photo]\n[document a.png]\n[document b.txt: not readable as text]"
    assert images(seeing) == [Image("image/png", PNG)]


@pytest.mark.parametrize(
    ("attachment", "said"),
    [
        (document("a.pdf", mime="application/pdf", size_bytes=1_234_000), "[document a.pdf, 1.2 MB]"),
        (document("a.pdf"), "[document a.pdf]"),
        (Attachment("voice", "a.ogg", "audio/ogg", 5000, {"id": "1"}), "[voice]"),
    ],
)
def test_everything_else_is_named_and_not_fetched(rig: Rig, attachment: Attachment, said: str) -> None:
    placeholder = "[voice]" if attachment.kind == "voice" else "[document a.pdf]"
    ask(rig, f"see\n{placeholder}", attachment)
    assert asked(rig) == f"see\n{said}"
    assert rig.channel.fetched == []


@pytest.mark.parametrize(
    ("media", "said"),
    [
        (Media(b"%PDF-1.7", "report.pdf"), "[file report.pdf, 8 bytes]"),
        (Media(b"hello", "notes.md"), '--- begin ID: file "notes.md", 5 bytes ---\nhello\n--- end ID ---'),
        (Media(b"hello"), "--- begin ID: file, 5 bytes ---\nhello\n--- end ID ---"),
        (Media(b"\x00\x01"), "[file, 2 bytes]"),
        (Media(PNG, "a"), f"[file a, {len(PNG)} bytes]"),
        (Media(b"", "a.txt"), "[file a.txt: empty]"),
    ],
)
def test_a_file_without_a_name_is_known_once_it_is_here(rig: Rig, media: Media, said: str) -> None:
    rig.channel.media = {"1": media}
    ask(rig, "[file]", Attachment("file", ref={"id": "1"}))
    assert asked(rig) == said


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (Refused("the file is not there any more", code="media_gone"), "could not be fetched"),
        (Refused("the file has more than 9 bytes", code="too_large"), "too large"),
        (CryptoMissing("the package is missing"), "could not be fetched"),
        (TimedOut("no answer", maybe_processed=True), "could not be fetched"),
        (ValueError("https://files.example/key=SECRET"), "could not be fetched"),
    ],
)
def test_a_file_that_cannot_be_had_is_a_note_and_the_text_is_handled(
    rig: Rig, caplog: pytest.LogCaptureFixture, fault: Exception, note: str
) -> None:
    rig.channel.media = {"1": fault}
    assert ask(rig, "read\n[document a.txt]", document()) is None
    assert asked(rig) == f"read\n[document a.txt: {note}]"
    assert set(rig.inbox_states().values()) == {"done"}
    assert rig.metrics.get(FAILED) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.name == "loong.attachments"]
    assert "telegram:work:7" in line and "SECRET" not in caplog.text


def test_a_file_that_says_it_is_too_large_is_not_fetched(rig: Rig) -> None:
    ask(rig, "[document a.txt]", document(size_bytes=(20 << 20) + 1))
    assert asked(rig) == "[document a.txt: too large]"
    assert rig.channel.fetched == []
    assert rig.metrics.get(FAILED) == 1


@pytest.mark.parametrize(
    "fault", [Unreachable("reset", maybe_processed=True), Overloaded("503"), Interrupted("reopened")]
)
def test_a_connection_that_breaks_once_costs_no_file(rig: Rig, fault: Exception) -> None:
    rig.channel.media = {"1": [fault, Media(b"here")]}
    ask(rig, "[document a.txt]", document())
    assert "\nhere\n" in asked(rig)
    rig.channel.media = {"1": [fault, fault]}
    ask(rig, "[document a.txt]", document())
    assert asked(rig) == NOTE


def test_the_missing_package_is_named_once_with_its_fix(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    fault = CryptoMissing(
        "the Python package cryptography is missing; install it with: pip install 'loong[crypto]'"
    )
    rig.channel.media = {"1": fault}
    for _ in range(3):
        ask(rig, "[document a.txt]", document())
    assert caplog.text.count("pip install 'loong[crypto]'") == 1
    assert caplog.text.count("the Python package cryptography is missing") == 3


def test_files_beyond_the_most_are_named_as_not_read(tmp_path: Path) -> None:
    with rig_at(tmp_path / "store.sqlite3", CONFIG + b"[media]\nmax_files = 1\n") as rig:
        rig.channel.media = {"1": Media(b"one")}
        text = "[document x.pdf]\n[document a.txt]\n[document b.txt]"
        ask(rig, text, document("x.pdf", "0"), document(), document("b.txt", "2"))
        assert asked(rig).startswith("[document x.pdf]\n--- begin ID")
        assert asked(rig).endswith("---\n[document b.txt: not read, only 1 of a message are]")
        assert rig.channel.fetched == ["1"]


def test_files_can_be_switched_off_and_bounded(tmp_path: Path) -> None:
    with rig_at(tmp_path / "off.sqlite3", CONFIG + b"[media]\nmax_files = 0\n") as rig:
        ask(rig, "[document a.txt]", document())
        assert (asked(rig), rig.channel.fetched) == ("[document a.txt]", [])
    with rig_at(tmp_path / "small.sqlite3", CONFIG + b"[media]\nmax_bytes = 2000\n") as rig:
        allowed = []

        def fetch(max_bytes: int, deadline: object, stop: object) -> Media:
            allowed.append(max_bytes)
            return Media(b"x")

        rig.channel.media = {"1": fetch}
        ask(rig, "[document a.txt]", document())
        assert allowed == [2000]


def test_nothing_is_fetched_for_a_conversation_that_is_not_allowed_any_more(rig: Rig) -> None:
    rig.surface.allowed = False
    ask(rig, "[document a.txt]", document())
    assert rig.channel.fetched == []
    assert asked(rig) == "[document a.txt]"


def test_a_turn_that_needs_a_file_waits_for_its_account(rig: Rig) -> None:
    rig.channel.media = {"1": Media(b"here")}
    rig.surface.sendable = False
    later = ask(rig, "[document a.txt]", document())
    assert later is not None and later.gate == rig.surface.gate
    assert list(rig.inbox_states().values()) == ["new"]
    assert (rig.provider.calls, rig.channel.fetched) == ([], [])
    rig.surface.sendable = True
    assert rig.run(later.task) is None
    assert "\nhere\n" in asked(rig)


def test_a_turn_that_needs_none_does_not_wait(rig: Rig) -> None:
    rig.surface.sendable = False
    ask(rig, "[photo]", photo())
    assert asked(rig) == "[photo]"


def test_all_fetches_share_a_deadline_within_that_of_the_turn(tmp_path: Path) -> None:
    left = []

    def fetch(max_bytes: int, deadline: object, stop: object) -> Media:
        left.append(deadline.remaining())  # type: ignore[attr-defined]
        return Media(b"x")

    for turn_ms, most_s in ((600_000, 30.0), (10_000, 5.0)):
        config = CONFIG + f"turn_timeout_ms = {turn_ms}\n".encode()
        with rig_at(tmp_path / f"{turn_ms}.sqlite3", config) as rig:
            rig.channel.media = {"1": fetch, "2": fetch}
            ask(rig, "see", document(), document(id="2"))
        first, second = left[-2:]
        assert most_s / 2 < second <= first <= most_s


def test_a_stop_while_fetching_gives_the_message_back_and_it_is_fetched_again(rig: Rig) -> None:
    def stopped(max_bytes: int, deadline: object, stop: StopToken) -> Media:
        stop.set("stopping")
        raise Interrupted("stopped")

    rig.channel.media = {"1": stopped}
    seq = rig.put(rig.message("[document a.txt]", attachments=(document(),)))
    assert rig.run(TurnTask(rig.turns, seq), StopToken()) is None
    assert list(rig.inbox_states().values()) == ["new"]
    assert rig.store.read(lambda conn: inbox.load(conn, seq)).attempts == 0
    assert rig.provider.calls == []
    rig.channel.media["1"] = Media(b"here")
    assert rig.run(TurnTask(rig.turns, seq)) is None
    assert "\nhere\n" in asked(rig)


def test_another_try_of_a_turn_fetches_again_and_finds_the_file_gone(rig: Rig) -> None:
    rig.channel.media = {"1": [Media(b"here"), Refused("gone", code="media_gone")]}
    rig.provider.script = [ProviderFault("provider_overloaded", "503")]
    later = ask(rig, "[document a.txt]", document())
    assert later is not None and "\nhere\n" in asked(rig)
    assert rig.run(later.task) is None
    assert asked(rig) == NOTE
    rig.ask("well?")
    assert rig.provider.calls[-1].messages[-3].content == NOTE


def test_a_message_without_files_reads_its_history_and_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seq = rig.put(rig.message())
    row = rig.store.read(lambda conn: inbox.load(conn, seq))
    assert row is not None
    reads: list[object] = []
    real = rig.store.read
    monkeypatch.setattr(rig.store, "read", lambda operation: (reads.append(operation), real(operation))[1])
    rig.turns.task(row).run(StopToken())
    assert len(reads) == 1
