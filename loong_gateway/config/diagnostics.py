"""Findings about a configuration: collected with their place, and shown as text, JSON or problem details.

Severity belongs to the code. Nothing here holds the value of a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest, plural
from loong_gateway.config.snapshot import Diagnostic
from loong_gateway.config.toml_lines import KeyPath, place_of, places
from loong_gateway.texts import render

__all__ = [
    "WARNINGS",
    "ConfigInvalid",
    "Findings",
    "as_document",
    "as_lines",
    "as_problem",
    "counts",
    "did_you_mean",
    "dotted",
    "finding",
    "quoted",
    "verdict",
]

SCHEMA_VERSION = 1
LOCALE = "en"
# What the right kind of value looks like, by the words for it.
_EXAMPLES = {
    "true or false": "true",
    "a whole number": "10",
    "a number": "1.5",
    "text": '"words"',
    "a path in quotes": '"/path/to/file"',
    "a URL in quotes": '"https://host.example"',
    "a list of texts": '["one", "two"]',
    "a list of whole numbers": "[123456789]",
    "a list of ids": '["id"]',
    "a table of texts": '{ name = "words" }',
    "a table": "[name], and its settings below that",
    "the name of a variable": '"MY_SECRET"',
    "text as item": '["words"]',
    "a whole number as item": "[123456789]",
    "an id as item": '["id"]',
}
_OTHER_EXAMPLE = '{ env = "MY_SECRET" }'
_PROBLEM = "urn:loong:problem:"
# Every other code is an error.
WARNINGS = frozenset(
    (
        "config.allow_list.empty",
        "config.channel.not_in_this_build",
        "config.channel_account.shared_credential",
        "config.file.bom",
        "config.file.mode",
        "config.gateway.no_auth",
        "config.gateway.origin_pattern",
        "config.gateway.short_secret",
        "config.gateway.two_secrets",
        "config.gateway.unknown_tool",
        "config.key.unknown",
        "config.provider.contradiction",
        "config.provider.kind_missing",
        "config.provider.missing",
        "config.provider.region_missing",
        "config.provider_selection.implicit_active",
        "config.provider_selection.unknown_active",
        "config.secret.file_mode",
        "config.secret.unavailable",
        "config.table.unknown",
        "config.value.clamped",
        "config.value.converted",
        "config.webhook.taken",
    )
)


class ConfigInvalid(CommandError):
    """Raised when a configuration has errors. `diagnostics` holds every finding, `path` the file they are about.

    `details` are the errors as `file:line:column  key: message`. With `starting` it is a refused start of the gateway.
    `check` is the command that shows all findings.
    """

    def __init__(
        self,
        diagnostics: Sequence[Diagnostic],
        path: str,
        *,
        starting: bool = False,
        check: str = "loong validate-config",
    ) -> None:
        self.diagnostics = tuple(diagnostics)
        self.path = path
        errors = [d for d in self.diagnostics if d.severity == "error"]
        code = "config.invalid_start" if starting else "config.invalid"
        super().__init__(code, count=plural(len(errors), "error"), check=check, path=path)
        self.details = tuple(as_lines(errors, path))


def dotted(path: KeyPath) -> str:
    """A key path as it is written in TOML, keys that are not bare quoted; items of arrays are left out."""
    words = []
    for key in path:
        if isinstance(key, str):
            bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
            words.append(key if bare else quoted(key))
    return ".".join(words)


def quoted(text: str) -> str:
    """`text` as a basic string of TOML on one printable line."""
    made = ""
    for character in text:
        if character in '"\\':
            made += "\\" + character
        elif character.isprintable():
            made += character
        else:
            made += f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
    return f'"{made}"'


def did_you_mean(given: str, names: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing when no name is near."""
    near = nearest(given, sorted(set(names)))
    return f"; did you mean {near}?" if near else ""


