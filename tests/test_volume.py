"""Bad files end in one clear line, and what is written lies exactly where the input lies."""

import gzip
import os
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdm_jax.data import volume
from cdm_jax.data.faults import FAULTS
from cdm_jax.errors import UsageError, VolumeError

SHAPE = (5, 6, 7)
GRID_FIELDS = ["dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z"]
GRID_FIELDS += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([-1.1, 0.9, 3.3]), [11.3, -7.7, 0.1]
)


def voxels(shape=SHAPE):
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def save(path, array, affine=None, change=lambda header: None, kind=nib.Nifti1Image, **header_options):
    """Save without letting nibabel touch the header: what `change` sets is what the file says."""
    header = kind.header_class(**header_options)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    if affine is not None:
        header.set_sform(affine, 2)
        header.set_qform(affine, 1)
    change(header)
    nib.save(kind(array, None, header), path)
    return path


def assert_same_grid(written, source):
    a, b = nib.load(written), nib.load(source)
    for field in GRID_FIELDS:
        assert a.header[field].tobytes() == b.header[field].astype(a.header[field].dtype).tobytes(), field
    assert a.affine.tobytes() == b.affine.tobytes()
    assert a.shape == b.shape


def codes(sform, qform):
    def change(header):
        header.set_sform(OBLIQUE, sform)
        header.set_qform(nib.affines.from_matvec(np.diag([-1.0, 1.2, 3.0]), [1, 2, 3]), qform)
        header.set_xyzt_units("mm", "sec")

    return change


def sheared(header):
    header.set_sform(OBLIQUE @ np.array([[1, 0.1, 0, 0], [0, 1, 0.05, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), 4)


def no_codes(header):
    header["pixdim"][:4] = [0, 1.5, 2.5, 3.5]


def quantised(header):
    header.set_slope_inter(0.5, 3)
    header["cal_max"] = 77
    header["intent_code"] = 3


@pytest.mark.parametrize(
    "change", [codes(1, 1), codes(0, 1), codes(3, 0), codes(2, 4), sheared, no_codes, quantised]
)
@pytest.mark.parametrize("kind, name", [(nib.Nifti1Image, "a.b.nii.gz"), (nib.Nifti2Image, "a.nii")])
@pytest.mark.parametrize("out", [np.float32, np.uint8, bool])
def test_output_has_the_grid_of_its_input_bit_for_bit(tmp_path, change, kind, name, out):
    source = save(tmp_path / name, voxels().astype(np.int16), change=change, kind=kind)
    like = volume.read(source)
    result = (voxels() % 2).astype(out)
    volume.write(tmp_path / "out.nii.gz", result, like)
    assert_same_grid(tmp_path / "out.nii.gz", source)
    written = nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(written.get_fdata(), result)
    assert written.get_data_dtype() == (np.float32 if out == np.float32 else np.uint8)
    assert (written.dataobj.slope, written.dataobj.inter) == (1, 0)
    assert written.header["cal_max"] == 0 and written.header["intent_code"] == 0
    assert [p.name for p in sorted(tmp_path.iterdir())] == [name, "out.nii.gz"]


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_trailing_axes_of_length_one_are_dropped_and_given_back(tmp_path, shape, endianness):
    source = save(tmp_path / "a.nii", voxels(shape), OBLIQUE, endianness=endianness)
    like = volume.read(source)
    assert like.array.shape == SHAPE and like.array.dtype == np.float32 and like.array.dtype.isnative
    volume.write(tmp_path / "out.nii", like.array, like)
    assert_same_grid(tmp_path / "out.nii", source)
    assert np.array_equal(nib.load(tmp_path / "out.nii").get_fdata(), voxels(shape))


angles = st.floats(-3.1, 3.1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(angles, angles, angles),
    st.tuples(*[st.floats(0.3, 6)] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.integers(0, 4)] * 2),
)
def test_any_grid_survives_writing(tmp_path, turn, zooms, origin, flips, sform_qform):
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(*turn) @ np.diag(np.multiply(zooms, flips)), origin
    )

    def change(header):
        header.set_sform(affine, sform_qform[0])
        header.set_qform(affine, sform_qform[1])

    source = save(tmp_path / "in.nii", voxels(), change=change)
    volume.write(tmp_path / "out.nii", voxels(), volume.read(source))
    assert_same_grid(tmp_path / "out.nii", source)


