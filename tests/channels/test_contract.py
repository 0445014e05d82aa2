"""What the gateway relies on in every channel, one set of tests for all of them; see contract.Rig."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from loong_channels import catalog, faults
from loong_channels.contract import Channel
from loong_channels.text import measure, split
from loong_channels.waiting import Deadline, StopToken
from tests.blocked_call import raised_when_woken
from tests.channels.contract import Rig, TimedHost, checksum, part, send
from tests.channels.rigs import RIGS
from tests.channels.telegram_rig import RecordingHost, Running
from tests.fakes.bad_line import KINDS, BadLine
from tests.waiting import wait_until

# What a stop may take; see contract.Channel.run.
PROMISE_S = 2.0
OPERATIONS = ("run", "send", "probe")
NASTY = (
    "word " * 9000,
    "汉字，还有标点。" * 3000,
    "👩‍👩‍👧‍👦🇨🇳é" * 4000,
    "x" * 30000,
    "```python\n"
    + "print('<b>&amp;</b>')\n" * 1500
    + "```\n\n*bold* and _more_ [a](https://e.test/?a=1&b=2)",
    "line\n" * 5000 + "\\ \" ' \t \u2028 < > & `",
)


class Stage:
    """One rig with the hosts, channels and faults of a test, so that everything said can be looked through."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.hosts: list[RecordingHost] = []
        self.channels: list[Channel] = []
        self.faults: list[BaseException] = []

    def channel(self, *args: Any, **settings: Any) -> Channel:
        """A channel; it is interrupted when the test is over."""
        channel = self.rig.channel(*args, **settings)
        self.channels.append(channel)
        return channel

    @contextlib.contextmanager
    def online(
        self, channel: Channel | None = None, host: RecordingHost | None = None, **settings: Any
    ) -> Iterator[tuple[Channel, RecordingHost, Running]]:
        """A channel that runs and is ready; it must end as promised and without a fault."""
        channel = channel or self.channel(**settings)
        host = host or RecordingHost()
        run = self.begin(channel, host)
        try:
            yield channel, host, run
        finally:
            run.stop.set("test over")
            channel.interrupt()
            error = run.ended(PROMISE_S)
        assert error is None, error

    def start(self, channel: Channel, host: RecordingHost) -> Running:
        """Start `run`, whatever becomes of it."""
        self.hosts.append(host)
        return Running(channel, host)  # type: ignore[arg-type]

    def begin(self, channel: Channel, host: RecordingHost | None = None) -> Running:
        """Start `run` and wait until it is ready."""
        host = host or RecordingHost()
        run = self.start(channel, host)
        host.wait_for(lambda: host.identities or run.error)
        assert run.error is None, run.error
        self.rig.attach(host)
        return run

    def raised(self, call: Callable[..., object], *arguments: object) -> faults.Fault:
        """The fault that a call raises; anything else is a bug."""
        with pytest.raises(faults.Fault) as caught:
            call(*arguments)
        self.faults.append(caught.value)
        return caught.value

    def ended(self, run: Running, timeout: float = 10.0) -> BaseException | None:
        """Wait for the end of `run`; what it raised."""
        error = run.ended(timeout)
        if error is not None:
            self.faults.append(error)
        return error

    def shown(self) -> str:
        """All that was said to anybody."""
        said = [repr(host.notes) + repr(host.identities) for host in self.hosts]
        said += [f"{channel!r} {channel}" for channel in self.channels]
        for fault in self.faults:
            said += [str(fault), repr(fault), *traceback.format_exception(None, fault, fault.__traceback__)]
        return "\n".join(said)


@pytest.fixture(params=sorted(RIGS))
def stage(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Stage]:
    if "webhook" in request.param:
        pytest.importorskip("cryptography")
    with caplog.at_level(logging.DEBUG), RIGS[request.param]() as rig:
        stage = Stage(rig)
        yield stage
        for channel in stage.channels:
            channel.interrupt()
        shown = stage.shown() + caplog.text
        assert [secret for secret in rig.secrets if secret in shown] == []


def operation(name: str, stage: Stage, channel: Channel) -> Callable[[StopToken, float], object]:
    """A blocking call of a channel that does not run, as a function of its stop token and seconds."""
    if name == "run":
        host = RecordingHost()
        stage.hosts.append(host)
        return lambda stop, _: channel.run(host, stop)
    if name == "send":
        return lambda stop, seconds: send(
            channel, part(stage.rig.address(0), "hi"), seconds=seconds, stop=stop
        )
    return lambda _, seconds: channel.probe(deadline=Deadline(seconds))


def operation_ended(
    channel: Channel, host: RecordingHost, stop: StopToken, errors: list[BaseException]
) -> None:
    """Run, and keep what it raises."""
    try:
        channel.run(host, stop)
    except BaseException as error:  # noqa: BLE001 - for the test to judge
        errors.append(error)


