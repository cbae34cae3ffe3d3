"""What is found in a scan lies where it was found, however the scan is turned, stored or described."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from identity import identity_detector

from cdm_jax.data import preprocess as steps
from cdm_jax.data import volume
from cdm_jax.data.grid import model_affine, model_grid
from cdm_jax.data.preprocess import Prepared
from cdm_jax.detect import write_maps

SHAPE, MARKER = (7, 5, 6), (5, 1, 4)
GRID_FIELDS = ["dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z"]
GRID_FIELDS += ["quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"]
TILT = nib.eulerangles.euler2mat(0.3, -0.2, 0.15)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
STORED = list(itertools.product(("<i2", "u1", "<f4", ">f8"), (".nii", ".nii.gz"), ("sform", "qform", "both")))


def affine_of(orientation: int) -> np.ndarray:
    """One of the 48, every second one oblique, two of four with voxels of 0.9 x 1.1 x 3 mm."""
    order, signs = ORIENTATIONS[orientation]
    axes = (TILT if orientation % 2 else np.eye(3))[:, order] * signs
    spacing = (0.9, 1.1, 3) if orientation // 2 % 2 else (1.5, 1.5, 1.5)
    return nib.affines.from_matvec(axes * spacing, [-12.5, 31.25, 7 + orientation])


def voxels(shape=SHAPE) -> np.ndarray:
    """All different, none like its neighbour, the marker highest; whole numbers that uint8 holds."""
    array = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    array[MARKER] = 250
    return array


def save(path, array, affine, dtype: str, forms: str) -> None:
    """A file with the forms asked for and nothing else; nibabel would add the one that is missing."""
    header = nib.Nifti1Header(endianness=dtype[0] if dtype[0] in "<>" else "<")
    header.set_data_shape(array.shape)
    header.set_data_dtype(dtype)
    header.set_zooms(nib.affines.voxel_sizes(affine))
    header.set_xyzt_units("mm", "sec")
    if forms != "qform":
        header.set_sform(affine, 3)
    if forms != "sform":
        header.set_qform(affine, 1 if forms == "qform" else 2)
    nib.save(nib.Nifti1Image(array.astype(dtype), None, header), path)


def on_own_grid(scan: volume.Volume) -> Prepared:
    """The scan prepared for a model whose voxels are the scan's own."""
    ones = np.ones(scan.array.shape, bool)
    to_ras = np.argsort(nib.io_orientation(scan.affine)[:, 0])
    size, shape = nib.affines.voxel_sizes(scan.affine)[to_ras], np.array(scan.array.shape)[to_ras]
    grid = model_grid(scan.affine, ones, size, shape, "image")
    return Prepared(scan.array, ones, model_affine(scan.affine, grid), 0, 1, grid)


def assert_same_geometry(written, given) -> None:
    a, b = nib.load(written), nib.load(given)
    assert a.shape == b.shape and a.affine.tobytes() == b.affine.tobytes()
    for field in GRID_FIELDS:
        assert a.header[field].tobytes() == b.header[field].tobytes(), field


def assert_same_place(written, given) -> None:
    """The same for SimpleITK, whose positions count towards left and posterior."""
    a, b = sitk.ReadImage(str(written)), sitk.ReadImage(str(given))
    assert a.GetSize() == b.GetSize() == SHAPE
    for what in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(a, what)() == getattr(b, what)(), what
    assert a[MARKER] == b[MARKER] == 250
    position = np.array(a.TransformIndexToPhysicalPoint(MARKER)) * (-1, -1, 1)
    truth = nib.affines.apply_affine(nib.load(given).affine, MARKER)
    np.testing.assert_allclose(position, truth, atol=1e-4)


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: " ".join(stored))
def test_an_identity_model_changes_nothing_in_any_of_48_orientations(stored, tmp_path):
    dtype, suffix, forms = stored
    for orientation in range(48):
        given, written = tmp_path / f"scan{suffix}", tmp_path / f"out{suffix}"
        save(given, voxels(), affine_of(orientation), dtype, forms)
        scan = volume.read(given)
        prepared = on_own_grid(scan)
        image = steps.to_model_grid(scan.array, prepared)
        assert scan.affine.tobytes() == nib.load(given).affine.tobytes()
        assert nib.aff2axcodes(prepared.affine) == ("R", "A", "S")
        marker = nib.affines.apply_affine(prepared.affine, np.argwhere(image == 250)[0])
        np.testing.assert_allclose(marker, nib.affines.apply_affine(scan.affine, MARKER), atol=1e-5)
        volume.write(written, steps.to_input_grid(image, prepared, order=0), scan)
        assert np.array_equal(nib.load(written).get_fdata(), nib.load(given).get_fdata())
        assert_same_geometry(written, given)
        if (STORED.index(stored) + 24 * orientation) % 25 == 0:
            assert_same_place(written, given)


# --- Through the real detector


def smooth(affine, shape) -> np.ndarray:
    """No symmetry, and nothing finer than some 20 mm."""
    world = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    x, y, z = np.moveaxis(world - world.reshape(-1, 3).mean(0), -1, 0)
    return 100 + 1.3 * x - 0.7 * y + 0.9 * z + 10 * np.sin(x / 12 + y / 17) * np.cos(z / 14 + 1)


CASES = {  # orientation, scan's shape, largest error as a share of the range, so many mm from the scan's faces
    "as the model": (0, (18, 20, 16), 1e-5, 0),
    "turned": (28, (16, 18, 20), 1e-5, 0),
    "turned, oblique": (45, (17, 19, 16), 1e-5, 0),
    "anisotropic": (2, (34, 30, 11), 0.01, 8),  # the published zeros beyond a face ring in the spline
    "turned, oblique, anisotropic": (31, (34, 30, 11), 0.01, 8),
}


def depth(scan: volume.Volume) -> np.ndarray:
    """Distance of each voxel from the nearest face, mm."""
    shape = scan.array.shape
    axes = zip(np.indices(shape), shape, scan.spacing, strict=True)
    return np.min([np.minimum(i, n - 1 - i) * size for i, n, size in axes], axis=0)


@pytest.mark.parametrize("name", CASES)
def test_a_detector_that_finds_everything_healthy_gives_the_scan_back(name, tmp_path):
    orientation, shape, allowed, margin = CASES[name]
    affine = affine_of(orientation)
    given = tmp_path / "scan.nii.gz"
    save(given, smooth(affine, shape), affine, "<f4", "both")
    detector = identity_detector("--config.preprocess.spacing=1.5", "--config.preprocess.shape=(24,24,24)",
                                 "--config.preprocess.curvature=False")  # fmt: skip
    found = detector.detect(given, np.ones(shape, bool), threshold=1e-6)
    assert not found.anomaly.any() and not found.lesion_mask.any()
    low, high = np.percentile(found.scan.array, (1, 99))
    unclipped = (found.scan.array > low) & (found.scan.array < high) & (depth(found.scan) >= margin)
    assert unclipped.sum() > 500
    assert np.abs(found.recon - found.scan.array)[unclipped].max() < allowed * (high - low)
    write_maps(tmp_path, found)
    for what in ("recon", "anomaly", "lesion_mask"):
        assert_same_geometry(tmp_path / f"scan_desc-{what}.nii.gz", given)
