"""Requests that two programs in a row could read differently. None of them may be served."""

from __future__ import annotations

GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /api/gateway/send HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
END = b"\r\n"
BODY = b"0\r\n\r\n"


def _post(*fields: bytes, body: bytes = BODY) -> bytes:
    return POST + b"".join(field + b"\r\n" for field in fields) + END + body


def _get(*fields: bytes) -> bytes:
    return GET + b"".join(field + b"\r\n" for field in fields) + END


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: 127.0.0.1\r\n\r\n"


CORPUS: dict[str, tuple[bytes, int]] = {
    # Two ways to tell the length of a body.
    "length and chunks": (_post(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "chunks and length": (_post(b"Transfer-Encoding: chunked", b"Content-Length: 5"), 400),
    "two different lengths": (_post(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "two equal lengths": (_post(b"Content-Length: 5", b"Content-Length: 5"), 400),
    "lengths in one list": (_post(b"Content-Length: 5, 5"), 400),
    "two codings": (_post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
    "chunked twice": (_post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "chunked with HTTP/1.0": (
        b"POST /api/gateway/send HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "length spelt with underscore": (_post(b"Content_Length: 5"), 400),
    "coding spelt with underscore": (_post(b"Transfer_Encoding: chunked"), 400),
    # Lengths that are no lengths.
    "plus sign": (_post(b"Content-Length: +5"), 400),
    "minus sign": (_post(b"Content-Length: -1"), 400),
    "underscore in digits": (_post(b"Content-Length: 0_5"), 400),
    "hexadecimal": (_post(b"Content-Length: 0x5"), 400),
    "empty length": (_post(b"Content-Length:"), 400),
    "blank within the length": (_post(b"Content-Length: 5 5"), 400),
    "superscript digit": (_post(b"Content-Length: \xb2"), 400),
    "fraction": (_post(b"Content-Length: 5.0"), 400),
    "eleven digits": (_post(b"Content-Length: 00000000005"), 400),
    "vertical tab before the length": (_post(b"Content-Length:\x0b5"), 400),
    "quoted length": (_post(b'Content-Length: "5"'), 400),
    # Codings that are not exactly chunked.
    "gzip and chunked": (_post(b"Transfer-Encoding: gzip, chunked"), 501),
    "chunked and identity": (_post(b"Transfer-Encoding: chunked, identity"), 501),
    "identity": (_post(b"Transfer-Encoding: identity"), 501),
    "xchunked": (_post(b"Transfer-Encoding: xchunked"), 501),
    "quoted chunked": (_post(b'Transfer-Encoding: "chunked"'), 501),
    "chunked with parameter": (_post(b"Transfer-Encoding: chunked;q=1"), 501),
    "chunked behind a vertical tab": (_post(b"Transfer-Encoding:\x0bchunked"), 400),
    "chunked behind a null": (_post(b"Transfer-Encoding: chunked\0"), 400),
    "empty coding": (_post(b"Transfer-Encoding:"), 501),
    # Lines and fields.
    "blank before the colon": (_post(b"Content-Length : 5"), 400),
    "tab before the colon": (_post(b"Transfer-Encoding\t: chunked"), 400),
    "blank before the name": (_post(b" Content-Length: 5"), 400),
    "folded field": (_get(b"X-Long: a", b" b"), 400),
    "folded coding": (_post(b"Transfer-Encoding:", b" chunked"), 400),
    "first field folded": (b"GET /healthz HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n", 400),
    "field without a colon": (_get(b"Content-Length"), 400),
    "empty name": (_get(b": value"), 400),
    "null in a name": (_get(b"X\0Y: 1"), 400),
    "null in a value": (_get(b"X: a\0b"), 400),
    "delete in a value": (_get(b"X: a\x7fb"), 400),
    "escape in a value": (_get(b"X: \x1b[2J"), 400),
    "letter outside ASCII in a name": (_get(b"X\xe4: 1"), 400),
    "bare line feeds": (GET.replace(b"\r\n", b"\n") + b"\n", 400),
    "one bare line feed": (GET + b"X: 1\nY: 2\r\n\r\n", 400),
    "bare carriage return in a value": (_get(b"X: 1\rContent-Length: 5"), 400),
    "bare carriage return as end": (GET + b"X: 1\r\rY: 2\r\n\r\n", 400),
    "two carriage returns": (GET + b"X: 1\r\r\n\r\n", 400),
    "line feed ends the head": (GET + b"\n", 400),
    # The request line.
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "two blanks": (_line(b"GET  /healthz HTTP/1.1"), 400),
    "tab as separator": (_line(b"GET\t/healthz HTTP/1.1"), 400),
    "blank at the end": (_line(b"GET /healthz HTTP/1.1 "), 400),
    "blank in the target": (_line(b"GET /heal thz HTTP/1.1"), 400),
    "request hidden in the target": (_line(b"GET /healthz HTTP/1.1 GET /x HTTP/1.1"), 400),
    "lower-case protocol": (_line(b"GET /healthz http/1.1"), 400),
    "garbage": (b"GARBAGE\r\n\r\n", 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "blank first": (b" " + _line(b"GET /healthz HTTP/1.1"), 400),
    "two empty lines first": (b"\r\n\r\n" + _line(b"GET /healthz HTTP/1.1"), 400),
    "HTTP/2.0": (_line(b"GET /healthz HTTP/2.0"), 505),
    "HTTP/0.9": (_line(b"GET /healthz HTTP/0.9"), 505),
    "HTTP/1.10": (_line(b"GET /healthz HTTP/1.10"), 400),
    "HTTP/1.2": (_line(b"GET /healthz HTTP/1.2"), 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "lower-case method": (_line(b"get /healthz HTTP/1.1"), 501),
    "unknown method": (_line(b"BREW /healthz HTTP/1.1"), 501),
    "tunnel": (_line(b"CONNECT 127.0.0.1:22 HTTP/1.1"), 501),
    "trace": (_line(b"TRACE /healthz HTTP/1.1"), 501),
    # Targets.
    "target of another server": (_line(b"GET http://evil.example/healthz HTTP/1.1"), 400),
    "target with a user": (_line(b"GET http://a@127.0.0.1/healthz HTTP/1.1"), 400),
    "target of another scheme": (_line(b"GET file:///healthz HTTP/1.1"), 400),
    "target without a slash": (_line(b"GET healthz HTTP/1.1"), 400),
    "asterisk for GET": (_line(b"GET * HTTP/1.1"), 400),
    "fragment": (_line(b"GET /healthz#x HTTP/1.1"), 400),
    "broken escape": (_line(b"GET /heal%zzthz HTTP/1.1"), 400),
    "backslash": (_line(b"GET \\healthz HTTP/1.1"), 400),
    "bytes outside ASCII": (_line(b"GET /\xc3\xa4 HTTP/1.1"), 400),
    "null in the target": (_line(b"GET /healthz\0 HTTP/1.1"), 400),
    # Hosts.
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "no host with HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", 400),
    "two hosts": (_get(b"Host: evil.example"), 400),
    "two equal hosts": (_get(b"Host: 127.0.0.1"), 400),
    "empty host": (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "host with a path": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1/x\r\n\r\n", 400),
    "host with a user": (b"GET /healthz HTTP/1.1\r\nHost: a@127.0.0.1\r\n\r\n", 400),
    "host list": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1, evil.example\r\n\r\n", 400),
    "host port too large": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:65536\r\n\r\n", 400),
    "host port empty": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:\r\n\r\n", 400),
    "IPv4 address in brackets": (b"GET /healthz HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400),
    # Other single fields.
    "two authorizations": (_get(b"Authorization: Bearer a", b"Authorization: Bearer b"), 400),
    "two origins": (_get(b"Origin: http://127.0.0.1", b"Origin: http://evil.example"), 400),
    "unknown expectation": (_get(b"Expect: 200-ok"), 417),
    "body on GET": (_get(b"Content-Length: 5") + b"12345", 400),
    "chunks on GET": (_get(b"Transfer-Encoding: chunked") + BODY, 400),
    # Sizes.
    "line too long": (_line(b"GET /" + b"a" * 8300 + b" HTTP/1.1"), 414),
    "line that never ends": (b"GET /" + b"a" * 9000, 414),
    "field too long": (_get(b"X: " + b"a" * 8300), 431),
    "too many fields": (_get(*[b"X: 1"] * 101), 431),
    "too much in all": (_get(*[b"X: " + b"a" * 8000] * 9), 431),
}
# Complete requests; what follows them on the same connection must never be taken for another one.
SMUGGLED = b"POST /api/gateway/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n"
