"""A signal outside a step ends the run at once, inside it is noted, a second one changes nothing."""

import ctypes
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cdm_jax.errors import StoppedError
from cdm_jax.session import stopping
from cdm_jax.session.stopping import EXIT_CODES, beginning, heard_in_c, stop_on_signals

SIGNALS = pytest.mark.parametrize("number", EXIT_CODES, ids=lambda number: number.name)


@SIGNALS
def test_outside_a_step_it_ends_the_run(number):
    with pytest.raises(StoppedError, match=f"{number.name}, with nothing left") as caught, stop_on_signals():
        signal.raise_signal(number)
        raise AssertionError("went on")
    assert caught.value.exit_code == EXIT_CODES[number] == (130 if number == signal.SIGINT else 75)


@SIGNALS
def test_inside_a_step_it_is_noted_and_said_once(number, capfd):
    with stop_on_signals() as stop:
        with stop.deferred():
            assert stop.signal is None
            signal.raise_signal(number)
            for later in EXIT_CODES:
                signal.raise_signal(later)
        assert stop.signal == number
        error = stop.error(12)
    assert error.exit_code == EXIT_CODES[number] and "step 12 is saved" in str(error)
    assert capfd.readouterr().err == f"{number.name}: finishing the step and saving; a moment please\n"


def test_later_signals_do_not_spoil_what_follows_the_first():
    with stop_on_signals() as stop:
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
        for later in EXIT_CODES:
            signal.raise_signal(later)  # outside a step again, where the first would have raised
        assert stop.signal == signal.SIGTERM


def test_after_a_signal_no_step_is_begun():
    with stop_on_signals() as stop:
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(StoppedError, match="SIGUSR1"), stop.deferred():
            raise AssertionError("began")


def test_a_part_that_defers_too_does_not_end_the_deferral():
    with stop_on_signals() as stop, stop.deferred():
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
        with stop.deferred():
            assert stop.signal == signal.SIGTERM


def test_a_process_that_heard_of_it_from_another_ends_likewise():
    with stop_on_signals() as stop:
        error = stop.error(3)
    assert error.exit_code == 75 and "stopped by another process, step 3 is saved" in str(error)


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    with pytest.raises(ZeroDivisionError), stop_on_signals():
        assert all(signal.getsignal(number) != before[number] for number in EXIT_CODES)
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in EXIT_CODES} == before


def test_in_another_thread_nothing_changes():
    found = []

    def work():
        before = signal.getsignal(signal.SIGTERM)
        with stop_on_signals() as stop, stop.deferred():
            found.append((signal.getsignal(signal.SIGTERM) == before, stop.signal))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(True, None)]


class Ended(BaseException):
    """In place of the end of the process."""


def end(code: int):
    raise Ended(code)


@SIGNALS
def test_before_anything_is_begun_it_ends_the_process(number, monkeypatch, capfd):
    monkeypatch.setattr(stopping.os, "_exit", end)
    before = signal.getsignal(number)
    with pytest.raises(Ended) as caught, beginning("cdm train"):
        signal.raise_signal(number)
    assert caught.value.args == (EXIT_CODES[number],) and signal.getsignal(number) == before
    told = f"cdm train: stopped by {number.name}, nothing to save yet; the same command goes on\n"
    assert capfd.readouterr().err == told


def test_after_the_run_the_beginning_does_not_speak_again(monkeypatch):
    monkeypatch.setattr(stopping.os, "_exit", end)
    with beginning("cdm train"):
        with pytest.raises(StoppedError), stop_on_signals():
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


def test_while_the_main_thread_waits_in_c_another_one_obeys(monkeypatch):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    deadline = (ctypes.c_long * 2)(int(time.time()) + 30, 0)
    monkeypatch.setattr(stopping.os, "_exit", lambda code: libc.pthread_mutex_unlock(mutex))
    libc.pthread_mutex_lock(mutex)
    with beginning("cdm train"), heard_in_c():
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert libc.pthread_mutex_timedlock(mutex, deadline) == 0, "nobody obeyed"  # no signal wakes it


def test_one_that_meets_the_garbage_collector_is_kept_for_later():
    def _xla_gc_callback(phase, _):
        if phase == "start" and stop.signal is None:
            signal.raise_signal(signal.SIGTERM)

    with stop_on_signals() as stop:
        gc.callbacks.append(_xla_gc_callback)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(_xla_gc_callback)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(StoppedError), stop.deferred():
            raise AssertionError("began")


def heeds(pid: int) -> bool:
    """Whether a process catches SIGTERM, or lets it wait."""
    masks = re.findall(r"^Sig(?:Blk|Cgt):\t(.*)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return any(int(mask, 16) >> signal.SIGTERM - 1 & 1 for mask in masks)


@pytest.mark.parametrize(("number", "after"), zip(EXIT_CODES, (0, 0.3, 0.8), strict=True))
def test_a_starting_process_ends_calmly(number, after, tiny_cohort, tmp_path):
    words = ("--config=configs/demo.py", f"--config.data.root={tiny_cohort}", f"--workdir={tmp_path / 'run'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "cdm_jax", "train", *words], stderr=subprocess.PIPE, text=True
    )
    while not heeds(process.pid):  # Python itself starts
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(number)
    told = process.communicate()[1]
    told = re.sub(r"^prepare .*\n", "", told, flags=re.MULTILINE)  # on a machine that is quick
    ends = "nothing to save yet|with nothing left to save"
    assert re.fullmatch(f"cdm train: stopped by {number.name}, ({ends}); the same command goes on\n", told)
    assert process.returncode == EXIT_CODES[number]
