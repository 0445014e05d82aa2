"""Every fault in every protocol: it ends in its class and in time, and the provider answers the next call."""

from __future__ import annotations

import pathlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Callable

import pytest

from loong_channels.egress import Egress
from loong_channels.waiting import Deadline
from loong_gateway.providers.contract import Message, Provider, ProviderCall, ProviderFault
from tests.fakes.certificates import make_certificates, server_context
from tests.fakes.faults import HTML_502
from tests.fakes.http_server import Call, PeerGone
from tests.fakes.model import FakeModel
from tests.fakes.scripted_peer import ScriptedPeer, relay_to
from tests.gateway.messaging.engine_rig import rig_at
from tests.gateway.providers.protocol_rig import HI, PROTOCOLS, Protocol
from tests.gateway.providers.provider_rig import ask

Ask = Callable[[Provider], object]
Script = Callable[[Call], None]
# No fault may take longer, whatever the machine does meanwhile; the deadlines below are far shorter.
AT_MOST_S = 30.0
SHORT_S = 0.1
PIECE = b"x" * 65536


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: protocol.name)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    made: Protocol = request.param
    return made


@pytest.fixture
def fake(protocol: Protocol) -> Iterator[FakeModel]:
    with protocol.double() as server:
        yield server
        assert server.server.crashes == []


@pytest.fixture
def provider(protocol: Protocol, fake: FakeModel) -> Provider:
    return protocol.provider(fake.origin, retry_max_attempts=1)


@pytest.fixture
def trying(protocol: Protocol, fake: FakeModel) -> Provider:
    """One that tries again."""
    return protocol.provider(fake.origin, retry_max_attempts=2)


def whole(provider: Provider, seconds: float = 10) -> object:
    return ask(provider, HI, deadline=Deadline(seconds))


def streamed(provider: Provider, seconds: float = 10) -> object:
    return ask(provider, HI, deadline=Deadline(seconds), on_text=lambda _: None)


def fault_of(provider: Provider, asked: Ask = whole) -> ProviderFault:
    """How the call ends; then the same provider answers."""
    began = time.monotonic()
    with pytest.raises(ProviderFault) as caught:
        asked(provider)
    assert time.monotonic() - began < AT_MOST_S
    return caught.value


def answers_again(provider: Provider, fake: FakeModel) -> bool:
    """Whether both kinds of call work once the trouble is over."""
    fake.clear_faults()
    fake.scripts.clear()
    return all(getattr(asked(provider), "text", "") == "re: hi there, you" for asked in (whole, streamed))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "auth_rejected"),
        (403, "auth_rejected"),
        (408, "provider_overloaded"),
        (409, "provider_overloaded"),
        (429, "rate_limited"),
        (500, "provider_overloaded"),
        (502, "provider_overloaded"),
        (503, "provider_overloaded"),
        (504, "provider_overloaded"),
        (529, "provider_overloaded"),
    ],
)
@pytest.mark.parametrize("asked", [whole, streamed])
def test_a_status(provider: Provider, fake: FakeModel, status: int, kind: str, asked: Ask) -> None:
    fake.fault("status", status=status, times=None, description="it went wrong")
    assert fault_of(provider, asked).kind == kind
    assert answers_again(provider, fake)


def test_a_model_that_is_not_there(provider: Provider, fake: FakeModel) -> None:
    gone = ProviderCall(HI.messages, model="gone")
    assert fault_of(provider, lambda one: ask(one, gone)).kind == "model_mismatch"
    assert len(fake.refused) == 1 and answers_again(provider, fake)


def test_an_address_that_is_not_there(protocol: Protocol, provider: Provider, fake: FakeModel) -> None:
    lost = protocol.provider(fake.origin, base_url=f"{fake.origin}/nowhere{protocol.base}")
    assert fault_of(lost).kind == "request_rejected"
    assert answers_again(provider, fake)
    # A page in place of the service for a while, at the right address.
    fake.scripts += [lambda call: call.reply(404, b"404 page not found", "text/plain")] * 2
    assert fault_of(provider).kind == "request_rejected"


