"""The house: imports go only downwards, heavy things come late, and what is public is said to be so."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import pieces_nb

PACKAGE = Path(pieces_nb.__file__).parent
README = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")

# From the ground up. A module imports what stands before it; a room with a dot of its own name alone counts as one.
ORDER = (
    *("text", "errors", "settings", "locks", "history"),
    *("model.models", "model.fields", "model.resolve", "model.rules", "model.engine"),
    *("wire.addresses", "machine", "wire.certificates", "wire.websocket", "wire.http"),
    *("wire.discovery", "wire.endpoints", "wire.connection"),
    *("until_exit", "doctor"),
    *("download.evidence", "download.values", "download.speed", "download.ends", "download.state"),
    *("download.throttle", "download.subscribers", "download.interrupts", "download.calls"),
    "download.at_once",
    *("download.follower", "download.download"),
    *("operations", "registry", "engine_work", "workflows", "rows"),
    *("views.card", "views.text_table", "views.table_text", "views.frames", "client"),
    *("views.words", "views.outputs", "views.bars_html", "views.terminal.bars", "views.notebook", "views.cells"),
    "views.panel",
    *("verbs.tokens", "verbs.reading", "verbs.front", "verbs.declaration", "verbs.grammar", "verbs.session"),
    *("verbs.actions", "verbs.completion"),
    *("views.magic", "trace", "demo", "views.terminal", "__main__"),
)
# The only ways up, each inside one function: (module, function, what it imports).
UPWARDS = {
    ("download.download", "_display", "views.notebook"),
    ("model.models", "Model._repr_html_", "views.card"),
    ("client", "ModelClient.panel", "views.panel"),
    ("client", "_shared_emulator", "emulator"),
}
EMULATORS_USERS = {"client", "views.terminal", "demo", "trace", "__main__", "emulator"}
# Who may import what is not ours and not cheap, or touches the world.
FOREIGN = {
    "requests": {"wire.certificates"},
    "http": {"wire.http"},
    "ssl": {"wire.certificates"},
    "platformdirs": {"wire.discovery"},
    "websocket": {"wire.websocket"},
    "socket": {"wire.http", "wire.websocket", "wire.discovery", "doctor", "emulator"},
    "ipywidgets": {"views.notebook", "views.cells", "views.panel"},
    "tqdm": {"views.terminal.bars"},
    "tornado": {"emulator"},
    "pandas": {"views.frames"},
    "wcwidth": {"views.text_table"},
    "psutil": {"machine"},
}
PURE = (
    "text",
    "settings",
    "model.models",
    "model.fields",
    "model.resolve",
    "model.rules",
    "model.engine",
    "download.evidence",
    "download.values",
    "download.speed",
    "download.ends",
    "download.state",
    "download.throttle",
    "rows",
    "views.card",
    "views.frames",
    "views.text_table",
    "verbs.declaration",
    "verbs.grammar",
    "verbs.reading",
    "verbs.tokens",
)
THE_WORLD = {
    "socket",
    "time",
    "asyncio",
    "subprocess",
    "requests",
    "urllib3",
    "websocket",
    "http",
    "pathlib",
    "tempfile",
}
HEAVY = ("pandas", "numpy", "ipywidgets", "requests", "urllib3", "websocket", "tornado", "tqdm", "psutil")


class Import(NamedTuple):
    """One import that runs: `function` is '' at the top of the module."""

    module: str
    function: str
    imported: str


@cache
def modules() -> dict[str, Path]:
    """The package's modules by their dotted names below it; '' is the package itself."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in paths
    }


@cache
def imports() -> list[Import]:
    return [
        found for name, path in modules().items() for found in _imports(name, ast.parse(path.read_text("utf-8")), "")
    ]


def _imports(module: str, node: ast.AST, function: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(module, function, alias.name) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, f"a relative import in {module}"
            yield from (Import(module, function, one) for one in _imported(child))
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        inside = f"{function}.{child.name}".lstrip(".") if named else function  # type: ignore[attr-defined] # those have one
        yield from _imports(module, child, inside)


def _imported(node: ast.ImportFrom) -> list[str]:
    """`from pieces_nb import tables` imports it; `from pieces_nb.text import clock` pieces_nb.text."""
    base = node.module or ""
    names = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name.removeprefix("pieces_nb.") in modules() else base for name in names]


def top(module: str) -> str:
    return module.split(".")[0]


def place(module: str) -> str:
    """The entry of ORDER that a module below the package belongs to; an `__init__` is itself."""
    inside = [entry for entry in (*ORDER, "emulator") if module == entry or module.startswith(f"{entry}.")]
    return max(inside, key=len, default=module)


@cache
def ours() -> list[tuple[Import, str]]:
    """The imports of the package's own modules, with what they import."""
    return [
        (one, place(one.imported.removeprefix("pieces_nb").lstrip(".")))
        for one in imports()
        if top(one.imported) == "pieces_nb"
    ]


ROOMS = {"model", "wire", "download", "verbs", "views"}  # their `__init__` imports nothing


def test_every_module_has_its_place() -> None:
    found = {place(name) for name in modules()}
    assert found == {"", "emulator", *ROOMS, *ORDER}


def test_imports_go_only_downwards() -> None:
    wrong = [
        (one, target)
        for one, target in ours()
        if place(one.module) not in ("", "emulator", target)
        and target not in ("", "emulator")
        and ORDER.index(target) >= ORDER.index(place(one.module))
        and (one.module, one.function, target) not in UPWARDS
    ]
    assert wrong == []


