"""Each step does what its name says, the way back is exact, and a run may be killed at any moment."""

import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cdm_jax.cli.main import main
from cdm_jax.data import datasets
from cdm_jax.data import volume as volumes
from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.volume import Volume
from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.prepare import bias, register
from cdm_jax.prepare.crop import brain_box, cut
from cdm_jax.prepare.folder import alone_in
from cdm_jax.prepare.job import make_job, work
from cdm_jax.prepare.native import read_native, to_native
from cdm_jax.prepare.resample import resample
from cdm_jax.prepare.settings import make_settings
from cdm_jax.prepare.space import Space, at_spacing
from cdm_jax.prepare.strip import foreground
from cdm_jax.prepare.subject import prepare
from cdm_jax.prepare.template import Template
from cdm_jax.prepare.transforms import chain, from_itk, invert, to_itk

STILL = "strip,resample,crop"
CENTRE = np.array([3.0, -5.0, 8.0])
TURNED = nib.eulerangles.euler2mat(0.3, -0.2, 0.25)
GRIDS = {
    "isotropic": (nib.affines.from_matvec(np.eye(3), CENTRE - 20), (40, 41, 42)),
    "flipped": (nib.affines.from_matvec(np.diag([-1.5, 2, 1.2]), CENTRE + [22, -22, -20]), (30, 23, 34)),
    "oblique": (nib.affines.from_matvec(TURNED * [1, 1.3, 2], CENTRE - TURNED @ [20, 20, 20]), (42, 32, 21)),
    "sheared": (
        nib.affines.from_matvec(
            TURNED @ [[1.4, 0.15, 0], [0, 1.5, 0.1], [0, 0, 1.6]], CENTRE - TURNED @ [24, 22, 20]
        ),
        (34, 30, 26),
    ),
}
MOVE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.15, -0.2) @ np.diag([1.1, 0.95, 1.05]), [9.0, -4, 6]
)


def world(shape, affine):
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))


def brain_at(points):
    return np.sum(((points - CENTRE) / [15, 17, 14]) ** 2, axis=-1) < 1


def blob_at(points):
    return np.linalg.norm(points - (CENTRE + [4, -3, 2]), axis=-1) < 7


def image_at(points):
    x, y, z = np.moveaxis(points, -1, 0)
    return 100 + 20 * np.sin(x / 5) + 15 * np.cos(y / 6) + z


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(np.asarray(array, np.uint8 if array.dtype == bool else np.float32), affine), path
    )
    return path


def put(root, id, grid="isotropic", *, mask=True, label=True, shift=0.0):
    """A subject of the folder layout; `shift` changes the image's content."""
    affine, shape = GRIDS[grid]
    points = world(shape, affine)
    image = save(root / f"images/t1/{id}.nii.gz", (image_at(points) + shift) * brain_at(points), affine)
    if mask:
        save(root / f"masks/{id}.nii.gz", brain_at(points), affine)
    if label:
        save(root / f"labels/{id}.nii.gz", blob_at(points), affine)
    return image


def cdm(*words) -> int:
    return main(["prepare", *map(str, words)])


