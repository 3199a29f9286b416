"""Who may import whom: one way, and no cycle."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = ("", "method", "networks", "data", "metrics", "export", "training", "baselines", "runs")  # "": beside them
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("ppcd", "paper")
    for path in ROOT.glob(f"{package}/**/*.py")
}


def imported(module: str) -> set[str]:
    """The modules that a module imports, inside of functions too, but for the types alone."""
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
    return found


def rank(module: str) -> int:
    """The place of a module in the order of imports; those of `paper` come last."""
    package, *rest = module.split(".")
    if package == "paper":
        return len(ORDER)
    return ORDER.index(rest[0]) if rest and rest[0] in ORDER else 0


def test_imports_go_one_way() -> None:
    assert {path.parent.name for path in ROOT.glob("ppcd/*/__init__.py")} == set(ORDER) - {""}
    found = {(module, name) for module in MODULES for name in imported(module) & set(MODULES)}
    assert {(module, name) for module, name in found if rank(name) > rank(module)} == set()


def test_the_method_stands_on_torch_and_base_alone() -> None:
    method = {name for name in MODULES if name.startswith("ppcd.method")}
    found = set[str]().union(*map(imported, method)) - method
    assert {name for name in found if name.startswith("ppcd")} <= {"ppcd.base"}
    assert {name.split(".")[0] for name in found} <= {"torch", "jaxtyping", "ppcd"} | sys.stdlib_module_names


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {
        module: imported(module) & set(MODULES) - {module.rpartition(".")[0]} for module in MODULES if module != "ppcd"
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))
