"""What an operator asks of single accounts, over slots with scripted channels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loong_channels.faults import BadCredentials, Conflict, TimedOut, Unreachable
from loong_channels.telegram.spec import SPEC
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.control import ChannelRequest
from loong_gateway.messaging.channel_control import ChannelControl
from loong_gateway.messaging.supervisor import Supervisor
from tests.gateway.messaging.slot_rig import TOKEN, WAIT_S, ScriptedLife, slots_in

WORK = ("telegram", "work")


class Probed(ScriptedLife):
    """A channel that answers a probe with what is set."""

    answer: object = "@bot"

    def probe(self, *, deadline):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def control(tmp_path):
    with slots_in(tmp_path) as make:

        def build(channel, **changes):
            slot, world = make(channel, **changes)
            supervisor = Supervisor()
            account = AccountConfig("telegram", "work", "work", enabled=True, settings={})
            supervisor.add_if_absent(account, lambda: slot)
            slot.start()
            return ChannelControl(supervisor, Clock()), slot, world

        yield build


def act(control: ChannelControl, action: str, channel: str = "telegram", account: str | None = "work"):
    return control.act(ChannelRequest(action, channel, account, wait_s=WAIT_S))


def test_every_order_may_be_repeated(control):
    desk, slot, world = control(ScriptedLife())
    world.wait_for(slot, lambda s: s.phase == "ready")
    outcomes = [
        act(desk, action).outcome
        for action in ("start", "stop", "stop", "start", "start", "restart", "stop", "restart")
    ]
    assert outcomes == [
        "already_started",
        "stopped",
        "already_stopped",
        "started",
        "already_started",
        "restarted",
        "stopped",
        "started",
    ]


def test_the_outcome_says_what_became_of_it(control):
    desk, slot, world = control(ScriptedLife(ScriptedLife.live, BadCredentials("HTTP 401")))
    world.wait_for(slot, lambda s: s.phase == "ready")
    refused = act(desk, "restart")
    assert (refused.phase, refused.last_error) == ("auth_failed", "HTTP 401")
    well = act(desk, "restart", account=None)
    assert (well.phase, well.identity, well.account) == ("ready", "@bot", "work")


@pytest.mark.parametrize(
    ("channel", "account"), [("wecom", None), ("telegram", "other"), ("no such", "work")]
)
def test_what_is_not_served_here_is_refused_by_name(control, channel, account):
    desk, _, _ = control(ScriptedLife())
    with pytest.raises(CommandError) as refused:
        act(desk, "stop", channel, account)
    assert refused.value.code == "channels.not_served"
    assert "telegram=work" in refused.value.message


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("@bot", "ok"),
        (BadCredentials("401"), "refused"),
        (TimedOut("late", maybe_processed=True), "no_answer"),
        (Unreachable("reset", maybe_processed=True), "no_answer"),
        (Conflict("taken over"), "failed"),
    ],
)
def test_a_probe_asks_over_the_channel_that_runs(control, answer, outcome):
    channel = Probed()
    channel.answer = answer
    desk, slot, world = control(channel)
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert desk.probe(*WORK, timeout_s=1.0).outcome == outcome
    assert (channel.lives, slot.state().phase) == (1, "ready")


def test_a_probe_of_what_is_kept_off_asks_nobody(control):
    desk, slot, world = control(Probed())
    world.wait_for(slot, lambda s: s.phase == "ready")
    act(desk, "stop")
    assert desk.probe(*WORK, timeout_s=1.0).outcome == "not_asked"


def test_a_channel_that_has_no_connection_answers_with_what_refused_it(control):
    spec = replace(SPEC, probe_takes_over=True)
    desk, slot, world = control(Probed(BadCredentials("853000 invalid secret")), spec=spec)
    world.wait_for(slot, lambda s: s.phase == "auth_failed")
    probed = desk.probe(*WORK, timeout_s=1.0)
    assert (probed.outcome, probed.detail) == ("refused", "refused: 853000 invalid secret")


def test_a_reload_restarts_what_changed_or_waits_and_nothing_else(control):
    channel = ScriptedLife(BadCredentials("HTTP 401"))
    desk, slot, world = control(channel)

    def reload() -> tuple[str, str]:
        (one,) = desk.reload_secrets()
        return one.outcome, one.detail

    world.wait_for(slot, lambda s: s.phase == "auth_failed")
    assert reload() == ("restarted", "it was auth_failed")
    world.wait_for(slot, lambda s: s.phase == "ready")
    assert reload() == ("unchanged", "")
    lives = channel.lives
    with pytest.raises(SecretUnavailable) as unset:
        resolve(TOKEN, {})
    world.problem = unset.value
    assert reload()[0] == "unavailable"
    assert (slot.state().phase, channel.lives) == ("ready", lives)
    world.problem, world.token = None, "another"
    assert reload() == ("restarted", "its secret changed")
    world.wait_for(slot, lambda s: s.phase == "ready" and channel.lives == lives + 1)
    act(desk, "stop")
    assert reload()[0] == "stopped"


def test_a_missing_secret_that_is_there_now_is_used_at_once(control):
    desk, slot, world = control(ScriptedLife())
    world.wait_for(slot, lambda s: s.phase == "ready")
    with pytest.raises(SecretUnavailable) as unset:
        resolve(TOKEN, {})
    world.problem = unset.value
    act(desk, "stop")
    assert act(desk, "start").phase == "auth_failed"
    assert slot.state().trouble == "secret_missing"
    world.problem = None
    assert [one.outcome for one in desk.reload_secrets()] == ["restarted"]
    world.wait_for(slot, lambda s: s.phase == "ready")