def finding(
    code: str,
    field_path: str,
    values: Mapping[str, object] | None = None,
    *,
    place: tuple[int, int] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Diagnostic:
    """One finding; `values` fill in the texts of `code`. Raises KeyError for an unknown code."""
    values = values or {}
    message, _, fix, _ = render(code, {**values, "example": _example(values)})
    shown = {name: str(value) for name, value in values.items()}
    return Diagnostic(
        severity="warning" if code in WARNINGS else "error",
        code=code,
        field_path=field_path,
        message=message,
        fix=fix or None,
        line=place[0] if place else None,
        column=place[1] if place else None,
        variables={**shown, **(variables or {})},
    )


def _example(values: Mapping[str, object]) -> object:
    """The example that the finding brings, else one of the kind of value that was expected."""
    expected = str(values.get("expected", ""))
    if expected.startswith("one of "):
        return quoted(expected[len("one of ") :].split(", ", maxsplit=1)[0])
    return values.get("example", _EXAMPLES.get(expected, _OTHER_EXAMPLE))


class Findings:
    """Collects findings while a config is read. Key paths are as written; their places are looked up at the end."""

    def __init__(self) -> None:
        self._pending: list[tuple[Diagnostic, KeyPath, bool]] = []

    def add(
        self,
        code: str,
        path: KeyPath,
        values: Mapping[str, object],
        *,
        at_value: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Note a finding about the key at `path`, or about its value."""
        self._pending.append((finding(code, dotted(path), values, variables=variables), path, at_value))

    def about(self, path: KeyPath) -> bool:
        """True when something was found about this key or a part of its value."""
        return any(found[: len(path)] == path for _, found, _ in self._pending)

    def take(self, text: str) -> list[Diagnostic]:
        """Everything found, in the order of the file. `text` is the source that the key paths speak of."""
        if not self._pending:
            return []
        found = places(text)
        placed = []
        for diagnostic, path, at_value in self._pending:
            place = place_of(found, path)
            line, column = (place[2:] if at_value else place[:2]) if place else (None, None)
            placed.append(replace(diagnostic, line=line, column=column))
        return sorted(placed, key=lambda d: (d.line or 0, d.column or 0))


def counts(diagnostics: Iterable[Diagnostic]) -> tuple[int, int]:
    """How many errors and how many warnings."""
    severities = [d.severity for d in diagnostics]
    return severities.count("error"), severities.count("warning")


def verdict(diagnostics: Sequence[Diagnostic]) -> str:
    """The one sentence that answers whether the config can be used."""
    errors, warnings = counts(diagnostics)
    found = [plural(errors, "error")] if errors else []
    found += [plural(warnings, "warning")] if warnings else []
    word = "invalid" if errors else "valid"
    return f"Config is {word}: {', '.join(found)}." if found else f"Config is {word}."


def as_lines(diagnostics: Iterable[Diagnostic], path: str) -> list[str]:
    """One line per finding: `config.toml:14:12  key: message`; warnings say so."""
    return [
        f"{_where(d, path)}  {'warning: ' if d.severity == 'warning' else ''}{_sentence(d)}"
        for d in diagnostics
    ]


def as_document(diagnostics: Sequence[Diagnostic], path: str) -> dict[str, object]:
    """The JSON document of the validation; `file`, `line`, `column` and `fix` are additions to its schema."""
    errors, warnings = counts(diagnostics)
    return {
        "diagnostics_schema_version": SCHEMA_VERSION,
        "config": path,
        "valid": errors == 0,
        "error_count": errors,
        "warning_count": warnings,
        "locale": LOCALE,
        "supported_locales": [LOCALE],
        "diagnostics": [_entry(d, path) for d in diagnostics],
    }


def as_problem(diagnostics: Sequence[Diagnostic], path: str) -> dict[str, object]:
    """The same as one problem details object (RFC 9457, formerly RFC 7807)."""
    errors, warnings = counts(diagnostics)
    kind = "config.validation_failed" if errors else "config.validation_warning" if warnings else "none"
    return {
        "type": _PROBLEM + kind,
        "title": {
            "none": "Config is valid",
            "config.validation_warning": "Config is valid, with warnings",
            "config.validation_failed": "Config is invalid",
        }[kind],
        "detail": verdict(diagnostics),
        "instance": path,
        "valid": errors == 0,
        "error_count": errors,
        "warning_count": warnings,
        "diagnostics_schema_version": SCHEMA_VERSION,
        "errors": [_entry(d, path) for d in diagnostics],
    }


def _where(diagnostic: Diagnostic, path: str) -> str:
    name = os.path.basename(path) or path
    return f"{name}:{diagnostic.line}:{diagnostic.column}" if diagnostic.line else name


def _sentence(diagnostic: Diagnostic) -> str:
    return f"{diagnostic.field_path}: {diagnostic.message}" if diagnostic.field_path else diagnostic.message


def _entry(diagnostic: Diagnostic, path: str) -> dict[str, object]:
    variables = dict(diagnostic.variables)
    inline = variables.pop("inline_field_path", diagnostic.field_path)
    example = variables.pop("example_env_name", "")
    suggested = variables.pop("suggested_env_name", None)
    return {
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "problem_type": _PROBLEM + diagnostic.code,
        "title_key": diagnostic.code + ".title",
        "title": diagnostic.code.rpartition(".")[2].replace("_", " "),
        "message_key": diagnostic.code + ".message",
        "message_locale": LOCALE,
        "message_variables": variables,
        "field_path": diagnostic.field_path,
        "inline_field_path": inline,
        "example_env_name": example,
        "suggested_env_name": suggested,
        "message": _sentence(diagnostic),
        "file": path,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "fix": diagnostic.fix,
    }
