"""One table of the config while it is read: keys in any of their spellings, values cast by their row, findings kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loong_channels.settings import Setting
from loong_gateway.base.wording import nearest
from loong_gateway.config.casting import Problem, cast, kind_of
from loong_gateway.config.diagnostics import Findings, dotted
from loong_gateway.config.secret_refs import RefCast, is_blank, pointer_problem, read_ref
from loong_gateway.config.section import Section
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.config.toml_lines import KeyPath

__all__ = ["Reading", "Table", "fold", "names_of"]

_MANUAL = "docs/configuration.md"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def fold(key: str) -> str:
    """The spelling that keys are compared in: `botToken`, `bot_token` and `BotToken` are one."""
    return _HUMP.sub("_", key).lower()


@dataclass(frozen=True)
class Reading:
    """What every table of one reading shares. `base_dir` is where relative paths start.

    `refs` gathers every reference to a secret that is written in the file, whether it is used or not.
    """

    findings: Findings
    environ: Mapping[str, str]
    base_dir: str
    refs: list[SecretRef] = field(default_factory=list)


class Table:
    """A table at `path`, the key path as written. A table that is absent is an empty one."""

    def __init__(self, raw: Mapping[str, object], path: KeyPath, reading: Reading) -> None:
        self.raw = raw
        self.path = path
        self.reading = reading
        self._keys: dict[str, str] = {}
        for key in raw:
            folded = fold(key)
            if folded in self._keys:
                first = self._keys[folded]
                words = {"first": dotted((first,)), "second": dotted((key,))}
                reading.findings.add("config.key.duplicate", (*path, key), words)
            else:
                self._keys[folded] = key

    def __contains__(self, name: str) -> bool:
        return fold(name) in self._keys

    def get(self, name: str) -> object:
        """The value as parsed, None when the key is absent."""
        key = self._keys.get(fold(name))
        return None if key is None else self.raw[key]

    def path_of(self, name: str) -> KeyPath:
        """The key path of `name`: as written, or as documented when it is absent."""
        return (*self.path, self._keys.get(fold(name), name))

    def add(self, code: str, name: str | None = None, *, at_value: bool = False, **values: object) -> None:
        """Note a finding about a key of this table, or about the table."""
        path = self.path if name is None else self.path_of(name)
        self.reading.findings.add(code, path, values, at_value=at_value)

    def child(self, name: str) -> Table:
        """The table under `name`; an empty one when it is absent or, which is noted, no table."""
        return Table(self._table_under(name), self.path_of(name), self.reading)

    def children(self, name: str) -> dict[str, Table]:
        """The tables in the table under `name`, by their keys as written; what is no table is noted and left out.

        Such keys are names that the operator chose, so they are not folded.
        """
        holder = self._table_under(name)
        found = {}
        for key, raw in holder.items():
            path = (*self.path_of(name), key)
            if isinstance(raw, dict):
                found[key] = Table(raw, path, self.reading)
            else:
                words = {"expected": "a table", "got": kind_of(raw)}
                self.reading.findings.add("config.value.type", path, words, at_value=True)
        return found

    def warn_unknown(self, names: Iterable[str], *, hints: Mapping[str, str] | None = None) -> None:
        """Note every key that is none of `names`. `hints` maps a wrong name to the right one."""
        known = sorted(set(names))
        folded = {fold(name) for name in known}
        for spelling, key in self._keys.items():
            if spelling in folded:
                continue
            right = (hints or {}).get(spelling)
            meant = right or nearest(spelling, known)
            words = {
                "suggestion": f"; did you mean {meant}?" if meant else "",
                "fix": f"write {meant} instead"
                if meant
                else f"remove it; every {self._noun(key)} stands in {_MANUAL}",
            }
            self.reading.findings.add(f"config.{self._noun(key)}.unknown", (*self.path, key), words)

    def _noun(self, key: str) -> str:
        return "table" if isinstance(self.raw[key], dict) else "key"

    def read(self, setting: Setting, *, plain_http: bool = False) -> Any:
        """The value of a setting that is no secret, its default when absent or, which is noted, unusable."""
        if setting.name not in self:
            return setting.default
        found = cast(
            setting,
            self.get(setting.name),
            base_dir=self.reading.base_dir,
            plain_http=plain_http,
            plain_http_key=dotted(self.path_of("allow_plain_http")),
        )
        self._note(setting.name, found.problems)
        return found.value

    def read_all(self, section: Section) -> dict[str, Any]:
        """Every setting of a section by its folded name; unknown keys are noted."""
        plain_http = self.get("allow_plain_http") is True
        self.warn_unknown(names_of(section.settings, (*section.tables, *section.later)))
        return {
            fold(setting.name): self._value_of(setting, plain_http=plain_http) for setting in section.settings
        }

    def _value_of(self, setting: Setting, *, plain_http: bool) -> Any:
        if setting.kind == "secret":
            return self.read_secret(setting)
        if setting.kind == "env":
            return self.read_env(setting)
        return self.read(setting, plain_http=plain_http)

    def read_env(self, setting: Setting) -> dict[str, str | SecretRef]:
        """A table of variables: each is text, or a table that refers to a secret."""
        found: dict[str, str | SecretRef] = {}
        for name, raw in self._table_under(setting.name).items():
            path = (*self.path_of(setting.name), name)
            problems: tuple[Problem, ...] = ()
            if not _VARIABLE.fullmatch(name) or (isinstance(raw, str) and "\0" in raw):
                words = {
                    "detail": "is no variable",
                    "suggestion": "",
                    "fix": 'write, for example: NAME = "text"',
                }
                problems = (Problem("config.value.invalid", words),)
            elif isinstance(raw, str):
                found[name] = raw
            else:
                cast_ref = read_ref(Setting(name, "secret"), raw, base_dir=self.reading.base_dir)
                problems = cast_ref.problems
                found[name] = cast_ref.ref(dotted(path), ())
                self.reading.refs.append(cast_ref.ref(dotted(path), ()))
            for problem in problems:
                self.reading.findings.add(
                    problem.code, (*path, *problem.item), dict(problem.values), at_value=True
                )
        return found

    def read_secret(self, setting: Setting, *, inherited: SecretRef | None = None) -> SecretRef:
        """The reference of a secret setting: what is written, else `<name>_env`, else `inherited`, else the default.

        A named variable comes before an inherited reference only while it is set.
        """
        raw = self.get(setting.name)
        found = RefCast() if raw is None else read_ref(setting, raw, base_dir=self.reading.base_dir)
        self._note(setting.name, found.problems)
        named = self._named_variable(setting)
        here = dotted(self.path_of(setting.name))
        default = (setting.env,) if setting.env else ()
        if found.form != "absent":
            self.reading.refs.append(found.ref(here, ()))
        if found.form != "absent" or (found.problems and inherited is None):
            return found.ref(here, ())
        if inherited is None:
            return found.ref(here, tuple(dict.fromkeys((*named, *default))))
        if inherited.form != "absent":
            set_here = any(self.reading.environ.get(name, "").strip() for name in named)
            return found.ref(here, named) if set_here else inherited
        return found.ref(here, tuple(dict.fromkeys((*named, *inherited.fallback_env))))

    def _table_under(self, name: str) -> Mapping[str, object]:
        raw = self.get(name)
        if raw is not None and not isinstance(raw, dict):
            self.add("config.value.type", name, at_value=True, expected="a table", got=kind_of(raw))
        return raw if isinstance(raw, dict) else {}

    def _named_variable(self, setting: Setting) -> tuple[str, ...]:
        key = f"{setting.name}_env"
        raw = self.get(key)
        if raw is None or is_blank(raw):
            return ()
        problem = pointer_problem(raw, key=key, default_env=setting.env)
        if problem is not None:
            self._note(key, (problem,), inline=dotted(self.path_of(setting.name)))
            return ()
        return (str(raw).strip(),)

    def _note(self, name: str, problems: Iterable[Problem], *, inline: str = "") -> None:
        for problem in problems:
            path = (*self.path_of(name), *problem.item)
            values = dict(problem.values)
            variables = {}
            if problem.code.startswith("config.env_pointer."):
                suggested = values.pop("suggested_env_name", None)
                variables = {
                    "inline_field_path": inline or dotted(self.path_of(name)),
                    "example_env_name": str(values["example"]),
                    **({"suggested_env_name": str(suggested)} if suggested else {}),
                }
            self.reading.findings.add(problem.code, path, values, at_value=True, variables=variables)


def names_of(settings: Iterable[Setting], more: Iterable[str] = ()) -> list[str]:
    """The keys that may be written for these settings, those of variables included."""
    names = list(more)
    for setting in settings:
        names.append(setting.name)
        if setting.kind == "secret":
            names.append(f"{setting.name}_env")
    return names