def surely_not(fault: faults.Fault) -> bool:
    """Whether a fault says that the request was certainly not carried out."""
    if isinstance(fault, faults.Unreachable):
        return not fault.maybe_processed
    return isinstance(fault, (faults.Refused, faults.Overloaded, faults.Throttled, faults.BadCredentials))


def test_every_channel_that_serves_has_a_rig() -> None:
    served = {name for name in catalog.gateway_channels() if catalog.spec(name).serves}
    assert served == {rig.spec.name for rig in RIGS.values()}


# --- a life


def test_a_message_comes_in_and_its_answer_goes_out(stage: Stage) -> None:
    with stage.online() as (channel, host, _):
        stage.rig.address(3)
        handle = stage.rig.say("hello", 3)
        inbound = host.wait_for(lambda: host.messages)[0]
        assert (inbound.text, inbound.address, inbound.kind) == ("hello", stage.rig.address(3), "direct")
        assert inbound.sent_ms is None or abs(inbound.sent_ms - inbound.received_ms) < 60_000
        receipt = send(
            channel, part(inbound.address, "welcome", reply_to=inbound.message_id, extra=inbound.extra)
        )
        assert receipt.message_ids
        assert stage.rig.sent() == [(inbound.address.conversation, "welcome")]
        if stage.rig.acknowledges:
            wait_until(lambda: stage.rig.acknowledged_at(handle))
        assert host.heard_count
        assert host.rounds


def test_a_stop_ends_run_while_it_waits_for_bytes_and_run_works_again(stage: Stage) -> None:
    channel = stage.channel()
    for _ in range(2):
        run = stage.begin(channel)
        run.stop.set("stop")
        assert stage.ended(run, PROMISE_S) is None
        stage.rig.rest()


def test_a_stop_that_was_set_before_run_is_heeded(stage: Stage) -> None:
    stop = StopToken()
    stop.set("early")
    channel, host = stage.channel(), RecordingHost()
    stage.hosts.append(host)
    thread = threading.Thread(target=operation_ended, args=(channel, host, stop, stage.faults), daemon=True)
    thread.start()
    thread.join(PROMISE_S)
    assert not thread.is_alive()
    assert stage.faults == []
    assert not host.identities


def test_probe_names_the_identity_that_run_reports(stage: Stage) -> None:
    identity = stage.channel().probe(deadline=Deadline(10.0))
    assert identity.strip() == identity != ""
    with stage.online() as (channel, host, run):
        assert channel.probe(deadline=Deadline(10.0)) == identity == host.identities[0]
        assert run.thread.is_alive()


def test_nothing_is_left_behind(stage: Stage) -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/dev/fd"))

    def live() -> None:
        channel = stage.rig.channel(**stage.rig.preview_settings)
        with stage.online(channel) as (_, host, _run):
            stage.rig.say("hello")
            inbound = host.wait_for(lambda: host.messages)[0]
            preview = channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)
            assert preview is not None
            preview.update("part of it")
            preview.abandon()
            for number in range(5):
                send(channel, part(stage.rig.address(number), f"text {number}", f"key-{number}"))
            channel.probe(deadline=Deadline(10.0))

    stage.rig.address(0)
    live()
    before = left()
    live()
    live()
    # The double's own threads end when they see that the client has gone.
    wait_until(lambda: left() <= before, what="the return of threads and descriptors", pause_s=0.02)


# --- interruption


def test_interrupt_before_anything_refuses_everything_and_asks_nobody(stage: Stage) -> None:
    for name in OPERATIONS:
        channel = stage.channel()
        channel.interrupt()
        channel.interrupt()
        fault = stage.raised(operation(name, stage, channel), StopToken(), 10.0)
        assert isinstance(fault, faults.Interrupted), (name, fault)
    assert stage.rig.sent() == []


def test_interrupt_ends_a_run_that_waits_for_bytes_and_all_that_comes_after(stage: Stage) -> None:
    channel = stage.channel()
    run = stage.begin(channel)
    channel.interrupt()
    assert isinstance(stage.ended(run, PROMISE_S), faults.Interrupted)
    channel.interrupt()
    for name in ("run", "send"):
        fault = stage.raised(operation(name, stage, channel), StopToken(), 10.0)
        assert isinstance(fault, faults.Interrupted), (name, fault)


