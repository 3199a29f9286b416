"""Processes side by side: trainings, students after their teacher, and functions that need a separate process."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from ppcd import paths
from ppcd.base import PpcdError, cores
from ppcd.progress import Progress, say
from ppcd.runs.copied import reuse_reference
from ppcd.runs.directory import Run
from ppcd.runs.jobs import Submitted, Training, changed, check_cluster
from ppcd.runs.train import resolve_device
from ppcd.stopping import describe_stop, end_processes, start_process
from ppcd.training import profiles, recipes
from ppcd.training.config import RunConfig, takes_images
from ppcd.training.distributed import check_share, launcher

LOG = "log.txt"
ROOM = 2**16  # bytes; with less on the disk a run cannot even say what is wrong


@contextmanager
def separate_processes(count: int = 1) -> Iterator[ProcessPoolExecutor]:
    """Processes that run functions which can be imported: memory and settings of each are its own.

    They end with this process however it ends, and at once where the block is left by an exception.
    """
    theirs, ours = multiprocessing.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _end_with_pipe, (theirs,))
    try:
        yield executor
    except BaseException as error:
        ours.close()
        if isinstance(error, BrokenProcessPool):
            raise PpcdError("a process ended in the middle of its work; out of memory?") from None
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        ours.close()


def _end_with_pipe(connection: Connection) -> None:
    """In a separate process: end it when the other end of the pipe is closed. Ctrl-C is its parent's matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        with suppress(EOFError):
            connection.recv()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass
class Job:
    """The training of one run as a process, or as several that `accelerate launch` starts."""

    config: RunConfig
    retrain: bool = False  # a complete run that is there is set aside first
    processes: int = 1  # that train it together
    cluster: str | None = None  # of `ppcd.runs.jobs`, where it is submitted
    process: subprocess.Popen[bytes] | Submitted | None = None
    error: str | None = None
    done: bool = False

    def fraction(self) -> float:
        """How much of its training is done, in [0, 1]."""
        if self.done:
            return 1.0
        progress = None if self.retrain and self.process is None else Run(self.config).progress()
        try:
            return progress["iteration"] / progress["total"] if progress else 0.0
        except (KeyError, TypeError, ZeroDivisionError):  # edited by hand; it is rewritten within a second
            return 0.0

    def start(self, device: str) -> None:
        if self.retrain:
            run = Run(self.config)
            with run.lock():
                run.discard()
        config, log = self.config, self.config.directory / LOG
        command = [*launcher(self.processes, config.precision), "ppcd", "train"]
        asked = {"profile": profiles.asked(config.profile), "recipe": recipes.asked(config.recipe), "seed": config.seed}
        command += [word for name, value in asked.items() for word in (f"--{name}", str(value))]
        command += ["--device", device, "--precision", config.precision]
        changes: dict[str, str | None] = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        changes["PPCD_TEACHER"] = str(config.teacher_file) if config.takes_file else ""
        if not takes_images(config.profile):  # the command would refuse it
            changes["PPCD_DATA"] = None
        with paths.writing(config.directory):
            config.directory.mkdir(parents=True, exist_ok=True)
        if self.cluster is not None:
            gpus = self.processes if device.startswith("cuda") else 0
            training = Training(command, changes, log)
            self.process = Submitted(training, self.cluster, config.id, self.processes, gpus)
            return
        with paths.writing(config.directory), log.open("wb") as file:
            self.process = start_process(command, stdout=file, stderr=subprocess.STDOUT, env=changed(changes))

    def collect(self) -> bool:
        """Whether the process has ended; says in `error` why it failed."""
        if self.process is None or self.process.poll() is None:
            return False
        ended, self.process, self.done = self.process, None, True
        if isinstance(ended, Submitted) and ended.lost:
            self.error = f"{ended.lost}; what it saved is kept, and the same command goes on"
        elif status := ended.returncode:
            log = self.config.directory / LOG
            lines = log.read_text(errors="replace").strip().splitlines()
            ours = [line for line in lines if line.startswith("ppcd: ")]  # a launcher adds lines of its own
            reason = [*lines, *ours][-1].removeprefix("ppcd: ") if lines else "it ended without a word"
            if not lines and shutil.disk_usage(log.parent).free < ROOM:
                reason = "the disk is full; what is there is kept: make room, and start again"
            if status < 0:
                reason = f"it was ended by signal {-status}"
            self.error = f"{reason} (see {log})"
        return True


