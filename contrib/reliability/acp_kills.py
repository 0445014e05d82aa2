"""kill -9 at random moments while an outside agent answers the conversations.

The agent notes every prompt in a file before it does anything. A message that it was not asked to answer twice, and
whose turn a kill interrupted, is answered with a notice.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.e2e.gateway import ROOT
from tests.waiting import wait_until

from .kills import Load
from .platforms import ALL
from .report import Outcome
from .stage import START_S, Stage, pause, staged
from .store_view import key_of, look, unsettled

__all__ = ["run"]

EVERY_S = 0.1
LONGEST_LIFE_S = 1.5
DRAIN_S = 90.0
LOOK_S = 0.01
# How long the agents of a gateway that was killed may take to see that their input is closed.
GONE_S = 10.0
NOTICE = "was interrupted while it worked on this"
CONFIG = """
[gateway]
crash_loop_boots = 0
[acp]
enabled = true
[acp.dispatch]
conversation_routing = "all"
[acp.backends.codex]
command = "{python}"
args = ["{agent}", "slow", "{notes}"]
cwd = "{cwd}"
"""
AGENT = os.path.join(ROOT, "tests", "fakes", "acp_agent.py")


def run(count: int, seed: int, command: Sequence[str] = ()) -> Outcome:
    """So many kills. `command` runs loong, default: the checkout."""
    outcome = Outcome("acp-kills", count, seed)
    chance = random.Random(seed)
    begin = time.monotonic()
    with staged(ALL[:1], command=command, more="") as stage:
        notes = os.path.join(stage.directory, "notes.txt")
        _configure(stage, notes)
        sending = _lives(outcome, chance, stage, count)
        stage.gateway.start(timeout=START_S)
        wait_until(lambda: not _open(stage), DRAIN_S, "answers to all messages")
        wait_until(lambda: not unsettled(stage.gateway.store_path), START_S, "an empty inbox and outbox")
        code = stage.gateway.stop()
        if code != 0:
            outcome.failures.append(f"the last stop ended with {code}")
        wait_until(lambda: not _alive(notes), GONE_S, "the end of all agents")
        _judge(outcome, stage, notes, sending)
    outcome.duration_s = time.monotonic() - begin
    return outcome


def _configure(stage: Stage, notes: str) -> None:
    with open(stage.gateway.config_path, encoding="utf-8") as file:
        config = file.read()
    more = CONFIG.format(python=sys.executable, agent=AGENT, notes=notes, cwd=stage.directory)
    stage.gateway.write_config(config + more)


def _lives(outcome: Outcome, chance: random.Random, stage: Stage, count: int) -> Counter[str]:
    """All lives but the last; how many parts were on their way at the kills, by conversation."""
    gateway, sending = stage.gateway, Counter[str]()
    load = Load(stage, EVERY_S)
    load.start()
    for life in range(count):
        visits, process, begin = stage.platforms[0].visits(), gateway.spawn(), time.monotonic()
        life_s = chance.uniform(0.0, LONGEST_LIFE_S)
        # Two thirds of the lives are counted from the first visit, so that most kills hit a daemon at work.
        if life_s > LONGEST_LIFE_S / 3:
            while stage.platforms[0].visits() == visits and time.monotonic() < begin + START_S:
                pause(LOOK_S)
        pause(life_s)
        if process.poll() is not None:
            outcome.failures.append(f"life {life} ended by itself: {gateway.output()[-500:]}")
            break
        gateway.kill()
        view = look(gateway.store_path)
        if not view.sound:
            outcome.failures.append(f"kill {life}: the store is damaged")
        sending.update(_chat_of(lane) for lane, _ in view.sending)
    load.end()
    return sending


def _chat_of(lane: str) -> str:
    """The conversation of a lane of the store as the platform names it."""
    return f"telegram {lane.rpartition(':')[2]}"


def _open(stage: Stage) -> bool:
    """Whether a conversation has fewer answers than messages."""
    asked = Counter(_chat(stage, number) for number in stage.platforms[0].asked())
    replies = stage.platforms[0].replies()
    return any(len(replies.get(chat, ())) < count for chat, count in asked.items())


def _chat(stage: Stage, number: int) -> str:
    return f"telegram {stage.platforms[0].row_of(number)[1].partition(':')[0]}"


def _alive(notes: str) -> list[int]:
    """The agents that still run, by the file that they write to."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            # It has ended meanwhile.
            continue
        if notes.encode() in words:
            found.append(int(pid))
    return found


def _judge(outcome: Outcome, stage: Stage, notes: str, sending: Counter[str]) -> None:
    """Hold the answers against the messages and against what the agents were asked."""
    with open(notes, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    prompts = Counter(
        event[2]["prompt"][0]["text"] for event in events if event[:2] == ["request", "session/prompt"]
    )
    asked: dict[str, list[int]] = {}
    for number in stage.platforms[0].asked():
        asked.setdefault(_chat(stage, number), []).append(number)
    replies = stage.platforms[0].replies()
    figures: Counter[str] = Counter()
    for chat, numbers in asked.items():
        _judge_chat(outcome, figures, chat, numbers, replies.get(chat, []), sending[chat], prompts)
    twice = [text for text, count in prompts.items() if count > 1]
    if twice:
        outcome.failures.append(f"prompted twice: {len(twice)}, such as {twice[:5]}")
    outcome.failures += sorted(set(stage.platforms[0].complaints()))[:5]
    outcome.metrics.update(
        {
            "kills": outcome.n,
            "messages": len(stage.platforms[0].asked()),
            "prompts": sum(prompts.values()),
            "prompted_twice": len(twice),
            "answered": figures["answered"],
            "noticed": figures["noticed"],
            "lost": figures["lost"],
            "sent_twice": figures["twice"],
            "sent_twice_unexcused": figures["unexcused"],
            "agents_started": sum(event[:2] == ["request", "initialize"] for event in events),
            "orphans": len(_alive(notes)),
        }
    )


def _judge_chat(
    outcome: Outcome,
    figures: Counter[str],
    chat: str,
    numbers: list[int],
    replies: list[str],
    sending: int,
    prompts: Counter[str],
) -> None:
    """Match answers and notices, which do not say what they are about, with messages: both are in order."""
    place = noticed = twice = 0
    # The end of the conversation closes the last gap.
    for text in [*replies, ""]:
        if NOTICE in text:
            noticed += 1
            continue
        key = key_of(text)
        where = len(numbers) if not text else numbers.index(key[0]) if key and key[0] in numbers else -1
        if where < 0:
            outcome.failures.append(f"{chat}: nobody asked for {text[:80]!r}")
            continue
        if where < place:
            if where != place - 1:
                outcome.failures.append(f"{chat}: {text[:20]} came out of order")
            twice += 1
            continue
        gap = numbers[place:where]
        figures["lost"] += max(0, len(gap) - noticed)
        twice += max(0, noticed - len(gap))
        if len(gap) > noticed:
            outcome.failures.append(f"{chat}: of {gap} {len(gap) - noticed} have neither answer nor notice")
        figures["noticed"] += min(noticed, len(gap))
        figures["answered"] += bool(text)
        if text and not prompts[f"m{numbers[where]}"]:
            outcome.failures.append(f"{chat}: {text[:20]} was answered without a prompt")
        place, noticed = where + 1, 0
    figures["twice"] += twice
    if twice > sending:
        figures["unexcused"] += twice - sending
        outcome.failures.append(f"{chat}: {twice} messages sent twice, {sending} in sending at kills")
