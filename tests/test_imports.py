"""Who may import whom: one way, and no cycle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("", "method", "networks", "data", "metrics", "export", "training", "baselines", "runs")  # "": beside them


def modules() -> dict[str, Path]:
    found = {}
    for path in [*ROOT.glob("ppcd/**/*.py"), *ROOT.glob("paper/**/*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(module: str) -> set[str]:
    """The modules of the project that a module imports, inside of functions too, but for the types alone."""
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found & set(MODULES)


def rank(module: str) -> int:
    """The place of a module in the order of imports; those of `paper` come last."""
    package, *rest = module.split(".")
    if package == "paper":
        return len(ORDER)
    return ORDER.index(rest[0]) if rest and rest[0] in ORDER else 0


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    assert {name for name in imported(module) if rank(name) > rank(module)} == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("ppcd.method")])
def test_the_method_stands_on_torch_and_base_alone(module: str) -> None:
    of_the_project = {name for name in imported(module) if not name.startswith("ppcd.method")}
    assert of_the_project <= {"ppcd.base"}
    tree = ast.parse(MODULES[module].read_text())
    others = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    standard = {"collections", "contextlib", "dataclasses", "functools", "typing"}
    assert others <= {"torch", "jaxtyping", "ppcd"} | standard


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {module: imported(module) - {module.rpartition(".")[0]} for module in MODULES if module != "ppcd"}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def test_every_package_has_its_place() -> None:
    packages = {path.parent.name for path in ROOT.glob("ppcd/*/__init__.py")}
    assert packages == set(ORDER) - {""}
