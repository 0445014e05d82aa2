"""Which keys of a profile failed of late: in which order they are tried, never whether. Nothing here holds a key."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from loong_gateway.base.clock import wall_ms
from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile

__all__ = ["HealthRules", "KeyHealth", "rules_of"]

COOLING = ("rate_limited", "provider_overloaded", "transport_failure", "timed_out", "request_rejected")
DISABLING = "auth_rejected"
LONGEST_KIND = 40
MAX_FAILURES = 1000


@dataclass(frozen=True)
class HealthRules:
    """How long a key that failed stands last: `cooldown_ms` doubled with each failure up to `longest_ms`, and
    `disable_ms` when it was refused. `observed` keeps the configured order. At most `most` keys are remembered."""

    cooldown_ms: int = 60_000
    longest_ms: int = 3_600_000
    disable_ms: int = 21_600_000
    most: int = 256
    observed: bool = False


def rules_of(profile: ProviderProfile, kind: Kind) -> HealthRules:
    """What the config says of a profile's keys."""
    mode = profile.profile_health_mode
    return HealthRules(
        profile.profile_cooldown_ms,
        profile.profile_cooldown_max_ms,
        profile.profile_auth_reject_disable_ms,
        profile.profile_state_max_entries,
        observed=kind.observed if mode == "provider_default" else mode == "observe_only",
    )


@dataclass
class _State:
    """What is known of one key. `used` counts up over all keys with each use."""

    failures: int = 0
    until_ms: int = 0
    kind: str = ""
    used: int = 0


class KeyHealth:
    """The keys of one profile by their digests. Thread-safe; `_guard` protects the table. Times are of the wall clock,
    since they outlive the process; after a step of the clock no wait is longer than the rules allow."""

    def __init__(self, rules: HealthRules, *, now_ms: Callable[[], int] = wall_ms) -> None:
        self._rules = rules
        self._now_ms = now_ms
        self._guard = threading.Lock()
        self._states: dict[str, _State] = {}
        self._uses = 0
        # With a single key there is nothing to choose, so nothing to remember of its uses.
        self._alone = False
        self._changed = False

    def order(self, keys: Sequence[str], first: int) -> list[str]:
        """The keys as they should be tried: none is left out. The `first` ones go before the others while they are
        well, keys that are well before those that failed, then whoever rested longest, or recovers soonest."""
        with self._guard:
            self._alone = len(keys) < 2
            if self._rules.observed or self._alone:
                return list(keys)

            def rank(place: int) -> tuple[float, ...]:
                state = self._states.get(_digest(keys[place]))
                left = 0 if state is None else self._left_ms(state)
                used = 0 if state is None else state.used
                return (left, place >= first, used, place)

            return [keys[place] for place in sorted(range(len(keys)), key=rank)]

    def using(self, key: str) -> None:
        """The key is about to be sent."""
        with self._guard:
            if not self._alone:
                self._uses += 1
                self._state(key).used = self._uses

    def failed(self, key: str, kind: str, at_least_s: float = 0.0) -> None:
        """A call with this key ended with a failure of this kind; the provider asked for `at_least_s`."""
        rules = self._rules
        if kind not in COOLING and kind != DISABLING:
            return
        with self._guard:
            state = self._state(key)
            state.failures = min(state.failures + 1, MAX_FAILURES)
            doubled = rules.cooldown_ms * 2 ** min(state.failures - 1, 30)
            pause_ms = rules.disable_ms if kind == DISABLING else min(doubled, rules.longest_ms)
            state.until_ms = self._now_ms() + max(pause_ms, int(at_least_s * 1000))
            state.kind = kind
            self._changed = True

    def worked(self, key: str) -> None:
        """A call with this key was answered."""
        with self._guard:
            state = self._states.get(_digest(key)) if self._states else None
            if state is not None and state.failures:
                state.failures, state.until_ms, state.kind = 0, 0, ""
                self._changed = True

    def shown(self, keys: Sequence[str]) -> list[dict[str, object]]:
        """The keys by their place in the config, from 1, as status shows them."""
        with self._guard:
            return [{"key": place, **self._words(key)} for place, key in enumerate(keys, 1)]

    def load(self, stored: object) -> None:
        """Take over what `dump` gave; anything else is ignored."""
        entries = list(stored.items()) if isinstance(stored, dict) else []
        with self._guard:
            for digest, entry in entries[-self._rules.most :]:
                state = _read(entry)
                if state is not None and isinstance(digest, str):
                    self._states[digest] = state

    def dump(self) -> dict[str, dict[str, Any]]:
        """What is worth keeping over a restart, as JSON values."""
        with self._guard:
            return {
                digest: {"failures": state.failures, "until_ms": state.until_ms, "kind": state.kind}
                for digest, state in self._states.items()
                if state.failures
            }

    def take_changed(self) -> bool:
        """Whether `dump` has changed since the last call."""
        with self._guard:
            changed, self._changed = self._changed, False
            return changed

    def _words(self, key: str) -> dict[str, object]:
        state = self._states.get(_digest(key))
        left_ms = 0 if state is None else self._left_ms(state)
        if state is None or not left_ms:
            return {"state": "ready"}
        words = "disabled" if state.kind == DISABLING else "cooling"
        return {"state": words, "left_s": round(left_ms / 1000), "last_error": state.kind}

    def _left_ms(self, state: _State) -> int:
        longest = max(self._rules.longest_ms, self._rules.disable_ms)
        return max(0, min(state.until_ms - self._now_ms(), longest))

    def _state(self, key: str) -> _State:
        digest = _digest(key)
        state = self._states.get(digest)
        if state is None:
            while len(self._states) >= self._rules.most:
                del self._states[min(self._states, key=lambda one: self._states[one].used)]
            state = self._states[digest] = _State()
        return state


def _digest(key: str) -> str:
    return hashlib.sha256(f"loong key\0{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(entry: object) -> _State | None:
    values: Mapping[str, object] = entry if isinstance(entry, dict) else {}
    failures, until_ms, kind = values.get("failures"), values.get("until_ms"), values.get("kind")
    if type(failures) is not int or type(until_ms) is not int or not isinstance(kind, str):
        return None
    return _State(max(1, min(failures, MAX_FAILURES)), until_ms, kind[:LONGEST_KIND])
