"""web.fetch and http.request against real servers on loopback, behind names and addresses of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.tools.contract import BadArgument, ToolFailed
from loong_gateway.tools.web import web_tools
from tests.fakes.http_server import Call
from tests.gateway.tools.tool_rig import by_name, config_of, context, quiet_egress, toml
from tests.gateway.tools.web_rig import PUBLIC, SmallInternet

PAGE = (
    b"<html><title>T &amp; t</title><script>var secret</script><body><p>Hello</p><p>there</p></body></html>"
)


class Site:
    """What the public server answers, by path; `seen` are its requests."""

    def __init__(self) -> None:
        self.seen: list[Call] = []
        self.paths: dict[str, Callable[[Call], None]] = {
            "/": lambda call: call.reply(200, PAGE, "text/html; charset=utf-8")
        }

    def __call__(self, call: Call) -> None:
        self.seen.append(call)
        self.paths.get(call.path, lambda call: call.reply(404, b"none", "text/plain"))(call)

    def redirect(self, path: str, location: str) -> None:
        self.paths[path] = lambda call: call.reply(302, b"", headers=(("Location", location),))


@pytest.fixture(name="site")
def _site() -> Site:
    return Site()


@pytest.fixture(name="net")
def _net(site: Site) -> Iterator[SmallInternet]:
    net = SmallInternet(site)
    net.names["site.test"] = [[PUBLIC]]
    with net.up():
        yield net
        assert net.canary.connections == 0


def tools(more: str = "", **egress: object) -> object:
    config = config_of(more)
    return by_name(web_tools(lambda: config, quiet_egress(**egress)))


def test_a_page_is_told_as_its_text(net: SmallInternet, site: Site) -> None:
    told = tools().web_fetch(url="http://site.test/")
    assert told == {
        "url": "http://site.test/",
        "status": 200,
        "contentType": "text/html; charset=utf-8",
        "truncated": False,
        "title": "T & t",
        "text": "Hello\nthere",
    }
    assert net.connected == [PUBLIC]
    sent = {name.lower() for name in site.seen[0].headers}
    assert not sent & {"cookie", "authorization", "referer"}
    assert site.seen[0].headers["user-agent"] == "loong"


def test_redirects_are_followed_so_many_times_and_each_is_looked_at(net: SmallInternet, site: Site) -> None:
    for number in range(5):
        site.redirect(f"/{number}", f"/{number + 1}#x" if number < 4 else "http://site.test/")
    fetch = tools("[tools.web]\nmax_redirects = 3\n").web_fetch
    assert fetch(url="http://site.test/2")["url"] == "http://site.test/"
    with pytest.raises(ToolFailed, match="more than 3 redirects"):
        fetch(url="http://site.test/1")
    for location in (
        "http://127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "//localhost:1/",
        "file:///etc/passwd",
    ):
        site.redirect("/away", location)
        with pytest.raises(ToolFailed):
            fetch(url="http://site.test/away")
    site.redirect("/away", "http://site.test/\x7f")
    with pytest.raises(ToolFailed):
        fetch(url="http://site.test/away")
    net.names["inside.test"] = [["10.0.0.5"]]
    site.redirect("/away", "http://inside.test/")
    with pytest.raises(ToolFailed, match="private or special-use"):
        fetch(url="http://site.test/away")
    assert set(net.connected) == {PUBLIC}


def test_a_resolver_that_changes_its_mind_gets_nothing(net: SmallInternet) -> None:
    net.names["rebinding.test"] = [[PUBLIC], ["127.0.0.1"]]
    fetch = tools().web_fetch
    assert fetch(url="http://rebinding.test/")["status"] == 200
    with pytest.raises(ToolFailed, match="private or special-use"):
        fetch(url="http://rebinding.test/")
    net.names["both.test"] = [[PUBLIC, "127.0.0.1"]]
    with pytest.raises(ToolFailed, match="private or special-use"):
        fetch(url="http://both.test/")
    assert net.connected == [PUBLIC]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://site.test/",
        "file:///etc/passwd",
        "http://",
        "http://user@site.test/",
        "http://user:pw@site.test/",
        "http://site.test:0/",
        "http://site.test:99999/",
        "http://site.test\\@127.0.0.1/",
        "http://site.test/\n",
        "http://[fe80::1%25lo]/",
        "http://[::1",
        "//site.test/",
        "",
    ],
)
def test_what_is_no_plain_address_is_refused(net: SmallInternet, url: str) -> None:
    with pytest.raises(BadArgument):
        tools().web_fetch(url=url)
    assert net.asked == []


def test_addresses_of_this_network_are_for_the_configuration_to_allow(net: SmallInternet) -> None:
    net.names["intra.test"] = [["10.0.0.5"]]
    net.names["meta.test"] = [["169.254.169.254"]]
    allowed = tools("[tools.web]\nallow_private_hosts = true\n").web_fetch
    for url in ("http://meta.test/", "http://127.0.0.1/", "http://169.254.169.254/", "http://localhost/"):
        with pytest.raises(ToolFailed):
            allowed(url=url)
    assert net.canary.connections == 0
    assert allowed(url="http://intra.test/")["text"] == "canary"
    net.canary.connections = 0


def test_behind_a_proxy_nobody_could_say_what_is_reached(net: SmallInternet) -> None:
    with pytest.raises(ToolFailed, match="through a proxy"):
        tools(proxy="http://proxy.test:3128").web_fetch(url="http://site.test/")
    direct = tools(proxy="http://proxy.test:3128", no_proxy="site.test").web_fetch
    assert direct(url="http://site.test/")["status"] == 200
    assert net.asked == ["site.test"]


def test_only_so_much_is_read_and_only_text(net: SmallInternet, site: Site) -> None:
    del net
    fetch = tools("[tools.web]\nmax_bytes = 1024\n").web_fetch
    site.paths["/long"] = lambda call: call.reply(200, b"x" * 5000, "text/plain")
    told = fetch(url="http://site.test/long")
    assert (len(told["text"]), told["truncated"]) == (1024, True)
    site.paths["/image"] = lambda call: call.reply(200, b"\x89PNG", "image/png")
    with pytest.raises(ToolFailed, match="no text"):
        fetch(url="http://site.test/image")
    site.paths["/packed"] = lambda call: call.reply(
        200, b"\x1f\x8b", "text/plain", (("Content-Encoding", "gzip"),)
    )
    with pytest.raises(ToolFailed, match="compressed"):
        fetch(url="http://site.test/packed")


def test_a_stop_ends_a_fetch_at_once(net: SmallInternet, site: Site) -> None:
    del net
    stop = StopToken()

    def answer(call: Call) -> None:
        stop.set()
        call.pause(5)

    site.paths["/slow"] = answer
    with pytest.raises(ToolFailed, match="interrupted"):
        tools().web_fetch(context(stop=stop), url="http://site.test/slow")


def test_requests_go_to_named_origins_only(net: SmallInternet, site: Site) -> None:
    port = net.server.port
    net.names["127.0.0.1"] = [[PUBLIC]]
    origins = toml([f"http://127.0.0.1:{port}", "http://Api.Test"])
    request = tools(f"[tools.http]\norigins = {origins}\n").http_request
    assert request.tool.acts
    assert request.tool.available()
    site.paths["/echo"] = lambda call: call.reply(
        201, call.method.encode() + b" " + call.body, "application/json", (("X-Secret", "1"),)
    )
    url = f"http://127.0.0.1:{port}/echo"
    told = request(url=url, method="POST", body='{"a": 1}')
    assert told == {
        "status": 201,
        "contentType": "application/json",
        "truncated": False,
        "text": 'POST {"a": 1}',
    }
    assert site.seen[-1].headers["content-type"] == "application/json"
    assert request(url=url, method="HEAD")["status"] == 201
    for other in (
        f"http://127.0.0.1:{port + 1}/echo",
        f"https://127.0.0.1:{port}/echo",
        f"http://site.test:{port}/echo",
        f"http://127.0.0.1:{port}.site.test/",
        "http://api.test.site.test/",
        "http://api.test:8080/",
        "http://./",
    ):
        with pytest.raises(BadArgument):
            request(url=other)
    for header in ("a\r\nHost: x", "a\x00", "", "é"):
        with pytest.raises(BadArgument):
            request(url=url, accept=header)
    site.redirect("/away", "http://10.0.0.1/")
    assert request(url=f"http://127.0.0.1:{port}/away")["location"] == "http://10.0.0.1/"
    site.paths["/image"] = lambda call: call.reply(200, b"\x89PNG", "image/png")
    assert request(url=f"http://127.0.0.1:{port}/image")["bytes"] == 4
    assert set(net.connected) == {PUBLIC}


def test_without_origins_there_is_no_such_tool() -> None:
    assert not tools().http_request.tool.available()


def test_only_named_origins_see_the_certificate_of_this_host(net: SmallInternet) -> None:
    both = tools('[tools.http]\norigins = ["https://site.test"]\n', client_cert="/nowhere/cert.pem")
    for call, told in ((both.web_fetch, False), (both.http_request, True)):
        with pytest.raises(ToolFailed) as caught:
            call(url="https://site.test/")
        assert ("client_cert" in str(caught.value)) is told
    assert net.connected == [PUBLIC]