def test_read_gives_scaled_values_affine_and_spacing(tmp_path):
    stored = np.arange(210, dtype=np.int16).reshape(SHAPE)
    path = save(tmp_path / "a.nii.gz", stored, OBLIQUE, change=quantised)
    scan = volume.read(path)
    assert np.array_equal(scan.array, nib.load(path).get_fdata().astype(np.float32))
    assert np.array_equal(scan.affine, nib.load(path).affine) and scan.affine.dtype == np.float64
    np.testing.assert_allclose(scan.spacing, [1.1, 0.9, 3.3], rtol=1e-6)
    assert scan.path == path


def spoil(value):
    def build(path):
        array = voxels()
        array[1, 2, 3] = value
        save(path, array, OBLIQUE)

    return build


def truncated(path):
    save(path, np.random.default_rng(0).normal(size=(40, 40, 40)), OBLIQUE)
    path.write_bytes(path.read_bytes()[:-5000])


def with_sform(affine):
    def change(header):
        header["sform_code"] = 1
        for row, values in zip("xyz", affine, strict=False):
            header[f"srow_{row}"] = values

    return lambda path: save(path, voxels(), change=change)


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
BAD = [  # code, what the line says, how such a file comes about
    ("unreadable", "not a NIfTI file", lambda path: path.write_text("hello")),
    ("truncated", "empty", lambda path: path.write_bytes(b"")),
    ("truncated", "ends too early", truncated),
    ("bad-shape", "5 x 6 voxels", lambda path: save(path, voxels((5, 6)))),
    ("bad-shape", "5 x 6 x 1 voxels", lambda path: save(path, voxels((5, 6, 1)))),
    ("channels", "5 x 6 x 7 x 3 voxels.*split", lambda path: save(path, voxels((*SHAPE, 3)))),
    ("bad-dtype", "one real number", lambda path: save(path, np.zeros(SHAPE, RGB))),
    ("bad-dtype", "one real number", lambda path: save(path, np.zeros(SHAPE, np.complex64))),
    ("not-finite", "1 voxels are NaN", spoil(np.nan)),
    ("not-finite", "1 voxels are NaN or infinite", spoil(-np.inf)),
    ("constant", "every voxel is 3", lambda path: save(path, np.full(SHAPE, 3, np.uint8), OBLIQUE)),
    ("bad-affine", "sform. is zero", with_sform(np.zeros((3, 4)))),
    ("bad-affine", "sform. is singular", with_sform(np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]]))),
    ("bad-affine", "sform. has NaN", with_sform(np.array([[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0]]))),
    ("bad-affine", "cannot be true", with_sform(1000 * np.eye(3, 4))),
]


@pytest.mark.parametrize("code, text, build", BAD, ids=[f"{code}: {text}" for code, text, _ in BAD])
def test_a_bad_file_is_one_line_that_begins_with_its_path(tmp_path, code, text, build):
    path = tmp_path / "bad.nii.gz"
    build(path)
    with pytest.raises(VolumeError, match=text) as caught:
        volume.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert (caught.value.path, caught.value.code) == (path, code) and code in FAULTS


def test_the_error_crosses_processes():
    error = pickle.loads(pickle.dumps(VolumeError("a.nii", "constant", "all the same")))
    assert (str(error), error.path, error.code) == ("a.nii: all the same", Path("a.nii"), "constant")


