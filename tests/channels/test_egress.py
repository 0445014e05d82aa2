"""Which way a connection leaves the host, and what happens on the way through a proxy."""

from __future__ import annotations

import base64
import contextlib
import socket
import sys
from collections.abc import Iterator
from typing import Callable

import pytest

from loong_channels.egress import Egress, EgressInvalid
from loong_channels.faults import Interrupted, Unreachable
from loong_channels.net import Call, HttpClient
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.fakes.scripted_peer import ScriptedPeer, answering, tunnel_to, unanswered

PASSWORD = "pa:ss@word"
PROXY = "http://proxy.corp:3128"
MakeClient = Callable[..., HttpClient]


def routed(no_proxy: str, host: str, port: int = 443) -> bool:
    return Egress(proxy=PROXY, no_proxy=no_proxy, environ={}).route("https", host, port) is not None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("feishu.cn", "feishu.cn", 443),
        ("feishu.cn", "open.feishu.cn", 443),
        (".feishu.cn", "open.feishu.cn", 443),
        (".feishu.cn", "feishu.cn", 443),
        ("*.feishu.cn", "open.feishu.cn", 443),
        ("*.feishu.cn", "feishu.cn", 443),
        ("FEISHU.cn", "Open.Feishu.CN", 443),
        ("feishu.cn", "open.feishu.cn.", 443),
        ("feishu.cn:443", "open.feishu.cn", 443),
        ("*.feishu.cn:8443", "open.feishu.cn", 8443),
        ("a.b, feishu.cn  c.d", "feishu.cn", 443),
        ("*", "anything.at.all", 443),
        ("10.0.0.0/8", "10.20.30.40", 443),
        ("10.1.2.3", "10.1.2.3", 443),
        ("10.1.2.3:443", "10.1.2.3", 443),
        ("fd00::/8", "fd12::1", 443),
        ("fd00::/8", "[FD12::1]", 443),
        ("[fd12::1]:443", "fd12::1", 443),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 443),
        ("", "localhost", 443),
        ("", "api.localhost", 443),
        ("", "127.0.0.1", 11434),
        ("", "127.9.9.9", 80),
        ("", "::1", 80),
        ("", "[::1]", 80),
    ],
)
def test_goes_direct(no_proxy: str, host: str, port: int) -> None:
    assert not routed(no_proxy, host, port)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("", "feishu.cn", 443),
        ("feishu.cn", "notfeishu.cn", 443),
        ("feishu.cn", "feishu.cn.evil.com", 443),
        ("open.feishu.cn", "feishu.cn", 443),
        ("feishu.cn:80", "feishu.cn", 443),
        ("10.0.0.0/8", "11.0.0.1", 443),
        ("10.0.0.0/8", "host10.corp", 443),
        ("10.0.0.0/99", "10.0.0.1", 443),
        ("fd00::/8", "fe80::1", 443),
        (".", "feishu.cn", 443),
        ("1.2.3.4", "1.2.3.4.nip.io", 443),
    ],
)
def test_goes_through_the_proxy(no_proxy: str, host: str, port: int) -> None:
    assert routed(no_proxy, host, port)


@pytest.mark.parametrize(
    ("environ", "scheme", "setting"),
    [
        ({"HTTPS_PROXY": PROXY}, "https", "HTTPS_PROXY"),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "wss", "https_proxy"),
        ({"HTTP_PROXY": PROXY}, "http", "HTTP_PROXY"),
        ({"ALL_PROXY": PROXY}, "https", "ALL_PROXY"),
        ({"all_proxy": "proxy.corp:3128"}, "http", "all_proxy"),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://other:1"}, "https", "HTTPS_PROXY"),
    ],
)
def test_the_environment_is_heeded_where_the_config_is_silent(
    environ: dict[str, str], scheme: str, setting: str
) -> None:
    proxy = Egress(environ=environ).route(scheme, "api.example", 443)
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.setting) == ("proxy.corp", 3128, setting)


