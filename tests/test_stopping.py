"""A signal outside a step ends the run at once, inside it is noted, a second one changes nothing."""

import signal
import threading

import pytest

from cdm_jax.errors import StoppedError
from cdm_jax.session.stopping import EXIT_CODES, stop_on_signals

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