def tree(folder) -> dict[str, str]:
    """{file: hash of its content} of everything below."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


# One matrix after the other.

numbers = st.floats(-3, 3)
matrices = st.builds(
    lambda turn, scale, shear, shift: nib.affines.from_matvec(
        nib.eulerangles.euler2mat(*turn) @ (np.diag(scale) + np.triu(np.full((3, 3), shear), 1)), shift
    ),
    st.tuples(numbers, numbers, numbers),
    st.tuples(*[st.floats(0.4, 4) | st.floats(-4, -0.4)] * 3),
    st.floats(-0.2, 0.2),
    st.tuples(*[st.floats(-90, 90)] * 3),
)
points = st.tuples(*[st.floats(-200, 200)] * 3).map(np.array)


@settings(max_examples=40, deadline=None)
@given(st.lists(matrices, min_size=1, max_size=4), points)
def test_composed_transforms_are_done_one_after_the_other_and_undone_backwards(steps, point):
    moved = point
    for step in steps:
        moved = step[:3, :3] @ moved + step[:3, 3]
    whole = chain(steps)
    np.testing.assert_allclose(
        nib.affines.apply_affine(whole, point), moved, atol=1e-6 * (1 + abs(moved).max())
    )
    np.testing.assert_allclose(chain([whole, invert(whole)]), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(
        chain(invert(step) for step in reversed(steps)), invert(whole), atol=1e-6 * abs(invert(whole)).max()
    )


@settings(max_examples=40, deadline=None)
@given(matrices, points)
def test_itk_sees_every_voxel_where_it_is(affine, point):
    image, placed = to_itk(np.zeros((3, 4, 5), np.float32), affine)
    index = [2, 1, 3]
    seen = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
    found = nib.affines.apply_affine(placed, seen)
    np.testing.assert_allclose(found, nib.affines.apply_affine(affine, index), atol=1e-6)
    moved = sitk.AffineTransform(affine[:3, :3].ravel().tolist(), affine[:3, 3].tolist(), [5.0, -3, 2])
    np.testing.assert_allclose(
        nib.affines.apply_affine(from_itk(moved), point * [-1, -1, 1]),
        np.array(moved.TransformPoint(point.tolist())) * [-1, -1, 1],
        atol=1e-6,
    )


# Resampling and cropping.


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_linear_image_stays_itself_on_another_grid(grid, order):
    affine, shape = GRIDS[grid]
    target = Space((16, 15, 14), nib.affines.from_matvec(np.eye(3), CENTRE - 7.3))
    moved_target = Space(target.shape, MOVE @ target.affine)
    slope = np.array([0.5, -0.3, 0.8])
    found = resample((world(shape, affine) @ slope).astype(np.float32), affine, moved_target, MOVE, order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found, world(*vars(target).values()) @ slope, atol=2e-3 if order == 3 else 1e-4
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_labels_come_from_the_nearest_voxel_and_stay_labels(grid):
    affine, shape = GRIDS[grid]
    labels = np.random.default_rng(0).integers(0, 5, shape).astype(np.int16)
    target = Space((20, 21, 22), nib.affines.from_matvec(0.913 * np.eye(3), CENTRE - [8.31, 9.17, 7.73]))
    found = resample(labels, affine, target, np.eye(4), order=0)
    voxels = nib.affines.apply_affine(
        np.linalg.inv(affine) @ target.affine, np.moveaxis(np.indices(target.shape), 0, -1)
    )
    sure = np.all(np.abs(voxels - np.floor(voxels) - 0.5) > 1e-6, axis=-1)
    nearest = labels[tuple(np.moveaxis(np.rint(voxels).astype(int), -1, 0))]
    assert found.dtype == np.int16 and sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], nearest[sure])


def test_values_are_copied_where_voxels_meet():
    array = np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32)
    target = Space((4, 5, 6), np.array([[0, -1.0, 0, 6], [0, 0, 1, 0], [1, 0, 0, 2], [0, 0, 0, 1]]))
    found = resample(array, np.eye(4), target, np.eye(4), order=3)
    expected = array[6 - np.arange(5)][:, :6, 2:6].transpose(2, 0, 1)
    np.testing.assert_array_equal(found, expected)


def test_splines_do_not_leave_the_range_of_the_scan():
    step = np.zeros((12, 12, 12), np.float32)
    step[6:] = 100
    target = Space((30, 10, 10), np.diag([0.35, 1, 1, 1]))
    assert np.ptp(ndimage.zoom(step, (2.7, 1, 1))) > 110  # as splines do
    found = resample(step, np.eye(4), target, np.eye(4), order=3)
    assert (found.min(), found.max()) == (0, 100)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_1_mm_grid_begins_at_the_same_face_and_covers_the_scan(grid):
    affine, shape = GRIDS[grid]
    space = at_spacing(Space(shape, affine), 1.0)
    np.testing.assert_allclose(nib.affines.voxel_sizes(space.affine), 1, atol=1e-6)
    first = [nib.affines.apply_affine(a, [-0.5] * 3) for a in (affine, space.affine)]
    np.testing.assert_allclose(*first, atol=1e-6)
    size = np.array(shape) * nib.affines.voxel_sizes(affine)
    assert np.all(space.shape >= size - 1e-6) and np.all(space.shape < size + 1)


def test_the_box_keeps_the_last_slice_and_moves_the_origin():
    mask = np.zeros((9, 8, 7), bool)
    mask[2:9, 3, 1] = mask[4, 1:8, 1] = mask[4, 3, 1:7] = True  # up to the last slice of each axis
    box = brain_box(mask)
    space = cut(Space(mask.shape, MOVE), box)
    assert space.shape == (7, 7, 6) and mask[box].sum() == mask.sum()
    marked = np.argwhere(mask)
    first = [part.start for part in box]
    np.testing.assert_allclose(
        nib.affines.apply_affine(space.affine, marked - first),
        nib.affines.apply_affine(MOVE, marked),
        atol=1e-9,
    )


def test_n4_flattens_a_known_bias_field():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 48)] * 3, indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.9
    rng = np.random.default_rng(0)
    tissue = np.where(ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2) > 0, 100, 160)
    clean = np.where(mask, tissue + rng.normal(0, 4, mask.shape), 0)
    field = np.exp(0.45 * grid[0] - 0.3 * grid[1] + 0.2 * grid[2] ** 2)
    corrected = bias.correct((clean * field).astype(np.float32), mask)
    white = mask & (tissue == 160)

    def variation(image):
        return image[white].std() / image[white].mean()

    removed = np.log((clean * field)[mask] / corrected[mask])
    assert np.corrcoef(removed, np.log(field[mask]))[0, 1] > 0.98
    assert variation(clean * field) > 0.2 and variation(corrected) < 0.05
    assert corrected.dtype == np.float32 and not corrected[~mask].any()
    np.testing.assert_allclose(corrected[mask].mean(), (clean * field)[mask].mean(), rtol=1e-5)


# One subject there and back.


@pytest.fixture
def registered(monkeypatch):
    """A template of 30 x 34 x 31 mm, and a registration that finds MOVE."""
    affine = nib.affines.from_matvec(np.eye(3), np.round(MOVE[:3, :3] @ CENTRE + MOVE[:3, 3]) - 22)
    shape = (44, 45, 46)
    points = nib.affines.apply_affine(np.linalg.inv(MOVE), world(shape, affine))
    found = register.Registration(MOVE, {"metric": -1.0, "dice": 1.0})
    monkeypatch.setattr(register, "to_template", lambda *_, **__: found)
    return Template(np.float32(image_at(points)), brain_at(points), affine, "aligned")


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_image_mask_and_label_are_where_the_matrix_says(tmp_path, registered, grid, moved):
    put(tmp_path / "raw", "a", grid)
    raw = Raw(
        "a",
        {"t1": tmp_path / "raw/images/t1/a.nii.gz"},
        tmp_path / "raw/masks/a.nii.gz",
        tmp_path / "raw/labels/a.nii.gz",
        1,
        None,
    )
    steps = ("strip", "register", "resample", "crop") if moved else ("strip", "resample", "crop")
    done = prepare(raw, make_settings("folder", steps=steps), registered if moved else None, tmp_path)
    scan = done.scans["t1"]
    points = nib.affines.apply_affine(np.linalg.inv(scan.matrix), world(done.space.shape, done.space.affine))
    inner = ndimage.binary_erosion(done.mask, iterations=6)  # the spline rings at the raw scan's zeros
    assert dice(done.seg, blob_at(points)) > 0.9 and dice(done.mask, brain_at(points)) > 0.9
    np.testing.assert_allclose(scan.image[inner], image_at(points)[inner], atol=2)
    assert not scan.image[~done.mask].any()


@pytest.mark.parametrize("grid", GRIDS)
def test_results_return_to_the_raw_file_in_its_geometry(tmp_path, registered, grid, monkeypatch):
    monkeypatch.setattr("cdm_jax.prepare.job.load_template", lambda *_: registered)
    raw_image = put(tmp_path / "raw", "a", grid)
    before = tree(tmp_path / "raw")
    header = nib.load(raw_image).header
    assert cdm(tmp_path / "raw", "-o", tmp_path / "data", "--workers", 1) == 0
    assert tree(tmp_path / "raw") == before
    shutil.rmtree(tmp_path / "raw/masks")  # nothing raw is needed for the way back
    path = tmp_path / "data/images/t1/a_t1.nii.gz"
    prepared, native = volumes.read(path), read_native(path)
    np.testing.assert_allclose(native.raw_to_prepared, MOVE)

    affine, shape = GRIDS[grid]
    seg = volumes.read_seg(tmp_path / "data/labels/a.nii.gz", prepared)
    back = to_native(seg.astype(np.float32), prepared, native) > 0.5
    truth = blob_at(world(shape, affine))
    assert dice(back, truth) > 0.9 and dice(to_native(seg, prepared, native, order=0), truth) > 0.9

    volumes.write(tmp_path / "back.nii.gz", back, native.like)
    written = nib.load(tmp_path / "back.nii.gz")
    assert written.shape == shape and written.affine.tobytes() == nib.load(raw_image).affine.tobytes()
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b", "qoffset_y"):
        assert written.header[field].tobytes() == header[field].tobytes()

    for offset in ([0, 0, 0], [6, -5, 3], [-7, 4, -6]):  # marked where each falls on the prepared grid
        place = CENTRE + offset
        marker = np.zeros(prepared.array.shape, np.float32)
        marker[
            tuple(np.rint(nib.affines.apply_affine(np.linalg.inv(prepared.affine) @ MOVE, place)).astype(int))
        ] = 1
        spread = to_native(ndimage.gaussian_filter(marker, 1.5), prepared, native)
        found = np.array(np.unravel_index(spread.argmax(), shape))
        assert np.abs(found - nib.affines.apply_affine(np.linalg.inv(affine), place)).max() <= 1


def test_without_registration_a_1_mm_scan_is_only_cropped_and_comes_back_as_it_was(tmp_path):
    put(tmp_path / "raw", "a")
    assert cdm(tmp_path / "raw", "-o", tmp_path / "data", "--steps", STILL, "--workers", 1) == 0
    path = tmp_path / "data/images/t1/a_t1.nii.gz"
    prepared = volumes.read(path)
    raw = volumes.read(tmp_path / "raw/images/t1/a.nii.gz")
    np.testing.assert_array_equal(to_native(prepared.array, prepared, read_native(path)), raw.array)
    assert prepared.array.shape < raw.array.shape
    with pytest.raises(UsageError, match="a.json: not there"):
        read_native(tmp_path / "raw/images/t1/a.nii.gz")
    path.with_name("a_t1.json").write_text("{}")
    with pytest.raises(UsageError, match="prepare"):
        read_native(path)


def test_every_scan_of_a_subject_comes_to_the_reference_and_labels_from_their_own_grid(tmp_path):
    put(tmp_path / "raw", "a", "oblique", mask=False, label=False)
    affine, shape = GRIDS["flipped"]
    places = world(shape, affine)
    t2 = save(tmp_path / "raw/t2.nii.gz", 300 - image_at(places), affine)
    labels = np.where(blob_at(places), 1, 0) + 2 * (np.linalg.norm(places - CENTRE + 8, axis=-1) < 3)
    seg, mask = (
        save(tmp_path / f"raw/{n}.nii.gz", a, affine)
        for n, a in (("seg", labels.astype(np.uint8)), ("mask", brain_at(places)))
    )
    images = {"t2": t2, "t1": tmp_path / "raw/images/t1/a.nii.gz"}
    raw = Raw("a", images, mask, seg, 1, None, seg_values=(1,))
    steps = STILL.split(",")
    done = prepare(raw, make_settings("folder", steps=steps), None, tmp_path)
    np.testing.assert_allclose(
        np.linalg.inv(done.space.affine)[:3, :3] @ GRIDS["oblique"][0][:3, :3],
        np.diag([1, 1.3, 2]),
        atol=1e-5,
    )
    places = world(done.space.shape, done.space.affine)
    inner = ndimage.binary_erosion(done.mask, iterations=3)
    np.testing.assert_allclose(done.scans["t2"].image[inner], 300 - image_at(places)[inner], atol=1.5)
    assert dice(done.seg, blob_at(places)) > 0.9
    with pytest.raises(VolumeError, match="another grid than .* add the step 'resample'"):
        prepare(raw, make_settings("folder", steps=["strip", "crop"]), None, tmp_path)


# Where the brain is.

SCRIPT = """import sys, nibabel as nib, numpy as np
scan = nib.load(sys.argv[1])
data = scan.get_fdata()
inside = data > {level}
nib.save(nib.Nifti1Image({what}, scan.affine), sys.argv[2])
"""


def head(root):
    """A scan with something bright around the brain and noise in the air."""
    affine, shape = GRIDS["isotropic"]
    points = world(shape, affine)
    radius = np.linalg.norm((points - CENTRE) / [15, 17, 14], axis=-1)
    air = np.abs(np.random.default_rng(0).normal(0, 3, shape))
    scan = np.where(radius < 1, image_at(points), np.where(radius < 1.15, 30.0, air))
    return save(root / "a.nii.gz", scan, affine), brain_at(points)


def command(folder, text):
    (folder / "find.py").write_text(text)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(folder / 'find.py'))} {{input}} {{output}}"


@pytest.mark.parametrize("what", ["inside.astype(np.uint8)", "np.where(inside, data / 1000, 0)"])
def test_another_program_may_find_the_brain(tmp_path, what):
    _, brain = head(tmp_path / "raw dir")
    words = command(tmp_path, SCRIPT.format(level=45, what=what))
    run = (tmp_path / "raw dir", "-o", tmp_path / "data", "--workers", 1, "--steps", STILL)
    assert cdm(*run, "--brain-mask-cmd", words) == 0
    mask = nib.load(tmp_path / "data/masks/a.nii.gz").get_fdata() > 0
    assert mask.sum() == brain.sum()
    assert not list((tmp_path / "data").glob(".tmp-*"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys; sys.exit('no GPU\\nout of luck')", "ended with 1: out of luck"),
        ("", "wrote no brain.nii.gz"),
        (SCRIPT.format(level=9999, what="inside.astype(np.uint8)"), "found no brain"),
        (SCRIPT.format(level=45, what="inside[1:].astype(np.uint8)"), "what '.*' wrote: 39 x 41 x 42 voxels"),
        ("open(__import__('sys').argv[2], 'w').write('x')", "what '.*' wrote: "),
        (None, "not skull-stripped and has no brain mask.*hd-bet"),
    ],
)
def test_a_brain_that_is_not_found_is_one_line_and_stops_nobody_else(tmp_path, capsys, text, told):
    raw = tmp_path / "raw"
    head(raw)
    put(raw / "more", "b")
    for path in (raw / "more").rglob("*.nii.gz"):  # b comes with a mask
        kind = {"masks": "_mask", "labels": "_seg"}.get(path.parent.name, "")
        path.rename(raw / f"b{kind}.nii.gz")
    shutil.rmtree(raw / "more")
    option = () if text is None else ("--brain-mask-cmd", command(tmp_path, text))
    assert cdm(raw, "-o", tmp_path / "data", "--workers", 1, "--steps", STILL, *option) == 4
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 1 and lines[0].startswith(f"failed: a: {raw / 'a.nii.gz'}: ")
    assert re.search(told, lines[0]) and "prepared: 1, done before: 0, failed: 1" in captured.out
    assert sorted(tree(tmp_path / "data/images")) == ["b.json", "b.nii.gz"]


# Many subjects, many runs.


@pytest.fixture
def cohort(tmp_path):
    for id, grid in (("a", "flipped"), ("b", "oblique"), ("c", "isotropic")):
        put(tmp_path / "raw", id, grid, label=id != "a")
    (tmp_path / "raw/subjects.csv").write_text("id,age\na,30\nb,40\n")
    return tmp_path


def again(cohort, *options) -> tuple[int, list[str]]:
    """Run once more: (exit code, ids of whom a file was written anew)."""
    stamps = {path: path.stat().st_mtime_ns for path in (cohort / "data").rglob("*.*")}
    code = cdm(cohort / "raw", "-o", cohort / "data", "--workers", 1, "--steps", STILL, *options)
    fresh = {p for p in (cohort / "data").rglob("*.nii.gz") if stamps.get(p) != p.stat().st_mtime_ns}
    return code, sorted({path.name.split(".")[0].split("_")[0] for path in fresh})


def test_only_what_changed_is_done_again(cohort):
    assert again(cohort) == (0, ["a", "b", "c"])
    assert again(cohort) == (0, [])
    put(cohort / "raw", "b", "oblique", shift=3.0)
    assert again(cohort) == (0, ["b"])
    (cohort / "data/masks/c.nii.gz").unlink()
    assert again(cohort) == (0, ["c"])
    path = cohort / "data/images/t1/a_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert again(cohort) == (0, ["a"])
    (cohort / "data/manifest/folder/a.json").write_text("{")
    assert again(cohort) == (0, ["a"])
    assert again(cohort, "--interpolation", "linear") == (0, ["a", "b", "c"])
    (cohort / "raw/labels/c.nii.gz").unlink()
    assert again(cohort, "--interpolation", "linear") == (0, ["c"])
    assert not (cohort / "data/labels/c.nii.gz").exists()
    whole = tree(cohort / "data")
    shutil.rmtree(cohort / "data")
    again(cohort, "--interpolation", "linear")
    fresh = tree(cohort / "data")
    assert whole == fresh


def test_two_downloads_with_the_same_ids_share_a_folder(tmp_path):
    image = put(tmp_path / "other", "patient01", label=False)
    raw = tmp_path / "raw/patient01"
    raw.mkdir(parents=True)
    shutil.copy(image, raw / "patient01_FLAIR.nii.gz")
    shutil.copy(tmp_path / "other/masks/patient01.nii.gz", raw / "patient01_brainmask.nii.gz")
    shutil.copy(tmp_path / "other/masks/patient01.nii.gz", raw / "patient01_consensus_gt.nii.gz")
    options = ("-o", tmp_path / "data", "--workers", 1, "--steps", STILL)
    assert cdm(tmp_path / "raw", "--layout", "mslub", *options) == 0
    first = tree(tmp_path / "data")
    assert cdm(tmp_path / "other", *options) == 0
    assert first.items() < tree(tmp_path / "data").items()


def test_what_is_written_says_how_and_can_be_read_as_a_data_set(cohort):
    assert again(cohort)[0] == 0
    facts = json.loads((cohort / "data/manifest/folder/b.json").read_text())
    assert facts["parameters"]["steps"] == STILL.split(",") and "SimpleITK" in facts["versions"]
    raw = tree(cohort / "raw")
    assert facts["inputs"] == {
        name: raw[name] for name in ("images/t1/b.nii.gz", "masks/b.nii.gz", "labels/b.nii.gz")
    }
    assert facts["outputs"].items() <= tree(cohort / "data").items() and len(facts["outputs"]) == 4
    side = json.loads((cohort / "data/images/t1/b_t1.json").read_text())
    assert [step["step"] for step in side["steps"]] == STILL.split(",")
    assert side["raw"]["sha256"] == raw["images/t1/b.nii.gz"] and side["parameters"] == facts["parameters"]
    assert "b" in (cohort / "data/quality_folder.html").read_text()
    found = [
        subject
        for split, fold in datasets.DATASETS["folder"].offered(cohort / "data")
        for subject in datasets.load("folder", cohort / "data", split, "t1", fold)
    ]
    assert {s.id: s.label for s in found} == {"a": 0, "b": 1, "c": 1} and {s.age for s in found} == {
        30,
        40,
        None,
    }
    for subject in found:
        scan = volumes.read(subject.image)
        assert (
            volumes.read_mask(subject.mask, scan).any()
            and nib.load(subject.image).get_data_dtype() == np.float32
        )


def test_another_template_does_everybody_again(cohort, registered, capsys):
    path = save(cohort / "template.nii.gz", np.where(registered.mask, registered.array, 0), registered.affine)
    options = ("--template", path, "--steps", "strip,register,resample")
    assert again(cohort, *options) == (0, ["a", "b", "c"])
    assert again(cohort, *options) == (0, [])
    image = nib.load(cohort / "data/images/t1/b_t1.nii.gz")
    assert image.shape == registered.array.shape and image.header["sform_code"] == 2
    np.testing.assert_array_equal(image.affine, registered.affine)
    save(path, np.where(registered.mask, registered.array + 1, 0), registered.affine)
    assert again(cohort, *options) == (0, ["a", "b", "c"])
    save(path, registered.array, registered.affine)
    assert (
        again(cohort, *options) == (4, [])
        and "template.nii.gz: is not skull-stripped" in capsys.readouterr().err
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 2, 5, 6, 9, 14])
def test_a_run_that_ends_after_any_file_is_taken_up_there(cohort, monkeypatch, after):
    assert again(cohort)[0] == 0
    whole = tree(cohort / "data")
    shutil.rmtree(cohort / "data")
    replace, left = Path.replace, [after]

    def dying(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return replace(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", dying)
        again(cohort)
    for name in (
        ".tmp-x-a.nii.gz",
        "masks/.tmp-y-a.nii.gz",
        "manifest/folder/.tmp-z-a.json",
        ".tmp-w/brain.nii.gz",
    ):
        path = cohort / "data" / name  # as SIGKILL leaves them
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert again(cohort)[0] == 0
    assert tree(cohort / "data") == whole


def start(cohort, steps: str = STILL) -> subprocess.Popen:
    words = ["prepare", cohort / "raw", "-o", cohort / "data", "--steps", steps, "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "cdm_jax", *map(str, words)],
        cwd=Path(__file__).parents[1], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def kill(process, group: bool) -> None:
    """Without `group` the parent alone is killed, and its workers are to follow it."""
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()  # returns when the last worker has closed its output


def wait_for(process, condition) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.002)


@pytest.mark.parametrize("group", [True, False])
def test_a_killed_run_goes_on_as_if_it_had_never_stopped(cohort, group):
    assert again(cohort)[0] == 0
    whole = tree(cohort / "data")
    shutil.rmtree(cohort / "data")
    process = start(cohort)
    wait_for(process, lambda: list((cohort / "data").glob("images/t1/*.nii.gz")))
    assert process.poll() is None
    kill(process, group)
    assert 0 < len(tree(cohort / "data")) < len(whole)
    process = start(cohort)
    told = process.communicate()[0].decode()
    assert process.returncode == 0, told
    assert tree(cohort / "data") == whole


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_no_trace(tmp_path):
    for number, grid in enumerate(["flipped", "oblique", "isotropic"] * 4):
        put(tmp_path / "raw", f"{number:02}", grid, label=number % 2 == 0)
    steps = f"{STILL},n4"  # a subject takes a while, so that the moments fall into all of the run
    process = start(tmp_path, steps)
    first = tmp_path / "data/manifest"
    wait_for(process, first.exists)
    began = time.monotonic()
    assert process.communicate() and process.returncode == 0
    length, whole = time.monotonic() - began, tree(tmp_path / "data")
    rng, seen = random.Random(0), []
    for trial in range(20):
        shutil.rmtree(tmp_path / "data")
        process = start(tmp_path, steps)
        if trial % 5:
            wait_for(process, first.exists)
        time.sleep(rng.uniform(0, 0.9 * length))
        kill(process, group=trial % 4 > 0)
        seen.append(len(tree(tmp_path / "data")) if (tmp_path / "data").exists() else 0)
        process = start(tmp_path, steps)
        assert process.communicate() and process.returncode == 0
        assert tree(tmp_path / "data") == whole
    print(f"of {len(whole)} files there were, when the run was killed: {sorted(seen)}")
    assert sum(0 < count < len(whole) for count in seen) >= 10


# What is refused before anything is done.


def test_wrong_calls_end_with_2_and_one_line(cohort, capsys):
    raw, data = cohort / "raw", cohort / "data"
    calls = {
        "neither of them inside the other": (raw, "-o", raw / "prepared"),
        "neither of them inside": (raw, "-o", raw),
        "neither of them": (raw, "-o", cohort),
        "unknown step 'n3'": (raw, "-o", data, "--steps", "n3"),
        "needs 'resample'": (raw, "-o", data, "--steps", "register,crop"),
        "unknown layout 'oasis'": (raw, "-o", data, "--layout", "oasis"),
        "lacks {output}": (raw, "-o", data, "--brain-mask-cmd", "bet {input}"),
        "'no-such-program' is not installed": (
            raw,
            "-o",
            data,
            "--brain-mask-cmd",
            "no-such-program {input} {output}",
        ),
        "none.nii.gz: no such file": (raw, "-o", data, "--template", "none.nii.gz"),
        "none: no such folder": (cohort / "none", "-o", data),
        "subjects.csv: no such folder": (raw / "subjects.csv", "-o", data),
        "holds nothing of the layout 'wmh'": (raw, "-o", data, "--layout", "wmh"),
        "--workers": (raw, "-o", data, "--workers", -1),
    }
    for told, words in calls.items():
        assert cdm(*words) == 2
        err = capsys.readouterr().err.strip()
        assert told in err and len(err.splitlines()) == 1
    with alone_in(data):
        assert cdm(raw, "-o", data, "--steps", STILL) == 2
    assert "another 'cdm prepare' is at work there" in capsys.readouterr().err


def test_what_fails_fails_alone_and_leaves_the_earlier_results_as_they_were(cohort, capsys):
    assert again(cohort)[0] == 0
    whole = tree(cohort / "data")
    path = cohort / "raw/images/t1/b.nii.gz"
    path.write_bytes(path.read_bytes()[:500])
    assert again(cohort) == (4, [])
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("failed"))
    assert line.startswith(f"failed: b: {path}: ")
    assert tree(cohort / "data") == whole
    assert again(cohort, "--max-volume-gb", "1e-5", "--interpolation", "linear") == (4, [])
    assert "--max-volume-gb" in capsys.readouterr().err
    assert tree(cohort / "data") == whole


def test_a_brain_mask_command_that_fails_later_costs_nothing(tmp_path):
    head(tmp_path / "raw")
    run = (tmp_path / "raw", "-o", tmp_path / "data", "--workers", 1, "--steps", STILL, "--brain-mask-cmd")
    assert cdm(*run, command(tmp_path, SCRIPT.format(level=45, what="inside.astype(np.uint8)"))) == 0
    whole = tree(tmp_path / "data")
    assert cdm(*run, "false {input} {output}") == 4
    assert tree(tmp_path / "data") == whole


def test_a_run_that_ends_while_old_files_are_removed_leaves_none_of_them(cohort, monkeypatch):
    assert again(cohort)[0] == 0
    (cohort / "raw/labels/c.nii.gz").unlink()
    unlink, left = Path.unlink, [2]

    def dying(self, missing_ok=False):
        if "data" in self.parts and "c" in self.name.split(".")[0].split("_"):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        unlink(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "unlink", dying)
        again(cohort)
    assert again(cohort) == (0, ["c"])
    whole = tree(cohort / "data")
    shutil.rmtree(cohort / "data")
    again(cohort)
    assert tree(cohort / "data") == whole and "labels/c.nii.gz" not in whole


# Several raw folders.


def test_results_of_another_raw_folder_are_not_overwritten(tmp_path, capsys):
    data = tmp_path / "data"
    for site, shift in (("siteA", 0.0), ("siteB", 5.0)):
        put(tmp_path / site, "case0", shift=shift)
    put(tmp_path / "siteC", "case1")
    options = ("-o", data, "--workers", 1, "--steps", STILL)
    assert cdm(tmp_path / "siteA", *options) == 0
    whole = tree(data)
    capsys.readouterr()
    assert cdm(tmp_path / "siteB", *options) == 2
    err = capsys.readouterr().err.strip()
    assert f"from other files in {tmp_path / 'siteA'}" in err and len(err.splitlines()) == 1
    assert tree(data) == whole
    assert cdm(tmp_path / "siteC", *options) == 0  # other names
    assert "no longer in RAW" not in capsys.readouterr().err
    shutil.copytree(tmp_path / "siteA", tmp_path / "copy")
    assert cdm(tmp_path / "copy", *options) == 0  # the same files
    assert "done before: 1" in capsys.readouterr().out
    (tmp_path / "siteA").rename(tmp_path / "moved")
    put(tmp_path / "moved", "case0", shift=7.0)
    assert cdm(tmp_path / "moved", *options) == 0
    assert "prepared: 1" in capsys.readouterr().out


def test_two_layouts_that_write_to_one_place_do_not_overwrite_each_other(tmp_path, capsys):
    image = put(tmp_path / "folder", "sub-01")
    raw = tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz"
    raw.parent.mkdir(parents=True)
    shutil.copy(image, raw)
    options = ("-o", tmp_path / "data", "--workers", 1, "--steps", STILL)
    assert cdm(tmp_path / "folder", "--layout", "folder", *options) == 0
    whole = tree(tmp_path / "data")
    assert cdm(tmp_path / "bids", "--layout", "bids", *options) == 2
    assert "sub-01_t1.nii.gz: already there from the layout 'folder'" in capsys.readouterr().err
    assert tree(tmp_path / "data") == whole


def test_subjects_that_left_the_raw_folder_are_named(cohort, capsys):
    assert again(cohort)[0] == 0
    assert "no longer" not in capsys.readouterr().err
    for path in [*(cohort / "raw").rglob("a.nii.gz"), *(cohort / "raw").rglob("c.nii.gz")]:
        path.unlink()
    (cohort / "raw/subjects.csv").write_text("id,age\nb,40\n")
    assert again(cohort, "--interpolation", "linear") == (0, ["b"])
    assert "2 subjects in DATA are no longer in RAW: a, c\n" in capsys.readouterr().err


def test_files_that_change_their_roles_are_prepared_again(tmp_path):
    job = make_job(tmp_path / "raw", tmp_path / "data", make_settings("folder", steps=STILL.split(",")), 2.0)
    one, two = (put(tmp_path / "raw", id, shift=shift, mask=False) for id, shift in (("x", 0.0), ("y", 9.0)))
    seg = tmp_path / "raw/labels/x.nii.gz"
    (tmp_path / "data").mkdir()

    def made(t1, t2, values=()):
        outcome = work(job, Raw("a", {"t1": t1, "t2": t2}, None, seg, 1, None, values))
        assert not outcome.reason
        return not outcome.kept, volumes.read(tmp_path / "data/images/t1/a_t1.nii.gz").array.max()

    (first, before), (second, _), (swapped, after) = made(one, two), made(one, two), made(two, one)
    assert (first, second, swapped) == (True, False, True) and after - before == pytest.approx(9, abs=0.1)
    assert made(two, one, (1,))[0] and not made(two, one, (1,))[0]


# What may be doubted, what is read between the lines.


def test_a_mask_from_the_foreground_is_put_to_the_reader(tmp_path):
    put(tmp_path / "raw", "a", mask=False)
    put(tmp_path / "raw", "b")
    steps = "strip, resample ,crop"
    assert cdm(tmp_path / "raw", "-o", tmp_path / "data", "--workers", 1, "--steps", steps) == 0
    notes = {
        id: json.loads((tmp_path / f"data/manifest/folder/{id}.json").read_text())["notes"] for id in "ab"
    }
    question = "mask from the foreground: is the scan skull-stripped?"
    assert question in notes["a"] and question not in notes["b"]
    assert question in (tmp_path / "data/quality_folder.html").read_text()


@pytest.mark.parametrize(("radius", "fits"), [(81, True), (83, False)])  # 2226 ml, 2395 ml
def test_a_foreground_larger_than_a_brain_is_a_head(radius, fits):
    affine = nib.affines.from_matvec(np.diag([4.0] * 3), [-120.0] * 3)
    ball = np.linalg.norm(world((61, 61, 61), affine), axis=-1) < radius
    scan = Volume(np.float32(100 * ball), affine, (4.0, 4.0, 4.0), nib.Nifti1Header(), Path("a.nii.gz"))
    if fits:
        assert foreground(scan).sum() == ball.sum()
    else:
        with pytest.raises(VolumeError, match="not skull-stripped"):
            foreground(scan)


def test_the_scan_with_the_mask_leads_to_the_template(tmp_path, registered, monkeypatch):
    """T1's header puts it elsewhere than T2, on whose grid the mask lies."""
    affine, shape = GRIDS["isotropic"]
    away = nib.affines.from_matvec(np.eye(3), [200.0, 0, 0])
    points = world(shape, affine)
    t1, t2, mask = (
        save(tmp_path / f"raw/{name}.nii.gz", array, at)
        for name, array, at in (
            ("t1", image_at(points) * brain_at(points), away @ affine),
            ("t2", (300 - image_at(points)) * brain_at(points), affine),
            ("mask", brain_at(points), affine),
        )
    )
    seen = []

    def to_scan(scan, reference, inside):
        seen.append((scan.path, reference.path))
        np.testing.assert_array_equal(inside, brain_at(points))
        return register.Registration(np.linalg.inv(away), {"metric": -1.0})

    monkeypatch.setattr(register, "to_scan", to_scan)
    raw = Raw("a", {"t1": t1, "t2": t2}, mask, None, 0, None)
    done = prepare(
        raw, make_settings("folder", steps=("strip", "register", "resample")), registered, tmp_path
    )
    assert seen == [(t1, t2)]
    places = nib.affines.apply_affine(np.linalg.inv(MOVE), world(done.space.shape, done.space.affine))
    assert dice(done.mask, brain_at(places)) > 0.9 and "Dice with the template" in done.notes
    inner = ndimage.binary_erosion(done.mask, iterations=6)
    np.testing.assert_allclose(done.scans["t1"].image[inner], image_at(places)[inner], atol=2)
