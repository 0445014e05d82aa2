"""What an operator asks of single accounts: start, stop, restart, a probe, their secrets read anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from loong_channels import catalog
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.config.accounts import normalise_id
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.control import ChannelOutcome, ChannelRequest, ProbeOutcome, SecretsOutcome
from loong_gateway.messaging.probing import probed
from loong_gateway.messaging.slots import Slot
from loong_gateway.messaging.supervisor import Supervisor

__all__ = ["ChannelControl"]

logger = logging.getLogger("loong.channels")

# What a look at the secrets may mend.
WAITS_FOR_SECRET = ("auth_failed", "secret_missing")


class ChannelControl:
    """Thread-safe; each method blocks as its text in control.ControlPlane says."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock

    def act(self, request: ChannelRequest) -> ChannelOutcome:
        """See control.ControlPlane.channel."""
        slot = self._slot(request.channel, request.account)
        deadline = Deadline(request.wait_s)
        if request.action == "stop":
            outcome = self._stop(slot, deadline)
        elif request.action == "start" and not slot.is_off:
            outcome = "already_started"
        else:
            outcome = "started" if slot.is_off else "restarted"
            logger.info("%s: %s by an operator", slot.gate, outcome)
            slot.wait_turn(slot.restart(), deadline)
        state = slot.state()
        return ChannelOutcome(
            outcome, state.channel, state.account, state.phase, state.identity, state.last_error
        )

    def probe(self, channel: str, account: str, *, timeout_s: float) -> ProbeOutcome:
        """See control.ControlPlane.probe_channel."""
        slot = self._slot(channel, account)
        state = slot.state()
        if slot.is_off:
            return ProbeOutcome("not_asked", "not asked: an operator has stopped the account")
        if state.trouble == "auth_failed" and slot.spec.probe_takes_over:
            # It has no connection to ask over, and asking anew is what the account itself does slowly.
            return ProbeOutcome("refused", f"refused: {state.last_error}")
        return probed(slot.probe, timeout_s, self._clock)

    def reload_secrets(self) -> Sequence[SecretsOutcome]:
        """See control.ControlPlane."""
        return [self._reload(slot) for slot in self._supervisor.listed()]

    def _stop(self, slot: Slot, deadline: Deadline) -> str:
        if slot.is_off:
            return "already_stopped"
        logger.info("%s: stopped by an operator", slot.gate)
        slot.switch_off()
        return "stopped" if slot.join(deadline) else "stopping"

    def _reload(self, slot: Slot) -> SecretsOutcome:
        state = slot.state()
        outcome, detail = "unchanged", ""
        if slot.is_off:
            outcome = "stopped"
        else:
            try:
                is_new = slot.has_new_secrets()
            except SecretUnavailable as error:
                # What runs goes on with what it has: a file may be missing for a moment while it is being replaced.
                outcome, detail = "unavailable", str(error)
            else:
                if is_new or state.trouble in WAITS_FOR_SECRET:
                    outcome, detail = "restarted", "its secret changed" if is_new else f"it was {state.phase}"
                    slot.restart()
        logger.info("%s: secrets read again, %s", slot.gate, outcome)
        return SecretsOutcome(state.channel, state.account, outcome, detail)

    def _slot(self, channel: str, account: str | None) -> Slot:
        family = catalog.canonical(channel) or channel
        served = self._supervisor.listed()
        wanted = None if account is None else normalise_id(account)
        found = [
            slot
            for slot, state in ((slot, slot.state()) for slot in served)
            if state.channel == family and wanted in (None, state.account)
        ]
        if len(found) == 1:
            return found[0]
        raise CommandError(
            "channels.not_served",
            given=one_line(channel if account is None else f"{channel}={account}", 200),
            served=", ".join(slot.gate for slot in served) or "nothing",
        )
