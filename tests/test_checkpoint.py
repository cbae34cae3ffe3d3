"""What is read from a checkpoint is what was written, whatever happened in between."""

import contextlib
import errno
import gc
import json
import logging
import math
import os
import random
import shutil
import subprocess
import threading
from collections import Counter
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from orbax.checkpoint import v1

from cdm_jax import checkpoint
from cdm_jax.checkpoint import agreement, arrays, folder, names, record
from cdm_jax.errors import CheckpointError, PeerError, StoppedError, UsageError
from cdm_jax.session.failures import is_full

FACTS = {"val_loss": 0.5, "best": []}


def trees(step: int) -> dict:
    """A small state whose numbers, hardly compressible, depend on the step."""
    draw = np.random.default_rng(step)
    params = {
        "a": draw.normal(size=(24, 32)).astype(np.float32),
        "b": draw.normal(size=40).astype(jnp.bfloat16),
    }
    rest = {"step": np.int32(step), "key": np.uint32([1, step]), "opt": ({"mu": params["a"] * 2},)}
    return jax.tree.map(jnp.asarray, {"variables": {"params": params, "batch_stats": {}}, "rest": rest})


def save(workdir: Path, *steps: int, facts: dict = FACTS, keep_latest: int = 9) -> None:
    with checkpoint.writer(workdir, keep_latest) as writer:
        for step in steps:
            writer.save(step, trees(step), facts)


def assert_equal(left, right) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


def filenames(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Path:
    """A workdir with steps 10, 20 and 30; copy it before changing it."""
    workdir = tmp_path_factory.mktemp("three")
    save(workdir, 10, 20, 30)
    return workdir


@pytest.fixture
def own(three, tmp_path) -> Path:
    return shutil.copytree(three, tmp_path / "run")


def test_what_is_restored_is_what_was_saved(three):
    like = jax.eval_shape(lambda: trees(20))
    found, facts = checkpoint.restore(three, 20, like)
    assert_equal(found, trees(20))
    assert jax.tree.structure(found) == jax.tree.structure(like) and facts == FACTS
    part, _ = checkpoint.restore(three, 20, {"variables": like["variables"]})
    assert_equal(part, {"variables": trees(20)["variables"]})
    assert checkpoint.steps(three) == [10, 20, 30] and checkpoint.last_good(three) == (30, [])


# Placement


@cache
def layouts() -> dict[str, NamedSharding]:
    def over(count: int, spec: P) -> NamedSharding:
        return NamedSharding(Mesh(np.asarray(jax.devices()[:count]), ("data",)), spec)

    return {str(count): over(count, P("data")) for count in (1, 2, 4, 8)} | {"replicated": over(8, P())}


def placed(name: str) -> dict:
    return {"rest": jax.device_put({"w": np.arange(64.0).reshape(8, 8), "n": np.arange(8)}, layouts()[name])}


def like(name: str) -> dict:
    """Shapes of `placed`, and where they shall be."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layouts()[name]), placed("1")
    )


def test_the_devices_that_read_may_be_others_than_those_that_wrote(tmp_path):
    for step, name in enumerate(layouts()):
        with checkpoint.writer(tmp_path) as writer:
            writer.save(step, placed(name), {})
        for other in layouts() if name == "8" else ["8"]:
            found, _ = checkpoint.restore(tmp_path, step, like(other))
            assert_equal(found, placed("1"))
            assert {leaf.sharding for leaf in jax.tree.leaves(found)} == {layouts()[other]}


@pytest.mark.parametrize("layout", ["1", "8", "replicated"])
def test_the_state_may_be_donated_as_soon_as_save_returns(tmp_path, layout):
    overwrite = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    state = placed(layout)
    want = jax.tree.map(np.array, state)
    overwrite.lower(state).compile()
    with checkpoint.writer(tmp_path) as writer:
        writer.save(1, state, {})
        for _ in range(3):
            state = jax.block_until_ready(overwrite(state))
    assert_equal(checkpoint.restore(tmp_path, 1, like("1"))[0], want)


def _after(gate: threading.Event, function):
    def waiting(*inputs):
        gate.wait()
        return function(*inputs)

    return waiting


# Damage


def listing(workdir: Path, step: int) -> list[str]:
    """Files of Orbax that hold something, random names last, so that two steps' lists correspond."""
    sizes = record.list_files(names.step_folder(workdir, step))
    return sorted(
        (n for n in sizes if sizes[n]), key=lambda n: (Path(n).parent.name == "d", Path(n).parent, sizes[n])
    )


def truncate(dice: random.Random, workdir: Path) -> list[Path]:
    path = names.step_folder(workdir, 30) / dice.choice(listing(workdir, 30))
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])
    return [path]