@pytest.mark.parametrize(
    "header", [lambda: ("Retry-After", "120"), lambda: ("Retry-After", formatdate(time.time() + 120, usegmt=True)),
               lambda: ("retry-after-ms", "120000")], ids=["seconds", "date", "milliseconds"],
)  # fmt: skip
def test_a_long_wait_that_was_asked_for_ends_at_once_and_is_told(
    provider: Provider, fake: FakeModel, header: Callable[[], tuple[str, str]]
) -> None:
    fake.fault("status", status=429, headers=(header(),))
    fault = fault_of(provider)
    assert fault.kind == "rate_limited" and fault.retry_after_s is not None
    assert 60 < fault.retry_after_s <= 121
    assert len(fake.calls) == 1 and answers_again(provider, fake)


@pytest.mark.parametrize(
    "header", [("Retry-After", "0.01"), ("Retry-After", formatdate(0, usegmt=True)), ("retry-after-ms", "10")]
)
def test_a_short_wait_is_kept(trying: Provider, fake: FakeModel, header: tuple[str, str]) -> None:
    fake.fault("status", status=429, headers=(header,))
    assert answers_after_one_more(trying, fake)


def answers_after_one_more(provider: Provider, fake: FakeModel) -> bool:
    return getattr(whole(provider), "text", "") == "re: hi there, you" and len(fake.calls) == 2


@pytest.mark.parametrize(
    ("fault", "kind", "asked", "pieces"),
    [
        ("reset", "transport_failure", whole, 0),
        ("hang_up", "transport_failure", whole, 0),
        ("lost", "transport_failure", whole, 0),
        ("lost", "transport_failure", streamed, 0),
        ("broken_stream", "transport_failure", streamed, 0),
        ("broken_stream", "transport_failure", streamed, 1),
        ("truncated", "response_decode_failure", whole, 0),
        ("truncated", "transport_failure", streamed, 0),
        ("no_done", "transport_failure", streamed, 0),
        ("error_in_stream", "provider_overloaded", streamed, 0),
        ("error_in_stream", "provider_overloaded", streamed, 1),
        ("null", "response_shape_invalid", whole, 0),
        ("empty", "response_decode_failure", whole, 0),
        ("html_200", "response_decode_failure", whole, 0),
        ("html_200", "response_decode_failure", streamed, 0),
        ("empty_choices", "response_shape_invalid", whole, 0),
        ("empty_choices", "response_shape_invalid", streamed, 0),
        ("error_200", "provider_overloaded", whole, 0),
        ("error_200", "provider_overloaded", streamed, 0),
    ],
)
def test_an_answer_that_is_none(
    protocol: Protocol, provider: Provider, fake: FakeModel, fault: str, kind: str, asked: Ask, pieces: int
) -> None:
    fake.fault(fault, times=None, pieces=pieces)
    if (protocol.name, fault) == ("chat", "no_done"):
        # There a reason to stop is enough, and it came.
        assert getattr(asked(provider), "text", "") == "re: hi there, you"
        return
    assert fault_of(provider, asked).kind == kind
    assert answers_again(provider, fake)


def test_a_stream_that_breaks_before_its_text_is_tried_again(trying: Provider, fake: FakeModel) -> None:
    fake.fault("broken_stream", pieces=0)
    assert getattr(streamed(trying), "text", "") == "re: hi there, you" and len(fake.calls) == 2


@pytest.mark.parametrize(
    "fault", ["hang", "hold", "drip", "drip_head"], ids=["no-head", "no-answer", "drip", "drip-head"]
)
@pytest.mark.parametrize("asked", [whole, streamed])
def test_a_stall(provider: Provider, fake: FakeModel, fault: str, asked: Callable[..., object]) -> None:
    fake.fault(fault, times=None)
    assert fault_of(provider, lambda one: asked(one, SHORT_S)).kind == "timed_out"
    assert answers_again(provider, fake)


def stalls(content_type: str) -> Script:
    def script(call: Call) -> None:
        call.send(call.head(200, content_type, 5000))
        call.pause(AT_MOST_S)

    return script


def garbage(content_type: str) -> Script:
    return lambda call: call.reply(200, b"{[garbage\n\ndata: {[garbage\n\n", content_type)


