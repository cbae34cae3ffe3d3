"""The store prepares each volume once, hands back what was prepared, and never what is damaged."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.data import hashes, store_build
from cdm_jax.data.datasets.tree import Subject
from cdm_jax.data.entry import open_entry, write_entry
from cdm_jax.data.faults import FAULTS
from cdm_jax.data.store import Store, allow_open_files, gather, open_store
from cdm_jax.data.store_build import build, prepare_subject
from cdm_jax.errors import UsageError, VolumeError

SETTINGS = {"spacing": 2.0, "shape": (8, 9, 6), "labels": "majority"}


def write_scan(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.5, 1.5, 1.5, 1])), path)
    return path


def make_subject(folder: Path, number: int, seg: bool = False) -> Subject:
    """A noisy ellipsoid on 14 x 15 x 12 voxels of 1.5 mm."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (14, 15, 12)), indexing="ij"))
    brain = (grid**2).sum(0) < 0.8
    noise = np.random.default_rng(number).random(brain.shape)
    scan = write_scan(folder / f"S{number}.nii.gz", (brain * (100 + 50 * noise)).astype(np.float32))
    mask = write_scan(folder / f"S{number}_mask.nii", brain.astype(np.uint8))
    lesion = (np.abs(grid - 0.1) < 0.4).all(0).astype(np.uint8)
    label = write_scan(folder / f"S{number}_seg.nii", lesion) if seg else None
    return Subject(f"S{number}", scan, mask, label, 0, None)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> list[Subject]:
    folder = tmp_path_factory.mktemp("scans")
    return [make_subject(folder, number, seg=number % 2 == 1) for number in range(6)]


@pytest.fixture
def prepared(monkeypatch) -> list[str]:
    """The ids of the subjects that were prepared, as they come."""
    seen: list[str] = []

    def counted(subject, *args, **more):
        seen.append(subject.id)
        return prepare_subject(subject, *args, **more)

    monkeypatch.setattr(store_build, "prepare_subject", counted)
    return seen


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.npy")}


def test_the_store_holds_what_was_prepared(subjects, tmp_path):
    found = build(tmp_path, subjects, **SETTINGS)
    assert found.ids == [subject.id for subject in subjects] and len(found) == 6
    for n, subject in enumerate(subjects):
        _, volume, seg = prepare_subject(subject, **SETTINGS)
        for array, expected in zip((found.images[n], found.masks[n], found.segs[n]), (volume.image, volume.mask, seg),
                                   strict=True):  # fmt: skip
            np.testing.assert_array_equal(np.moveaxis(array, 0, 2), expected)
        assert found.segs[n].any() == (subject.seg is not None)
        np.testing.assert_allclose(found.spacing[n], 2.0)
    assert found.images[0].dtype == np.float32 and found.masks[0].dtype == bool
    assert not found.images[0].flags.writeable


def test_numpy_opens_an_entry_by_itself(subjects, tmp_path):
    found = build(tmp_path, subjects[:1], **SETTINGS)
    entry = np.load(next(tmp_path.glob("[!.]*.npy")))
    np.testing.assert_array_equal(entry["image"], found.images[0])
    np.testing.assert_array_equal(entry["mask"], found.masks[0])


def test_gathering_is_indexing(subjects, tmp_path):
    found = build(tmp_path, subjects, **SETTINGS)
    volumes, slices = np.array([3, 0, 3, 5]), np.array([1, 5, 1, 2])
    images, masks = gather(found, volumes, slices)
    np.testing.assert_array_equal(images, np.stack(found.images)[volumes, slices])
    np.testing.assert_array_equal(masks, np.stack(found.masks)[volumes, slices])


def test_each_volume_is_prepared_once_whatever_the_split(subjects, tmp_path, prepared):
    told = []

    def progress(items, total):
        told.append(total)
        return items

    build(tmp_path, subjects[:4], progress=progress, **SETTINGS)
    assert sorted(prepared) == ["S0", "S1", "S2", "S3"]
    fold = build(tmp_path, [*subjects[5:1:-1]], progress=progress, **SETTINGS)
    assert sorted(prepared[4:]) == ["S4", "S5"] and fold.ids == ["S5", "S4", "S3", "S2"]
    build(tmp_path, subjects, progress=progress, **SETTINGS)
    assert len(prepared) == 6 and told == [4, 2]
    build(tmp_path, subjects[:1], **SETTINGS | {"spacing": 2.5})
    assert prepared[6:] == ["S0"] and len(list(tmp_path.glob("[!.]*.npy"))) == 7


def test_names_are_no_content_but_mask_and_label_are(subjects, tmp_path, prepared):
    one = subjects[1]
    variants = [one, replace(one, id="twin"), replace(one, mask=None), replace(one, seg=None)]
    found = build(tmp_path, variants, **SETTINGS)
    assert len(prepared) == len(list(tmp_path.glob("[!.]*.npy"))) == 3
    assert found.ids[1] == "twin" and found.entries[0] is found.entries[1]