def flip_a_bit(dice: random.Random, workdir: Path) -> list[Path]:
    """Every byte of the checkpoint is as likely as any other."""
    paths = [names.step_folder(workdir, 30) / name for name in listing(workdir, 30)]
    (path,) = dice.choices(paths, [path.stat().st_size for path in paths])
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return [path]


def lose_a_file(dice: random.Random, workdir: Path) -> list[Path]:
    path = names.step_folder(workdir, 30) / dice.choice(listing(workdir, 30))
    path.unlink()
    return [path]


def swap_with_another_step(dice: random.Random, workdir: Path) -> list[Path]:
    """A file, or one time in four a whole tree, of steps 20 and 30 change places."""
    pairs = zip(
        *(([names.step_folder(workdir, s) / n for n in listing(workdir, s)]) for s in (20, 30)), strict=True
    )
    left, right = dice.choice([(a, b) for a, b in pairs if a.read_bytes() != b.read_bytes()])
    if dice.random() < 0.25:
        tree = dice.choice(["variables", "rest"])
        left, right = (names.step_folder(workdir, step) / tree for step in (20, 30))
    aside = left.with_name("aside")
    left.rename(aside), right.rename(left), aside.rename(right)
    return [left, right]


def empty(dice: random.Random, workdir: Path) -> list[Path]:
    """A file of no bytes, or a folder of no files."""
    path = names.step_folder(workdir, 30) / dice.choice([n for n in listing(workdir, 30) if "/" in n])
    if dice.random() < 0.5:
        path.write_bytes(b"")
        return [path]
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    return [path.parent]


DAMAGES = [truncate, flip_a_bit, lose_a_file, swap_with_another_step, empty]


def plain_orbax(workdir: Path, step: int) -> str:
    """What Orbax does without a record: "refused", "loaded equal" or "loaded changed"."""
    like = jax.tree.map(arrays._abstract, trees(step))
    try:
        found = v1.load_checkpointables(names.step_folder(workdir, step), like)
    except Exception:
        return "refused"
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(trees(step)), strict=True)
    same = all(np.asarray(left).tobytes() == np.asarray(right).tobytes() for left, right in pairs)
    return "loaded equal" if same else "loaded changed"


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_100_damaged_checkpoints_are_refused_by_name_and_passed_over(three, tmp_path):
    outcomes = {damage.__name__: Counter() for damage in DAMAGES}
    workdir = shutil.copytree(three, tmp_path / "run")
    for number in range(100):
        damage = DAMAGES[number % 5]
        paths = damage(random.Random(number), workdir)
        good = 10 if damage is swap_with_another_step else 20
        for path in paths:
            with pytest.raises(CheckpointError) as refusal:
                checkpoint.verify(workdir, int(path.relative_to(workdir / "checkpoints").parts[0]))
            assert str(refusal.value).startswith(str(path)), (damage, path)
            assert "remove this folder to go on from an earlier checkpoint" in str(refusal.value)
        step, complaints = checkpoint.last_good(workdir)
        assert step == good and any(told.startswith(str(refusal.value)) for told in complaints)
        with pytest.raises(CheckpointError):
            checkpoint.restore(workdir, 30, trees(30))
        outcomes[damage.__name__][plain_orbax(workdir, 30)] += 1
        for touched in (20, 30) if len(paths) > 1 else (30,):
            shutil.rmtree(names.step_folder(workdir, touched))
            shutil.copytree(names.step_folder(three, touched), names.step_folder(workdir, touched))
    total = sum(outcomes.values(), Counter())
    print(
        f"plain Orbax, 100 damaged checkpoints: {dict(total)}; { ({n: dict(c) for n, c in outcomes.items()}) }"
    )
    gc.collect()  # what failed loads left behind warns as it goes
    assert total["loaded changed"] > 0 and total["loaded equal"] > 0 and total["refused"] > 0
    assert sum(total.values()) == 100


