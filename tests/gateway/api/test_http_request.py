"""The parser of request heads: what it reads, and everything it refuses to guess about."""

from __future__ import annotations

import pytest

from loong_gateway.api.http_request import HeadReader, Limits, Refusal
from tests.gateway.api.heads import parse_head
from tests.gateway.api.smuggling import CORPUS, GET

BODY_CASES = {"body on GET", "chunks on GET"}


def test_a_plain_request_is_read() -> None:
    head = parse_head(b"GET /v1/status?a=1&b=%20 HTTP/1.1\r\nHost: LocalHost:18789\r\nX-A: one \r\n\r\n")
    assert (head.method, head.path, head.query, head.minor) == ("GET", "/v1/status", "a=1&b=%20", 1)
    assert (head.host, head.port) == ("localhost", 18789)
    assert head.get("x-a") == "one"
    assert head.get("x-b") is None
    assert not head.has_body
    assert head.keeps_alive


@pytest.mark.parametrize("name", sorted(set(CORPUS) - BODY_CASES))
def test_ambiguous_heads_are_refused(name: str) -> None:
    raw, status = CORPUS[name]
    with pytest.raises(Refusal) as refused:
        parse_head(raw)
    assert refused.value.status == status


@pytest.mark.parametrize("name", sorted(set(CORPUS) - BODY_CASES))
def test_how_the_bytes_arrive_changes_nothing(name: str) -> None:
    raw, status = CORPUS[name]
    reader = HeadReader(Limits())
    with pytest.raises(Refusal) as refused:
        for index in range(len(raw)):
            reader.feed(raw[index : index + 1])
        raise AssertionError("nothing was refused")
    assert refused.value.status == status


def test_a_refusal_holds_nothing_of_the_request() -> None:
    with pytest.raises(Refusal) as refused:
        parse_head(b"GET /secret-path <bad> HTTP/1.1\r\n\r\n")
    assert "secret" not in str(refused.value)


def test_bytes_behind_the_head_are_kept() -> None:
    reader = HeadReader(Limits())
    assert reader.feed(GET) is None
    assert reader.feed(b"\r\nnext") is not None
    assert reader.rest == b"next"


def test_one_empty_line_before_a_request_is_forgiven() -> None:
    assert parse_head(b"\r\n" + GET + b"\r\n").path == "/healthz"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://127.0.0.1/healthz?x", "/healthz", "x"),
        (b"HTTP://127.0.0.1", "/", ""),
        (b"http://127.0.0.1?x=1", "/", "x=1"),
        (b"//evil.example/healthz", "//evil.example/healthz", ""),
        (b"/%2e%2e/healthz", "/%2e%2e/healthz", ""),
    ],
)
def test_targets_are_split_and_never_decoded(target: bytes, path: str, query: str) -> None:
    head = parse_head(b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (head.path, head.query) == (path, query)


def test_the_server_itself_can_be_asked_for_its_options() -> None:
    assert parse_head(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").path == "*"


def test_lengths_and_chunks_are_told_apart() -> None:
    counted = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
    assert (counted.length, counted.chunked, counted.has_body) == (12, False, True)
    chunked = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n")
    assert (chunked.length, chunked.chunked, chunked.has_body) == (None, True, True)
    empty = parse_head(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert not empty.has_body


def test_list_fields_are_joined_over_their_copies() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade,\r\nConnection: close\r\n\r\n")
    assert head.words("connection") == ("upgrade", "close")
    assert not head.keeps_alive


def test_connections_of_http_1_0_end_with_the_answer() -> None:
    assert not parse_head(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").keeps_alive


def test_an_incomplete_head_is_refused_when_no_more_comes() -> None:
    with pytest.raises(Refusal):
        parse_head(GET)


def test_limits_are_parameters() -> None:
    raw = b"GET /aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\nX: bbbb\r\n\r\n"
    assert parse_head(raw).path.startswith("/a")
    for limits, status in (
        (Limits(line_bytes=20), 414),
        (Limits(field_bytes=6), 431),
        (Limits(fields=1), 431),
        (Limits(head_bytes=40), 431),
    ):
        with pytest.raises(Refusal) as refused:
            parse_head(raw, limits)
        assert refused.value.status == status
