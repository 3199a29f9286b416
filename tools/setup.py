"""Makes .venv: a virtual environment with every package of requirements.lock and this repository itself.

Called by the Makefile with the interpreter to use; needs nothing but its standard library. The last thing
it writes is the stamp, .venv/.complete, so an environment that was left half-made is never taken for done.
"""

import fcntl
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ("requirements.lock", "pyproject.toml")
NEEDED_GIGABYTES = 7  # 6.2 on Linux, most of it CUDA libraries; less on macOS
HANDLED = re.compile(r"^(Collecting|Requirement already satisfied|Ignoring) ", re.MULTILINE)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")


class SetupError(Exception):
    """One line for the person who typed make."""


def fingerprint(root: Path, version: str) -> str:
    """What the stamp says of a finished environment: where it is, its Python, what was asked for.

    The first line is the path because an editable install does not survive a move; the Makefile reads it.
    """
    digest = hashlib.sha256(b"".join((root / name).read_bytes() for name in INPUTS)).hexdigest()
    return f"{root}\npython {version}\n{digest}\n"


def interpreter_version(python: Path) -> str | None:
    """Such as `3.11`, of a working interpreter; None of a missing or broken one."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def is_complete(venv: Path, wanted: str, version: str) -> bool:
    """Whether the environment is the one wanted, and works."""
    stamp = venv / ".complete"
    return stamp.exists() and stamp.read_text() == wanted and interpreter_version(venv / "bin/python") == version


def must_rebuild(venv: Path, root: Path, version: str) -> bool:
    """Whether an existing environment cannot be brought up to date in place.

    It cannot when an installation into it was cut short, when its interpreter is gone or of another
    version, or when it was made for another folder.
    """
    if (venv / ".installing").exists() or interpreter_version(venv / "bin/python") != version:
        return True
    stamp = venv / ".complete"
    return stamp.exists() and stamp.read_text().splitlines()[:1] != [str(root)]


def make_environment(venv: Path) -> None:
    """A new virtual environment, whatever was there before.

    Raises:
        SetupError: this Python lacks ensurepip, or the disk is nearly full.
    """
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError(f"{sys.executable} has no ensurepip; on Debian and Ubuntu: apt install python{VERSION}-venv")
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < NEEDED_GIGABYTES and not venv.exists():
        raise SetupError(f"the environment needs about {NEEDED_GIGABYTES} GB of disk; {free:.1f} GB are free")
    command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stdout + done.stderr).strip().splitlines() or ["no reason given"]
        raise SetupError(f"no virtual environment could be made: {reason[-1]}")


def run(command: list[str | Path], log: Path, total: int = 0) -> None:
    """Run pip with its output in the log, and show how many of `total` packages it has come to.

    In a terminal one living line, elsewhere (a log file) a line in half a minute.

    Raises:
        SetupError: pip failed; the line is pip's own last error.
    """
    began = shown = time.monotonic()
    terminal = sys.stdout.isatty()
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.2)
            now = time.monotonic()
            if total and now - shown > (0.5 if terminal else 30):
                line = f"setup: {progress(log.read_text(errors='replace'), total)}, {now - began:.0f} s"
                print(f"{line}\033[K" if terminal else line, end="\r" if terminal else "\n", flush=True)
                shown = now
    if process.returncode != 0:
        lines = log.read_text(errors="replace").splitlines() or ["pip failed"]
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines
        raise SetupError(f"{errors[-1].removeprefix('ERROR: ')} (all of it: {log.relative_to(ROOT)})")


def progress(log: str, total: int) -> str:
    """What pip is doing, by its output so far."""
    if "Installing collected packages" in log:
        return f"unpacking {total} packages"
    return f"fetching {min(len(HANDLED.findall(log)), total)} of {total} packages"


def install(venv: Path) -> None:
    """Bring the environment to what requirements.lock says, and the repository into it.

    pip and not a faster installer, because it honours the index, mirror and certificates that a user's
    pip is configured for.
    """
    log, marker = venv / "setup.log", venv / ".installing"
    pip: list[str | Path] = [venv / "bin/python", *PIP]
    pins = sum("==" in line.split(";")[0] for line in (ROOT / INPUTS[0]).read_text().splitlines())
    marker.touch()
    log.write_bytes(b"")
    options = ["install", "--no-deps", "--progress-bar", "off"]
    run([*pip, *options, "-r", INPUTS[0]], log, pins)
    run([*pip, *options, "--no-build-isolation", "-e", "."], log)
    check(venv / "bin/python")
    marker.unlink()


def check(python: Path) -> None:
    """Refuse an environment whose packages do not fit together. What others have put into it is their own affair.

    Raises:
        SetupError: a package of requirements.lock lacks another, or has one that does not fit.
    """
    done = subprocess.run([python, *PIP, "check"], capture_output=True, text=True, check=False)
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / INPUTS[0]).read_text(), re.MULTILINE)) | {"ppcd"}
    wrong = [line for line in done.stdout.splitlines() if line.split(" ")[0].lower() in locked]
    if done.returncode != 0 and wrong:
        raise SetupError(wrong[0])


def main() -> None:
    venv = ROOT / ".venv"
    wanted = fingerprint(ROOT, VERSION)
    stamp = venv / ".complete"
    with (ROOT / ".venv.lock").open("w") as lock:  # of two makes at once the second waits, and finds it done
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete(venv, wanted, VERSION):
            stamp.touch()
            return
        began = time.monotonic()
        if not venv.exists() or must_rebuild(venv, ROOT, VERSION):
            print("setup: installing into .venv: about 3 minutes, 6 GB on Linux", flush=True)
            make_environment(venv)
        else:
            print("setup: bringing .venv up to date", flush=True)
        stamp.unlink(missing_ok=True)
        install(venv)
        stamp.write_text(wanted)
        print(f"setup: done in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the same make command starts it again")
