"""Several runs at once: each a process of its own, students after their teacher, progress in one place."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import IO

from ppcd import paths
from ppcd.base import PpcdError, cores
from ppcd.progress import Progress
from ppcd.runs.config import RunConfig, run_config
from ppcd.runs.directory import Run
from ppcd.runs.train import resolve_device
from ppcd.stopping import end_processes, start_process, told
from ppcd.training.distributed import check_share, launcher

LOG = "log.txt"
ROOM = 2**16  # bytes; with less on the disk a run cannot even say what is wrong


@dataclass
class Job:
    """One run on its way."""

    config: RunConfig
    retrain: bool = False  # a complete run that is there is set aside first
    processes: int = 1  # that train it together
    process: subprocess.Popen[bytes] | None = None
    log: IO[bytes] | None = field(default=None, repr=False)
    error: str | None = None
    done: bool = False

    @property
    def run(self) -> Run:
        return Run(self.config)

    @property
    def iterations(self) -> int:
        return self.config.profile.budget(self.config.recipe.teacher_budget).iterations

    def fraction(self) -> float:
        """How much of its training is done, in [0, 1]."""
        if self.done:
            return 1.0
        progress = None if self.retrain and self.process is None else self.run.progress()
        try:
            return progress["iteration"] / progress["total"] if progress else 0.0
        except (KeyError, TypeError, ZeroDivisionError):  # edited by hand; it is written anew in a second
            return 0.0

    def start(self, device: str) -> None:
        if self.retrain:
            with self.run.lock():
                self.run.discard()
        with paths.writing(self.config.directory):
            self.config.directory.mkdir(parents=True, exist_ok=True)
            self.log = (self.config.directory / LOG).open("wb")
        command = [*launcher(self.processes, self.config.precision), "ppcd", "train"]
        command += ["--profile", self.config.profile.name]
        command += ["--recipe", self.config.recipe.name, "--seed", str(self.config.seed), "--device", device]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.process = start_process(command, stdout=self.log, stderr=subprocess.STDOUT, env=environment)

    def collect(self) -> bool:
        """Whether the process has ended; says in `error` why it failed."""
        if self.process is None or self.process.poll() is None:
            return False
        if self.log is not None:
            self.log.close()
        if self.process.returncode < 0:
            self.error = f"it was ended by signal {-self.process.returncode} (see {self.config.directory / LOG})"
        elif self.process.returncode > 0:
            self.error = self._last_line()
        self.process, self.done = None, True
        return True

    def _last_line(self) -> str:
        lines = (self.config.directory / LOG).read_text(errors="replace").strip().splitlines()
        ours = [line for line in lines if line.startswith("ppcd: ")]  # a launcher says more behind it
        line = [*lines, *ours][-1].removeprefix("ppcd: ") if lines else "it ended without a word"
        if not lines and shutil.disk_usage(self.config.directory).free < ROOM:
            line = "the disk is full; what is there is kept: make room, and start again"
        return f"{line} (see {self.config.directory / LOG})"


def with_teachers(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """The runs and the teachers that they need, teachers first, each once."""
    configs = list(configs)
    teachers = [teacher for config in configs if (teacher := config.teacher()) is not None]
    return list({config.id: config for config in [*teachers, *configs]}.values())


def count_workers(asked: int | None, device: str, processes: int = 1) -> int:
    """How many runs side by side: as many as asked for, else so many as fill the cores, and one on GPUs.

    Args:
        asked: by the user; None leaves it to the machine.
        device: what they run on.
        processes: of each of them.

    Raises:
        PpcdError: fewer than one were asked for.
    """
    if asked is not None and asked < 1:
        raise PpcdError(f"at least one worker is needed; got {asked}")
    if asked is not None or device != "cpu":
        return asked or 1
    return max(1, cores() // processes)


def run_all(
    configs: Sequence[RunConfig],
    *,
    device: str = "cpu",
    workers: int | None = None,
    retrain: bool = False,
    processes: int = 1,
) -> list[Run]:
    """Train what is missing; returns the runs in the given order.

    Args:
        configs: runs by names of profile and recipe; missing teachers are trained too.
        device: of the trainings. On a GPU they go one after the other.
        workers: how many at a time; None is one a core.
        retrain: also those that are complete but came with the repository.
        processes: that train each run together: on GPUs one for each of them.

    Raises:
        PpcdError: runs failed; the others were finished first, and nothing of them is lost.
        Stopped: Ctrl-C or SIGTERM, which ends the processes as well; called again, it goes on.
    """
    device = resolve_device(device)
    launcher(processes)  # refuses what cannot be, before anything starts
    for config in configs:
        check_share(config.profile.budget(config.recipe.teacher_budget).batch_size, processes)
    workers = count_workers(workers, device, processes)
    jobs = []
    for config in with_teachers(configs):
        complete = Run(config).state == "complete"
        again = complete and retrain and not Run(config).trained_here
        if again or not complete:
            jobs.append(Job(config, retrain=again, processes=processes))
    if jobs:
        with told(lambda: f"stopped with {sum(job.done for job in jobs)} of {len(jobs)} runs trained"):
            _work(jobs, device, workers)
    failed = [job for job in jobs if job.error]
    if failed:
        raise PpcdError("; ".join(f"{job.config.id}: {job.error}" for job in failed))
    return [Run(config) for config in configs]


def _blocked(job: Job, jobs: Sequence[Job]) -> Job | None:
    """The job of its teacher, if that has not been done."""
    teacher = job.config.teacher()
    if teacher is None:
        return None
    return next((other for other in jobs if other.config.id == teacher.id and (not other.done or other.error)), None)


def trained(jobs: Sequence[Job]) -> int:
    """Iterations done, of all jobs together."""
    return round(sum(job.iterations * job.fraction() for job in jobs))


def _work(jobs: list[Job], device: str, workers: int) -> None:
    waiting: list[Job] = list(jobs)
    running: list[Job] = []
    progress = Progress(sum(job.iterations for job in jobs), trained(jobs))
    progress.say(f"to train: {', '.join(job.config.id for job in jobs)}")
    try:
        while waiting or running:
            for job in list(waiting):
                teacher = _blocked(job, jobs)
                if teacher is not None and teacher.error:
                    job.done, job.error = True, f"its teacher {teacher.config.id} failed"
                    waiting.remove(job)
                elif teacher is None and len(running) < workers:
                    job.start(device)
                    waiting.remove(job)
                    running.append(job)
                    progress.say(f"{job.config.id} started")
            time.sleep(0.2)
            for job in [job for job in running if job.collect()]:
                running.remove(job)
                progress.say(f"{job.config.id} {'failed: ' + job.error if job.error else 'complete'}")
            if progress.due() or not running:
                each = [f"{job.config.id.rsplit('-', 1)[0]} {job.fraction():.0%}" for job in running]
                done = f"{sum(job.done for job in jobs)} of {len(jobs)} runs"
                progress.show(trained(jobs), done, ", ".join(each))
    finally:
        # An interrupt may have reached them as well; they keep their last checkpoint
        end_processes(job.process for job in jobs if job.process is not None)
        for job in running:
            if job.log is not None:
                job.log.close()
        progress.close()


def ensure_runs(
    profile: str,
    recipes: Iterable[str],
    seeds: Iterable[int],
    device: str = "cpu",
    workers: int | None = None,
    retrain: bool = False,
) -> list[Run]:
    """Runs of these recipes and seeds, trained where they are missing. Arguments as `run_all`."""
    seeds = list(seeds)
    configs = [run_config(profile, recipe, seed) for seed in seeds for recipe in recipes]
    return run_all(configs, device=device, workers=workers, retrain=retrain)
