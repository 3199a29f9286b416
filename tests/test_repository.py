"""The repository says the same thing everywhere: lock, conda environment, Makefile, citation."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

import filelock
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ppcd.records import NOT_BROUGHT
from ppcd.training.config import takes_images
from ppcd.training.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
ENVIRONMENT = (ROOT / "environment.yml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY: (.*) FORCE$", MAKEFILE, re.MULTILINE)[0].split()
VARIABLES = re.findall(r"^(\w+) +\?=", MAKEFILE, re.MULTILINE)


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(lock: str) -> list[Requirement]:
    lines = [line.strip() for line in lock.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


PINS = [pin for pin in pins(LOCK) if pin.marker is None or pin.marker.evaluate()]
OWNERS = metadata.packages_distributions()


def unpinned(requirements: list[str]) -> list[str]:
    """Requirements that apply here and that no pin of the lock satisfies."""
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    wanted = [each for each in map(Requirement, requirements) if not each.marker or each.marker.evaluate({"extra": ""})]
    return [
        str(each)
        for each in wanted
        if (name := canonicalize_name(each.name)) not in versions
        or not each.specifier.contains(versions[name], prereleases=True)
    ]


def test_everything_that_is_asked_for_is_pinned_exactly_and_once() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    asked = PROJECT["project"]["dependencies"] + [item for extra in extras.values() for item in extra]
    assert unpinned([item for item in asked if Requirement(item).name != "ppcd"]) == []
    assert unpinned(PROJECT["build-system"]["requires"]) == []
    assert {pin.name: found for pin in PINS if (found := unpinned(metadata.requires(pin.name) or []))} == {}
    assert unpinned(["not-in-the-lock>=1", "torch<2"]) == ["not-in-the-lock>=1", "torch<2"]
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) and pin.url is None for pin in pins(LOCK))
    names = [canonicalize_name(pin.name) for pin in pins(LOCK)]
    assert len(names) == len(set(names))
    assert not re.search(r"://|^-|file:", LOCK, re.MULTILINE), "no index and no path"


def test_conda_environment_is_what_make_lock_writes() -> None:
    assert tool("lock").environment(LOCK, PROJECT["project"]["requires-python"]) == ENVIRONMENT
    *_, packages = yaml.safe_load(ENVIRONMENT)["dependencies"]
    assert packages["pip"][-1:] == ["-e ."] and set(pins("\n".join(packages["pip"][:-1]))) == set(pins(LOCK))


def declared(*extras: str) -> set[str]:
    """The distributions that the library, or it with these extras, asks for."""
    lists = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *(item for extra in extras for item in lists[extra])]
    own = [inner for each in map(Requirement, asked) if each.name == "ppcd" for inner in each.extras]
    return {canonicalize_name(Requirement(item).name) for item in asked} | (declared(*own) if own else set())


def undeclared(source: str, *extras: str) -> set[str]:
    """Modules that are imported and belong to no declared distribution; `with needs(extra):` declares an extra."""
    known = {"ppcd", "paper", *PROJECT["tool"]["setuptools"]["py-modules"]} | sys.stdlib_module_names
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and (needed := re.match(r"with needs\('(\w+)'", ast.unparse(node))):
            found |= undeclared(ast.unparse(node.body), *extras, needed[1])
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    there = declared(*extras)
    return {each for each in found - known if not there & set(map(canonicalize_name, OWNERS.get(each, [])))}


def test_what_is_imported_is_declared() -> None:
    library, paper = ("\n".join(path.read_text() for path in (ROOT / name).rglob("*.py")) for name in ("ppcd", "paper"))
    assert undeclared(library) == set()
    assert undeclared(paper + (ROOT / "ppcd_papermill.py").read_text(), "artifact") == set()
    assert undeclared("import os, lpips\nwith needs('metrics'):\n    import lpips, torch, onnx") == {"lpips", "onnx"}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """make as if typed in a shell of its own, whatever make runs these tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PPCD_")) and k not in VARIABLES}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)


def test_what_container_hooks_and_binder_name_is_there() -> None:
    container = (ROOT / "Containerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?:--\S+ )*(.*) \S+$", container, re.MULTILINE) for name in line.split()
    ]
    assert copied == ["requirements.lock", "."] and container.endswith('CMD ["make", "smoke"]\n')
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {"ppcd", "paper", "notebooks", "results", "tools", "Makefile", "requirements.lock", "pyproject.toml"}
    assert not kept & {*ignored} and {".venv", ".git"} <= {*ignored}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {hook["entry"].split()[2] for hook in hooks} <= locked
    binder = re.findall(r"^([\w-]+)$", (ROOT / "binder" / "requirements.txt").read_text(), re.MULTILINE)
    assert len(binder) > 5 and set(binder) <= locked


