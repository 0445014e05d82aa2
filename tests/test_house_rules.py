"""The house keeps its shape: floors, sizes, bans. Parses every product module; runs nothing of it."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# A module may import product modules that stand before it, never one that stands behind it.
# Lines are floors; a trailing dot means the package itself, "*" every other module of it.
FLOORS = """
loong_channels loong_channels.settings loong_channels.waiting loong_channels.faults loong_channels.contract
loong_channels.text loong_channels.net_sockets loong_channels.egress loong_channels.net_transport
loong_channels.net loong_channels.catalog
loong_channels.telegram loong_channels.telegram.spec
loong_channels.telegram.markup loong_channels.telegram.updates loong_channels.telegram.api
loong_channels.telegram.pacing loong_channels.telegram.messages loong_channels.telegram.polling
loong_channels.telegram.preview loong_channels.telegram.channel

loong_gateway
loong_gateway.texts.owner loong_gateway.texts.usage loong_gateway.texts.config loong_gateway.texts.channels
loong_gateway.texts.talk loong_gateway.texts.provider loong_gateway.texts.port loong_gateway.texts.logs
loong_gateway.texts.store loong_gateway.texts
loong_gateway.faults loong_gateway.clock loong_gateway.ids loong_gateway.tinyjson loong_gateway.wording

loong_gateway.paths loong_gateway.atomic loong_gateway.threads loong_gateway.redaction
loong_gateway.log_sinks loong_gateway.log
loong_gateway.process loong_gateway.owner_files loong_gateway.owner loong_gateway.boots
loong_gateway.loopback loong_gateway.status loong_gateway.verdict loong_gateway.control_client
loong_gateway.payloads loong_gateway.migrations loong_gateway.counters loong_gateway.cursors loong_gateway.aliases
loong_gateway.inbox loong_gateway.outbox loong_gateway.transcripts loong_gateway.retention
loong_gateway.store_lock loong_gateway.store_file loong_gateway.store_queue loong_gateway.store_writer
loong_gateway.store loong_gateway.store_facts loong_gateway.local_store loong_gateway.local_send

loong_gateway.snapshot loong_gateway.secrets loong_gateway.providers loong_gateway.providers.kinds
loong_gateway.settings loong_gateway.toml_lines loong_gateway.diagnostics loong_gateway.urls loong_gateway.casting
loong_gateway.secret_refs loong_gateway.tables loong_gateway.profiles loong_gateway.accounts loong_gateway.config
loong_gateway.selectors
loong_gateway.outside loong_gateway.channel_views loong_gateway.operator_summary

loong_gateway.control loong_gateway.trust loong_gateway.lanes
loong_gateway.providers.contract loong_gateway.providers.sse loong_gateway.providers.errors
loong_gateway.providers.catalog loong_gateway.providers.echo loong_gateway.providers.openai_chat
loong_gateway.providers.factory loong_gateway.active_provider
loong_gateway.providers.attempts loong_gateway.providers.credentials loong_gateway.providers.endpoints
loong_gateway.providers.catalog loong_gateway.providers.echo loong_gateway.providers.chat_answer
loong_gateway.providers.chat_payload loong_gateway.providers.openai_chat
loong_gateway.providers.factory

loong_gateway.api loong_gateway.api.* loong_gateway.api.listener

loong_gateway.sessions loong_gateway.conversation loong_gateway.delivery loong_gateway.chat_commands loong_gateway.turns
loong_gateway.typing_notices loong_gateway.terminal loong_gateway.supervisor loong_gateway.runtime