def test_a_changed_scan_is_prepared_anew(tmp_path, prepared):
    before = make_subject(tmp_path / "scans", 1)
    build(tmp_path, [before], **SETTINGS)
    os.utime(before.image, ns=(0, 0))  # another time, same contents
    build(tmp_path, [before], **SETTINGS)
    assert prepared == ["S1"]
    other = make_subject(tmp_path / "others", 2)
    before.image.write_bytes(other.image.read_bytes())
    found = build(tmp_path, [before], **SETTINGS)
    assert prepared == ["S1", "S1"]
    np.testing.assert_array_equal(found.images[0], build(tmp_path / "fresh", [other], **SETTINGS).images[0])


def test_a_scan_that_changes_while_it_is_prepared_is_no_entry(tmp_path, monkeypatch):
    subject, other = make_subject(tmp_path / "scans", 1), make_subject(tmp_path / "others", 2)
    prepare = store_build.prepare_subject

    def overtaken(*args, **more):
        found = prepare(*args, **more)
        subject.image.write_bytes(other.image.read_bytes())
        return found

    monkeypatch.setattr(store_build, "prepare_subject", overtaken)
    with pytest.raises(VolumeError, match="it changed while it was prepared"):
        build(tmp_path / "store", [subject], **SETTINGS)
    assert not list((tmp_path / "store").glob("*.npy"))


def test_a_store_that_cannot_be_written_names_the_way_out(subjects, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/store: cannot be written; .*--config.data.store=FOLDER"):
        build(tmp_path / "file/store", subjects, **SETTINGS)
    with pytest.raises(UsageError, match="data.workers=0"):
        build(tmp_path, subjects, workers=0, **SETTINGS)


def test_hashes_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    path, known = tmp_path / "scan", {}
    path.write_bytes(b"a")
    first = hashes.content_hash(path, known)
    assert not known, "a file that may still be changing"
    later = time.time_ns() + 10 * hashes.SETTLED
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert hashes.content_hash(path, known) == first and len(known) == 1
    hashes.write_known(tmp_path / "hashes.json", known)
    known = hashes.read_known(tmp_path / "hashes.json")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("read again"))
    assert hashes.content_hash(path, known) == first
    monkeypatch.undo()
    path.write_bytes(b"b")
    assert hashes.content_hash(path, known) != first
    assert hashes.read_known(tmp_path / "nothing.json") == {}


@pytest.fixture(scope="module")
def entry(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("entry") / "e.npy"
    image = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    write_entry(path, image, image > 0.5, image > 0.9, (1.0, 2.0, 3.0))
    return path


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_cut_and_no_changed_byte_goes_unseen(entry, data):
    good = entry.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    flipped = bytes([good[place] ^ data.draw(st.integers(0, 255))])
    bad = good[:place] + (flipped + good[place + 1 :] if flipped != good[place : place + 1] else b"")
    path = entry.with_name("bad.npy")
    path.write_bytes(bad)
    with pytest.raises(VolumeError) as raised:
        open_entry(path)
    assert raised.value.code in FAULTS and str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b[:40], lambda b: b"", lambda b: b + b"x",
                                   lambda b: b"\x93NUMPY\x01\x00" + b[8:300]])  # fmt: skip
def test_a_damaged_entry_is_refused_by_name_and_built_anew(subjects, tmp_path, prepared, spoil):
    build(tmp_path, subjects[:2], **SETTINGS)
    before = contents(tmp_path)
    path = tmp_path / min(before)
    path.write_bytes(spoil(before[path.name]))
    with pytest.raises(VolumeError, match=f"{path}: .*prepared anew"):
        open_store([path], verify=False)
    build(tmp_path, subjects[:2], verify=False, **SETTINGS)
    assert contents(tmp_path) == before and len(prepared) == 3


def test_a_changed_voxel_is_seen_where_checksums_are_compared(subjects, tmp_path):
    build(tmp_path, subjects[:1], **SETTINGS)
    (path,) = tmp_path.glob("[!.]*.npy")
    good = path.read_bytes()
    path.write_bytes(good[:400] + b"\x00\x01" + good[402:])
    assert len(open_store([path], verify=False)) == 1
    with pytest.raises(VolumeError, match="checksum"):
        open_store([path])
    build(tmp_path, subjects[:1], **SETTINGS)
    assert path.read_bytes() == good


def test_an_entry_cut_while_in_use_is_an_error_with_its_name(subjects, tmp_path):
    found = build(tmp_path, subjects[:2], **SETTINGS)
    path = found.entries[1].path
    os.truncate(path, 1000)
    gather(found, np.array([0]), np.array([0]))
    with pytest.raises(VolumeError, match=f"{path}: cut from") as raised:
        gather(found, np.array([0, 1]), np.array([0, 5]))
    assert raised.value.code == "truncated"