def test_each_fault_is_told_apart(own):
    def fault(step: int = 30) -> str:
        with pytest.raises(CheckpointError) as refusal:
            checkpoint.verify(own, step)
        return str(refusal.value)

    kept = names.step_folder(own, 30)
    path = kept / "rest" / "_METADATA"
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    assert fault().startswith(f"{path}: {len(content) - 7} bytes instead of {len(content)};")
    path.write_bytes(content[:-1] + b"?")
    assert fault().startswith(f"{path}: changed since it was written (checksum);")
    assert checkpoint.verify(own, 30, ["variables"]) == FACTS
    path.unlink()
    assert fault().startswith(f"{path}: missing;")
    path.write_bytes(content)
    (kept / "rest" / "more").touch()
    assert fault().startswith(f"{kept}/rest/more: not of this checkpoint (unexpected file);")
    (kept / "rest" / "more").unlink()
    assert checkpoint.verify(own, 30) == FACTS
    kept.rename(kept.with_name("40"))
    assert "40/record.json: belongs to step 30;" in fault(40)
    assert fault(30) == f"{kept}: holds no finished checkpoint; train first"
    with pytest.raises(CheckpointError, match="20: holds no 'ema', only (rest, variables|variables, rest)$"):
        checkpoint.verify(own, 20, ["ema"])


def test_the_two_newest_damaged_ones_are_set_aside(own):
    for step in (20, 30):
        (names.step_folder(own, step) / "orbax.checkpoint").unlink()
    for name in ("7.damaged", "30.damaged"):
        (names.root(own) / name / "old").mkdir(parents=True)
    step, complaints = checkpoint.last_good(own)
    assert step == 10 and "sets it aside as 30.damaged" in complaints[0]
    save(own, 15)
    assert filenames(own) == {"10", "15", "20.damaged", "30.damaged"} and checkpoint.steps(own) == [10, 15]
    assert not (names.root(own) / "30.damaged" / "old").exists()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])
def test_what_cannot_be_read_now_is_not_called_damaged(own, monkeypatch, number):
    digest, failures = record.digest, [3]

    def unsteady(path: Path, durable: bool = False) -> str:
        if path.name == "_METADATA" and path.parts[-3] == "30" and failures[0]:
            failures[0] -= 1
            raise OSError(number, os.strerror(number))
        return digest(path, durable)

    monkeypatch.setattr("cdm_jax.checkpoint.reading.WAITS", (0, 0))
    monkeypatch.setattr(record, "digest", unsteady)
    with pytest.raises(
        CheckpointError, match=f"30/.*/_METADATA: cannot be read now .{os.strerror(number)}.*again"
    ):
        checkpoint.verify(own, 30, ["variables"])
    failures[0] = 9
    with pytest.raises(CheckpointError, match="30/.*cannot be read now"):
        checkpoint.last_good(own)
    failures[0] = 2
    assert checkpoint.last_good(own) == (30, [])
    monkeypatch.setattr(os, "scandir", lambda _: _raise(OSError(number, os.strerror(number))))
    with pytest.raises(CheckpointError, match="cannot be read now"):
        checkpoint.verify(own, 30)


def test_the_best_that_is_gone_is_passed_over(own, monkeypatch):
    like = trees(0)["variables"]
    save(own, 40, facts={"best": [[5, 0.1], [20, 0.2], [10, 0.3]]})
    variables, step = checkpoint.restore_variables(own, like)
    assert step == 20
    assert_equal(variables, trees(20)["variables"])
    check = record.check

    def deleted_meanwhile(path: Path, *inputs):
        shutil.rmtree(path) if path.name == "20" else None
        return check(path, *inputs)

    monkeypatch.setattr(record, "check", deleted_meanwhile)
    assert checkpoint.restore_variables(own, like)[1] == 10
    (names.step_folder(own, 10) / "variables" / "_METADATA").unlink()
    with pytest.raises(CheckpointError, match="10/variables/_METADATA: missing"):
        checkpoint.restore_variables(own, like)


def test_no_bit_of_the_record_changes_unnoticed(own):
    path = names.step_folder(own, 30) / names.RECORD
    content = path.read_bytes()
    dice = random.Random(0)
    bits = [dice.randrange(8 * len(content)) for _ in range(300)]
    for bit in [*bits, *range(8 * len(content) - 100 * 8, 8 * len(content))]:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=f"{path}: "):
            record.read(path.parent, 30)
    for text in (b"", b"[]", b"null", b"{}", content[:-1], content + b"\n", b"[" * 100_000):
        path.write_bytes(text)
        assert checkpoint.last_good(own)[0] == 20


