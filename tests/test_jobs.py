"""Trainings as jobs of submitit: its local executor, and what Slurm is given."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from reference import refused

from paper import reproduce
from ppcd.records import GENERATOR
from ppcd.runs.jobs import Submitted, Training
from ppcd.runs.pool import run_all
from ppcd.runs.train import train_run
from ppcd.training.config import run_config

# A cluster of this machine alone. It takes what real ones take, and keeps it.
SLURM = {
    "sbatch": """
        id=$((1000 + $(ls "$QUEUE" | wc -l)))
        cp "${@: -1}" "$QUEUE/$id"
        export SLURM_JOB_ID=$id SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
        setsid bash "${@: -1}" > /dev/null 2>&1 < /dev/null &
        echo "Submitted batch job $id"
    """,
    "srun": """
        while [[ $1 == --* ]]; do [[ $1 == --output ]] && shift; shift; done
        exec "$@"
    """,
    "sacct": "echo 'JobID|State|NodeList'",
    "scancel": "exit 1",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what was submitted."""
    programs, queue = tmp_path / "bin", tmp_path / "queue"
    for folder in (programs, queue):
        folder.mkdir()
    for name, text in SLURM.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(queue))
    return queue


@pytest.mark.usefixtures("slurm")
def test_jobs_train_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Slurm's jobs, a student after its teacher; the teacher also by the local executor."""
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "cache"))
    made = {}
    for cluster in (None, "slurm", "local"):
        monkeypatch.setenv("PPCD_RESULTS", str(tmp_path / str(cluster)))
        config = run_config("smoke", "biggan" if cluster == "local" else "ppcd", 0)
        run = run_all([config], cluster=cluster)[0] if cluster else train_run(config, callbacks=[])
        assert run.state == "complete"
        for each in filter(None, (config, config.teacher())):
            made[cluster, each.recipe.name] = (each.directory / GENERATOR).read_bytes()
    submitted = [path.read_text() for path in sorted((tmp_path / "queue").iterdir())]
    names = [line for text in submitted for line in text.splitlines() if "--job-name" in line]
    assert [name.split("=")[1].split("-s0")[0] for name in names] == ["biggan", "ppcd"]
    assert all("--signal=USR2@" in text and "gpus" not in text for text in submitted)
    assert made["slurm", "ppcd"] == made[None, "ppcd"]
    assert made["slurm", "biggan"] == made["local", "biggan"] == made[None, "biggan"]
    assert not list((tmp_path / "cache" / "jobs").iterdir())


def test_a_job_that_fails_says_what_its_command_said(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster the device is asked for, not looked for here; the machine of the job has none."""
    with refused("device 'cuda' was asked for, but torch sees none on this machine"):
        run_all([run_config("smoke", "sagan", 0)], device="cuda", cluster="slurm")
    assert "--gpus-per-node=1" in next(slurm.iterdir()).read_text()


def job_of(command: str, folder: Path) -> Submitted:
    return Submitted(Training(["bash", "-c", command], {"PPCD_TEACHER": None}, folder / "log.txt"), "local", "job")


def wait_for(path: Path) -> None:
    for _ in range(4000):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not come")


def test_at_a_time_limit_a_job_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Slurm sends before the limit, to the process that submitit started."""
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "cache"))
    begun = tmp_path / "begun"
    job = job_of(f"if [ -e {begun} ]; then exit 3; fi; touch {begun}; sleep 60", tmp_path)
    wait_for(begun)
    subprocess.run(["pkill", "-USR2", "-P", job._job.job_id], check=True)
    assert job.wait(200) == 3 and job.lost is None


def test_a_job_that_is_cancelled_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SIGINT, which the commands take over; a process whose SIGINT is ignored would hand that on to its jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "cache"))
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    job = job_of(f"trap 'touch {ended}; exit 143' TERM; touch {begun}; while true; do sleep 0.1; done", tmp_path)
    signal.signal(signal.SIGINT, before)
    job._job._results_timeout_s = 0
    wait_for(begun)
    job.terminate()
    assert job.wait(200) == 1
    assert job.lost is not None and job.lost.startswith(f"job {job._job.job_id} was lost")
    wait_for(ended)


def test_where_there_is_no_slurm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert reproduce.main(["--profile", "smoke", "--launcher", "slurm"]) == 2
    assert "LAUNCHER=slurm needs Slurm's sbatch and srun" in capsys.readouterr().err