def test_a_deleted_entry_stays_readable_and_entries_cross_processes(subjects, tmp_path):
    found = build(tmp_path, subjects[:2], **SETTINGS)
    other = pickle.loads(pickle.dumps(found))
    images = [image.copy() for image in found.images]
    for path in tmp_path.glob("[!.]*.npy"):
        path.unlink()
    for one in (found, other):
        np.testing.assert_array_equal(gather(one, np.array([1]), np.array([2]))[0][0], images[1][2])


def test_what_cannot_be_opened_is_one_line(subjects, tmp_path):
    for name, reason in (("nothing.npy", "No such file"), ("", "Is a directory")):
        with pytest.raises(UsageError, match=f"{tmp_path / name}: cannot be opened .{reason}"):
            open_store([tmp_path / name])
    with pytest.raises(UsageError, match="gone.nii.gz: no such file"):
        build(tmp_path, [replace(subjects[0], image=tmp_path / "gone.nii.gz")], **SETTINGS)
    small = build(tmp_path, subjects[:1], **SETTINGS | {"shape": (8, 8, 6)})
    with pytest.raises(VolumeError, match="but the others have"):
        Store(["a", "b"], [*small.entries, *build(tmp_path, subjects[:1], **SETTINGS).entries])


def test_a_broken_scan_is_named_and_the_others_stay(subjects, tmp_path, prepared):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not a volume")
    cohort = [*subjects[:2], replace(subjects[2], image=broken), *subjects[3:]]
    with pytest.raises(VolumeError, match="broken.nii.gz"):
        build(tmp_path / "store", cohort, workers=1, **SETTINGS)
    assert len(contents(tmp_path / "store")) >= 2 and not list((tmp_path / "store").glob(".tmp*"))
    build(tmp_path / "store", subjects, **SETTINGS)
    assert prepared.count("S0") == prepared.count("S1") == 1


def test_old_leftovers_go_and_fresh_ones_stay(subjects, tmp_path):
    old, fresh = tmp_path / ".tmp-1-a.npy", tmp_path / ".tmp-2-b.npy"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 2 * store_build.ABANDONED))
    build(tmp_path, subjects[:1], **SETTINGS)
    assert fresh.exists() and not old.exists()


def test_the_limit_of_open_files_grows_with_the_store(monkeypatch):
    limits = [256, 5000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    allow_open_files(10)
    assert limits == [1054, 5000]
    allow_open_files(5)
    assert limits == [1054, 5000]
    allow_open_files(10_000)
    assert limits == [5000, 5000]


BUILD = """
import json, sys, time
from pathlib import Path
from cdm_jax.data import store_build
from cdm_jax.data.datasets.tree import Subject
prepare, delay = store_build.prepare_subject, float(sys.argv[3])
def slowly(*args, **more):
    time.sleep(delay)
    return prepare(*args, **more)
store_build.prepare_subject = slowly
rows = json.loads(sys.argv[2])
subjects = [Subject(name, *(path and Path(path) for path in paths), 0, None) for name, *paths in rows]
store_build.build(sys.argv[1], subjects, spacing=2.0, shape=(8, 9, 6), labels="majority")
"""


def start_build(folder: Path, subjects: list[Subject], delay: float) -> subprocess.Popen:
    rows = [[s.id, str(s.image), str(s.mask), s.seg and str(s.seg)] for s in subjects]
    return subprocess.Popen([sys.executable, "-c", BUILD, str(folder), json.dumps(rows), str(delay)])


def test_a_killed_build_goes_on_and_two_at_once_do_no_harm(subjects, tmp_path, prepared):
    """Two processes build the same store, a third is killed at it; what stands is whole at every moment."""
    expected = contents_of_unbroken(subjects, tmp_path / "unbroken")
    folder = tmp_path / "store"
    killed = start_build(folder, subjects, delay=0.3)
    while len(contents(folder)) < 2:
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    stands = {path.name for path in folder.glob("[!.]*.npy")}
    assert contents(folder) == {name: expected[name] for name in stands} and len(stands) < len(subjects)
    both = [start_build(folder, subjects, delay=0.02) for _ in range(2)]
    while any(one.poll() is None for one in both):
        for path in folder.glob("[!.]*.npy"):
            open_entry(path)
        time.sleep(0.01)
    assert [one.returncode for one in both] == [0, 0]
    assert contents(folder) == expected
    prepared.clear()
    build(folder, subjects, **SETTINGS)
    assert not prepared


def contents_of_unbroken(subjects, folder: Path) -> dict[str, bytes]:
    build(folder, subjects, **SETTINGS)
    return contents(folder)
