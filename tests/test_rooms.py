"""The house as drawn: which room may import which, who prints, who reads the environment."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "srcli"

# each may import what stands in a line before its own, and itself
ORDER = (
    ("errors", "threads"),
    ("options", "sizes"),
    ("catalog", "archs"),
    ("weights", "media", "quality.resize", "quality.metrics"),
    ("engine",),
    ("film",),
    ("jobs", "quality"),
    ("cluster",),
    ("training", "bench", "compare"),
    ("cli",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def name_of(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
# the package's own front stands outside
FRONT = {m for m in MODULES if m in ("srcli", "srcli.__main__") or m.startswith("srcli.api")}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def room(module):
    """``srcli.quality.resize`` -> ``quality.resize``, ``srcli.engine.settings`` -> ``engine``."""
    parts = module.split(".")[1:]
    pair = ".".join(parts[:2])
    return pair if pair in RANK else parts[0]


def imported(module):
    """Absolute names of all that a module imports, inside functions and for types too."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: -(node.level - 1) or None], base]).strip(".")
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if deeper in MODULES else base


def allowed(importer, target):
    """Whether a room may import another."""
    return importer == target or RANK[target] < RANK[importer]


def test_the_rule_itself():
    assert allowed("cli", "engine")
    assert allowed("engine", "engine")
    assert allowed("engine", "quality.resize")
    assert allowed("quality", "quality.metrics")
    assert not allowed("engine", "jobs")
    assert not allowed("archs", "catalog")
    assert not allowed("weights", "media")
    assert not allowed("quality.metrics", "engine")
    assert room("srcli.quality.resize") == "quality.resize"
    assert room("srcli.quality.evaluate") == room("srcli.quality") == "quality"
    assert room("srcli.engine.pytorch.tiling") == "engine"
    assert "srcli.engine.pytorch.tiling" in set(imported("srcli.engine.pytorch.passes"))
    assert {"torch", "srcli.errors"} <= set(imported("srcli.engine.pytorch.device"))


def test_every_room_is_in_the_plan():
    rooms = {room(module) for module in MODULES if module not in FRONT}
    assert rooms <= set(RANK)
    assert {"errors", "catalog", "archs", "weights", "media", "engine", "jobs", "cli"} <= rooms
    assert not rooms & {"utils", "helpers", "common", "base", "manager", "factory"}


@pytest.mark.parametrize("module", [m for m in MODULES if m not in FRONT])
def test_imports(module):
    for target in imported(module):
        if target.split(".")[0] == "srcli" and target not in FRONT:
            assert allowed(room(module), room(target)), f"{module} imports {target}"


def test_no_circles():
    """No two modules import each other, by way of others neither."""
    inner = MODULES.keys() - FRONT
    graph = {m: [t for t in imported(m) if t in inner and t != m] for m in inner}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("srcli.engine.")])
def test_back_ends_are_told_apart(module):
    """PyTorch's knows no other; and none is imported before it opens."""
    back_ends = ("srcli.engine.pytorch", "srcli.engine.openvino", "srcli.engine.export")
    targets = set(imported(module))
    if module.startswith("srcli.engine.pytorch"):
        assert not [t for t in targets if t.startswith(back_ends[1:])]
    elif not module.startswith(back_ends) and module != "srcli.engine.backends":
        assert {t for t in targets if t.startswith(back_ends)} <= {"srcli.engine.pytorch.network"}
    if module.endswith(".backend") or module == "srcli.engine.backends":
        assert not {t.split(".")[0] for t in targets} & {"torch", "numpy", "openvino"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("srcli.archs")])
def test_networks_import_torch_only(module):
    for target in imported(module):
        top = target.split(".")[0]
        known = top == "torch" or top in sys.stdlib_module_names
        assert known or target.startswith("srcli.archs"), f"{module} imports {target}"


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("srcli.catalog")])
def test_the_catalogue_is_light(module):
    heavy = {"torch", "numpy", "PIL"}
    assert not {target.split(".")[0] for target in imported(module)} & heavy


def calls(tree, *names):
    """Lines on which one of these functions or attributes is used: ``print``, ``sys.stdout``."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Call) and ast.unparse(node.func) in names)
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in names)
    ]


PROCESSES = {
    "srcli.__main__",
    "srcli.bench.eager",
    "srcli.bench.launcher",
}  # what Python is started with


@pytest.mark.parametrize(
    "module", [m for m in MODULES if not m.startswith("srcli.cli") and m not in PROCESSES]
)
def test_only_the_command_line_prints_and_exits(module):
    talk = ("print", "sys.stdout.write", "sys.stderr.write", "sys.exit", "typer.echo", "exit")
    assert calls(TREES[module], *talk) == []


def test_who_reads_the_environment():
    """Flags and variables come in by the front; rooms that compute are told by arguments."""
    readers = {m for m, tree in TREES.items() if calls(tree, "os.environ", "os.getenv")}
    may = (
        "srcli.cli",
        "srcli.api",
        "srcli.weights",
        "srcli.training",
    )  # training: torchrun's variables
    readers.discard("srcli")  # sets how threads wait, before torch is there to be told otherwise
    assert not {m for m in readers if not m.startswith(may)}


def test_no_bare_except():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{module}:{node.lineno}"