def test_another_dtype_is_refused_by_name(three):
    like = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), trees(30)))
    with pytest.raises(CheckpointError, match="1 of another dtype: params/b bfloat16 instead of float32"):
        checkpoint.restore(three, 30, {"variables": like["variables"]})


def test_another_architecture_is_refused_by_name(three):
    like = trees(30)
    like["rest"]["opt"][0]["mu"] = jnp.zeros((3, 3))
    like["rest"]["new"] = like["rest"].pop("key")
    with pytest.raises(CheckpointError, match="another architecture") as refusal:
        checkpoint.restore(three, 30, like)
    for part in ("1 missing: new", "1 unexpected: key", "1 misshapen: opt/0/mu (24, 32) instead of (3, 3)"):
        assert part in str(refusal.value)


# Which ones stay


def test_the_latest_and_the_best_stay(tmp_path):
    losses = {1: 0.9, 2: 0.5, 3: math.nan, 4: 0.7, 5: 0.8, 6: math.inf, 7: 0.95}
    done: list = []
    with checkpoint.writer(tmp_path, keep_latest=2) as writer:
        for step, loss in losses.items():
            done = sorted([*done, [step, loss]], key=lambda entry: entry[1])[:2]
            writer.save(step, trees(step), {"val_loss": np.float32(loss), "best": done})
    assert checkpoint.steps(tmp_path) == [2, 4, 6, 7] and filenames(tmp_path) == {"2", "4", "6", "7"}
    assert checkpoint.verify(tmp_path, 6)["val_loss"] is None
    variables, step = checkpoint.restore_variables(tmp_path, jax.eval_shape(lambda: trees(0)["variables"]))
    assert step == 2
    assert_equal(variables, trees(2)["variables"])


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path):
    save(tmp_path, 1, 2, facts={"best": [[1, math.nan], [2, math.inf]]}, keep_latest=1)
    assert filenames(tmp_path) == {"2"}
    assert checkpoint.restore_variables(tmp_path, trees(0)["variables"])[1] == 2
    assert record.plain({"a": (np.float32(0.5), jnp.int32(3), -math.inf), "b": None}) == {
        "a": [0.5, 3, None],
        "b": None,
    }
    with pytest.raises(TypeError), checkpoint.writer(tmp_path) as writer:
        writer.save(3, trees(3), {"what": object()})
    assert filenames(tmp_path) == {"2"}


def test_where_nothing_was_trained_the_way_out_is_told(tmp_path):
    with pytest.raises(
        CheckpointError, match=f"no checkpoints here; train first with 'cdm train --workdir={tmp_path}'"
    ):
        checkpoint.restore_variables(tmp_path, {})
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="holds no finished checkpoint; train first"):
        checkpoint.restore_variables(tmp_path, {})
    assert checkpoint.last_good(tmp_path) == (None, []) and checkpoint.steps(tmp_path) == []


def test_a_step_that_was_damaged_is_written_anew_and_its_future_is_dropped(own):
    path = names.step_folder(own, 20) / "variables" / "_METADATA"
    path.write_bytes(b"")
    (names.step_folder(own, 30) / "orbax.checkpoint").unlink()
    assert checkpoint.last_good(own)[0] == 10
    save(own, 20, keep_latest=1)
    assert filenames(own) == {"20", "20.damaged", "30.damaged"}
    assert checkpoint.last_good(own) == (20, []) and checkpoint.steps(own) == [20]
    assert_equal(checkpoint.restore(own, 20, trees(0))[0], trees(20))


@pytest.fixture
def earlier(own) -> Path:
    """A run whose step 40 is as an earlier version left it, and whose step 50 is empty."""
    path = shutil.copytree(names.step_folder(own, 30), names.step_folder(own, 40))
    (path / names.RECORD).unlink(), names.step_folder(own, 50).mkdir()
    return own


