"""`channels.*` and `send`: what the channels are doing, starting and stopping them, a message of the operator's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from loong_channels import catalog
from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.wording import one_line
from loong_gateway.control import ChannelOutcome, ChannelRequest, ControlPlane, SendRequest
from loong_gateway.views.channel_status import Probes, channel_status
from loong_gateway.views.channels import spec_of

from .calls import ADMIN, DEFERRED, READ, WRITE, Call, Method, RpcFault

__all__ = ["Ask", "methods"]

PROBE_MS = 10_000
LONGEST_MS = 2**31
SHARE = 0.8
LONGEST_PROBE_S = 30.0
LONGEST_NAME = 256
SEND_S = 30.0
# A send that ended well or will: what was queued is on disk and leaves when its account can.
TAKEN = ("sent", "queued")
# Errors that the request itself is to blame for; any other says that it cannot be done now.
BLAME = (
    "channels.bad_target",
    "channels.empty_target",
    "channels.empty_text",
    "channels.long_text",
    "channels.nothing_to_send",
    "channels.target_kind",
)


class Ask(Protocol):
    """Probes accounts (channel, account) side by side and calls `done` once, within the budget, from any thread.

    An account that has not answered by then has None.
    """

    def __call__(
        self, accounts: Sequence[tuple[str, str]], *, budget_s: float, done: Callable[[Probes], None]
    ) -> None:
        """Never blocks."""


def methods(control: ControlPlane, ask: Ask, wall_ms: Callable[[], int]) -> list[Method]:
    """The methods over `control`; `ask` probes."""
    channels = _Channels(control, ask, wall_ms)
    return [
        Method("channels.status", READ, channels.status, waits=True),
        Method("channels.start", ADMIN, channels.start, waits=True),
        Method("channels.stop", ADMIN, channels.stop, waits=True),
        Method("channels.restart", ADMIN, channels.restart, waits=True),
        Method("send", WRITE, channels.send, waits=True, starts_work=True),
    ]


class _Channels:
    def __init__(self, control: ControlPlane, ask: Ask, wall_ms: Callable[[], int]) -> None:
        self._control = control
        self._ask = ask
        self._wall_ms = wall_ms

    def status(self, call: Call) -> object:
        params = call.params
        budget_ms = params.integer("timeoutMs", minimum=0, maximum=LONGEST_MS, default=PROBE_MS)
        assert budget_ms is not None
        only = self._configured(params.text("channel", longest=LONGEST_NAME))

        def document(probes: Probes) -> dict[str, object]:
            config, status = self._control.config(), self._control.status()
            return channel_status(config, status, probes, now_ms=self._wall_ms(), only=only)

        if not params.flag("probe"):
            return document({})
        # The rest of the budget is for the way there and back.
        patience_s = min(LONGEST_PROBE_S, budget_ms / 1000 * SHARE)
        self._ask(self._served(only), budget_s=patience_s, done=lambda probes: call.respond(document(probes)))
        return DEFERRED

    def _served(self, only: str | None) -> list[tuple[str, str]]:
        """The accounts that there is somebody to ask for: not those on a terminal."""
        surfaces = self._control.status().get("surfaces")
        found = [
            (str(one.get("channel")), str(one.get("account")))
            for one in (surfaces if isinstance(surfaces, list) else ())
        ]
        return [one for one in found if one[0] in self._control.config().channels and only in (None, one[0])]

    def start(self, call: Call) -> object:
        outcome = self._act(call, "start")
        return {
            "channel": outcome.channel,
            "accountId": outcome.account,
            "started": True,
            "outcome": outcome.outcome,
        }

    def stop(self, call: Call) -> object:
        outcome = self._act(call, "stop")
        # What does not end at once has been told to, and takes nothing any more.
        return {"channel": outcome.channel, "accountId": outcome.account, "stopped": True}

    def restart(self, call: Call) -> object:
        outcome = self._act(call, "restart")
        return {"channel": outcome.channel, "accountId": outcome.account, "restarted": True}

    def _act(self, call: Call, action: str) -> ChannelOutcome:
        channel = call.params.required_text("channel", longest=LONGEST_NAME)
        account = call.params.text("accountId", longest=LONGEST_NAME) or None
        family = self._configured(channel)
        assert family is not None
        try:
            return self._control.channel(ChannelRequest(action, family, account))
        except CommandError as error:
            code = "INVALID_REQUEST" if error.code == "channels.not_served" else "UNAVAILABLE"
            raise RpcFault(code, error.message) from error

    def _configured(self, name: str | None) -> str | None:
        """The channel that is meant, None when none is named."""
        if name is None:
            return None
        found = catalog.canonical(name)
        if found is None or found not in self._control.config().channels:
            raise RpcFault("INVALID_REQUEST", f"unknown channel: {one_line(name, 80)}")
        return found

    def send(self, call: Call) -> object:
        params = call.params
        target = params.required_text("to", longest=LONGEST_NAME)
        key = params.required_text("idempotencyKey", longest=LONGEST_NAME)
        text = params.text("message") or ""
        thread = params.text("threadId", longest=LONGEST_NAME)
        account = params.text("accountId", longest=LONGEST_NAME) or None
        channel = self._sendable(params.text("channel", longest=LONGEST_NAME))
        for name in ("mediaUrl", "mediaUrls", "buffer"):
            if name in params:
                raise RpcFault(
                    "INVALID_REQUEST", f"invalid send params: {name} is not supported; send a text"
                )
        if params.text("replyToId", longest=LONGEST_NAME):
            raise RpcFault("INVALID_REQUEST", "invalid send params: replyToId is not supported")
        if not text.strip():
            raise RpcFault("INVALID_REQUEST", "invalid send params: message must not be empty")
        request = SendRequest(
            channel=channel,
            account=account,
            target=_with_thread(channel, target, thread),
            target_kind="",
            text=text,
            wait_s=SEND_S,
            idempotency_key=key,
        )
        try:
            outcome = self._control.send(request)
        except CommandError as error:
            code = "INVALID_REQUEST" if error.code in BLAME else "UNAVAILABLE"
            raise RpcFault(code, error.message) from error
        except StoreUnwritable as error:
            message = "the gateway cannot write its store; nothing was taken, try again later"
            raise RpcFault("UNAVAILABLE", message, retryable=True) from error
        if outcome.state not in TAKEN:
            detail = outcome.error or "the platform did not take it"
            uncertain = "; it may have arrived" if outcome.state == "unknown" else ""
            raise RpcFault(
                "UNAVAILABLE", f"{channel}/{outcome.account}: {outcome.state}: {detail}{uncertain}"
            )
        answer = {
            "runId": key,
            "messageId": outcome.message_ids[-1] if outcome.message_ids else outcome.id,
            "channel": channel,
            "accountId": outcome.account,
            "state": outcome.state,
        }
        return {**answer, "reason": outcome.error} if outcome.error else answer

    def _sendable(self, name: str | None) -> str:
        """The channel to send through: the one that is named, or the only one."""
        channels = self._control.config().channels
        if name is None:
            if len(channels) == 1:
                return next(iter(channels))
            which = "more than one channel is" if channels else "no channel is"
            raise RpcFault("INVALID_REQUEST", f"channel is required: {which} configured")
        found = catalog.canonical(name)
        if found is None or spec_of(found) is None:
            raise RpcFault("INVALID_REQUEST", f"unsupported channel: {one_line(name, 80)}")
        if found not in channels:
            raise RpcFault("UNAVAILABLE", f"{found} is not configured")
        return found


def _with_thread(channel: str, target: str, thread: str | None) -> str:
    if not thread:
        return target
    spec = spec_of(channel)
    if spec is None or not spec.threads:
        raise RpcFault("INVALID_REQUEST", f"invalid send params: {channel} has no threads")
    return f"{target}:{thread}"