@pytest.mark.parametrize(
    ("name", "how"),
    # A probe has no stop token.
    [(name, how) for name in OPERATIONS for how in ("interrupt", "stop") if (name, how) != ("probe", "stop")],
)
def test_a_call_that_waits_for_a_silent_peer_is_woken(stage: Stage, name: str, how: str) -> None:
    with BadLine() as line:
        line.suffer("silent")
        channel, stop = stage.channel(line), StopToken()
        call = operation(name, stage, channel)
        error = raised_when_woken(
            lambda: call(stop, 60.0),
            blocked=lambda: line.connections,
            wake=channel.interrupt if how == "interrupt" else lambda: stop.set("over"),
        )
    if (name, how) == ("run", "stop"):
        assert error is None
    else:
        assert isinstance(error, faults.Interrupted)


# --- acknowledgement


def test_nothing_is_acknowledged_before_it_was_taken(stage: Stage) -> None:
    host = TimedHost()
    with stage.online(host=host):
        handle = stage.rig.say("hello")
        host.wait_for(lambda: host.taken_at)
        if stage.rig.acknowledges:
            acknowledged = wait_until(lambda: stage.rig.acknowledged_at(handle))
            assert acknowledged >= host.taken_at[0]


@pytest.mark.parametrize("refusals", [[faults.Busy("full")] * 2, [faults.NotStored("no room")]])
def test_what_was_not_taken_is_not_acknowledged_and_comes_again(
    stage: Stage, refusals: list[Exception]
) -> None:
    host = TimedHost()
    # Whoever finds the gateway full may offer a batch whole and then message by message.
    host.refusals = list(refusals)
    with stage.online(host=host):
        handle = stage.rig.say("hello")
        host.wait_for(lambda: host.offers)
        # Only some channels offer again by themselves; for the others the platform does.
        for offers in range(1, len(refusals) + 1):
            stage.rig.insist(handle)
            host.wait_for(lambda offers=offers: host.offers > offers)
        host.wait_for(lambda: host.messages)
        assert host.texts == ["hello"]
        assert host.offers > len(refusals)
        if stage.rig.acknowledges:
            acknowledged = wait_until(lambda: stage.rig.acknowledged_at(handle))
            assert acknowledged >= host.taken_at[-1]


def test_what_is_delivered_again_has_the_same_keys(stage: Stage) -> None:
    with stage.online() as (_, host, _run):
        handle = stage.rig.say("hello")
        first = host.wait_for(lambda: host.messages)[0]
    with stage.online() as (_, host, _run):
        stage.rig.redeliver(handle)
        second = host.wait_for(lambda: host.messages)[0]
        assert (second.event_id, second.message_id) == (first.event_id, first.message_id)
        assert second.text == first.text
        stage.rig.say("something else")
        third = host.wait_for(lambda: len(host.messages) > 1 and host.messages)[1]
        assert third.event_id != first.event_id
        assert third.message_id is None or third.message_id != first.message_id


def test_a_burst_keeps_its_order_and_loses_nothing(stage: Stage) -> None:
    with stage.online() as (_, host, _run):
        handles = []
        for number in range(20):
            handles.append(stage.rig.say(f"m{number}"))
            # Deliveries by request race each other, so order is only asked of what was acknowledged in order.
            if stage.rig.acknowledges and number % 5 == 4:
                wait_until(lambda: stage.rig.acknowledged_at(handles[-1]))
        host.wait_for(lambda: len(host.messages) >= 20)
        assert sorted(host.texts) == sorted(f"m{number}" for number in range(20))
        keys = {one.event_id for one in host.messages}
        assert len(keys) == 20


def test_what_cannot_be_understood_is_noted_and_nothing_else(stage: Stage) -> None:
    with stage.online() as (_, host, run):
        for oddity in stage.rig.oddities():
            before = len(host.notes)
            oddity.push()
            host.wait_for(lambda before=before: len(host.notes) > before or run.error)
            assert run.error is None, oddity.name
        stage.rig.say("still here")
        host.wait_for(lambda: host.messages or run.error)
        assert host.texts == ["still here"]
        assert stage.rig.sent() == []
        assert "beam" not in repr(host.notes)


# --- sending


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_every_part_of_a_split_text_is_taken(stage: Stage, number: int) -> None:
    spec = stage.rig.spec
    pieces = split(NASTY[number], spec.text_limit, spec.limit_unit)
    assert len(pieces) > 1
    assert all(0 < measure(piece, spec.limit_unit) <= spec.text_limit for piece in pieces)
    with stage.online() as (channel, _host, _run):
        for index, piece in enumerate(pieces):
            send(channel, part(stage.rig.address(index % 4), piece, f"key-{index}"))
    assert len(stage.rig.sent()) == len(pieces)


