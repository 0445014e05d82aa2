"""Bodies: counted and chunked, within their caps, whatever pieces they arrive in."""

from __future__ import annotations

import pytest

from loong_gateway.api.body import BodyReader
from loong_gateway.api.http_request import Refusal
from tests.gateway.api.heads import parse_head

LIMIT = 64


def reader(framing: bytes) -> BodyReader:
    head = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
    return BodyReader(head, limit_bytes=LIMIT)


def chunked() -> BodyReader:
    return reader(b"Transfer-Encoding: chunked")


def test_a_counted_body_ends_where_it_says() -> None:
    body = reader(b"Content-Length: 5")
    assert not body.feed(b"abc")
    assert body.feed(b"defgh")
    assert (body.body, body.rest) == (b"abcde", b"fgh")


def test_no_length_means_no_body() -> None:
    assert reader(b"X: 1").complete


def test_an_announced_body_that_is_too_large_is_refused_before_it_arrives() -> None:
    with pytest.raises(Refusal) as refused:
        reader(b"Content-Length: 65")
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"00000003\r\nabc\r\n000\r\n\r\n", b"abc"),
        (b'3;a=b;c;d="x y\\""\r\nabc\r\n0\r\n\r\n', b"abc"),
        (b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"abc"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    ],
)
def test_chunks_are_joined(raw: bytes, decoded: bytes) -> None:
    whole = chunked()
    assert whole.feed(raw + b"next")
    assert (whole.body, whole.rest) == (decoded, b"next")
    dripped = chunked()
    for index in range(len(raw)):
        assert dripped.feed(raw[index : index + 1]) is (index == len(raw) - 1)
    assert dripped.body == decoded


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"-1\r\n", 400),
        (b"+3\r\nabc\r\n", 400),
        (b"0x3\r\nabc\r\n", 400),
        (b"3 \r\nabc\r\n", 400),
        (b" 3\r\nabc\r\n", 400),
        (b"\r\nabc\r\n", 400),
        (b"3\nabc\n", 400),
        (b"3\rabc\r\n", 400),
        (b"3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"3\r\nabc0\r\n\r\n", 400),
        (b"3\r\nabc\n0\r\n\r\n", 400),
        (b"1_0\r\n", 400),
        (b"000000003\r\n", 400),
        (b"fffffffff\r\n", 400),
        (b"ffffffff\r\n", 413),
        (b"41\r\n", 413),
        (b"3\r\nabc\r\n3e\r\n", 413),
        (b"3;\r\nabc\r\n", 400),
        (b"3;a\nb\r\nabc\r\n", 400),
        (b"3;a=\0\r\nabc\r\n", 400),
        (b"3;" + b"a" * 300 + b"\r\n", 400),
        (b"3;" + b"a" * 300, 400),
        ((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 30, 400),
        (b"0\r\nContent-Length: 3\r\n\r\n", 400),
        (b"0\r\nAuthorization: Bearer x\r\n\r\n", 400),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"0\r\nno field\r\n\r\n", 400),
        (b"0\r\nX : 1\r\n\r\n", 400),
        (b"0\r\n" + b"X: 1234567\r\n" * 900, 431),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_broken_chunks_are_refused(raw: bytes, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        chunked().feed(raw)
    assert refused.value.status == status
    with pytest.raises(Refusal):
        body = chunked()
        for index in range(len(raw)):
            assert not body.feed(raw[index : index + 1])
