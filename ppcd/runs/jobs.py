"""Trainings as jobs, by submitit: on the machines of a Slurm cluster, or on this one by its local executor.

Only the training is a job. Who submits it waits, shows how far it is, and submits a student once its teacher is there.
Results and caches lie on a folder that all machines see, with the same locks as ever.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError, needs
from ppcd.stopping import end_processes, start_process

CLUSTERS = ("local", "slurm")
LIMIT = 24 * 60  # minutes of a job, where SBATCH_TIMELIMIT says nothing else
ASKED_EVERY = 2.0  # seconds between looks at a job, whose folder may lie on a network
REQUEUED = 100  # times that a job may reach its limit or be preempted; each time it goes on from its checkpoint


def changed(changes: Mapping[str, str | None]) -> dict[str, str]:
    """The environment with these changes; None takes a variable out."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


@dataclass(frozen=True)
class Training:
    """What a job does, on the machine that it is given.

    Attributes:
        changes: of the environment (`changed`).
        log: the file that gets what the command says.
    """

    command: Sequence[str]
    changes: Mapping[str, str | None]
    log: Path

    def __call__(self) -> int:
        """Run the command; its exit status. It has its own session, where signals for the job do not reach it."""
        with self.log.open("wb") as file:
            process = start_process(
                self.command, stdout=file, stderr=subprocess.STDOUT, env=changed(self.changes), start_new_session=True
            )
            try:
                return process.wait()
            finally:  # submitit's handler of a time limit leaves through here
                end_processes([process])

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again at a time limit: the same command, which goes on."""
        with needs("distributed"):
            from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Submitted:
    """A training that was submitted, with what `ppcd.runs.pool` asks of a process."""

    def __init__(self, training: Training, cluster: str, name: str, processes: int = 1, gpus: int = 0) -> None:
        with needs("distributed"):
            import submitit
        self._folder = paths.cache() / "jobs" / name
        shutil.rmtree(self._folder, ignore_errors=True)  # of a job that is over
        with paths.writing(self._folder):
            self._folder.mkdir(parents=True)
        executor = submitit.AutoExecutor(self._folder, cluster=cluster, slurm_max_num_timeout=REQUEUED)
        executor.update_parameters(
            name=name, timeout_min=LIMIT, cpus_per_task=processes, gpus_per_node=gpus or None, stderr_to_stdout=True
        )
        try:
            self._job = executor.submit(training)
        except (RuntimeError, OSError) as error:  # what sbatch said
            raise PpcdError(f"the job {name} was not taken: {last_line(error)}") from None
        self.returncode: int | None = None
        self.lost: str | None = None
        self._asked = 0.0

    def poll(self) -> int | None:
        """The command's exit status, None while it waits or runs; 1 where the job was `lost`."""
        if self.returncode is None and time.monotonic() - self._asked > ASKED_EVERY:
            if self._job.done():
                self._collect()
            self._asked = time.monotonic()
        return self.returncode

    def _collect(self) -> None:
        try:
            self.returncode = int(self._job.result())
        except Exception as error:  # cancelled, out of memory, a machine that is gone
            self.lost = f"job {self._job.job_id} was lost ({self._job.state}): {last_line(error)}"
            self.returncode = 1
        else:
            shutil.rmtree(self._folder, ignore_errors=True)

    def terminate(self) -> None:
        with suppress(subprocess.CalledProcessError):  # it has just ended
            self._job.cancel()

    kill = terminate

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while (found := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self._folder), timeout or 0)
            time.sleep(0.2)
        return found


def last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def check_cluster(name: str) -> None:
    """Refuse a launcher that is unknown or not here."""
    if name not in CLUSTERS:
        raise PpcdError(f"unknown launcher {name!r}; expected one of: {', '.join(CLUSTERS)}")
    if name == "slurm" and not all(map(shutil.which, ("sbatch", "srun"))):
        raise PpcdError("LAUNCHER=slurm needs Slurm's sbatch and srun, which are not on this machine's PATH")