def test_gzip_is_known_by_its_content_not_by_its_name(tmp_path):
    path = save(tmp_path / "a.nii", voxels(), OBLIQUE)
    (tmp_path / "plain.nii.gz").write_bytes(path.read_bytes())
    (tmp_path / "zipped.nii").write_bytes(gzip.compress(path.read_bytes()))
    for name in ("plain.nii.gz", "zipped.nii"):
        assert np.array_equal(volume.read(tmp_path / name).array, voxels())


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float64])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_every_real_type_is_read_as_nibabel_reads_it(tmp_path, dtype, endianness):
    stored = (np.arange(210).reshape(SHAPE) - (0 if np.dtype(dtype).kind == "u" else 100)).astype(dtype)
    for change in (quantised, lambda header: header.set_slope_inter(None, None)):
        path = save(tmp_path / "a.nii.gz", stored, OBLIQUE, change=change, endianness=endianness)
        scan = volume.read(path)
        assert np.array_equal(scan.array, nib.load(path).get_fdata().astype(np.float32))
        assert scan.array.flags.c_contiguous and scan.array.dtype.isnative


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 351), st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_read_or_refused(tmp_path, offset, junk):
    path = save(tmp_path / "a.nii", voxels(), OBLIQUE)
    content = bytearray(path.read_bytes())
    content[offset : offset + len(junk)] = junk
    path.write_bytes(content)
    try:
        assert np.isfinite(volume.read(path).array).all()
    except VolumeError as error:
        assert str(error).startswith(f"{path}: ")


def test_another_format_is_named(tmp_path):
    nib.save(nib.MGHImage(voxels(), np.eye(4)), tmp_path / "a.mgz")
    with pytest.raises(VolumeError, match="an MGH file; convert"):
        volume.read(tmp_path / "a.mgz")


def test_what_is_not_there_is_a_usage_error(tmp_path):
    for call in (volume.read, volume.list_volumes):
        with pytest.raises(UsageError, match="no such file"):
            call(tmp_path / "none.nii")
    for name in ("a" * 300, "zero\0byte"):
        with pytest.raises(UsageError, match="no such file"):
            volume.read(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(UsageError, match="no regular file"):
        volume.read(tmp_path / "pipe.nii")
    with pytest.raises(UsageError, match="folder"):
        volume.read(tmp_path)
    with pytest.raises(UsageError, match="holds no"):
        volume.list_volumes(tmp_path)  # the pipe is none of the files it lists


def test_masks_and_labels(tmp_path):
    like = volume.read(save(tmp_path / "a.nii", voxels(), OBLIQUE))
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3] = 4
    nudged = OBLIQUE + 1e-3
    assert np.array_equal(volume.read_mask(save(tmp_path / "m.nii", labels, nudged), like), labels > 0)
    empty = save(tmp_path / "e.nii", np.zeros(SHAPE, np.uint8), OBLIQUE)
    assert volume.read_seg(empty, like).sum() == 0
    other = save(tmp_path / "s.nii", np.ones((6, 6, 7), np.uint8), OBLIQUE)
    flipped = save(tmp_path / "f.nii", labels, OBLIQUE @ np.diag([-1, 1, 1, 1]))
    for path, code, text in (
        (empty, "empty-mask", "mask is empty"),
        (other, "shape-mismatch", "6 x 6 x 7 voxels, but .*a.nii has 5 x 6 x 7"),
        (flipped, "affine-mismatch", "mm away"),
    ):
        with pytest.raises(VolumeError, match=text) as caught:
            volume.read_mask(path, like)
        assert (caught.value.path, caught.value.code) == (path, code)
    with pytest.raises(VolumeError, match="the limit is 5e-07 GB"):
        volume.read_mask(tmp_path / "m.nii", like, max_gb=5e-7)


def test_write_refuses_what_does_not_fit(tmp_path):
    like = volume.read(save(tmp_path / "a.nii", voxels(), OBLIQUE))
    with pytest.raises(UsageError, match="must end in"):
        volume.write(tmp_path / "out.mgz", like.array, like)
    with pytest.raises(ValueError, match="does not fit"):
        volume.write(tmp_path / "out.nii", like.array[1:], like)
    assert len(list(tmp_path.iterdir())) == 1


def test_listing_is_sorted_flat_and_without_hidden_files(tmp_path):
    for name in ("b.nii", "a.nii.gz", "._a.nii.gz", "notes.txt", "deep/c.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert volume.list_volumes(tmp_path) == [tmp_path / "a.nii.gz", tmp_path / "b.nii"]
    assert volume.list_volumes(tmp_path / "b.nii") == [tmp_path / "b.nii"]


@pytest.mark.parametrize("name", ["s.01.nii", "s.01.nii.gz", "s.01.NII.GZ", "folder/s.01.nii"])
def test_stem(name):
    assert volume.stem(name) == "s.01"