def test_the_variable_of_the_other_scheme_does_not_apply() -> None:
    assert Egress(environ={"HTTP_PROXY": PROXY}).route("https", "api.example", 443) is None


def test_the_config_wins_over_the_environment() -> None:
    environ = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "api.example"}
    assert Egress(proxy="", environ=environ).route("https", "b.example", 443) is None
    chosen = Egress(proxy=PROXY, no_proxy="", environ=environ).route("https", "api.example", 443)
    assert chosen is not None and chosen.setting == "network.proxy"
    assert Egress(proxy=PROXY, environ=environ).route("https", "api.example", 443) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"socks5://u:{PASSWORD}@h:1", 'proxy scheme "socks5" is not supported'),
        ("https://h:3128", 'proxy scheme "https" is not supported'),
        (f"http://u:{PASSWORD}@h:99999", "not a proxy address"),
        ("http://:3128", "no host"),
    ],
)
def test_an_unusable_proxy_is_named_by_its_setting_without_its_password(value: str, words: str) -> None:
    egress = Egress(environ={"ALL_PROXY": value})
    with pytest.raises(EgressInvalid, match=words) as caught:
        egress.route("https", "api.example", 443)
    assert caught.value.setting == "ALL_PROXY" and str(caught.value).startswith("ALL_PROXY: ")
    assert not caught.value.maybe_processed
    assert PASSWORD not in str(caught.value)
    assert [setting for setting, _ in egress.problems()] == ["ALL_PROXY"]


def test_usable_settings_have_no_problems() -> None:
    assert Egress(proxy=PROXY, environ={}).problems() == ()
    assert Egress(environ={}).problems() == ()


def test_the_password_is_decoded_and_never_shown() -> None:
    egress = Egress(proxy="http://us%40er:pa%3Ass%40word@proxy.corp:3128", environ={})
    proxy = egress.route("https", "api.example", 443)
    assert proxy is not None and (proxy.user, proxy.password) == ("us@er", PASSWORD)
    assert PASSWORD not in repr(proxy) and "word" not in repr(egress)


@pytest.fixture
def target() -> Iterator[ScriptedPeer]:
    with ScriptedPeer(answering(lambda c: c.answer_json(200, {"ok": True}))) as peer:
        yield peer


@pytest.fixture
def through(opened: MakeClient) -> MakeClient:
    """Makes clients that leave the host by way of a proxy."""
    return lambda proxy, userinfo="": opened(
        Egress(proxy=f"http://{userinfo}127.0.0.1:{proxy.port}", environ={})
    )


def test_plain_http_is_forwarded_with_the_whole_address_and_credentials(
    target: ScriptedPeer, through: MakeClient
) -> None:
    with ScriptedPeer(answering(lambda c: c.answer_json(200, {"via": 1}))) as proxy:
        client = through(proxy, "us%40er:pa%3Ass%40word@")
        answer = client.request(Call("GET", "http://peer.test:8080/a?b=c", deadline=Deadline(5)))
    head = proxy.requests[0][0]
    assert answer.status == 200
    assert head.startswith("GET http://peer.test:8080/a?b=c HTTP/1.1") and "Host: peer.test:8080" in head
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'us@er:pa:ss@word').decode()}" in head


@pytest.mark.parametrize(
    ("scheme", "first_line"),
    [
        ("http", "GET http://xn--mnchen-3ya.test:8443/ HTTP/1.1"),
        ("https", "CONNECT xn--mnchen-3ya.test:8443 HTTP/1."),
    ],
)
def test_a_proxy_is_told_an_international_host_name_in_ascii(
    through: MakeClient, monkeypatch: pytest.MonkeyPatch, scheme: str, first_line: str
) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)
    with (
        ScriptedPeer(answering(lambda c: c.answer(403, b"no"))) as proxy,
        contextlib.suppress(Unreachable),
    ):
        through(proxy).request(Call("GET", f"{scheme}://m\u00fcnchen.test:8443/", deadline=Deadline(5)))
    assert proxy.requests[0][0].startswith(first_line)


