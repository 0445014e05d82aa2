"""Seven faults, staged against a real gateway: line 1 of `gateway status`, its exit code, and that every fix runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.telegram import FakeTelegram
from tests.waiting import wait_until

WAIT_S = 20.0
WRONG_TOKEN = "987654321:AAwrongwrongwrongwrongwrongwrongwro"


def verdict(gateway: Gateway) -> tuple[str, int, str]:
    """Line 1, the exit code, everything printed."""
    done = gateway.run("gateway", "status")
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[0], done.returncode, done.stdout


def check_fixes(gateway: Gateway, printed: str) -> None:
    """Every command that stands in a `fix:`, `start:`, `look:` or `why:` line is one that loong knows."""
    lines = re.findall(r"^  (?:fix|start|look|why|see|restart): +(.*)$", printed, re.MULTILINE)
    commands = [command for line in lines for command in re.findall(r"\bloong( [^;,]*?)(?:  |$|;)", line)]
    assert commands, printed
    for command in commands:
        done = gateway.run(*shlex.split(command), "--help")
        assert done.returncode == 0, (command, done.stderr)


def wait_for_line(gateway: Gateway, pattern: str) -> tuple[str, int, str]:
    found = verdict(gateway)
    end = time.monotonic() + WAIT_S
    while not re.search(pattern, found[0]) and time.monotonic() < end:
        found = verdict(gateway)
    assert re.search(pattern, found[0]), found
    return found


def check_no_surface_is_ready(gateway: Gateway, pattern: str) -> tuple[str, str]:
    """Line 1, once the pattern is found in it, and everything printed."""
    line, code, printed = wait_for_line(gateway, pattern)
    assert "0 of 1 surface ready" in line
    assert code == 1
    check_fixes(gateway, printed)
    return line, printed


def test_down(world):
    gateway, *_ = world
    gateway.start()
    gateway.stop()
    line, code, printed = verdict(gateway)
    assert line.startswith("Gateway is not running; it was stopped")
    assert code == 3
    check_fixes(gateway, printed)


def test_down_after_a_crash(world):
    gateway, *_ = world
    gateway.start()
    pid = gateway.pid
    gateway.kill()
    line, code, printed = verdict(gateway)
    assert line.startswith(f"Gateway is not running; pid {pid} ended without a stop")
    assert code == 3
    check_fixes(gateway, printed)


@pytest.mark.skipif(sys.platform != "linux", reason="the heartbeat's clock is set by hand here")
def test_frozen(world):
    gateway, *_ = world
    gateway.start()
    gateway.signal(signal.SIGSTOP)
    try:
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 48 * 10**9
        os.utime(os.path.join(gateway.home, "owner.lock"), ns=(boot_ns, boot_ns))
        line, code, printed = verdict(gateway)
    finally:
        gateway.signal(signal.SIGCONT)
    stalled = rf"Gateway is stalled: pid {gateway.pid} holds the lock but its last heartbeat is \d+ s old\."
    assert re.match(stalled, line)
    assert code == 1
    check_fixes(gateway, printed)


def test_wrong_token(tmp_path):
    with (
        FakeTelegram() as telegram,
        Gateway(
            tmp_path,
            config_for(telegram, None),
            environ={"TELEGRAM_BOT_TOKEN": WRONG_TOKEN},
        ) as gateway,
    ):
        gateway.start()
        _, printed = check_no_surface_is_ready(gateway, "degraded")
        assert "telegram.bot_token (env TELEGRAM_BOT_TOKEN)" in printed


def test_wrong_port(world):
    gateway, *_ = world
    gateway.start()
    # Asked with another port in the environment: the owner says itself where it listens.
    done = gateway.run("gateway", "status", environ={"LOONG_GATEWAY_PORT": "9"})
    assert done.stdout.startswith("Gateway is running and ready: 1 of 1 surface ready.")
    assert done.returncode == 0


def test_revoked(world):
    gateway, telegram, _ = world
    gateway.start()
    telegram.say("hello")
    telegram.wait_messages(1)
    telegram.revoke()
    telegram.drop_connections()
    line, _ = check_no_surface_is_ready(gateway, "refused")
    assert "degraded: 0 of 1 surface ready; telegram/" in line


def test_unreachable(tmp_path):
    telegram = FakeTelegram()
    with telegram, Gateway(tmp_path, config_for(telegram, None)) as gateway:
        gateway.start()
        wait_until(lambda: gateway.surface().get("phase") == "ready", WAIT_S, "ready")
        telegram.close()
        check_no_surface_is_ready(gateway, "degraded")


def test_bad_config(world):
    gateway, *_ = world
    gateway.write_config('[telegram]\nenabled = "perhaps"\n')
    refused = gateway.run("gateway", "run")
    assert refused.returncode == 78
    line, code, printed = verdict(gateway)
    assert line.startswith("Gateway is not running; the last start was refused")
    assert "invalid" in line
    assert code == 3
    check_fixes(gateway, printed)