def test_help_is_the_default_and_lists_every_target() -> None:
    default = make()
    assert default.returncode == 0 and default.stdout == make("help").stdout
    assert [target for target in TARGETS if not re.search(rf"^  {target} +\S", default.stdout, re.MULTILINE)] == []
    times = re.findall(r"^  ([a-z-]+) +(?:([\d.-]+) min|-) +\S", default.stdout, re.MULTILINE)
    assert [target for target, _ in times] == TARGETS
    rows = dict(re.findall(r"^\| `make ([a-z-]+)` \|(.*)", (ROOT / "README.md").read_text(), re.MULTILINE))
    measured = {target: time.split("-") for target, time in times if time}
    assert len(measured) >= 15
    assert {target for target in rows if not set(measured.get(target, [])) <= set(rows[target].split())} == set()
    (bundled,) = re.findall(r"^BUNDLED +:= (.*?) #", MAKEFILE, re.MULTILINE)
    assert bundled.split() == [name for name, each in PROFILES.items() if not takes_images(each)][::-1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("reproduce PROFILE=cifar10 DEVICE=cpu REUSE=1", '--device "cpu" --reuse --profile "cifar10"'),
        ("report PROFILE=cifar10", '--profile "cifar10" --report-only'),
        ("smoke DEVICE=cpu REUSE=1", '--device "cpu" --reuse --profile smoke'),
    ],
)
def test_profile_seeds_and_device_are_passed_on(given: str, expected: str) -> None:
    done = make("-n", "SEEDS=0 1", *given.split())
    assert done.stdout.splitlines()[-1].endswith(f'-m paper reproduce --seeds "0 1" {expected}')


def test_data_is_for_those_of_several_profiles_that_take_it() -> None:
    done = make("-n", "report", "PROFILE=mnist cifar10-lite", "DATA=x")
    assert done.stdout.splitlines()[-1].endswith('--profile "mnist cifar10-lite" --report-only')
    assert make("-n", "report", "PROFILE=mnist smoke", "DATA=x").returncode


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "help"])
def test_a_target_takes_what_it_uses_and_refuses_the_rest(target: str) -> None:
    """Variables of the environment are never refused, so that all of them together show which a target uses."""
    shown = make("-n", target, *SHOW, "--eval", f"{target}: show", **{name: f"<{name}>" for name in VARIABLES}).stdout
    flags = {word.upper().replace("-", "_") for word in re.findall(r"--([a-z-]+)(?=\n| -)", shown)}
    used = {"PYTHON", *re.findall(r"<(\w+)>", shown), *flags & {*VARIABLES}}
    refused = make("-n", target, "CELL=x" if target != "why" else "LAB=x", PROFILE="cifar10")
    (taken,) = re.findall(rf"has no effect on make {target}, which takes (.*); leave it out", refused.stderr)
    assert set(taken.split()) - {"PPCD_PROFILE"} == used
    for package, command in re.findall(r"-m (ppcd|paper) ([\w-]+)", shown):
        takes = import_module(f"{package}.__main__").COMMANDS[command][2]
        assert set(takes) == used & {"DATA", "TEACHER", "PRECISION"} | ({"DATA"} if target == "smoke" else set())


SHOW = ("--eval", 'show: ; +@printf "[%s]" "$$PPCD_DATA" "$$PPCD_TEACHER" "$$PPCD_PRECISION"')
BUNDLED = "has no effect at PROFILE=mnist, whose images come with a package; it is for PROFILE=cifar10-lite, cifar10"


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("test DATA=x", {}, "DATA has no effect on make test, which takes PYTHON TESTS; leave it out"),
        ("reproduce DATA=x", {}, f"DATA {BUNDLED}"),
        ("reproduce", {"PPCD_DATA": "x"}, f"PPCD_DATA {BUNDLED}"),
        ("smoke DATA=x", {}, "DATA has no effect on make smoke"),
        ("lint", {"PPCD_TEACHER": "x"}, "PPCD_TEACHER has no effect on make lint, which takes PYTHON; unset it"),
        ("reproduce SEED=3", {}, "unknown variable SEED; did you mean SEEDS?"),
        ("reproduce", {"PPCD_SEED": "3"}, "unknown variable PPCD_SEED; did you mean SEEDS?"),
        ("reproduce", {"PPCD_CASHE": "x"}, "unknown variable PPCD_CASHE; did you mean PPCD_CACHE?"),
        ("test COMPILE=1", {}, "unknown variable COMPILE; make help lists those there are"),
        ("test", {"SEED": "3", "DATA": "x", "PPCD_CACHE": "x"}, ""),
        ("reproduce", {"DATA": "x"}, ""),
        ("lint test TESTS=x", {}, ""),
        ("verify DATA=x", {}, ""),
        ("help DATA=x SEEDS=3", {}, ""),
    ],
)
def test_what_has_no_effect_is_refused_in_one_line(given: str, environment: dict[str, str], expected: str) -> None:
    done = make("-n", *given.split(), **environment)
    assert done.returncode == (2 if expected else 0), done.stderr
    assert done.stderr.count("\n") == bool(expected) and expected in done.stderr