loong_gateway.doctor loong_gateway.doctor.contract loong_gateway.doctor.configuration loong_gateway.doctor.*
loong_gateway.commands loong_gateway.commands.render loong_gateway.commands.common
loong_gateway.commands.config_access loong_gateway.commands.channel_word loong_gateway.commands.starting
loong_gateway.commands.talk loong_gateway.commands.ask loong_gateway.commands.*
loong_gateway.verbs loong_gateway.parser loong_gateway.crash
loong_gateway.cli loong
"""

# The only places that may import inside a function: they load one module by name, on demand.
LAZY_LOADERS = {"loong_channels.catalog", "loong_gateway.providers.factory", "loong_gateway.cli", "loong"}
ONLY_IN = {
    "requests": {"loong_channels.net_transport"},
    "urllib3": {"loong_channels.net_transport"},
    "websocket": {"loong_channels.net"},
    "sqlite3": {
        "loong_gateway.store",
        "loong_gateway.store_file",
        "loong_gateway.store_writer",
        "loong_gateway.local_store",
    },
    "tomli": {"loong_gateway.config"},
}
TYPED_SQLITE = {
    "loong_gateway.migrations",
    "loong_gateway.counters",
    "loong_gateway.cursors",
    "loong_gateway.aliases",
    "loong_gateway.inbox",
    "loong_gateway.outbox",
    "loong_gateway.transcripts",
    "loong_gateway.retention",
    "loong_gateway.store_queue",
    "loong_gateway.store_facts",
    "loong_gateway.local_send",
    "loong_gateway.doctor.storage",
    "loong_gateway.commands.talk",
}
# Plain modules: on the path of `gateway status`, which may not import dataclasses, typing and their like.
PLAIN = {
    "loong",
    "loong_gateway",
    "loong_gateway.faults",
    "loong_gateway.tinyjson",
    "loong_gateway.wording",
    "loong_gateway.paths",
    "loong_gateway.atomic",
    "loong_gateway.process",
    "loong_gateway.owner_files",
    "loong_gateway.owner",
    "loong_gateway.loopback",
    "loong_gateway.status",
    "loong_gateway.verdict",
    "loong_gateway.control_client",
    "loong_gateway.cli",
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
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def ranks() -> dict[str, int]:
    order: dict[str, int] = {}
    named = FLOORS.split()
    for rank, name in enumerate(named):
        if name.endswith(".*"):
            package = name[:-1]
            for module in FILES:
                if module.startswith(package) and module not in named:
                    order[module] = rank
        else:
            order[name] = rank
    return order


RANKS = ranks()


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


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_only_what_stands_below(module: str) -> None:
    assert module in RANKS, f"{module} has no place in the FLOORS table"
    for name, line in imported(TREES[module], module):
        if name.split(".")[0] in ("loong_channels", "loong_gateway", "loong") and name != module:
            assert name in RANKS, f"{module}:{line} imports unknown {name}"
            same_room = RANKS[name] == RANKS[module] and "api" in module
            assert RANKS[name] < RANKS[module] or same_room, f"{module}:{line} imports {name} from above"
        if module.startswith("loong_channels"):
            assert not name.startswith("loong_gateway"), f"{module}:{line}"


@pytest.mark.parametrize("module", sorted(FILES))
def test_third_party_and_storage_stay_in_their_rooms(module: str) -> None:
    for name, line in imported(TREES[module], module):
        rooms = ONLY_IN.get(name.split(".")[0])
        if rooms is not None:
            assert module in rooms or (name == "sqlite3" and module in TYPED_SQLITE), (
                f"{module}:{line} imports {name}"
            )


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_import_hides_in_a_function(module: str) -> None:
    if module in LAZY_LOADERS:
        return
    for node in ast.walk(TREES[module]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.walk(node):
                assert not isinstance(inner, (ast.Import, ast.ImportFrom)), f"{module}:{inner.lineno}"


@pytest.mark.parametrize("module", sorted(FILES))
def test_sizes(module: str) -> None:
    text = FILES[module].read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_MODULE_LINES, f"{module} is too long"
    for node in ast.walk(TREES[module]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert code_lines(node) <= MAX_FUNCTION_LINES, f"{module}:{node.lineno} {node.name} is too long"
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


@pytest.mark.parametrize("module", sorted(FILES))
def test_bans(module: str) -> None:
    for node in ast.walk(TREES[module]):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Global), f"{where} global"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where} bare except"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{where} star import"
        assert not is_call(node, "time", "sleep"), f"{where} sleep"
        if module != "loong_gateway.threads":
            assert not is_call(node, "threading", "Thread"), f"{where} thread"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert module.startswith("loong_gateway.commands"), f"{where} print"


@pytest.mark.parametrize("module", sorted(FILES))
def test_modules_introduce_themselves(module: str) -> None:
    tree = TREES[module]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    if module in PLAIN or module.startswith("loong_gateway.texts"):
        return
    has_imports = any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in tree.body)
    if has_imports:
        assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body), (
            f"{module} lacks from __future__ import annotations"
        )


@pytest.mark.parametrize("module", sorted(FILES))
def test_public_names_are_documented(module: str) -> None:
    for node in TREES[module].body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        assert ast.get_docstring(node), f"{module}:{node.lineno} {node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    overload = any(
                        isinstance(d, ast.Name) and d.id == "overload" for d in method.decorator_list
                    )
                    assert overload or ast.get_docstring(method), f"{module}:{method.lineno} {method.name}"