def endless(content_type: str, opening: bytes, sent: list[int]) -> Script:
    """A hundred megabytes, or as much as is taken of them."""

    def script(call: Call) -> None:
        call.send(call.head(200, content_type, 100 << 20) + opening)
        try:
            for _ in range((100 << 20) // len(PIECE)):
                call.send(PIECE)
                sent[0] += len(PIECE)
        except PeerGone:
            call.keep = False

    return script


def type_of(fake: FakeModel, asked: Ask) -> str:
    return fake.stream_type if asked is streamed else "application/json"


@pytest.mark.parametrize("asked", [whole, streamed])
def test_a_stall_after_the_head(provider: Provider, fake: FakeModel, asked: Callable[..., object]) -> None:
    fake.scripts.append(stalls(type_of(fake, asked)))
    assert fault_of(provider, lambda one: asked(one, SHORT_S)).kind == "timed_out"
    assert answers_again(provider, fake)


@pytest.mark.parametrize("asked", [whole, streamed])
def test_garbage(provider: Provider, fake: FakeModel, asked: Ask) -> None:
    fake.scripts += [garbage(type_of(fake, asked))] * 2
    assert fault_of(provider, asked).kind == "response_decode_failure"
    assert answers_again(provider, fake)


@pytest.mark.parametrize("asked", [whole, streamed])
def test_a_hundred_megabytes_end_early(trying: Provider, fake: FakeModel, asked: Ask) -> None:
    sent = [0]
    fake.scripts += [endless(type_of(fake, asked), b"data: ", sent)] * 2
    assert fault_of(trying, asked).kind == "response_decode_failure"
    # Two tries of 8 MiB at most, and what the sockets hold.
    assert sent[0] < 48 << 20
    assert answers_again(trying, fake)


def test_a_page_without_a_name(provider: Provider, fake: FakeModel) -> None:
    fake.scripts += [lambda call: call.reply(200, HTML_502, "application/octet-stream")] * 2
    assert fault_of(provider).kind == "response_decode_failure"
    assert answers_again(provider, fake)


def test_nobody_listens(protocol: Protocol) -> None:
    with protocol.double() as fake:
        provider = protocol.provider(fake.origin)
        port = fake.server.port
    assert fault_of(provider).kind == "transport_failure"
    with protocol.double(port=port) as fake:
        assert answers_again(provider, fake)


def test_a_name_that_is_not_found(
    protocol: Protocol, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def lookup(host: str, *rest: object) -> object:
        if host == "model.test" and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(known.get(host, host), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    provider = protocol.provider(f"http://model.test:{fake.server.port}")
    fault = fault_of(provider)
    assert fault.kind == "transport_failure" and "name lookup" in str(fault)
    known["model.test"] = "127.0.0.1"
    assert answers_again(provider, fake)


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    home = tmp_path_factory.mktemp("certs")
    make_certificates(home)
    return home


def test_a_certificate_of_somebody_else(protocol: Protocol, fake: FakeModel, certs: pathlib.Path) -> None:
    context = server_context(certs)
    context.load_cert_chain(certs / "other.pem", certs / "other.key")
    egress = Egress(ca_bundle=str(certs / "ca.pem"), environ={})
    with ScriptedPeer(relay_to(fake.server.port), tls=context) as peer:
        provider = protocol.provider(peer.url, egress=egress)
        fault = fault_of(provider)
        assert fault.kind == "transport_failure" and "certificate" in str(fault)
        assert fake.calls == []
        context.load_cert_chain(certs / "server.pem", certs / "server.key")
        assert answers_again(provider, fake)


def test_many_at_once_are_not_touched_by_the_fault_of_one(provider: Provider, fake: FakeModel) -> None:
    fake.fault("status", status=401, where={"question": "bad"}, times=None)
    ends: list[str] = []

    def one(text: str) -> None:
        call = ProviderCall((*HI.messages[:1], Message("user", text)))
        try:
            ends.append(ask(provider, call).text)
        except ProviderFault as fault:
            ends.append(fault.kind)

    threads = [threading.Thread(target=one, args=("bad" if n == 3 else f"good {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AT_MOST_S)
    assert sorted(ends) == ["auth_rejected", *(f"re: good {n}" for n in range(8) if n != 3)]


def test_a_conversation_goes_on_after_every_fault(
    provider: Provider, fake: FakeModel, tmp_path: pathlib.Path
) -> None:
    with rig_at(tmp_path / "store.db") as rig:
        rig.provider = provider  # type: ignore[assignment]
        for number, (kind, details) in enumerate(
            [("status", {"status": 401}), ("null", {}), ("empty_choices", {}), ("status", {"status": 400})]
        ):
            fake.fault(kind, times=None, **details)
            rig.ask(f"lost {number}")
            fake.clear_faults()
            rig.ask(f"found {number}")
            assert rig.channel.texts()[-1] == f"re: found {number}"
    assert fake.refused == []