def test_a_checkpoint_without_a_record_is_never_removed_unless_a_save_of_ours_left_it(earlier):
    path = names.step_folder(earlier, 40)
    told = f"^{path}: has no record: of an earlier version, or its record is lost; move this folder away, or train"
    before = record.list_files(path)
    assert checkpoint.sweep(earlier) == ["50"]
    step, complaints = checkpoint.last_good(earlier)
    assert step == 30 and len(complaints) == 1 and complaints[0].startswith(told[1:])
    with pytest.raises(CheckpointError, match=told):
        checkpoint.verify(earlier, 40)
    with checkpoint.writer(earlier) as writer:
        writer.save(40, trees(40), {})
        with pytest.raises(
            CheckpointError, match=f"{told}.*; step 40 is not saved, the last checkpoint is step 30"
        ):
            writer.wait()
        writer.save(50, trees(50), {})
    assert record.list_files(path) == before and filenames(earlier) == {"30", "40", "50"}
    for step in (30, 50):
        shutil.rmtree(names.step_folder(earlier, step))
    for ask in (checkpoint.steps, lambda run: checkpoint.restore_variables(run, {})):
        with pytest.raises(CheckpointError, match=told):
            ask(earlier)
    assert checkpoint.last_good(earlier) == (None, complaints)
    names.beside(path, names.BEGUN).touch()
    assert checkpoint.steps(earlier) == [] and checkpoint.sweep(earlier) == ["40"] and not filenames(earlier)


def test_only_what_a_save_left_is_swept(own):
    left = own / "checkpoints"
    (left / "40.begun").touch(), (left / "20.begun").touch(), (left / "60.begun").touch()
    for name in ("40", "40.orbax-checkpoint-tmp", "50.orbax-checkpoint-tmp-17", "30.deleted", "30.replaced"):
        (left / name / "rest").mkdir(parents=True)
    others = {"notes", "30.bak", "007", "best", "10.damaged"}
    for name in others:
        (left / name).mkdir()
    shutil.copytree(left / "20", left / "20.replaced")
    gone = {"40", "40.orbax-checkpoint-tmp", "50.orbax-checkpoint-tmp-17", "30.deleted", "30.replaced"}
    assert set(checkpoint.sweep(own)) == gone | {"20.replaced"}
    assert filenames(own) == {"10", "20", "30"} | others
    assert checkpoint.sweep(own) == [] and checkpoint.sweep(own / "none") == []


# Kills: what is written in the moment of death stays as it is


class Killed(BaseException):
    """Ends a save as kill -9 would: nothing catches it to clean up."""


def dies(*_, **__):
    raise Killed


class Dying:
    """Arrays that are written, and the process then dies."""

    def __init__(self, writing: arrays.Writing):
        self.writing = writing

    def result(self) -> None:
        self.writing.result()
        raise Killed


def dies_between_orbax_and_the_record(patch):
    begin = arrays.begin
    patch.setattr(arrays, "begin", lambda *inputs: Dying(begin(*inputs)))


def dies_before_orbax(patch):
    patch.setattr(arrays, "begin", dies)


def dies_writing_the_record(patch):
    patch.setattr(
        record, "write_text", lambda path, _: (path.with_name(".tmp-1-record.json").touch(), dies())
    )


def dies_before_the_old_ones_go(patch):
    patch.setattr(folder, "keep", dies)


def dies_deleting(patch):
    def remove_some(path: Path, ignore_errors: bool = False):
        if path.exists():
            next(entry for entry in path.rglob("*") if entry.is_file()).unlink()
            raise Killed

    patch.setattr(folder, "shutil", type("", (), {"rmtree": staticmethod(remove_some)}))


MOMENTS = [
    dies_before_orbax,
    dies_between_orbax_and_the_record,
    dies_writing_the_record,
    dies_before_the_old_ones_go,
    dies_deleting,
]


@pytest.mark.parametrize("step", [40, 30], ids=["new", "again"])
@pytest.mark.parametrize("dying", MOMENTS)
def test_a_kill_at_any_moment_leaves_a_good_checkpoint(own, dying, step):
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed, CheckpointError):
        dying(patch)
        save(own, step, keep_latest=1)
    committed = dying in (dies_before_the_old_ones_go, dies_deleting)
    before, complaints = checkpoint.last_good(own)
    assert before == (step if committed else 30 if step == 40 else 20) and not complaints
    checkpoint.sweep(own)
    assert all(name.isdigit() for name in filenames(own))
    after, complaints = checkpoint.last_good(own)
    assert after == (step if committed else 30) and not complaints
    assert_equal(checkpoint.restore(own, after, trees(0))[0], trees(after))
    save(own, 50, keep_latest=1)
    assert filenames(own) == {"50"}


# Failures: the training goes on, the save is reported, nothing of it is taken for a checkpoint


