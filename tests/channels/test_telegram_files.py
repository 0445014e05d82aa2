"""Files that came with messages, fetched from the double of the Bot API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loong_channels.contract import Attachment, Media
from loong_channels.faults import BadAnswer, Fault, Interrupted, Overloaded, Refused, Unreachable
from loong_channels.telegram.channel import Channel
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.channels.telegram_rig import RecordingHost, make_channel, running
from tests.fakes import telegram_files
from tests.fakes.telegram import FakeTelegram
from tests.fakes.telegram_files import document, photo


@pytest.fixture
def fake() -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        yield server
        assert server.complaints == []
        assert server.server.crashes == []


def fetch(
    channel: Channel, attachment: Attachment, max_bytes: int = 1 << 20, stop: StopToken | None = None
) -> Media:
    return channel.fetch(attachment, max_bytes=max_bytes, deadline=Deadline(10), stop=stop or StopToken())


def file(file_id: str) -> Attachment:
    return Attachment("document", "a.txt", "text/plain", ref={"file_id": file_id})


def fault_of(fake: FakeTelegram, attachment: Attachment, **how: int) -> Fault:
    with pytest.raises(Fault) as caught:
        fetch(make_channel(fake), attachment, **how)
    assert fake.token not in str(caught.value)
    assert "/file/" not in str(caught.value)
    return caught.value


def test_a_document_comes_with_its_name_and_type(fake: FakeTelegram) -> None:
    channel, host = make_channel(fake), RecordingHost()
    file_id = fake.add_file("one\ntwo\n", "documents/file 1#?.txt")
    with running(channel, host):
        fake.say(None, document=document(file_id, "notes.txt", 8, "text/plain"), caption="read this")
        host.wait_for(lambda: host.messages)
        (attachment,) = host.messages[0].attachments
        assert fetch(channel, attachment) == Media(b"one\ntwo\n", "notes.txt", "text/plain")


def test_of_a_photo_the_largest_size_is_fetched(fake: FakeTelegram) -> None:
    channel, host = make_channel(fake), RecordingHost()
    small, large = fake.add_file("small", "photos/1.jpg"), fake.add_file("large", "photos/2.jpg")
    with running(channel, host):
        fake.say(None, photo=photo(small, large))
        host.wait_for(lambda: host.messages)
        assert fetch(channel, host.messages[0].attachments[0]).content == b"large"


@pytest.mark.parametrize("kind", ["audio", "voice", "video"])
def test_sounds_and_films_can_be_fetched(fake: FakeTelegram, kind: str) -> None:
    file_id = fake.add_file(b"OggS", "voice/file_3.oga")
    assert fetch(make_channel(fake), Attachment(kind, ref={"file_id": file_id})).content == b"OggS"


@pytest.mark.parametrize("ref", [{"file_id": "AgAD-unknown"}, {}])
def test_a_file_that_the_platform_does_not_know_is_gone(fake: FakeTelegram, ref: dict[str, object]) -> None:
    fault = fault_of(fake, Attachment("document", ref=ref))
    assert isinstance(fault, Refused) and fault.code == "media_gone"


def test_what_the_platform_finds_too_big_is_too_large(
    fake: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_files, "MAX_DOWNLOAD_BYTES", 10)
    fault = fault_of(fake, file(fake.add_file("more than ten", "a.txt")))
    assert isinstance(fault, Refused) and fault.code == "too_large"


def test_no_more_is_read_than_allowed(fake: FakeTelegram) -> None:
    file_id = fake.add_file("x" * 5000, "a.txt")
    fault = fault_of(fake, file(file_id), max_bytes=4999)
    assert isinstance(fault, Refused) and fault.code == "too_large"
    assert len(fetch(make_channel(fake), file(file_id), 5000).content) == 5000


def test_a_path_that_has_expired_is_gone(fake: FakeTelegram) -> None:
    file_id = fake.add_file("x", "a.txt")
    fake.on_request = lambda request, when: fake.advance(3700) if request.method == "download" else None
    fault = fault_of(fake, file(file_id))
    assert isinstance(fault, Refused) and fault.code == "media_gone"


@pytest.mark.parametrize("path", ["/var/lib/telegram-bot-api/a.txt", "../../etc/passwd", "a\nb"])
def test_only_paths_of_the_server_are_asked_for(fake: FakeTelegram, path: str) -> None:
    fault = fault_of(fake, file(fake.add_file("x", path)))
    assert isinstance(fault, Refused) and fault.code == "file_path"
    assert fake.calls("download") == []


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("status", {"status": 503}, Overloaded),
        ("status", {"status": 404}, Refused),
        ("html", {}, Overloaded),
        ("reset", {}, Unreachable),
        ("lost", {}, Unreachable),
    ],
)
def test_a_download_that_fails_is_a_fault_without_the_address(
    fake: FakeTelegram, kind: str, details: dict[str, object], expected: type[Fault]
) -> None:
    fake.fault("download", kind, times=None, **details)
    assert isinstance(fault_of(fake, file(fake.add_file("x", "a.txt"))), expected)


@pytest.mark.parametrize("fault", ["null", "empty", "truncated"])
def test_an_answer_that_names_no_file_is_a_bad_answer(fake: FakeTelegram, fault: str) -> None:
    fake.fault("getFile", fault, times=None)
    assert isinstance(fault_of(fake, file(fake.add_file("x", "a.txt"))), BadAnswer)


def test_a_stop_ends_a_download_at_once(fake: FakeTelegram) -> None:
    channel, stop = make_channel(fake), StopToken()
    fake.fault("download", "hang")
    attachment = file(fake.add_file("x", "a.txt"))
    fault = raised_when_woken(
        lambda: fetch(channel, attachment, stop=stop),
        blocked=lambda: fake.calls("download"),
        wake=lambda: stop.set("enough"),
    )
    assert isinstance(fault, Interrupted)
