"""Conversations as commands see and change them while a gateway has them."""

from __future__ import annotations

import json
import pathlib

from tests.e2e.world import staged
from tests.waiting import wait_until

MEMORY = '[memory]\nprofile = "window_plus_summary"\nsliding_window = 1\n'


def test_sessions_are_changed_through_the_gateway_that_has_them(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path, more=MEMORY) as (gateway, telegram, model):
        telegram.add_private(1001)
        gateway.start()

        def listed(*flags: str) -> dict[str, object]:
            return {
                row["label"]: row
                for row in json.loads(gateway.run("sessions", "list", "--json", *flags).stdout)["sessions"]
            }

        for number in range(3):
            telegram.say(f"word {number}")
            telegram.wait_messages(number + 1)
        label = "telegram:bot_123456789:direct:1001"
        # The fake answers the call for a summary like any other.
        wait_until(lambda: any("keep the memory" in str(call.body) for call in model.calls))
        shown = wait_until(
            lambda: json.loads(gateway.run("sessions", "show", label, "--json").stdout)["summary"]
        )
        assert shown["upto"] > 0
        assert gateway.run("sessions", "archive", label).returncode == 0
        assert listed() == {}
        squeezed = gateway.run("chat", "--session", label, stdin="/compact\n/history\n/fork copy\n")
        assert "what was said is a summary now\nbefore> " in squeezed.stdout, squeezed.stderr
        assert "you> " not in squeezed.stdout
        assert set(listed("--include-archived")) == {label, "copy"}
        used = json.loads(gateway.run("sessions", "usage", "--json").stdout)
        assert used["totals"]["calls"] >= 4
        assert {row["purpose"] for row in used["rows"]} == {"turn", "summary"}
        assert json.loads(gateway.run("status", "--json").stdout)["usage"]["today"] == used["totals"]
        counted = "today {input} in, {output} out, {calls} answers".format(**used["totals"])
        assert counted in gateway.run("status").stdout
