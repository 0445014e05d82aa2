"""The house keeps its shape: floors, sizes, bans. Parses every product module; runs nothing of it."""

from __future__ import annotations

import ast
import functools
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The floors, from the ground up. A room is a package or, beside packages, a single module; what stands in it may
# import from its own room and from rooms that stand before it, never from one behind it.
FLOORS = """
loong_channels loong_channels.settings loong_channels.faults loong_channels.waiting loong_channels.remembered
loong_channels.contract
loong_channels.address_rules
loong_channels.text loong_channels.decoding loong_channels.files loong_channels.aes loong_channels.net_sockets
loong_channels.egress
loong_channels.net_transport loong_channels.net loong_channels.net_duplex loong_channels.web_socket
loong_channels.catalog loong_channels.feishu loong_channels.telegram loong_channels.wecom

loong_gateway
loong_gateway.texts loong_gateway.base
loong_gateway.owner loong_gateway.logs loong_gateway.storage
loong_gateway.config
loong_gateway.audit
loong_gateway.providers loong_gateway.control loong_gateway.tools loong_gateway.acp loong_gateway.messaging
loong_gateway.views
loong_gateway.api
loong_gateway.daemon
loong_gateway.doctor loong_gateway.commands loong_gateway.commandline loong
"""

# The only places that may import inside a function: they load one module by name, on demand.
LAZY_LOADERS = {
    "loong_channels.aes",
    "loong_channels.catalog",
    "loong_gateway.providers.factory",
    "loong_gateway.commandline.main",
    "loong",
}
ONLY_IN = {
    "urllib3": {"loong_channels.net_transport"},
    "websocket": {"loong_channels.web_socket"},
    "cryptography": {"loong_channels.aes"},
    "tomli": {"loong_gateway.config.loading"},
}
# Plain modules: on the path of `gateway status`, which may not import dataclasses, typing and their like.
PLAIN = {
    "loong",
    "loong_gateway",
    "loong_gateway.base.faults",
    "loong_gateway.base.tinyjson",
    "loong_gateway.base.wording",
    "loong_gateway.owner.paths",
    "loong_gateway.base.atomic",
    "loong_gateway.base.clock",
    "loong_gateway.base.pause",
    "loong_gateway.base.process",
    "loong_gateway.owner.files",
    "loong_gateway.owner.lock",
    "loong_gateway.owner.loopback",
    "loong_gateway.owner.status",
    "loong_gateway.owner.verdict",
    "loong_gateway.owner.client",
    "loong_gateway.commandline.main",
    "loong_gateway.commands",
    "loong_gateway.commands.common",
    "loong_gateway.commands.gateway_status",
}
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_CLASS_LINES = 300


def product_files() -> list[pathlib.Path]:
    files = [ROOT / "loong.py"]
    for package in ("loong_channels", "loong_gateway"):
        files += sorted((ROOT / package).rglob("*.py"))
    return files


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in product_files()}


@functools.cache
def tree_of(module: str) -> ast.Module:
    """Parsed when first asked for: each process of a parallel run imports this module, and few run its tests."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


RANKS = {name: rank for rank, name in enumerate(FLOORS.split())}


def room(module: str) -> str:
    """The room that a module stands in."""
    return ".".join(module.split(".")[:2])


# A test for each room: one for each module of every rule would take longer to collect than to run.
ROOMS = {name: sorted(module for module in FILES if room(module) == name) for name in map(room, FILES)}
by_room = pytest.mark.parametrize("modules", ROOMS.values(), ids=ROOMS)


def imported(tree: ast.AST, module: str) -> list[tuple[str, int]]:
    found = []
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                child = f"{base}.{alias.name}"
                found.append((child if child in FILES else base, node.lineno))
    return found


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body
    if ast.get_docstring(node) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def own_imports(module: str) -> set[str]:
    names = {name for name, _ in imported(tree_of(module), module)}
    return {name for name in names if name in FILES and name != module}


@by_room
def test_imports_only_what_stands_below(modules: list[str]) -> None:
    for module in modules:
        assert room(module) in RANKS, f"{module} has no place in the FLOORS table"
        for name in own_imports(module):
            assert RANKS[room(name)] <= RANKS[room(module)], f"{module} imports {name} from above"


def test_no_circles() -> None:
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(own_imports(module)):
                walk(name, (*path, module))
            done.add(module)

    for module in sorted(FILES):
        walk(module, ())


@by_room
def test_third_party_and_storage_stay_in_their_rooms(modules: list[str]) -> None:
    for module in modules:
        for name, line in imported(tree_of(module), module):
            top = name.split(".")[0]
            assert module in ONLY_IN.get(top, {module}), f"{module}:{line} imports {name}"
            assert top != "sqlite3" or room(module) == "loong_gateway.storage", (
                f"{module}:{line} imports {name}"
            )


@pytest.mark.skipif(sys.version_info < (3, 10), reason="does not know its own standard library")
@by_room
def test_every_library_has_a_room(modules: list[str]) -> None:
    for module in modules:
        known = {*ONLY_IN, *sys.stdlib_module_names, "loong", "loong_channels", "loong_gateway"}
        for name, line in imported(tree_of(module), module):
            assert name.split(".")[0] in known, f"{module}:{line} imports {name}"


@by_room
def test_no_import_hides_in_a_function(modules: list[str]) -> None:
    for module in modules:
        if module in LAZY_LOADERS:
            continue
        for node in ast.walk(tree_of(module)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for inner in ast.walk(node):
                    assert not isinstance(inner, (ast.Import, ast.ImportFrom)), f"{module}:{inner.lineno}"


@by_room
def test_sizes(modules: list[str]) -> None:
    for module in modules:
        text = FILES[module].read_text(encoding="utf-8")
        assert text.count("\n") <= MAX_MODULE_LINES, f"{module} is too long"
        for node in ast.walk(tree_of(module)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert code_lines(node) <= MAX_FUNCTION_LINES, (
                    f"{module}:{node.lineno} {node.name} is too long"
                )
            elif isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < MAX_CLASS_LINES, (
                    f"{module}:{node.lineno} {node.name} is too long"
                )


def is_call(node: ast.AST, owner: str, name: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == name
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == owner
    )


@by_room
def test_bans(modules: list[str]) -> None:
    for module in modules:
        for node in ast.walk(tree_of(module)):
            where = f"{module}:{getattr(node, 'lineno', 0)}"
            assert not isinstance(node, ast.Global), f"{where} global"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{where} bare except"
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{where} star import"
            assert not is_call(node, "time", "sleep"), f"{where} sleep"
            if module != "loong_gateway.base.threads":
                assert not is_call(node, "threading", "Thread"), f"{where} thread"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert module.startswith("loong_gateway.commands"), f"{where} print"


@by_room
def test_modules_introduce_themselves(modules: list[str]) -> None:
    for module in modules:
        tree = tree_of(module)
        assert ast.get_docstring(tree), f"{module} has no docstring"
        if module in PLAIN or module.startswith("loong_gateway.texts"):
            continue
        has_imports = any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)
        if has_imports:
            assert any(
                isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
            ), f"{module} lacks from __future__ import annotations"


@by_room
def test_public_names_are_documented(modules: list[str]) -> None:
    for module in modules:
        for node in tree_of(module).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            assert ast.get_docstring(node), f"{module}:{node.lineno} {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                        overload = any(
                            isinstance(d, ast.Name) and d.id == "overload" for d in method.decorator_list
                        )
                        assert overload or ast.get_docstring(method), (
                            f"{module}:{method.lineno} {method.name}"
                        )