def test_the_readmes_table_of_modules_is_the_order_that_holds() -> None:
    section = README.partition("## How it is built")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([\w.]+)`", line.split("|")[1]) for line in section.splitlines() if line.startswith("| `")]
    row = {module: number for number, modules in enumerate(rows) for module in modules}
    assert {*map(top, ORDER), "emulator"} - row.keys() <= {"trace", "demo", "__main__"}
    for one, target in ours():
        module = place(one.module)
        if {module, target} <= row.keys() - {"emulator"} and (one.module, one.function, target) not in UPWARDS:
            assert row[target] <= row[module], one


def test_the_ways_up_are_there_and_inside_functions() -> None:
    used = {(one.module, one.function, target) for one, target in ours()}
    assert used >= UPWARDS
    at_the_top = {(one.module, target) for one, target in ours() if not one.function}
    assert not at_the_top & {(module, target) for module, _, target in UPWARDS}


def test_the_emulator_imports_nothing_of_the_client_and_few_import_it() -> None:
    assert {target for one, target in ours() if top(one.module) == "emulator"} == {"emulator"}
    assert {place(one.module) for one, target in ours() if target == "emulator"} <= EMULATORS_USERS
    clients = {one.function for one, target in ours() if (one.module, target) == ("client", "emulator")}
    assert clients == {"_shared_emulator"}


def test_inside_a_package_nothing_goes_round_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for one in imports():
        target = one.imported.removeprefix("pieces_nb.")
        if not one.function and target in modules():
            graph.setdefault(one.module, set()).add(target)
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, (*path, module)
        if module not in finished:
            for target in sorted(graph.get(module, ())):
                visit(target, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_is_foreign_is_imported_in_one_place(foreign: str) -> None:
    assert {place(one.module) for one in imports() if top(one.imported) == foreign} <= FOREIGN[foreign]


def test_every_lock_is_one_that_a_forked_child_finds_free() -> None:
    """The emulator's are renewed by itself; a view's condition no child comes near."""
    makers = {name for name, path in modules().items() if re.search(r"threading\.R?Lock\(", path.read_text("utf-8"))}
    assert {place(name) for name in makers} == {"locks", "emulator"}
    waiters = {name for name, path in modules().items() if "threading.Condition(" in path.read_text("utf-8")}
    assert waiters == {"download.subscribers"}


def test_what_is_pure_imports_nothing_that_touches_the_world() -> None:
    assert [one for one in imports() if one.module in PURE and top(one.imported) in THE_WORLD] == []


def loaded_by(code: str, *, after: str = "") -> set[str]:
    """The heavy modules that `code` brings into a fresh interpreter which has run `after`."""
    program = (
        f"import sys\n{after}\nbefore = set(sys.modules)\n{code}\n"
        f"print(*[name for name in {HEAVY!r} if name in set(sys.modules) - before])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(run.stdout.split())


def test_importing_brings_nothing_heavy() -> None:
    assert loaded_by("import pieces_nb; assert dir(pieces_nb)") == set()
    client = "from pieces_nb import ModelClient; ModelClient('http://127.0.0.1:9')"
    assert loaded_by(f"{client}; import pieces_nb.verbs.grammar") == set()


def test_load_ext_brings_nothing_heavy() -> None:
    shell = (
        "from traitlets.config import Config\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "config = Config(); config.HistoryManager.enabled = False\nshell = InteractiveShell.instance(config=config)"
    )
    load = "shell.run_line_magic('load_ext', 'pieces_nb')\nassert 'pieces_model' in shell.magics_manager.magics['line']"
    assert loaded_by(load, after=shell) == set()


# What is public


def test_every_public_name_is_there_and_they_are_these() -> None:
    assert set(pieces_nb.__all__) == {
        *("ModelClient", "Model", "ModelDownloadProgress", "DownloadStatus", "Download", "Downloads", "__version__"),
        *("PiecesError", "PiecesUnreachable", "PiecesServerError", "ProtocolError", "ModelNotFound", "AmbiguousModel"),
        *("ModelStateError", "DownloadFailed", "DownloadCanceled", "CancelNotConfirmed", "WaitTimeout"),
        *("BadArguments", "ConfirmationRequired", "StoppedWaiting", "Settings"),
    }
    for name in pieces_nb.__all__:
        assert getattr(pieces_nb, name) is not None
        assert name in dir(pieces_nb)
    with pytest.raises(AttributeError, match="no attribute 'Session'"):
        _ = pieces_nb.Session


def test_a_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from pieces_nb import *", namespace)
    assert set(pieces_nb.__all__) <= set(namespace)


def test_every_module_and_every_public_class_says_what_it_is_for() -> None:
    silent = []
    for name, path in modules().items():
        tree = ast.parse(path.read_text("utf-8"))
        classes = [one for one in tree.body if isinstance(one, ast.ClassDef) and not one.name.startswith("_")]
        silent += [] if ast.get_docstring(tree) else [name]
        silent += [f"{name}.{one.name}" for one in classes if not ast.get_docstring(one)]
    assert silent == []


def test_everything_that_users_can_call_or_read_has_a_docstring() -> None:
    silent = []
    for name in pieces_nb.__all__:
        one = getattr(pieces_nb, name)
        if inspect.isclass(one):
            own = {key: value for key, value in vars(one).items() if not key.startswith("_")}
            found = {
                f"{name}.{key}": value
                for key, value in own.items()
                if callable(value) or isinstance(value, property | classmethod)
            }
            silent += [key for key, value in {name: one, **found}.items() if not inspect.getdoc(value)]
    assert silent == []


def test_a_public_class_says_where_it_is_at_home() -> None:
    for name in pieces_nb.__all__:
        one = getattr(pieces_nb, name)
        if inspect.isclass(one):
            assert getattr(importlib.import_module(one.__module__), name) is one
