"""What importing ppcd does to a program that uses it, and the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ppcd

HEAVY = ("torch", "torchprofile", "lpips", "matplotlib", "pandas", "seaborn", "torch_fidelity")


def python(*arguments: str, cwd: Path | None = None) -> str:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_importing_ppcd_loads_nothing_heavy() -> None:
    loaded = python("-c", f"import sys, ppcd; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("name", ppcd.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ppcd, name).__name__ == name and name in dir(ppcd)


def test_functions_are_not_shadowed_by_modules_of_their_name() -> None:
    used = "assert callable(ppcd.slim) and callable(ppcd.complexity)"
    python("-c", f"import ppcd, ppcd.method.slim, ppcd.metrics.complexity; {used}")


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'ppcd' has no attribute 'slimm'"):
        ppcd.slimm  # noqa: B018


def test_signals_belong_to_the_program_that_imports_ppcd(tmp_path: Path) -> None:
    """`python -m somebody.else`: its handlers and its KeyboardInterrupt are its own."""
    package = tmp_path / "somebody"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "import ppcd\n"
        "ppcd.PpcdError, ppcd.build_generator\n"
        "import ppcd.stopping, ppcd.errors\n"
        "assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    import time; time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    print('mine')\n"
    )
    assert python("-m", "somebody.other", cwd=tmp_path).strip() == "mine"


def test_the_command_line_lists_its_commands() -> None:
    shown = python("-m", "ppcd")
    assert all(f"\n  {name} " in shown for name in ("train", "evaluate", "prepare", "export"))


def test_an_unknown_command_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "ppcd", "trian"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "ppcd: unknown command 'trian'; did you mean 'train'?\n")


@pytest.mark.parametrize(
    ("command", "variable", "expected"),
    [
        ("ppcd train", "SEED", "unknown variable PPCD_SEED in the environment; there are PPCD_CACHE, "),
        ("ppcd train", "TEACHERS", "unknown variable PPCD_TEACHERS in the environment; did you mean PPCD_TEACHER?"),
        ("ppcd train", "PROFILE", "PPCD_PROFILE in the environment has no effect on python -m ppcd train; unset it"),
        ("paper scale", "DATA", "PPCD_DATA in the environment has no effect on python -m paper scale; unset it"),
    ],
)
def test_a_variable_of_the_environment_without_effect_is_refused(command: str, variable: str, expected: str) -> None:
    environment = os.environ | {f"PPCD_{variable}": "3"}
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith(f"ppcd: {expected}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("tied", "status"), [("1", 0), ("", 2)])
def test_what_a_command_starts_may_have_variables_of_others(tied: str, status: int) -> None:
    """The training that a notebook starts has its PPCD_PROFILE."""
    code = (
        "import sys, types; from ppcd.commands import dispatch; sys.modules['x'] = types.SimpleNamespace("
        "main=lambda given: 0); sys.exit(dispatch('ppcd', {'train': ('x', '', ())}, ['train']))"
    )
    environment = os.environ | {"PPCD_PROFILE": "smoke"} | ({"PPCD_TIED": tied} if tied else {})
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE) as child:
        assert child.wait() == status