def test_twenty_threads_write_to_twenty_conversations_and_mix_nothing_up(stage: Stage) -> None:
    addresses = [stage.rig.address(number) for number in range(20)]
    errors: list[BaseException] = []
    gate = threading.Barrier(20)

    def write(channel: Channel, number: int) -> None:
        try:
            gate.wait(10.0)
            send(channel, part(addresses[number], f"for {checksum(addresses[number])}", f"key-{number}"))
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    with stage.online() as (channel, _host, _run):
        threads = [threading.Thread(target=write, args=(channel, number)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20.0)
    assert errors == []
    expected = {(one.conversation, f"for {checksum(one)}") for one in addresses}
    assert len(stage.rig.sent()) == 20
    assert set(stage.rig.sent()) == expected


def test_too_many_messages_say_how_long_to_wait_and_later_ones_pass(stage: Stage) -> None:
    with stage.online() as (channel, _host, _run):
        wait_s = stage.rig.throttle(7)
        fault = stage.raised(lambda: send(channel, part(stage.rig.address(0), "hi")))
        assert isinstance(fault, faults.Throttled)
        assert fault.retry_after_s == pytest.approx(wait_s)
        assert stage.rig.sent() == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_secret_is_a_bad_credential(stage: Stage, name: str) -> None:
    channel = stage.channel(wrong_secret=True)
    fault = stage.raised(operation(name, stage, channel), StopToken(), 10.0)
    assert isinstance(fault, faults.BadCredentials)


@pytest.mark.parametrize(
    ("name", "kind"),
    # The patience of `run` is longer than a test's; that a silent peer can be left is shown above.
    [(name, kind) for name in OPERATIONS for kind in (*KINDS, "tls") if (name, kind) != ("run", "silent")],
)
def test_every_trouble_on_the_way_has_its_fault(stage: Stage, name: str, kind: str) -> None:
    with BadLine() as line:
        line.suffer("5xx" if kind == "tls" else kind)
        channel = stage.channel(line, secure=kind == "tls")
        call = operation(name, stage, channel)
        fault = stage.raised(call, StopToken(), 0.1 if kind == "silent" else 10.0)
    if kind == "silent":
        assert isinstance(fault, faults.TimedOut)
    elif kind in ("refused", "tls", "reset"):
        assert isinstance(fault, faults.Unreachable)
    else:
        assert isinstance(fault, (faults.Unreachable, faults.Overloaded, faults.BadAnswer))
    if kind in ("refused", "tls"):
        assert surely_not(fault)
    assert not (stage.rig.sent() and surely_not(fault))


@pytest.mark.parametrize("kind", KINDS)
def test_trouble_amid_a_life_never_hides_that_a_message_may_have_arrived(stage: Stage, kind: str) -> None:
    with BadLine() as line:
        channel = stage.channel(line)
        run = stage.begin(channel)
        send(channel, part(stage.rig.address(0), "first"))
        line.suffer(kind)
        fault = stage.raised(
            lambda: send(channel, part(stage.rig.address(1), "second", "key-2"), seconds=0.2)
        )
        arrived = len(stage.rig.sent()) > 1
        assert not (arrived and surely_not(fault)), fault
        run.stop.set("over")
        channel.interrupt()
        stage.ended(run)


# --- previews


def test_a_preview_becomes_its_answer_once(stage: Stage) -> None:
    with stage.online(**stage.rig.preview_settings) as (channel, host, _run):
        stage.rig.address(0)
        stage.rig.say("hello")
        inbound = host.wait_for(lambda: host.messages)[0]
        preview = channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)
        assert preview is not None
        preview.update("")
        preview.update("the beginn")
        preview.update("the beginning and more")
        extra = preview.finish()
        answer = part(
            inbound.address,
            "the whole answer",
            f"reply-{inbound.message_id}-0",
            reply_to=inbound.message_id,
            extra={**inbound.extra, **extra},
        )
        send(channel, answer)
        assert stage.rig.sent() == [(inbound.address.conversation, "the whole answer")]


@pytest.mark.parametrize("kind", ["refused", "reset", "garbage", "5xx", "half"])
def test_a_preview_raises_nothing_whatever_happens(stage: Stage, kind: str) -> None:
    with BadLine() as line:
        channel, host = stage.channel(line, **stage.rig.preview_settings), RecordingHost()
        run = stage.begin(channel, host)
        stage.rig.address(0)
        stage.rig.say("hello")
        inbound = host.wait_for(lambda: host.messages)[0]
        previews = [
            channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)
            for _ in range(2)
        ]
        line.suffer(kind)
        for preview in previews:
            assert preview is not None
            preview.update("the beginning")
            preview.update("the beginning \ud800 and \0 more")
        assert isinstance(previews[0].finish(), dict)  # type: ignore[union-attr]
        previews[1].abandon()  # type: ignore[union-attr]
        run.stop.set("over")
        channel.interrupt()
        stage.ended(run)


def test_no_preview_unless_the_account_wants_one(stage: Stage) -> None:
    channel = stage.channel()
    assert channel.preview(stage.rig.address(0), reply_to=None, extra={}) is None
