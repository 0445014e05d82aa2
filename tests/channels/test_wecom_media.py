"""Files that come with messages: fetched from the double, opened with their own key."""

from __future__ import annotations

import base64
import importlib.util
import os

import pytest

from loong_channels import aes
from loong_channels.contract import Attachment, Media
from loong_channels.faults import BadAnswer, Interrupted, Overloaded, Refused
from loong_channels.files import downloaded_as
from loong_channels.waiting import Deadline, StopToken
from loong_channels.wecom.channel import Channel
from loong_channels.wecom.media import unlock
from tests.channels.wecom_rig import heard, make_channel, online
from tests.fakes.wecom import FakeWeCom

KEY = bytes(range(32))
AESKEY = base64.b64encode(KEY).decode().rstrip("=")
needs_crypto = pytest.mark.skipif(
    importlib.util.find_spec("cryptography") is None, reason="without cryptography"
)


def locked(content: bytes, block: int = 32) -> bytes:
    """The file as the platform serves it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    count = block - len(content) % block
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(KEY[:16])).encryptor()
    return encryptor.update(content + bytes([count]) * count) + encryptor.finalize()


@needs_crypto
@pytest.mark.parametrize("block", [16, 32])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 100_000])
def test_a_file_is_opened_whatever_its_size(size: int, block: int) -> None:
    content = os.urandom(size)
    assert unlock(locked(content, block), AESKEY) == content
    assert unlock(locked(content, block), AESKEY + "=") == content


@needs_crypto
@pytest.mark.parametrize(
    ("content", "aeskey"),
    [
        (b"", AESKEY),
        (b"x" * 15, AESKEY),
        (b"x" * 32, AESKEY),
        (b"x" * 32, "???"),
        (b"x" * 32, "AAAA"),
    ],
)
def test_what_does_not_fit_is_a_bad_answer(content: bytes, aeskey: str) -> None:
    with pytest.raises(BadAnswer):
        unlock(content, aeskey)


@needs_crypto
def test_a_file_of_a_message_is_fetched_and_opened() -> None:
    content = os.urandom(70_000)
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        url = fake.add_media(locked(content), "%E6%8A%A5%E5%91%8A.pdf", "f1")
        inbound = heard(fake, host, None, msgtype="file", file={"url": url, "aeskey": AESKEY})
        (attachment,) = inbound.attachments
        assert inbound.text == "[file]"
        assert url not in inbound.text
        found = channel.fetch(attachment, max_bytes=1 << 20, deadline=Deadline(10), stop=StopToken())
        assert found.content == content
        assert found.name == "报告.pdf"
        assert host.notes == []
        gone = Attachment("file", ref={"url": f"{url}x", "aeskey": AESKEY})
        with pytest.raises(Refused) as caught:
            channel.fetch(gone, max_bytes=1 << 20, deadline=Deadline(10), stop=StopToken())
        assert caught.value.code == "media_gone"
        channel.interrupt()
        with pytest.raises(Interrupted):
            channel.fetch(attachment, max_bytes=1 << 20, deadline=Deadline(10), stop=StopToken())


@pytest.mark.parametrize(
    "url", [None, "", "ftp://127.0.0.1/x", "http://example.com/x", "https://a@b/x", "https://[", "x"]
)
def test_only_addresses_of_the_platforms_kind_are_fetched(url: str | None) -> None:
    with FakeWeCom() as fake:
        channel = make_channel(fake)
        with pytest.raises(Refused):
            channel.fetch(
                Attachment("file", ref={"url": url, "aeskey": AESKEY}),
                max_bytes=1 << 20,
                deadline=Deadline(5),
                stop=StopToken(),
            )


def test_without_the_package_fetching_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(aes.importlib, "import_module", missing)
    with pytest.raises(aes.CryptoMissing, match="cryptography"):
        unlock(b"x" * 32, AESKEY)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", None),
        ("attachment", None),
        ('attachment; filename="a b.pdf"', "a b.pdf"),
        ("attachment; filename=a.pdf; size=3", "a.pdf"),
        ("attachment; filename=\"x.pdf\"; filename*=UTF-8''%E4%BD%A0.pdf", "你.pdf"),
        ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
        ('attachment; filename="..\\\\a\nb"', "a b"),
        ("attachment; filename*=UTF-8''%ff%0a", "\ufffd"),
    ],
)
def test_the_name_of_a_file(disposition: str, name: str | None) -> None:
    assert downloaded_as({"content-disposition": disposition}) == (name, None)


def fetch(channel: Channel, url: str, max_bytes: int = 1 << 20, aeskey: str | None = AESKEY) -> Media:
    ref = {"url": url} if aeskey is None else {"url": url, "aeskey": aeskey}
    return channel.fetch(
        Attachment("file", ref=ref), max_bytes=max_bytes, deadline=Deadline(5), stop=StopToken()
    )


@needs_crypto
@pytest.mark.parametrize("size", [0, 31, 32, 100_000])
def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_too_large(size: int) -> None:
    with FakeWeCom() as fake:
        channel = make_channel(fake)
        url = fake.add_media(locked(bytes(size)), "a", "a")
        assert fetch(channel, url, size).content == bytes(size)
        if size:
            with pytest.raises(Refused) as caught:
                fetch(channel, url, size - 1)
            assert caught.value.code == "too_large"


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_file_that_is_too_large_is_not_read_to_its_end(says_its_length: bool) -> None:
    with FakeWeCom() as fake:
        url = fake.add_media(bytes(5 << 20), "a", "a", chunked=not says_its_length)
        with pytest.raises(Refused) as caught:
            fetch(make_channel(fake), url, 1000, aeskey=None)
        assert caught.value.code == "too_large"


def test_no_more_than_twenty_megabytes_whatever_is_allowed() -> None:
    with FakeWeCom() as fake:
        url = fake.add_media(bytes((20 << 20) + 1), "a", "a")
        with pytest.raises(Refused) as caught:
            fetch(make_channel(fake), url, 1 << 30, aeskey=None)
        assert caught.value.code == "too_large"


@pytest.mark.parametrize("where", ["same host", "http://127.0.0.1:1/", "http://169.254.169.254/latest/"])
def test_a_redirect_is_never_followed(where: str) -> None:
    with FakeWeCom() as fake:
        inner = fake.add_media(b"inner", "a", "inner")
        url = fake.add_moved("outer", inner if where == "same host" else where)
        with pytest.raises(Refused) as caught:
            fetch(make_channel(fake), url, aeskey=None)
        assert caught.value.code == "media_moved"
        assert fake.fetched == ["/media/outer"]


@pytest.mark.parametrize(
    ("content_type", "mime"),
    [
        ("image/PNG; charset=x", "image/png"),
        ("application/octet-stream", None),
        ("nonsense", None),
        ("text/html<script>", None),
    ],
)
def test_what_the_server_says_about_the_file(content_type: str, mime: str | None) -> None:
    with FakeWeCom() as fake:
        url = fake.add_media(b"picture", "a.png", "a", content_type)
        found = fetch(make_channel(fake), url, aeskey=None)
        assert (found.content, found.name, found.mime) == (b"picture", "a.png", mime)


def test_a_server_that_fails_for_a_moment_may_be_asked_again() -> None:
    with FakeWeCom() as fake:
        url = fake.add_media(b"x", "a", "a", status=503)
        with pytest.raises(Overloaded):
            fetch(make_channel(fake), url, aeskey=None)


def test_without_the_package_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with FakeWeCom() as fake:
        url = fake.add_media(b"x" * 32, "a", "a")
        with pytest.raises(aes.CryptoMissing, match="loong\\[crypto\\]"):
            fetch(make_channel(fake), url)
        assert fake.fetched == []


def test_no_fault_holds_the_address_or_the_key() -> None:
    with FakeWeCom() as fake:
        url = fake.add_media(b"x" * 100, "a", "secretpath")
        for most, target in ((10, url), (100, f"{url}-gone"), (100, fake.add_moved("secretpath2", url))):
            with pytest.raises(Refused) as caught:
                fetch(make_channel(fake), target, most, aeskey=None)
            assert "secretpath" not in str(caught.value)
