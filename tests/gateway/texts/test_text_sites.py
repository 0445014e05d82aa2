"""Every row of the texts is used, and whoever uses one gives all that it is filled in with.

The sources are read, not run. A site is a call that is handed the code of a row; what it gives are its keywords and
the keys of the dictionaries it is handed, be they written there or under a name assigned in the same function.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import string

from loong_gateway.texts import all_rows

ROOT = pathlib.Path(__file__).resolve().parents[3]
ROWS = all_rows()
# Rows that are looked up by what a status document says.
SAID_BY_STATUS = ("reason.", "surface.")
# Calls that only carry a code on; `provider_fault` fills it in for all of them.
CARRIERS = {"Failure", "_Verdict", "replace"}
# What `config.diagnostics.finding` adds to whatever it is given.
ADDED = {"config.value.type": {"example"}}

Function = ast.FunctionDef


@functools.cache
def sources() -> dict[str, ast.Module]:
    """Every source outside of the texts. Not read at import: each process of a parallel run imports this module."""
    paths = [ROOT / "loong.py"]
    for package in ("loong_channels", "loong_gateway"):
        paths += sorted((ROOT / package).rglob("*.py"))
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
        if path.parent.name != "texts"
    }


def codes_in(node: ast.AST) -> set[str]:
    return {
        found.value
        for found in ast.walk(node)
        if isinstance(found, ast.Constant) and isinstance(found.value, str) and found.value in ROWS
    }


def fields(code: str) -> set[str]:
    parts = [part for part in ROWS[code][:3] if part]
    return {name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name}


@functools.cache
def assignments(scope: ast.AST) -> dict[str, list[ast.expr]]:
    """What each name may stand for within a function: what is assigned to it, tuples taken apart, and its default."""
    found: dict[str, list[ast.expr]] = {}
    if isinstance(scope, Function):
        taken = scope.args
        for argument, value in zip(taken.kwonlyargs, taken.kw_defaults):
            if value is not None:
                found.setdefault(argument.arg, []).append(value)
    for node in ast.walk(scope):
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += list(zip(target.elts, value.elts))
            elif isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
    return found


def assigned(scope: ast.AST, name: str) -> list[ast.expr]:
    return assignments(scope).get(name, [])


def codes_of(argument: ast.expr, scope: ast.AST) -> set[str]:
    """The codes that an argument may be; none for one that only holds a code deep inside, as another call does."""
    if isinstance(argument, ast.Name):
        return set().union(*(spoken(value) for value in assigned(scope, argument.id)))
    return spoken(argument)


def spoken(value: ast.expr) -> set[str]:
    """The codes that stand as a text, or as one of two."""
    if isinstance(value, ast.IfExp):
        return spoken(value.body) | spoken(value.orelse)
    return codes_in(value) if isinstance(value, ast.Constant) else set()


def keys_of(value: ast.expr, scope: ast.AST, seen: frozenset[str] = frozenset()) -> set[str]:
    """The keys of a dictionary that is written out, or of those that a name stands for."""
    if isinstance(value, ast.Dict):
        keys: set[str] = set()
        for key, item in zip(value.keys, value.values):
            keys |= keys_of(item, scope, seen) if key is None else {str(getattr(key, "value", ""))}
        return keys
    if isinstance(value, ast.Name) and value.id not in seen:
        found = assigned(scope, value.id)
        return set().union(*(keys_of(one, scope, seen | {value.id}) for one in found))
    return set()


@functools.cache
def sites() -> list[tuple[str, str, set[str]]]:
    """Where a code is handed over: place, code, and the names of what is given with it."""
    found = []
    for path, tree in sources().items():
        functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
        inner = {id(node): function for function in functions for node in ast.walk(function)}
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call):
                continue
            scope = inner.get(id(call), tree)
            values = [*call.args, *(keyword.value for keyword in call.keywords)]
            given = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
            given |= set().union(*(keys_of(value, scope) for value in values))
            if (getattr(call.func, "attr", None) or getattr(call.func, "id", None)) in CARRIERS:
                given |= carried()
            # Under the keyword `code` it goes to somebody who fills it in, and whose own call is a site.
            onward = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
            for value in values:
                for code in sorted(set() if value in onward else codes_of(value, scope)):
                    found.append((f"{path}:{call.lineno}", code, given))
    return found


@functools.cache
def carried() -> set[str]:
    """What `provider_fault` fills every code in with that an attempt carries."""
    tree = sources()["loong_gateway/providers/errors.py"]
    (function,) = [n for n in ast.walk(tree) if isinstance(n, Function) and n.name == "provider_fault"]
    words = "ProviderFault.of"
    (call,) = [n for n in ast.walk(function) if isinstance(n, ast.Call) and ast.unparse(n.func) == words]
    return {keyword.arg for keyword in call.keywords if keyword.arg is not None}


def test_the_sites_are_found() -> None:
    assert len(sites()) > 150
    assert {"profile", "detail", "tries"} <= carried()


def test_every_site_gives_all_that_its_row_needs() -> None:
    lacking = {
        f"{place}: {code}": missing
        for place, code, given in sites()
        if (missing := fields(code) - given - ADDED.get(code, set()))
    }
    assert lacking == {}


def test_no_row_is_unused() -> None:
    used = set().union(*(codes_in(tree) for tree in sources().values()))
    unused = [code for code in ROWS if code not in used and not code.startswith(SAID_BY_STATUS)]
    assert unused == []


def test_what_a_status_may_say_is_said_somewhere() -> None:
    """A reason or a trouble is a word in the sources; a row for a word that nobody says would never be shown."""
    words = {
        node.value
        for tree in sources().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    said = [code for code in ROWS if code.startswith(SAID_BY_STATUS)]
    assert [code for code in said if code.partition(".")[2] not in words] == []
