"""kill -9 at random moments amid turns with several rounds of tool calls, in chats and in runs of the port.

In a third of the lives a client asks for a restart before, as in port_runs.

Each acting call starts a program that appends one line with turn, round and call to a file. What the model was told
of the calls, in the last question of a turn, is held against that file.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Callable

from tests.fakes.model import ModelCall
from tests.waiting import wait_until

from . import kills, port_runs
from .platforms import ALL
from .report import Outcome
from .stage import START_S, Stage, finish, staged

__all__ = ["run"]

TELEGRAM_EVERY_S = 0.3
PORT_EVERY_S = 0.5
MODEL_S = 0.03
DRAIN_S = 120.0
MOST_ROUNDS = 4
MOST_CALLS = 3
UNKNOWN = "may have happened, or not"
# Some lines are written at once, some after a while, so that kills meet the call before and after it.
PROGRAM = """#!{python} -IS
import os, sys, time
time.sleep(float(sys.argv[2]))
file = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.write(file, sys.argv[1].encode() + b"\\n")
os.fsync(file)
time.sleep(float(sys.argv[3]))
"""
CONFIG = """
[tools]
allow = ["shell.run", "time"]
shell_allow = ["{program}"]
file_root = "{root}"
max_repeats = 20
[tools.approval]
mode = "disabled"
"""

FIRST = re.compile(r"m\d+\n")
ACTING = re.compile(r'"args": \["([tp]\d+\.\d+\.\d+)"')


class Script:
    """Makes questions that list rounds of calls, the same for the same name of a turn."""

    def __init__(self, seed: int, program: str) -> None:
        self._seed = seed
        self._program = program

    def question(self, turn: str) -> str:
        """The number of the turn, a line for each call, and the number once more."""
        chance = random.Random(f"{self._seed} {turn}")
        number = turn[1:]
        lines = [f"m{number}"]
        for round in range(chance.randint(1, MOST_ROUNDS)):
            for call in range(chance.randint(1, MOST_CALLS)):
                verb = "also" if call else "call"
                if chance.random() < 1 / 3:
                    lines.append(f"{verb} time {{}}")
                    continue
                pauses = [f"{chance.choice((0.0, 0.03)):g}" for _ in range(2)]
                words = [f"{turn}.{round}.{call}", *pauses]
                lines.append(f"{verb} shell_run {json.dumps({'program': self._program, 'args': words})}")
        return "\n".join([*lines, f"m{number}"])

    def of(self, prefix: str) -> Callable[[int], str]:
        """The question with a number, for the turns of one side."""
        return lambda number: self.question(f"{prefix}{number}")


def run(count: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """So many kills. `command` runs loong, default: the checkout."""
    outcome = Outcome("tool-kills", count, seed)
    chance = random.Random(seed)
    begin = time.monotonic()
    book = port_runs.Book(every_s=PORT_EVERY_S)
    with staged(ALL[:1], command=command, delay_s=MODEL_S, more=port_runs.CONFIG) as stage:
        lines = os.path.join(stage.directory, "lines.txt")
        script = Script(seed, _prepare(stage, lines))
        stage.platforms[0].text = script.of("t")
        book.text = script.of("p")
        load = kills.Load(stage, TELEGRAM_EVERY_S)
        load.start()
        for life in range(count):
            life_s, restart_s = port_runs.lengths(chance)
            port_runs.live(stage, book, life, life_s, restart_s)
            if stage.gateway.process is not None:
                outcome.failures.append(f"life {life} ended by itself: {stage.gateway.output()[-500:]}")
                break
            outcome.failures += [f"kill {life}: {one}" for one in stage.note_kill()]
        load.end()
        stage.gateway.start(timeout=START_S)
        wait_until(lambda: not stage.ledger.open(), DRAIN_S, "answers to all messages")
        port_runs.settle(stage, book)
        port_runs.judge(outcome, stage, book, 1)
        outcome.metrics = {"port": outcome.metrics}
        outcome.failures += [*book.failures, *finish(stage, DRAIN_S)]
        outcome.metrics["telegram"], failures = stage.ledger.verdict()
        outcome.failures += [*failures, *stage.model.refused[:3], *stage.model.server.crashes[:3]]
        _judge_calls(outcome, stage.model.calls, lines)
    outcome.metrics["kills"] = count
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _prepare(stage: Stage, lines: str) -> str:
    """Write the program that acts and say so in the configuration; its path."""
    root = os.path.join(stage.directory, "root")
    os.makedirs(root)
    program = os.path.join(stage.directory, "act")
    with open(program, "w", encoding="utf-8") as file:
        file.write(PROGRAM.format(python=sys.executable, path=lines))
    os.chmod(program, 0o700)
    with open(stage.gateway.config_path, encoding="utf-8") as file:
        config = file.read()
    stage.gateway.write_config(config + CONFIG.format(program=program, root=root))
    return program


def _judge_calls(outcome: Outcome, asked: Sequence[ModelCall], path: str) -> None:
    """Hold what the model was told of acting calls against the lines that they wrote."""
    questions = {one.question for one in asked if FIRST.match(one.question)}
    planned = {name for question in questions for name in ACTING.findall(question)}
    told = _told(asked)
    with open(path, encoding="utf-8") as file:
        lines = Counter(file.read().split())
    marked = {name for name in planned if any(UNKNOWN in text for text in told[name])}
    good = {name for name in planned if any('"exitCode": 0' in text for text in told[name])}
    findings = {
        "ran_twice": [name for name, count in lines.items() if count > 1],
        "lost": [name for name in good if not lines[name]],
        "told_differently": [name for name in planned if len(told[name]) > 1],
        "never_told": [name for name in planned if name not in marked and name not in good],
        "not_asked_for": [name for name in lines if name not in planned],
    }
    outcome.failures += [f"{what}: {len(all)}, such as {all[:5]}" for what, all in findings.items() if all]
    outcome.metrics.update(
        {
            "turns": len(questions),
            "rounds": sum(question.count("\ncall ") for question in questions),
            "calls": len(planned),
            **{what: len(all) for what, all in findings.items()},
            "marked": len(marked),
            "marked_and_happened": sum(1 for name in marked if lines[name]),
        }
    )


def _told(asked: Sequence[ModelCall]) -> dict[str, set[str]]:
    """Every text that the model was told of an acting call, by the name that the call has in the file."""
    told: dict[str, set[str]] = defaultdict(set)
    for one in asked:
        names: dict[str, str] = {}
        for message in one.body["messages"]:
            for call in message.get("tool_calls") or ():
                function = call["function"]
                if function["name"] == "shell_run":
                    names[call["id"]] = json.loads(function["arguments"])["args"][0]
            if message["role"] == "tool" and message["tool_call_id"] in names:
                told[names[message["tool_call_id"]]].add(message["content"])
    return told
