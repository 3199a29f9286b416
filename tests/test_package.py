"""What importing ppcd does to a program that uses it, and the command line."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import ppcd

HEAVY = ("torch", "torchprofile", "lpips", "matplotlib", "pandas", "seaborn", "torch_fidelity")


def python(code: str, *, cwd: Path | None = None, arguments: tuple[str, ...] = ("-c",)) -> str:
    command = [sys.executable, *arguments, *([code] if arguments == ("-c",) else [])]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_importing_ppcd_loads_nothing_heavy() -> None:
    loaded = python(f"import sys, ppcd; print([name for name in {HEAVY} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_importing_ppcd_takes_no_time() -> None:
    def seconds(code: str) -> float:
        began = time.perf_counter()
        python(code)
        return time.perf_counter() - began

    # The best of three: other processes may have the machine meanwhile.
    assert min(seconds("import ppcd") for _ in range(3)) - min(seconds("pass") for _ in range(3)) < 0.3


@pytest.mark.parametrize("name", ppcd.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(ppcd, name).__name__ == name and name in dir(ppcd)


def test_functions_are_not_shadowed_by_modules_of_their_name() -> None:
    code = (
        "import ppcd, ppcd.method.slim, ppcd.metrics.complexity; print(callable(ppcd.slim), callable(ppcd.complexity))"
    )
    assert python(code).strip() == "True True"


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
    assert python("", cwd=tmp_path, arguments=("-m", "somebody.other")).strip() == "mine"


def test_the_command_line_lists_its_commands() -> None:
    shown = python("", arguments=("-m", "ppcd"))
    assert all(f"\n  {name} " in shown for name in ("train", "evaluate", "prepare", "export"))


def test_an_unknown_command_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "ppcd", "trian"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "ppcd: unknown command 'trian'; did you mean 'train'?\n")