def test_a_proxy_may_have_an_international_host_name(
    opened: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(host: str, *_: object) -> object:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setitem(sys.modules, "idna", None)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = opened(Egress(proxy="http://pr\u00f6xy.test:3128", environ={}))
    for scheme in ("http", "https"):
        with pytest.raises(Unreachable, match=r"name lookup of xn--prxy-6qa\.test failed"):
            client.request(Call("GET", f"{scheme}://peer.test/", deadline=Deadline(5)))
    assert asked == ["xn--prxy-6qa.test"] * 2


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answering(lambda c: c.answer(407, b"", extra="Proxy-Authenticate: Basic\r\n")), "other credentials"),
        (lambda c: c.reset(), ""),
        (lambda c: (c.read_request(), c.sock.close()), ""),
    ],
    ids=["407", "reset", "closed"],
)
def test_a_failing_proxy_is_reported_without_its_password(
    through: MakeClient, scheme: str, script: object, words: str
) -> None:
    with ScriptedPeer(script) as proxy, pytest.raises(Unreachable) as caught:
        through(proxy, "user:sesame@").request(Call("GET", f"{scheme}://peer.test/x", deadline=Deadline(5)))
    assert words in str(caught.value) and "sesame" not in str(caught.value)
    if scheme == "https" or words:
        assert not caught.value.maybe_processed
        assert f"proxy 127.0.0.1:{proxy.port}" in str(caught.value)


@pytest.mark.parametrize("status", [403, 502])
def test_a_proxy_that_refuses_the_host_says_so(through: MakeClient, status: int) -> None:
    with (
        ScriptedPeer(answering(lambda c: c.answer(status, b"<html>no</html>"))) as proxy,
        pytest.raises(Unreachable, match=f"refused to connect \\(HTTP {status}\\)") as caught,
    ):
        through(proxy).request(Call("GET", "https://peer.test/x", deadline=Deadline(5)))
    assert not caught.value.maybe_processed


def test_a_proxy_that_is_down_is_named(through: MakeClient) -> None:
    with ScriptedPeer(lambda c: None) as proxy:
        pass
    with pytest.raises(Unreachable, match=f"proxy 127.0.0.1:{proxy.port}") as caught:
        through(proxy).request(Call("GET", "https://peer.test/x", deadline=Deadline(5)))
    assert not caught.value.maybe_processed


def test_loopback_never_meets_the_proxy(target: ScriptedPeer, through: MakeClient) -> None:
    with ScriptedPeer(lambda c: None) as proxy:
        client = through(proxy)
        assert client.request(Call("GET", target.url, deadline=Deadline(5))).status == 200
    assert proxy.connections == 0


def test_a_silent_proxy_is_left_when_the_call_must_end(through: MakeClient) -> None:
    stop = StopToken()
    with ScriptedPeer(unanswered) as proxy:
        call = Call("GET", "https://peer.test/", deadline=Deadline(60), stop=stop)
        raised = raised_when_woken(
            lambda: through(proxy).request(call), blocked=lambda: proxy.requests, wake=stop.set
        )
    assert isinstance(raised, Interrupted)


def test_a_tunnel_that_leads_to_no_tls_is_surely_not_processed(through: MakeClient) -> None:
    with (
        ScriptedPeer(lambda c: c.send(b"220 mail.test ready\r\n")) as target,
        ScriptedPeer(tunnel_to(target.port)) as proxy,
        pytest.raises(Unreachable) as caught,
    ):
        through(proxy, "user:sesame@").request(Call("GET", "https://peer.test/x", deadline=Deadline(5)))
    assert not caught.value.maybe_processed
    assert proxy.requests[0][0].startswith("CONNECT peer.test:443 ")
    assert "Proxy-Authorization: Basic" in proxy.requests[0][0]
