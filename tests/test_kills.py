"""A run that is killed at any moment goes on from a finished checkpoint, to the same end, bit for bit."""

import itertools
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import small_run

from cdm_jax import checkpoint

STEPS = 40
SETTINGS = (f"--config.train.steps={STEPS}", "--config.train.eval_every=20")
SAVES = "--config.train.save_every=2"  # of runs that are killed
KILLS, KILLS_SLOW = 10, 50
A_RUN = 5
"""Kills that one run suffers before it may end."""


@pytest.fixture(scope="module")
def launch(tiny_cohort):
    with small_run.launcher(tiny_cohort) as launch:
        yield launch


@pytest.fixture(scope="module")
def unbroken(launch, tiny_cohort, tmp_path_factory):
    """The result of a run that nobody disturbed."""
    small_run.register()
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    run = launch(workdir, *SETTINGS)
    assert run.wait() == 0, run.text()
    return small_run.result(workdir, tiny_cohort)


def unfinished(workdir: Path) -> set[tuple[str, int]]:
    """Names and inodes of the folders beside the finished checkpoints."""
    folder, found = workdir / "checkpoints", set()
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if not (path.name.isdigit() and (path / "record.json").exists()):
                found.add((path.name, path.stat().st_ino))
        except FileNotFoundError:
            pass  # renamed meanwhile
    return found


def kill(run, workdir: Path, rng, inside: bool) -> None:
    """SIGKILL at a random moment: inside one of the next saves, or anywhere from the start of the process on."""
    if inside:
        for _ in range(rng.integers(1, 4)):
            there = unfinished(workdir)
            run.wait_for(lambda there=there: unfinished(workdir) - there)
        time.sleep(rng.uniform(0, 0.05))
    elif steps := rng.integers(0, 9):
        goal = logged(workdir) + steps
        run.wait_for(lambda: logged(workdir) >= goal)
        time.sleep(rng.uniform(0, 0.05))
    run.signal(signal.SIGKILL)


def logged(workdir: Path) -> int:
    """Lines of the run's log so far."""
    log = workdir / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def survive(launch, workdir: Path, rng, kinds: list[bool]) -> dict[str, int]:
    """Kill one run once for each of `kinds` (inside a save or not), check each restart, let the last one end."""
    counts = {"kills": 0, "in a save": 0, "with a checkpoint": 0}
    newest, left = 0, set()
    for inside in [*kinds, None]:
        run = launch(workdir, *SETTINGS, *([] if inside is None else [SAVES]))
        early = inside is False and rng.integers(4) == 0
        moment = time.monotonic() + (rng.uniform(0, 1) if early else np.inf)
        run.wait_for(lambda run=run, until=moment: run.began_at() is not None or time.monotonic() > until)
        if (begun := run.began_at()) is not None:
            assert begun == newest and not left & unfinished(workdir), run.text()
        if inside is not None:
            kill(run, workdir, rng, inside)
        if (code := run.wait()) == 0:
            break
        assert code == -9, run.text()
        left, there = unfinished(workdir), checkpoint.steps(workdir)
        assert [0, *there][-1] >= newest, "a finished checkpoint is gone"
        newest = [0, *there][-1]
        if there:
            checkpoint.verify(workdir, newest)
        counts["kills"] += 1
        counts["in a save"] += bool(left)
        counts["with a checkpoint"] += bool(there)
    return counts


def check_kills(launch, tiny_cohort, unbroken, tmp_path, kills: int, seed: int) -> None:
    """Runs with `A_RUN` kills each, half of them aimed inside a save, until there were `kills`."""
    rng, total = np.random.default_rng(seed), {}
    for number in itertools.count():
        done = total.get("kills", 0)
        if done >= kills:
            break
        workdir = tmp_path / str(number)
        kinds = list(rng.permutation(np.arange(min(A_RUN, kills - done)) + number) % 2 == 0)
        counts = survive(launch, workdir, rng, kinds)
        total = {name: total.get(name, 0) + count for name, count in counts.items()}
        assert small_run.result(workdir, tiny_cohort) == unbroken
        assert not unfinished(workdir) and not list(workdir.glob(".*"))
    assert total["in a save"] >= kills // 4
    told = ", ".join(f"{count} {name}" for name, count in total.items())
    print(f"\n{number} runs, {told}; all ends equal")


def test_killed_runs_end_as_if_nothing_had_been(launch, tiny_cohort, unbroken, tmp_path):
    check_kills(launch, tiny_cohort, unbroken, tmp_path, KILLS, seed=1)


@pytest.mark.slow
def test_fifty_killed_runs_end_as_if_nothing_had_been(launch, tiny_cohort, unbroken, tmp_path):
    check_kills(launch, tiny_cohort, unbroken, tmp_path, KILLS_SLOW, seed=2)
