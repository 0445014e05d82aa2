"""Forced disconnects of five kinds on every channel, and whether the daemon comes back in time with everything it owes.

Several gateways side by side, each with all three channels, each channel with a thread that breaks its connection
again as soon as it has recovered. With a speed above 1 the daemons live in quick time, so that waits of minutes take
seconds; what is measured beyond a wait by rule is measured in our time.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.waiting import wait_until

from .lanes import Lane, lane_of
from .platforms import ALL, WeCom
from .report import Outcome
from .stage import Stage, finish, pause, staged
from .store_view import look, unsettled

__all__ = ["run", "run_real"]

SPEED = 20.0
LOOK_S = 0.005
GRACE_S = 2.0
ATTEMPT_S = 1.0
START_S = 30.0
CALM_S = 20.0
# How long a send may wait on a connection that was kept and is dead.
SEND_S = 120.0
DRAIN_S = 60.0
STEP = 1_000_000
# Connections for requests are kept, also those that are dead by now, until they are wanted: for each of the three peers
# as many as there were requests at once, which is one for each conversation at most.
MOST_KEPT = 3 * 3 * len(ALL)
# Messages that wait for a lane that is away must not be too old when it is back.
SETTINGS = "[gateway]\ncrash_loop_boots = 0\n[limits]\nmax_inbound_age_s = 86400\n"


@dataclass
class Gap:
    """One disconnect that is over: how long it took until the platform had acknowledged the daemon again, and how much
    of that was beyond what the rules allow for the notice and the waits. In our seconds.
    """

    kind: str
    back_s: float
    late_s: float


@dataclass
class Record:
    """What became of the faults of one channel, over all gateways."""

    gaps: list[Gap] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)


class Breaker(threading.Thread):
    """Breaks one lane of one gateway, `count` times."""

    def __init__(
        self, stage: Stage, lane: Lane, count: int, speed: float, seed: int, record: Record, base: int
    ) -> None:
        super().__init__(name=f"break:{lane.platform.name}", daemon=True)
        self._stage = stage
        self._lane = lane
        self._count = count
        self._speed = speed
        self._chance = random.Random(seed)
        self._record = record
        self._number = base

    def run(self) -> None:
        """Until all is done or something did not come back."""
        kinds = list(self._lane.weights) if self._count <= len(self._lane.weights) else []
        self._lane.slow_ones = not kinds
        for turn in range(self._count):
            kind = kinds[turn] if kinds else self._lane.kind(self._chance)
            try:
                gap = self._once(kind)
            except (AssertionError, OSError) as error:
                with self._record.guard:
                    name = self._lane.platform.name
                    self._record.failures.append(f"{name} {turn} {kind}: {error} {self._surface()}"[:600])
                return
            with self._record.guard:
                self._record.gaps.append(gap)

    def _once(self, kind: str) -> Gap:
        lane = self._lane
        wait_until(self._is_calm, CALM_S + self._real(SEND_S), "a calm lane before the fault")
        before = self._restarts()
        if lane.platform.name != "telegram":
            # Telegram has no key for a message: what is cut off while it is sent may come twice.
            self._say()
        struck_s = time.monotonic()
        fault = lane.strike(kind, self._chance)
        struck_s = fault.at or struck_s
        limit_s = self._real(fault.found_s) + CALM_S
        wait_until(lambda: self._restarts() > before, limit_s, "the notice", pause_s=LOOK_S)
        self._say()
        # The retries between the failures that the fault means belong to it.
        earlier_s = (fault.failures - 1) * lane.interval_s
        limit_s = self._real(earlier_s) + CALM_S
        wait_until(lambda: self._restarts() >= before + fault.failures, limit_s, "failures", pause_s=LOOK_S)
        relented = lane.relent()
        failures = self._restarts() - before
        wait_s = max(fault.wait_s, ATTEMPT_S * 2.0 ** (failures - 1) if failures > 1 else 0.0)
        wait_until(
            lambda: lane.back_at(struck_s) and self._is_ready(),
            self._real(wait_s) + GRACE_S + CALM_S,
            "the reconnect",
            pause_s=LOOK_S,
        )
        back_s = (lane.back_at(struck_s) or 0.0) - struck_s
        due_s = relented - struck_s if relented else self._real(fault.found_s + earlier_s)
        self._say()
        return Gap(kind, back_s, back_s - due_s - self._real(wait_s))

    def _real(self, seconds: float) -> float:
        return seconds / self._speed

    def _say(self) -> None:
        self._lane.platform.say(self._number, self._number % 3)
        self._number += 1

    def _surface(self) -> dict[str, object]:
        surfaces = self._stage.gateway.document().get("surfaces") or []
        return next((one for one in surfaces if one["channel"] == self._lane.platform.name), {})

    def _restarts(self) -> int:
        return int(str(self._surface().get("restarts", 0)))

    def _is_ready(self) -> bool:
        return self._surface().get("phase") == "ready"

    def _is_calm(self) -> bool:
        platform = self._lane.platform
        if not self._is_ready():
            return False
        if platform.name != "telegram":
            return True
        if platform.resource.bot.waiting is None or self._stage.ledger.open_of(platform):
            return False
        return not unsettled(self._stage.gateway.store_path, platform.name)


def run(
    faults: int,
    seed: int,
    command: Sequence[str] = (),  # noqa: ARG001  the daemon is this checkout's
    *,
    grace_s: float = GRACE_S,
) -> Outcome:
    """`faults` per channel, in quick time. `grace_s` is what may be added to the waits by rule."""
    return _run("disconnects", faults, seed, SPEED, gateways=max(1, min(5, faults // 5)), grace_s=grace_s)


def run_real(faults: int, seed: int, command: Sequence[str] = ()) -> Outcome:  # noqa: ARG001
    """`faults` per channel, in real time."""
    return _run("disconnects-real", faults, seed, 1.0, gateways=max(1, min(10, faults // 5)), grace_s=GRACE_S)


def _run(name: str, faults: int, seed: int, speed: float, *, gateways: int, grace_s: float) -> Outcome:
    outcome = Outcome(name, faults * len(ALL), seed)
    records = {platform: Record() for platform in ALL}
    begin = time.monotonic()
    worlds = [
        threading.Thread(
            target=_world,
            args=(outcome, records, faults // gateways + (turn < faults % gateways), seed + turn, speed),
            name=f"world:{turn}",
            daemon=True,
        )
        for turn in range(gateways)
    ]
    for world in worlds:
        world.start()
    for world in worlds:
        world.join()
    outcome.duration_s = time.monotonic() - begin
    outcome.metrics.update({"gateways": gateways, "speed": speed})
    for platform, record in records.items():
        outcome.failures += record.failures
        outcome.metrics[platform] = _figures(record)
        late = [gap for gap in record.gaps if gap.late_s > grace_s]
        if late:
            outcome.failures.append(f"{platform}: {len(late)} too late, such as {late[:3]}")
        if len(record.gaps) != faults and not record.failures:
            outcome.failures.append(f"{platform}: {len(record.gaps)} of {faults} faults")
    return outcome


def _figures(record: Record) -> dict[str, object]:
    late = sorted(gap.late_s for gap in record.gaps) or [0.0]
    return {
        "faults": dict(Counter(gap.kind for gap in record.gaps)),
        "back_s_max": round(max((gap.back_s for gap in record.gaps), default=0.0), 2),
        "beyond_the_rule_s_p99": round(late[min(len(late) - 1, int(len(late) * 0.99))], 3),
        "beyond_the_rule_s_max": round(late[-1], 3),
    }


def _world(outcome: Outcome, records: dict[str, Record], faults: int, seed: int, speed: float) -> None:
    with contextlib.ExitStack() as lines:
        lanes: list[Lane] = []

        def prepare(platform: object) -> None:
            lanes.append(lines.enter_context(lane_of(platform)))  # type: ignore[arg-type]

        replaces = random.Random(seed).random() < 0.5
        with staged(ALL, wecom_replaces=replaces, speed=speed, prepare=prepare, more=SETTINGS) as stage:
            try:
                _break(outcome, records, stage, lanes, faults, seed, speed)
            except (AssertionError, OSError) as error:
                outcome.failures.append(f"{type(error).__name__}: {error}"[:1500])


def _break(
    outcome: Outcome,
    records: dict[str, Record],
    stage: Stage,
    lanes: Sequence[Lane],
    faults: int,
    seed: int,
    speed: float,
) -> None:
    gateway = stage.gateway
    gateway.spawn()
    wait_until(lambda: _ready(stage), START_S, "three lanes ready")
    for which, platform in enumerate(stage.platforms):
        for place in range(3):
            platform.say(which * STEP + place, place)
    wait_until(lambda: not stage.ledger.open(), START_S, "the first answers")
    before = _size(stage, lanes)
    breakers = [
        Breaker(stage, lane, faults, speed, seed * 7 + which, records[lane.platform.name], which * STEP + 10)
        for which, lane in enumerate(lanes)
    ]
    for breaker in breakers:
        breaker.start()
    for breaker in breakers:
        breaker.join()
    # WeCom gives a message away once: what went into a dead connection is gone, and is counted.
    for platform in stage.platforms:
        if isinstance(platform, WeCom):
            pause(GRACE_S / 4)
            platform.note_kill(look(gateway.store_path))
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not stage.ledger.open(), DRAIN_S + SEND_S / speed)
    waits = stage.ledger.open()
    if waits:
        outcome.failures.append(f"unanswered: {waits[:10]}, {unsettled(gateway.store_path)[:10]}")
    leaked = _leak(stage, lanes, before)
    # Looked at before the daemon ends.
    open_files = _open_files(gateway.pid)
    failures = finish(stage, DRAIN_S)
    metrics, more = stage.ledger.verdict()
    with records["telegram"].guard:
        outcome.failures += failures + more
        for kind, count in leaked.items():
            _add(outcome, f"leaked_{kind}", count)
            if count > 0:
                outcome.failures.append(f"{count} {kind} leaked, {before} before, now open: {open_files}")
        for name in ("messages", "lost", "duplicates"):
            _add(outcome, name, metrics[name])
        for platform in stage.platforms:
            for name, value in platform.metrics().items():
                _add(outcome, name.replace("not_stored_at_a_kill", "into_a_dead_connection"), value)


def _add(outcome: Outcome, name: str, value: object) -> None:
    outcome.metrics[name] = int(str(outcome.metrics.get(name, 0))) + int(str(value))


def _ready(stage: Stage) -> bool:
    surfaces = stage.gateway.document().get("surfaces") or []
    return len(surfaces) == len(ALL) and all(one["phase"] == "ready" for one in surfaces)


def _size(stage: Stage, lanes: Sequence[Lane]) -> dict[str, int]:
    """Threads, open long connections, other sockets, and every other descriptor."""
    assert stage.gateway.process is not None
    pid = stage.gateway.process.pid
    files = _open_files(pid)
    lines = [f"connection to {lane.line.port}" for lane in lanes if lane.platform.name != "telegram"]
    lasting = sum(files.pop(line, 0) for line in lines)
    sockets = sum(files.pop(name) for name in list(files) if name.startswith(("connection", "socket")))
    return {
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "long_connections": lasting,
        "sockets": sockets,
        "files": sum(files.values()),
    }


def _leak(stage: Stage, lanes: Sequence[Lane], before: dict[str, int]) -> dict[str, int]:
    """How many more there are than there may be, once what ends by itself has ended."""
    allowed = {**before, "sockets": before["sockets"] + MOST_KEPT}
    with contextlib.suppress(AssertionError):
        wait_until(lambda: all(count <= allowed[kind] for kind, count in _size(stage, lanes).items()), CALM_S)
    return {kind: max(0, count - allowed[kind]) for kind, count in _size(stage, lanes).items()}


def _open_files(pid: int) -> dict[str, int]:
    """The open descriptors by what they are; connections by the port of their peer."""
    peers = {}
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as file:
        for fields in [line.split() for line in file][1:]:
            peers[f"socket:[{fields[9]}]"] = f"connection to {int(fields[2].partition(':')[2], 16)}"
    found: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            found[peers.get(target, target.partition(":")[0])] += 1
    return dict(found)