def fails_in_orbax(patch):
    writing = type(
        "Failing",
        (),
        {"result": lambda self: _raise(ValueError("No space left on device [os_error_code='28']"))},
    )
    patch.setattr(arrays, "begin", lambda target, trees: (target.mkdir(), writing())[1])


def fails_at_the_record(patch):
    patch.setattr(record, "write", lambda *_: _raise(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))


def fails_at_once(patch):
    patch.setattr(arrays, "begin", lambda *_: _raise(PermissionError(errno.EACCES, "Permission denied")))


def _raise(error: BaseException):
    raise error


@pytest.mark.parametrize("failing", [fails_in_orbax, fails_at_the_record, fails_at_once])
@pytest.mark.parametrize("step", [40, 30])
def test_a_failed_save_is_told_and_the_last_good_one_stays(own, failing, step):
    with checkpoint.writer(own) as writer:
        assert writer.failure() is None
        with pytest.MonkeyPatch.context() as patch:
            failing(patch)
            writer.save(step, trees(step), {})
            with pytest.raises(
                CheckpointError, match=f"checkpoints/{step}: not saved .*last checkpoint is step 30"
            ) as told:
                writer.wait()
        full = failing is not fails_at_once
        assert told.value.full == full and ("make room" in str(told.value)) == full
        assert writer.failure() is None
        assert filenames(own) == {"10", "20", "30"} and checkpoint.last_good(own) == (30, [])
        writer.save(step, trees(step), {})
        writer.wait()
        assert checkpoint.last_good(own) == (step, [])


def test_a_failure_before_a_good_save_is_told_but_does_not_end_the_run(own):
    with checkpoint.writer(own) as writer:
        with pytest.MonkeyPatch.context() as patch:
            fails_at_once(patch)
            writer.save(40, trees(40), {})
        writer.save(50, trees(50), {})
        writer.wait()
        assert "40: not saved" in str(writer.failure()) and writer.failure() is None
    assert checkpoint.last_good(own) == (50, [])