def count_workers(asked: int | None, device: str, processes: int = 1) -> int:
    """How many runs side by side: as many as asked for, else as fill the cores; one at a time on GPUs."""
    if asked is not None and asked < 1:
        raise PpcdError(f"at least one worker is needed; got {asked}")
    if asked is not None or device != "cpu":
        return asked or 1
    return max(1, cores() // processes)


def is_due(config: RunConfig, retrain: bool) -> bool:
    """Whether a run is to be trained: it is not complete, or a copy of the reference and copies do not count."""
    run = Run(config)
    return run.state != "complete" or (retrain and not run.trained_here)


def run_all(
    configs: Sequence[RunConfig],
    *,
    device: str = "cpu",
    workers: int | None = None,
    retrain: bool = False,
    processes: int = 1,
    cluster: str | None = None,
    when_done: Callable[[RunConfig], None] = lambda config: None,
) -> list[Run]:
    """Train what is missing, teachers too; returns the runs in the given order.

    Args:
        configs: of the runs; profiles and recipes may be the caller's own.
        workers: how many at a time; None: one a core, or one on a GPU.
        retrain: also those that were copied from the reference; else those that it has are copied, not trained.
        processes: that train each run together: on GPUs one for each of them.
        cluster: "slurm" or "local": each run is a job of submitit, of Slurm as many at a time as it takes.
        when_done: called with each run that has been trained, while others go on.

    Raises:
        PpcdError: runs failed; the others were completed first, and nothing of them is lost.
        Stopped: Ctrl-C or SIGTERM, which ends the processes as well; called again, it goes on.
    """
    if cluster is not None:
        check_cluster(cluster)
    if cluster != "slurm":  # there the machine that a job is given decides
        device = resolve_device(device)
    launcher(processes)  # refuses what cannot be, before anything starts
    for config in configs:
        check_share(config.profile.budget(config.recipe.teacher_budget).batch_size, processes)
    workers = count_workers(workers, device, processes)
    if not retrain:
        reuse_reference(configs, more=True)
    jobs = []
    teachers = [teacher for config in configs if (teacher := config.teacher()) is not None]
    for config in {config.id: config for config in [*teachers, *configs]}.values():  # teachers first, each once
        if is_due(config, retrain):
            again = Run(config).state == "complete"
            jobs.append(Job(config, retrain=again, processes=processes, cluster=cluster))
    if jobs:
        with describe_stop(lambda: f"stopped with {sum(job.done for job in jobs)} of {len(jobs)} runs trained"):
            _train(jobs, device, len(jobs) if cluster == "slurm" else workers, when_done)
    if failed := [f"{job.config.id}: {job.error}" for job in jobs if job.error]:
        raise PpcdError("; ".join(failed))
    return [Run(config) for config in configs]


def _train(jobs: list[Job], device: str, workers: int, when_done: Callable[[RunConfig], None]) -> None:
    by_id = {job.config.id: job for job in jobs}
    taught_by = [job.config.teacher() for job in jobs]
    teachers = [by_id.get(teacher.id) if teacher else None for teacher in taught_by]
    waiting, running = list(zip(jobs, teachers, strict=True)), list[Job]()
    progress = Progress(sum(job.config.iterations for job in jobs), _iterations_done(jobs))
    say(f"to train: {', '.join(by_id)}")
    try:
        while waiting or running:
            for job, teacher in list(waiting):
                if teacher is not None and teacher.error:
                    job.done, job.error = True, f"its teacher {teacher.config.id} failed"
                    waiting.remove((job, teacher))
                elif (teacher is None or teacher.done) and len(running) < workers:
                    job.start(device)
                    waiting.remove((job, teacher))
                    running.append(job)
                    say(f"{job.config.id} started")
            time.sleep(0.2)
            for job in [job for job in running if job.collect()]:
                running.remove(job)
                say(f"{job.config.id} {'failed: ' + job.error if job.error else 'complete'}")
                if not job.error:
                    when_done(job.config)
            if progress.due() or not running:
                each = [f"{job.config.id.rsplit('-', 1)[0]} {job.fraction():.0%}" for job in running]
                done = f"{sum(job.done for job in jobs)} of {len(jobs)} runs"
                progress.show(_iterations_done(jobs), done, ", ".join(each))
    finally:  # an interrupt may have reached them as well; they keep their last checkpoint
        end_processes(job.process for job in jobs if job.process is not None)
        progress.close()


def _iterations_done(jobs: Sequence[Job]) -> int:
    return round(sum(job.config.iterations * job.fraction() for job in jobs))
