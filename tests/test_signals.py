"""A run that a signal ends has saved the step it reached, says so by its exit code, and goes on bit for bit."""

import itertools
import os
import re
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import small_run

from cdm_jax import checkpoint, train
from cdm_jax.checkpoint import Writer
from cdm_jax.errors import StoppedError
from cdm_jax.session.stopping import EXIT_CODES
from cdm_jax.training import watch

STEPS = 100
SETTINGS = (f"--config.train.steps={STEPS}", "--config.train.eval_every=50")
SAVES = "--config.train.save_every=3"  # of runs that are stopped
AT_STEPS, IN_COMPILATION, IN_SAVES = 30, 5, 5
PROCESSES, PROCESSES_SLOW = 3, 30
NUMBERS = sorted(EXIT_CODES)


@pytest.fixture(scope="module")
def config(tiny_cohort):
    small_run.register()
    return small_run.small_config(tiny_cohort, *SETTINGS, SAVES)


@pytest.fixture(scope="module")
def calm(tiny_cohort):
    """The config of a run, or a run's last part, that nobody disturbs."""
    small_run.register()
    return small_run.small_config(tiny_cohort, *SETTINGS)


@pytest.fixture(scope="module")
def unbroken(calm, tiny_cohort, tmp_path_factory):
    """The result of a run that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("unbroken")
    train.train(calm, workdir)
    return small_run.result(workdir, tiny_cohort)


MAKE = train.make_trainer


@pytest.fixture
def small(config, monkeypatch):
    """The trainer of `config`, which every run takes, so that it is traced and compiled once; nothing is drawn."""
    trainer = MAKE(config)
    monkeypatch.setattr(train, "make_trainer", lambda config: replace(trainer, config=config))
    monkeypatch.setattr(watch, "draw_progress", lambda *_: None)
    monkeypatch.setattr(watch, "write_training_report", lambda *_, **__: None)
    return trainer


@pytest.fixture
def late(monkeypatch):
    """Signals that came when no run was there to hear them."""
    came = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in NUMBERS}
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int, rng) -> None:
    """The signal, now from this thread, or up to 20 ms later from another."""
    if rng.integers(2):
        signal.raise_signal(number)
    else:
        threading.Timer(rng.uniform(0, 0.02), os.kill, (os.getpid(), number)).start()


def in_step(patch, small, number, rng) -> None:
    """In the first or the second step, or soon after."""
    goal, count = rng.integers(2), itertools.count()

    def step(state, batch):
        if next(count) == goal:
            send(number, rng)
        return small.step(state, batch)

    patch.setattr(train, "make_trainer", lambda config: replace(small, config=config, step=step))


def in_compilation(patch, small, number, rng) -> None:
    """While XLA compiles the step of a trainer that never was compiled, whatever Python may do meanwhile."""
    fresh, compiled = MAKE(small.config), []

    def step(state, batch):
        if not compiled:
            lowered = fresh.step.lower(state, batch)
            timer = threading.Timer(rng.uniform(0, 0.02), os.kill, (os.getpid(), number))
            timer.start()
            compiled.append(lowered.compile())
            assert not timer.is_alive(), "the signal came after the compilation"
        return compiled[0](state, batch)

    patch.setattr(train, "make_trainer", lambda config: replace(fresh, step=step))


def in_save(patch, small, number, rng) -> None:
    """In the part of a save that the loop waits for, or right after it, in the background's part."""
    save, first, before = Writer.save, iter([True]), rng.integers(2)

    def signalled(self, *arguments):
        now = next(first, False)
        if now and before:
            signal.raise_signal(number)
        save(self, *arguments)
        if now and not before:
            signal.raise_signal(number)

    patch.setattr(Writer, "save", signalled)


def again_in_the_last_save(patch, number) -> None:
    """A second signal and a third, while the save that the first asked for is waited for."""
    wait = Writer.wait

    def signalled(self):
        signal.raise_signal(number)
        wait(self)
        signal.raise_signal(signal.SIGINT)

    patch.setattr(Writer, "wait", signalled)


def test_signalled_runs_end_as_if_nothing_had_been(
    config, calm, small, unbroken, late, tiny_cohort, tmp_path
):
    rng = np.random.default_rng(3)
    ways = [in_step] * AT_STEPS + [in_compilation] * IN_COMPILATION + [in_save] * IN_SAVES
    seconds = 0
    for turn, way in enumerate(rng.permutation(ways)):
        number, second = NUMBERS[turn % len(NUMBERS)], bool(rng.integers(2))
        before = [0, *checkpoint.steps(tmp_path)][-1]
        with pytest.MonkeyPatch.context() as patch:
            way(patch, small, number, rng)
            if second:
                again_in_the_last_save(patch, NUMBERS[rng.integers(len(NUMBERS))])
            with pytest.raises(StoppedError) as caught:
                train.train(config, tmp_path)
        reached = checkpoint.steps(tmp_path)[-1]
        assert reached > before and f"step {reached} is saved" in str(caught.value)
        assert caught.value.exit_code == EXIT_CODES[number]
        seconds += second
    train.train(calm, tmp_path)
    assert small_run.result(tmp_path, tiny_cohort) == unbroken and not late
    print(
        f"\n{AT_STEPS} signals at steps, {IN_COMPILATION} in compilation, {IN_SAVES} in saves, "
        f"{seconds} of them followed by two more; the end equal"
    )


def test_a_signal_before_the_first_step_leaves_nothing(config, small, monkeypatch, late, tmp_path):
    monkeypatch.setattr(train, "make_trainer", lambda config: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(StoppedError, match="SIGTERM, with nothing left to save"):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists() and not late


@pytest.fixture(scope="module")
def launch(tiny_cohort):
    with small_run.launcher(tiny_cohort) as launch:
        yield launch


def check_processes(launch, unbroken, tiny_cohort, workdir, signals: int) -> None:
    """`signals` processes of one run, each ended by a signal at a random moment after its start, then the end."""
    rng = np.random.default_rng(4)
    codes = set()
    for turn in range(signals):
        number = NUMBERS[turn % len(NUMBERS)]
        run = launch(workdir, *SETTINGS, SAVES)
        run.wait_for(lambda run=run: run.began_at() is not None)
        time.sleep(rng.uniform(0, 0.5))
        run.signal(number)
        if rng.integers(2):
            run.wait_for(lambda run=run: "finishing the step" in run.text())
            run.signal(NUMBERS[rng.integers(len(NUMBERS))])
        code = run.wait()
        text = run.text()
        said = re.search(rf"^cdm train: stopped by {number.name}, step (\d+) is saved", text, re.MULTILINE)
        assert code == EXIT_CODES[number] and said and "Traceback" not in text, text
        assert checkpoint.steps(workdir)[-1] == int(said[1])
        codes.add(code)
    run = launch(workdir, *SETTINGS)
    assert run.wait() == 0, run.text()
    assert small_run.result(workdir, tiny_cohort) == unbroken
    print(f"\n{signals} processes ended by signals, exit codes {sorted(codes)}; the end equal")


def test_signalled_processes_end_as_if_nothing_had_been(launch, unbroken, tiny_cohort, tmp_path):
    check_processes(launch, unbroken, tiny_cohort, tmp_path / "run", PROCESSES)


@pytest.mark.slow
def test_many_signalled_processes_end_as_if_nothing_had_been(launch, unbroken, tiny_cohort, tmp_path):
    for number in range(PROCESSES_SLOW // 10):
        check_processes(launch, unbroken, tiny_cohort, tmp_path / str(number), 10)