@pytest.mark.parametrize(
    "name",
    ["/a folder", "two  blanks", "quo'te\"s", "a$b", "$(HOME)", "trailing ", "~/images", "com,ma) (#", "a\\b", ""],
)
def test_paths_arrive_as_they_were_typed(name: str) -> None:
    for typed in (name, name.replace("$", "$$")):  # as make has a dollar, too
        given = ("PROFILE=cifar10", f"DATA={typed}", f"TEACHER={typed}")
        done = make("-n", "reproduce", *given, *SHOW, "--eval", "reproduce: show")
        assert f"[{name}][{name}][]" in done.stdout


def test_an_unsupported_python_is_refused_in_one_line(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.9"\n')  # and no check of it passes
    python.chmod(0o755)
    for given, said in ((python, "Python 3.10.9"), (tmp_path / "nowhere", "nowhere")):
        command = ["sh", str(ROOT / "tools" / "find_python.sh"), str(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and done.stdout == "" and done.stderr.count("\n") == 1
        assert "3.11, 3.12 or 3.13" in done.stderr and said in done.stderr


def test_a_half_made_environment_is_not_taken_for_done(tmp_path: Path) -> None:
    setup = tool("setup")
    for name in setup.INPUTS:
        (tmp_path / name).write_text(name)
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    wanted = setup.fingerprint(tmp_path, setup.VERSION)
    assert not setup.is_complete(venv, wanted, setup.VERSION)  # no stamp
    (venv / ".complete").write_text(wanted)
    assert setup.is_complete(venv, wanted, setup.VERSION)
    assert not setup.must_rebuild(venv, tmp_path, setup.VERSION)
    (tmp_path / "requirements.lock").write_text("another")
    assert not setup.is_complete(venv, setup.fingerprint(tmp_path, setup.VERSION), setup.VERSION)
    assert not setup.is_complete(venv, wanted, "3.99")  # another Python was asked for
    assert setup.must_rebuild(venv, tmp_path / "moved", setup.VERSION)
    (venv / ".installing").touch()  # an installation was cut short
    assert setup.must_rebuild(venv, tmp_path, setup.VERSION)


def test_clean_removes_partial_runs_and_caches_only(tmp_path: Path) -> None:
    clean = tool("clean")
    runs = tmp_path / "reproduction" / "results" / "mnist" / "runs"
    for name, text in {"done": '{"status": "complete"}', "begun": '{"status": "running"}', "torn": '{"sta'}.items():
        (runs / name).mkdir(parents=True)
        (runs / name / "run.json").write_text(text)
    (runs / "empty").mkdir()
    for folder in ("ppcd/__pycache__", ".ruff_cache", ".venv/lib/__pycache__", ".cache/downloads"):
        (tmp_path / folder).mkdir(parents=True)
    assert {path.name for path in clean.partial_runs(tmp_path)} == {"begun", "torn", "empty"}
    assert {str(path.relative_to(tmp_path)) for path in clean.caches(tmp_path)} == {"ppcd/__pycache__", ".ruff_cache"}
    with filelock.FileLock(runs / "begun" / ".lock"):  # it is being trained
        assert {path.name for path in clean.partial_runs(tmp_path)} == {"torn", "empty"}


in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@in_git
def test_no_tracked_file_holds_a_path_of_one_machine() -> None:
    """Home folders, and wherever this checkout lies."""
    places = r"(?<![\w.:/])/(root|(home|Users)/[\w.-]+)/[\w./-]*"
    if len(ROOT.parts) > 2:
        places += rf"|(?<![\w.]){re.escape(str(ROOT))}(?![\w-])"
    tracked = subprocess.run(["git", "grep", "-Il", ""], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "Makefile" in tracked.splitlines()
    held = {name: re.search(places, (ROOT / name).read_text(errors="ignore")) for name in tracked.splitlines()}
    assert [found for found in held.items() if found[1]] == []


@in_git
def test_what_a_run_keeps_is_in_git_and_the_rest_is_not() -> None:
    run = "results/mnist/runs/ppcd-s0-01234567"
    kept = ["run.json", "history.csv", "masks.csv", "quality.csv", "generations.json", "generator.safetensors"]
    passing = [*NOT_BROUGHT, "checkpoint.pt", "log.txt", "progress.json", ".lock", ".local", ".run.json.x1.tmp"]
    paths = [f"{run}/{name}" for name in kept + passing]
    command = ["git", "check-ignore", "--no-index", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{run}/{name}" for name in passing]


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == PROJECT["project"]["version"]
    assert "2203.08456" in citation["preferred-citation"]["identifiers"][0]["value"]