def test_a_failure_is_noticed_without_waiting(own, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(record, "write", _after(gate, lambda *_: _raise(OSError(errno.EDQUOT, "x"))))
    with checkpoint.writer(own) as writer:
        writer.save(40, trees(40), {})
        assert writer.failure() is None and checkpoint.steps(own) == [10, 20, 30]
        gate.set()
        writer._pending[1].exception()
        failed = writer.failure()
        assert failed is not None and failed.full and writer.failure() is None


def test_a_slow_save_is_waited_for(own, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(record, "list_files", _after(gate, record.list_files))
    with checkpoint.writer(own, keep_latest=9) as writer:
        writer.save(40, trees(40), {})
        assert checkpoint.steps(own) == [10, 20, 30] and writer.failure() is None
        threading.Timer(0.05, gate.set).start()
        writer.save(50, trees(50), {})
        assert 40 in checkpoint.steps(own)
    assert checkpoint.steps(own) == [10, 20, 30, 40, 50]


def test_a_file_in_the_place_of_the_folder_is_a_failure_that_can_be_mended(tmp_path):
    (tmp_path / "checkpoints").touch()
    with checkpoint.writer(tmp_path) as writer:
        writer.save(1, trees(1), {})
        with pytest.raises(CheckpointError, match="not saved .*there is no checkpoint yet; see that"):
            writer.wait()
        (tmp_path / "checkpoints").unlink()
        writer.save(2, trees(2), {})
    assert checkpoint.last_good(tmp_path) == (2, [])


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_costs_only_the_checkpoint_that_did_not_fit(small_disk, capfd):
    save(small_disk, 1)
    with checkpoint.writer(small_disk) as writer:
        large = trees(2) | {"rest": {"w": jnp.asarray(np.random.default_rng(0).random(200_000, np.float32))}}
        writer.save(2, large, {})
        with pytest.raises(CheckpointError, match="make room on this disk") as told:
            writer.wait()
        assert (
            told.value.full and filenames(small_disk) == {"1"} and checkpoint.last_good(small_disk) == (1, [])
        )
        writer.save(2, trees(2), {})
    assert checkpoint.last_good(small_disk) == (2, [])
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_full_disk_is_recognised_in_any_wrapping():
    def wrapped(cause: Exception) -> Exception:
        try:
            try:
                raise cause
            except Exception as error:
                raise ValueError("shard 3") from error
        except ValueError as error:
            return error

    assert is_full(wrapped(OSError(errno.EDQUOT, "quota"))) and is_full(OSError(errno.ENOSPC, "x"))
    assert is_full(
        wrapped(ValueError("RESOURCE_EXHAUSTED: ... No space left on device [os_error_code='28']"))
    )
    assert not is_full(wrapped(PermissionError(errno.EACCES, "x"))) and not is_full(MemoryError())


def test_an_error_in_the_training_lets_the_save_end(tmp_path, capsys, monkeypatch):
    with pytest.raises(ZeroDivisionError), checkpoint.writer(tmp_path) as writer:
        writer.save(1, trees(1), {})
        raise ZeroDivisionError
    assert checkpoint.last_good(tmp_path) == (1, []) and not capsys.readouterr().err
    fails_at_the_record(monkeypatch)
    with pytest.raises(ZeroDivisionError), checkpoint.writer(tmp_path) as writer:
        writer.save(2, trees(2), {})
        raise ZeroDivisionError
    assert "warning: " in (told := capsys.readouterr().err) and "2: not saved" in told
    assert filenames(tmp_path) == {"1"}


def test_processes_act_on_what_the_first_decides(monkeypatch):
    sent: list[bytes] = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement, "_broadcast", lambda text: sent.append(text) or sent[0])

    def ask(process: int, decide):
        monkeypatch.setattr(jax, "process_index", lambda: process)
        return agreement.decided_by_first(decide)

    assert ask(0, lambda: [3, ["x"]]) == ask(1, lambda: [4, []]) == [3, ["x"]]
    sent.clear()
    with pytest.raises(CheckpointError, match="first"):
        ask(0, lambda: _raise(CheckpointError("of the first")))
    with pytest.raises(CheckpointError, match="of the first"):
        ask(1, lambda: 5)
    for raised, kind, code in (
        (UsageError("why"), UsageError, 2),
        (checkpoint.SaveError("why"), CheckpointError, 5),
        (StoppedError("why", 130), StoppedError, 130),
        (OSError("why"), CheckpointError, 5),
    ):
        sent.clear()
        with pytest.raises(type(raised)) as first:
            ask(0, lambda raised=raised: _raise(raised))
        with pytest.raises(kind) as second:
            ask(1, lambda: 5)
        assert first.value is raised and type(second.value) is kind
        assert second.value.exit_code == code and str(second.value) == "why"
    sent.clear()
    with pytest.raises(PeerError):
        ask(0, lambda: _raise(PeerError("gone")))
    assert not sent, "nobody is there to hear"


ENDS = [StoppedError("stop", 75), PeerError("gone"), KeyboardInterrupt()]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_what_ends_a_run_passes_as_it_is(own, monkeypatch, end):
    def passes(act, *inputs) -> None:
        with pytest.raises(type(end)) as caught:
            act(*inputs)
        assert caught.value is end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(v1, "checkpointables_metadata", lambda _: _raise(end))
        passes(arrays.load, names.step_folder(own, 30), {})
    writer = checkpoint.Writer(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "begin", lambda *_: _raise(end))
        passes(writer.save, 40, trees(40), {})
    checkpoint.sweep(own)
    assert filenames(own) == {"10", "20", "30"}
    monkeypatch.setattr(record, "write", lambda *_: _raise(end))
    for ending in (writer.hurry, writer.wait) if isinstance(end, Exception) else (writer.hurry,):
        writer.save(40, trees(40), {})
        passes(ending)
        writer._pending = None


def test_orbax_does_not_talk_of_itself_when_a_save_fails(own, caplog, recwarn):
    begin = arrays.begin
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CheckpointError, match="already exists"):
        patch.setattr(arrays, "begin", lambda target, trees: (target.mkdir(), begin(target, trees))[1])
        save(own, 40)
    gc.collect()
    assert not [str(seen.message) for seen in recwarn if "_create_paths" in str(seen.message)]
    with arrays.without_noise():
        absl = logging.getLogger("absl")
        absl.warning(f"{arrays.DEPRECATED} in favor of"), absl.warning("something else")
    assert [entry.message for entry in caplog.records] == ["something else"]


def test_the_record_says_what_a_person_asks(three):
    kept = json.loads((names.step_folder(three, 30) / names.RECORD).read_text())
    assert kept["step"] == 30 and kept["devices"]["count"] == 8 and kept["facts"] == FACTS
    assert set(kept["trees"]) == {"variables", "rest"} and len(kept["files"]) > 10
