"""One trainer at a time has a workdir, a gone one's lock is taken over, by one only."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from cdm_jax.errors import UsageError
from cdm_jax.session import claim, lock

HOLD = """
import sys, time
from cdm_jax.session.lock import locked
with locked(sys.argv[1]):
    print(flush=True)
    time.sleep(60)
"""


def the_claim(workdir):
    """The one claim that stands in `workdir`."""
    (path,) = workdir.glob(lock.NAMES)
    return path


def leave_behind(workdir, **changes):
    """The claim of this process as if it had been killed, with `changes`."""
    workdir.mkdir(exist_ok=True)
    with lock.locked(workdir):
        text = json.loads(the_claim(workdir).read_text())
    (workdir / ".lock-7.json").write_text(json.dumps(text | changes))
    return workdir / ".lock-7.json"


def test_a_second_trainer_is_refused_and_told_who_the_first_is(tmp_path):
    assert lock.holder(tmp_path) is None
    with lock.locked(tmp_path):
        first = lock.holder(tmp_path)
        assert first is not None and first.pid == os.getpid()
        with pytest.raises(UsageError, match="is going on there already") as caught, lock.locked(tmp_path):
            pass
        assert f"process {os.getpid()} on {first.host} since {first.since}: {first.command}" in str(
            caught.value
        )
        assert lock.holder(tmp_path) == first
    assert lock.holder(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "shown"),
    [("/x/cdm_jax/__main__.py", "cdm train"), ("/x/bin/cdm", "cdm train"), ("/x/bench.py", "bench.py")],
)
def test_a_claim_tells_the_verb_alone(monkeypatch, program, shown):
    monkeypatch.setattr(sys, "argv", [program, "train", "--config=configs/demo.py"])
    assert str(claim.this_process()).endswith(f": {shown}")


def test_a_claim_of_the_earlier_form_is_read_and_cut(tmp_path):
    earlier = leave_behind(tmp_path, command="__main__.py train --config=configs/demo.py " + 700 * "x")
    assert str(claim.read_claim(earlier)).endswith(": cdm train")


def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(UsageError, match="wrong"), lock.locked(tmp_path / "runs" / "one"):
        raise UsageError("wrong")
    assert not list(tmp_path.iterdir())
    with lock.locked(tmp_path / "runs" / "one"):
        (tmp_path / "runs" / "one" / "config.json").write_text("{}")
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["config.json"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be locked"), lock.locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize(
    "changes",
    [{"began": "1"}, {"boot": "another start"}, {"host": "elsewhere"}, {"space": "another container"}],
    ids=["the pid is another process's now", "rebooted", "another host", "another container"],
)
def test_a_lock_without_its_process_is_taken_over(tmp_path, capsys, changes):
    stale = leave_behind(tmp_path, **changes)
    if changes.keys() & {"host", "space"}:  # nobody can look there: as long as it is fresh, it holds
        assert lock.holder(tmp_path) is not None
        with pytest.raises(UsageError, match="is going on there already"), lock.locked(tmp_path):
            pass
        os.utime(stale, (time.time() - 2 * claim.STALE,) * 2)
    assert lock.holder(tmp_path) is None
    with lock.locked(tmp_path):
        assert lock.holder(tmp_path).pid == os.getpid() and not stale.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert "took over the lock of a run that is gone" in line


def test_a_lock_that_a_power_cut_emptied_holds_for_a_while_only(tmp_path):
    empty = tmp_path / ".lock-3.json"
    empty.write_text("")
    with pytest.raises(UsageError, match="on an unknown host"), lock.locked(tmp_path):
        pass
    os.utime(empty, (0, 0))
    with lock.locked(tmp_path):
        assert lock.holder(tmp_path).pid == os.getpid()


def test_a_process_that_was_killed_holds_no_more_even_unburied(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert lock.holder(tmp_path).pid == process.pid
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but a zombie still
    assert lock.holder(tmp_path) is None
    process.communicate()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_come_at_once_one_wins(tmp_path, stale):
    for round in range(10):
        workdir = tmp_path / str(round)
        if stale:
            leave_behind(workdir, began="1")
        together, refused, won = threading.Barrier(8), [], []

        def come(workdir=workdir, together=together, refused=refused, won=won):
            together.wait()
            try:
                with lock.locked(workdir):
                    won.append(lock.holder(workdir))
                    while len(refused) < 7:
                        time.sleep(0.001)
            except UsageError as error:
                refused.append(error)

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(won) == 1 and len(refused) == 7 and won[0] is not None


def test_a_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "REFRESH", 0.01)
    with lock.locked(tmp_path):
        os.utime(the_claim(tmp_path), (0, 0))
        while the_claim(tmp_path).stat().st_mtime == 0:
            time.sleep(0.01)


def test_a_holder_that_slept_through_a_takeover_ends(tmp_path, monkeypatch, capsys):
    ended = threading.Event()
    monkeypatch.setattr(lock, "REFRESH", 0.01)
    monkeypatch.setattr(lock.os, "_exit", lambda code: ended.set())
    with lock.locked(tmp_path):
        mine = the_claim(tmp_path)
        mine.rename(tmp_path / ".lock-2.json")
        assert ended.wait(30)
    assert "lost its lock" in capsys.readouterr().err
