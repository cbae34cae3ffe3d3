"""Is each fault of a data folder reported with its file and code, and nothing where nothing is wrong?

As a script it prints what was planted and what was found.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cdm_jax.cli.main import main
from cdm_jax.data import datasets
from cdm_jax.data.check import check
from cdm_jax.data.check.fault import WARNINGS, WAYS_OUT
from cdm_jax.data.datasets.table import COLUMNS
from cdm_jax.data.faults import FAULTS

HEALTHY = [f"IXI{number:03}-HH-{1000 + number}" for number in range(1, 13)]
PATIENTS = [f"BraTS2021_{number:05}" for number in range(4)]
TABLES = {
    "IXI_train_fold0.csv": HEALTHY[:8],
    "IXI_val_fold0.csv": HEALTHY[8:10],
    "IXI_train_fold1.csv": HEALTHY[2:10],
    "IXI_val_fold1.csv": HEALTHY[:2],
    "IXI_test.csv": HEALTHY[10:],
    "Brats21_val.csv": PATIENTS[:1],
    "Brats21_test.csv": PATIENTS[1:],
}
IMAGE, MASK = (f"Train/ixi/{kind}/{HEALTHY[4]}_{kind}.nii.gz" for kind in ("t2", "mask"))
OTHER, OTHER_MASK = (f"Train/ixi/{kind}/{HEALTHY[11]}_{kind}.nii.gz" for kind in ("t2", "mask"))
SICK, SICK_MASK, SEG = (f"Test/Brats21/{kind}/{PATIENTS[2]}_{kind}.nii.gz" for kind in ("t2", "mask", "seg"))
IXI_TEST, BRATS_VAL, BRATS_TEST = (
    f"splits/{name}.csv" for name in ("IXI_test", "Brats21_val", "Brats21_test")
)
SHAPE, SPACING = (16, 18, 20), (1.0, 1.2, 2.0)


# A clean cohort in the published tree


def row(name: str, **changes) -> dict[str, object]:
    """Of a published table: it says IXI where the tree says ixi, and names the T1 scan."""
    patient = name in PATIENTS
    base = "/Test/Brats21" if patient else "/Train/IXI"
    return {
        "img_name": f"{name}_t1.nii.gz",
        "age": 20 + len(name),
        "label": int(patient),
        "img_path": f"{base}/t1/{name}_t1.nii.gz",
        "mask_path": f"{base}/mask/{name}_mask.nii.gz",
        "seg_path": f"{base}/seg/{name}_seg.nii.gz" if patient else "",
    } | changes


def write_table(path: Path, rows: list[dict]) -> None:
    replaced(path)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def replaced(path: Path) -> Path:
    """The path, free for another file: what stands there may be shared with the clean cohort."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def save(
    path: Path, array: np.ndarray, affine=None, change=lambda header: None, kind=nib.Nifti1Image
) -> None:
    """Save without letting nibabel touch the header: what `change` sets is what the file says."""
    header = kind.header_class()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_sform(np.diag([*SPACING, 1]) if affine is None else affine, 1)
    header.set_qform(np.diag([*SPACING, 1]) if affine is None else affine, 1)
    change(header)
    nib.save(kind(array, None, header), replaced(path))


def voxels(rng: np.random.Generator, shape=SHAPE) -> dict[str, np.ndarray]:
    """Image, mask and seg: noise in an ellipsoid, a lesion inside it."""
    grid = np.indices(shape) - np.reshape(shape, (3, 1, 1, 1)) / 2
    radius = np.sqrt(np.square(grid / np.reshape(shape, (3, 1, 1, 1)) * 2.5).sum(axis=0))
    image = np.rint(rng.normal(100, 20, shape).clip(1, 250)) * (radius < 1)
    return {"image": image, "mask": (radius < 1).astype(np.uint8), "seg": (radius < 0.3).astype(np.uint8)}


def write_cohort(
    root: Path,
    *,
    seed: int = 0,
    spacing=SPACING,
    axes=("RAS",),
    oblique: bool = False,
    dtype=np.int16,
    growth: int = 0,
    modalities=("t2",),
    **file,
) -> None:
    """Twelve healthy and four patients; orientation, size and pose may differ from one to the next."""
    for index, name in enumerate(HEALTHY + PATIENTS):
        rng = np.random.default_rng([seed, index])
        turn = nib.eulerangles.euler2mat(*rng.uniform(-0.3, 0.3, 3)) if oblique else np.eye(3)
        affine = nib.affines.from_matvec(turn @ np.diag(spacing), rng.uniform(-50, 50, 3))
        shape = np.array(SHAPE) + rng.integers(0, growth + 1, 3)
        wanted = nib.orientations.axcodes2ornt(axes[index % len(axes)])
        change = nib.orientations.ornt_transform(nib.io_orientation(affine), wanted)
        stored = affine @ nib.orientations.inv_ornt_aff(change, shape)
        for modality in modalities:
            arrays = voxels(rng, shape)
            kinds = {modality: arrays["image"].astype(dtype), "mask": arrays["mask"], "seg": arrays["seg"]}
            for kind, array in kinds.items():
                if kind != "seg" or name in PATIENTS:
                    place = "Test/Brats21" if name in PATIENTS else "Train/ixi"
                    turned = nib.apply_orientation(array, change)
                    save(root / place / kind / f"{name}_{kind}.nii.gz", turned, stored, **file)
    for table, names in TABLES.items():
        write_table(root / "splits" / table, [row(name) for name in names])
    (root / "splits/avail_t2.csv").write_text("\n".join(["0", *HEALTHY]))


@pytest.fixture(scope="session")
def clean(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    write_cohort(root)
    return root


@pytest.fixture
def root(clean, tmp_path) -> Path:
    """A cohort of one's own: the clean one's files, linked; whoever changes one must replace it."""
    return shutil.copytree(clean, tmp_path / "data", copy_function=os.link)


def found(root: Path, **settings) -> list[tuple[str, str]]:
    """[(file, code)] of every fault."""
    return [(f.file.relative_to(root).as_posix(), f.code) for f in check(root, **settings).faults]


# Faults to plant


def array_of(root: Path, file: str) -> np.ndarray:
    return np.asarray(nib.load(root / file).dataobj)


def affine_of(root: Path, file: str) -> np.ndarray:
    return nib.load(root / file).affine


def edit(
    file: str,
    change: Callable[[np.ndarray], np.ndarray],
    affine: Callable[[np.ndarray], np.ndarray] = lambda affine: affine,
    head: Callable = lambda header: None,
) -> Callable:
    """Plant: the file's voxels, changed, in the same place or another, behind the same header or another."""
    return lambda root: save(root / file, change(array_of(root, file)), affine(affine_of(root, file)), head)


def header(file: str, head: Callable) -> Callable:
    """Plant: another header before the same voxels."""
    return edit(file, lambda array: array, head=head)


def content(file: str, change: Callable[[bytes], bytes]) -> Callable:
    """Plant: other bytes on the disk."""

    def plant(root: Path) -> None:
        spoilt = change((root / file).read_bytes())
        replaced(root / file).write_bytes(spoilt)

    return plant


def inside_gzip(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda zipped: gzip.compress(change(gzip.decompress(zipped)))


def field(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    return inside_gzip(lambda raw: raw[:offset] + value + raw[offset + len(value) :])


def one_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[8, 8, 8] = value
        return array

    return change


def sform(affine) -> Callable:
    def change(head) -> None:
        head["qform_code"], head["sform_code"] = 0, 1
        for axis, values in zip("xyz", affine, strict=False):
            head[f"srow_{axis}"] = values

    return change


def remove(file: str) -> Callable:
    return lambda root: (root / file).unlink()


def table(file: str, change: Callable[[list[dict]], list[dict]]) -> Callable:
    """Plant: other rows in a table."""
    return lambda root: write_table(root / file, change(read_table(root / file)))


def all_of(*plants: Callable) -> Callable:
    return lambda root: [plant(root) for plant in plants]


def shifted(affine: np.ndarray) -> np.ndarray:
    return nib.affines.from_matvec(np.eye(3), [0, 0, 5]) @ affine


def halved(array: np.ndarray) -> np.ndarray:
    return array.repeat(2, 0).repeat(2, 1).repeat(2, 2)


def flip(head) -> None:
    head.set_qform(np.diag([-1, 1, 1, 1]) @ head.get_sform(), 1)


def flip_to_scanner(head) -> None:
    flip(head)
    head["sform_code"] = 4  # a template's space


def interpolated(array: np.ndarray) -> np.ndarray:
    return (array + np.roll(array, 1, 0)).astype(np.float32) / 2


def reoriented(file: str) -> Callable:
    to_psr = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PSR")
    )
    return edit(
        file,
        lambda array: nib.apply_orientation(array, to_psr),
        lambda affine: affine @ nib.orientations.inv_ornt_aff(to_psr, SHAPE),
    )


def finer(file: str) -> Callable:
    return edit(file, halved, lambda affine: affine @ np.diag([0.5, 0.5, 0.5, 1]))


def wider(file: str) -> Callable:
    return edit(file, lambda array: np.pad(array, 8))


def new_person(name: str, **changes) -> Callable:
    """Plant: a row more in the test table of IXI."""
    return table(IXI_TEST, lambda rows: [*rows, row(name, **changes)])


def available(name: str) -> Callable:
    """Plant: a line more in the list of T2 scans."""
    return content("splits/avail_t2.csv", lambda text: text + f"\n{name}".encode())


def renamed(name: str, source: str) -> Callable:
    """Plant: a scan and its mask under another name, listed for the test."""

    def copy_files(root: Path) -> None:
        for kind in ("t2", "mask"):
            target = root / f"Train/ixi/{kind}/{name}_{kind}.nii.gz"
            shutil.copy(root / f"Train/ixi/{kind}/{source}_{kind}.nii.gz", target)

    return all_of(copy_files, new_person(name), available(name))


FIRST = f"Train/ixi/t2/{HEALTHY[2]}_t2.nii.gz"
BY_TURNS = [f"Train/ixi/t2/{HEALTHY[index]}_t2.nii.gz" for index in (0, 8)]
TWIN = "IXI900-HH-1900"
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])

PLANTS: dict[str, tuple[Callable, list[tuple[str, str]]]] = {
    # kind: (how it is planted, every fault that must be reported)
    "image not there": (remove(IMAGE), [(IMAGE, "missing")]),
    "mask not there": (remove(MASK), [(MASK, "missing")]),
    "label map not there": (remove(SEG), [(SEG, "missing")]),
    "text instead of NIfTI": (content(IMAGE, lambda _: b"hello " * 100), [(IMAGE, "unreadable")]),
    "bad magic": (content(IMAGE, field(344, b"n+7\0")), [(IMAGE, "unreadable")]),
    "empty file": (content(IMAGE, lambda _: b""), [(IMAGE, "truncated")]),
    "gzip stream cut short": (content(IMAGE, lambda zipped: zipped[:-900]), [(IMAGE, "truncated")]),
    "last byte of the gzip stream missing": (
        content(MASK, lambda zipped: zipped[:-1]),
        [(MASK, "truncated")],
    ),
    "voxels missing in a whole gzip stream": (
        content(SEG, inside_gzip(lambda raw: raw[:-1])),
        [(SEG, "truncated")],
    ),
    "wrong check sum in the gzip stream": (
        content(IMAGE, lambda zipped: zipped[:-8] + bytes([zipped[-8] ^ 1]) + zipped[-7:]),
        [(IMAGE, "corrupt-gzip")],
    ),
    "byte changed in the gzip stream": (
        content(IMAGE, lambda zipped: zipped[:400] + b"\xff" * 40 + zipped[440:]),
        [(IMAGE, "corrupt-gzip")],
    ),
    "dimension 0": (content(IMAGE, field(44, b"\0\0")), [(IMAGE, "bad-header")]),
    "voxels before the header's end": (
        content(IMAGE, field(108, np.float32(8).tobytes())),
        [(IMAGE, "bad-header")],
    ),
    "dimensions of a bomb": (
        content(IMAGE, field(42, np.full(3, 32767, np.int16).tobytes())),
        [(IMAGE, "too-large")],
    ),
    "colours": (lambda root: save(root / IMAGE, np.zeros(SHAPE, RGB)), [(IMAGE, "bad-dtype")]),
    "complex numbers": (edit(IMAGE, lambda array: array.astype(np.complex64)), [(IMAGE, "bad-dtype")]),
    "one slice": (edit(IMAGE, lambda array: array[..., 0]), [(IMAGE, "bad-shape")]),
    "two channels": (edit(IMAGE, lambda array: np.stack([array, array], -1)), [(IMAGE, "channels")]),
    "label map with a channel a class": (edit(SEG, lambda a: np.stack([a, 1 - a], -1)), [(SEG, "channels")]),
    "one NaN": (edit(IMAGE, one_voxel(np.nan)), [(IMAGE, "not-finite")]),
    "nothing but NaN": (edit(IMAGE, lambda array: np.full(SHAPE, np.nan)), [(IMAGE, "not-finite")]),
    "one infinite voxel": (edit(SICK, one_voxel(-np.inf)), [(SICK, "not-finite")]),
    "NaN in a mask": (edit(MASK, one_voxel(np.nan)), [(MASK, "not-finite")]),
    "constant image": (edit(IMAGE, np.ones_like), [(IMAGE, "constant")]),
    "singular affine": (
        header(IMAGE, sform([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]])),
        [(IMAGE, "bad-affine")],
    ),
    "NaN in the affine": (header(IMAGE, sform(np.full((3, 4), np.nan))), [(IMAGE, "bad-affine")]),
    "voxels of a metre": (header(IMAGE, sform(1000 * np.eye(3, 4))), [(IMAGE, "bad-affine")]),
    "qform mirrored against the sform": (header(IMAGE, flip), [(IMAGE, "sform-qform")]),
    "qform of another space": (header(IMAGE, flip_to_scanner), [(IMAGE, "two-spaces")]),
    "empty mask": (edit(SICK_MASK, np.zeros_like), [(SICK_MASK, "empty-mask")]),
    "full mask": (edit(MASK, np.ones_like), [(MASK, "full-mask")]),
    "interpolated mask": (edit(MASK, interpolated), [(MASK, "not-labels")]),
    "interpolated labels": (edit(SEG, interpolated), [(SEG, "not-labels")]),
    "negative labels": (
        edit(SEG, lambda array: array.astype(np.int16) - 2 * (array == 0)),
        [(SEG, "not-labels")],
    ),
    "mask of another size": (edit(MASK, lambda array: array[1:]), [(MASK, "shape-mismatch")]),
    "labels of another size": (edit(SEG, lambda array: array[:, :-1]), [(SEG, "shape-mismatch")]),
    "mask in another place": (edit(MASK, lambda array: array, shifted), [(MASK, "affine-mismatch")]),
    "labels in another place": (edit(SEG, lambda array: array, shifted), [(SEG, "affine-mismatch")]),
    "image in another place than mask and labels": (
        edit(SICK, lambda array: array, shifted),
        [(SICK, "affine-mismatch")],
    ),
    "lesion outside the mask": (
        edit(SEG, lambda array: array + (np.indices(SHAPE).sum(axis=0) == 0).astype(np.uint8)),
        [(SEG, "outside-mask")],
    ),
    "label map of a patient listed as healthy": (
        table(
            BRATS_TEST, lambda rows: [r | {"label": r["label"] if i != 1 else 0} for i, r in enumerate(rows)]
        ),
        [(SEG, "healthy-lesion")],
    ),
    "label map of a patient empty": (edit(SEG, np.zeros_like), [(SEG, "no-lesion")]),
    "patient without a label map": (
        table(
            BRATS_TEST, lambda rows: [r | {"seg_path": r["seg_path"] * (i != 1)} for i, r in enumerate(rows)]
        ),
        [(SICK, "no-lesion")],
    ),
    "one scan of another orientation": (
        all_of(reoriented(IMAGE), reoriented(MASK)),
        [(IMAGE, "orientation-outlier")],
    ),
    "one scan of half the voxel size": (all_of(finer(IMAGE), finer(MASK)), [(IMAGE, "spacing-outlier")]),
    "one scan of a wider field": (all_of(wider(IMAGE), wider(MASK)), [(IMAGE, "shape-outlier")]),
    "one scan twice in the training set": (
        lambda root: save(root / IMAGE, array_of(root, FIRST).astype(np.float32), affine_of(root, IMAGE)),
        [(IMAGE, "duplicate")],
    ),
    "one scan twice in a table": (new_person(HEALTHY[11]), [(IXI_TEST, "duplicate-id")]),
    "training subject in the test table": (new_person(HEALTHY[4]), [(IXI_TEST, "leak-id")]),
    "validation subject in the training table": (
        table("splits/IXI_train_fold1.csv", lambda rows: [*rows, row(HEALTHY[1])]),
        [("splits/IXI_val_fold1.csv", "leak-id")],
    ),
    "validation patient in the test table": (
        table(BRATS_TEST, lambda rows: [*rows, row(PATIENTS[0])]),
        [(BRATS_TEST, "leak-id")],
    ),
    "renamed copy of a training scan in the test table": (
        renamed(TWIN, HEALTHY[4]),
        [(f"Train/ixi/t2/{TWIN}_t2.nii.gz", "leak-content")],
    ),
    "copies that train and validate by turns": (
        lambda root: save(root / BY_TURNS[1], array_of(root, BY_TURNS[0]), affine_of(root, BY_TURNS[1])),
        [(BY_TURNS[1], "leak-content")],
    ),
    "training scan under another id in the test table": (
        all_of(new_person(HEALTHY[4], img_name=TWIN), available(TWIN)),
        [(IMAGE, "leak-content")],
    ),
    "copy of a training scan, stored in another orientation, in the test set": (
        all_of(
            lambda root: save(root / OTHER, array_of(root, IMAGE), affine_of(root, OTHER)),
            reoriented(OTHER),
            reoriented(OTHER_MASK),
        ),
        [(OTHER, "leak-content"), (OTHER, "orientation-outlier")],
    ),
    "label that is no number": (
        table(BRATS_TEST, lambda rows: [r | {"label": "yes"} for r in rows[:1]] + rows[1:]),
        [(BRATS_TEST, "bad-table")],
    ),
    "column missing in a table": (
        content(BRATS_TEST, lambda text: text.replace(b"mask_path", b"mask")),
        [(BRATS_TEST, "bad-table")],
    ),
    "table in another encoding": (
        content(IXI_TEST, lambda text: text + "Müller".encode("latin-1")),
        [(IXI_TEST, "bad-table")],
    ),
    "label of nobody beside a folder of images": (
        lambda root: [
            save(root / name, np.zeros((4, 4, 4), np.uint8)) for name in ("images/a.nii", "labels/b.nii")
        ],
        [("labels/b.nii", "bad-name")],
    ),
    "list of T2 scans not there": (remove("splits/avail_t2.csv"), [("splits/avail_t2.csv", "bad-table")]),
}


@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_fault_is_reported_with_its_file_and_code_and_nothing_else_is(root, kind):
    plant, expected = PLANTS[kind]
    plant(root)
    assert found(root) == sorted(expected)


def test_enough_kinds_are_planted_and_every_code_has_a_meaning_and_a_way_out():
    planted = {code for _, expected in PLANTS.values() for _, code in expected}
    assert len(PLANTS) >= 25
    assert WARNINGS < planted == set(WAYS_OUT) <= set(FAULTS)


def test_ten_faults_in_one_cohort_are_all_reported(root):
    scans, masks = ([f"Train/ixi/{kind}/{name}_{kind}.nii.gz" for name in HEALTHY] for kind in ("t2", "mask"))
    ten = [
        (edit(scans[0], one_voxel(np.nan), head=flip), [(scans[0], "not-finite"), (scans[0], "sform-qform")]),
        (content(masks[0], lambda zipped: zipped[:-50]), [(masks[0], "truncated")]),  # hides no fault of its image
        (remove(scans[3]), [(scans[3], "missing")]),
        (edit(masks[5], np.zeros_like), [(masks[5], "empty-mask")]),
        (edit(scans[7], np.ones_like), [(scans[7], "constant")]),
        (renamed(TWIN, HEALTHY[4]), [(f"Train/ixi/t2/{TWIN}_t2.nii.gz", "leak-content")]),
        (new_person(HEALTHY[8]), [(IXI_TEST, "leak-id")]),
        (edit(SEG, interpolated), [(SEG, "not-labels")]),
        (table(BRATS_VAL, lambda rows: [rows[0] | {"age": "?"}]), [(BRATS_VAL, "bad-table")]),
    ]  # fmt: skip
    for plant, _ in ten:
        plant(root)
    expected = sorted(fault for _, faults in ten for fault in faults)
    assert len(expected) == 10 and found(root) == expected
    assert found(root, workers=1, modality="t2") == expected


def test_a_bad_table_hides_neither_its_other_rows_nor_the_files_that_it_lists(root):
    table(
        BRATS_TEST, lambda rows: [rows[0] | {"label": ""}, rows[1] | {"age": "old", "img_path": ""}, rows[2]]
    )(root)
    edit(SICK, one_voxel(np.nan))(root)
    faults = [fault for fault in check(root).faults if fault.code == "bad-table"]
    assert [fault.subject for fault in faults] == [PATIENTS[1], PATIENTS[2], PATIENTS[2]]
    assert set(found(root)) == {(BRATS_TEST, "bad-table"), (SICK, "not-finite")}
    table(BRATS_VAL, lambda rows: [rows[0] | {"mask_path": ""}])(root)
    edit(f"Test/Brats21/mask/{PATIENTS[0]}_mask.nii.gz", np.ones_like)(root)  # now in no table
    assert set(found(root)) == {(BRATS_TEST, "bad-table"), (SICK, "not-finite")}


# Clean cohorts

MIXED = ("RAS", "LPS", "PIR", "ASR", "LAS")
CLEAN = [
    {},
    {"spacing": (1, 1, 1), "dtype": np.uint8},
    {"spacing": (0.5, 0.5, 6), "dtype": np.float32},
    {"spacing": (2, 2, 2), "dtype": np.float64},
    {"axes": MIXED},
    {"axes": MIXED, "oblique": True},
    {"axes": ("RAS", "LPI"), "oblique": True, "growth": 3},
    {"oblique": True, "dtype": np.uint16},
    {"growth": 1},
    {"growth": 8, "dtype": np.float32},
    {"growth": 8, "axes": MIXED, "oblique": True, "spacing": (0.9, 1.1, 3)},
    {"modalities": ("t1", "t2")},
    {"modalities": ("t1", "t2", "flair"), "growth": 2},
    {"kind": nib.Nifti2Image},
    {"change": lambda header: header.set_sform(None, 0), "oblique": True},
    {"change": lambda header: header.set_qform(None, 0), "axes": MIXED},
    {"axes": ("SPL", "IAR", "RSA"), "dtype": np.int32},
    {"change": lambda header: header.set_xyzt_units("mm"), "axes": ("SAR",)},
]


@pytest.mark.parametrize("number", range(len(CLEAN)))
def test_a_clean_cohort_has_no_fault(tmp_path, number):
    write_cohort(tmp_path, seed=number, **CLEAN[number])
    assert check(tmp_path).faults == ()


def test_cohorts_of_the_phantom_have_no_fault(tiny_cohort, tmp_path):
    from cdm_jax.data.phantom import write_cohort

    counts = {"train": 2, "val": 0, "test_healthy": 0, "val_patients": 0, "test_patients": 1}
    for modality in ("t1", "flair"):
        write_cohort(tmp_path, seed=8, modality=modality, **counts)
    for root in (tiny_cohort, tmp_path):
        assert check(root).faults == ()
    assert check(tmp_path).files == 3 * 2 + 3 + 1 and check(tmp_path).subjects == 3


def test_a_plain_folder_and_a_tree_without_tables_are_checked_too(root, tmp_path):
    shutil.rmtree(root / "splits")
    edit(IMAGE, one_voxel(np.nan))(root)
    assert found(root) == [(IMAGE, "not-finite")]
    folder = tmp_path / "folder"
    for kind, name in (("images", "t2"), ("masks", "mask"), ("labels", "seg")):
        (folder / kind).mkdir(parents=True)
        for path in (root / "Test/Brats21" / name).iterdir():
            os.link(path, folder / kind / path.name.replace(f"_{name}", ""))
    assert found(folder) == []
    remove(f"labels/{PATIENTS[0]}.nii.gz")(folder)
    edit(f"masks/{PATIENTS[1]}.nii.gz", np.ones_like)(folder)
    assert found(folder) == [(f"masks/{PATIENTS[1]}.nii.gz", "full-mask")]


def test_a_link_to_nowhere_is_a_file_that_is_missing(tmp_path):
    save(tmp_path / "images/a.nii.gz", voxels(np.random.default_rng(0))["image"])
    (tmp_path / "images/b.nii.gz").symlink_to(tmp_path / "annex/b")
    assert found(tmp_path) == [("images/b.nii.gz", "missing")]
    assert [one.id for one in check(tmp_path).people["folder"]] == ["a"]


def test_a_data_set_that_cannot_be_told_apart_hides_no_fault_of_another(root, capsys):
    for name in ("sub-1_T1w", "sub-1_desc-brain_mask", "sub-1_label-brain_mask"):
        save(root / f"sub-1/anat/{name}.nii", np.zeros((4, 4, 4), np.uint8))
    edit(IMAGE, one_voxel(np.nan))(root)
    assert main(["check", str(root)]) == 3
    second = "sub-1/anat/sub-1_desc-brain_mask.nii"
    assert found(root) == [(IMAGE, "not-finite"), (second, "bad-name")]
    assert "as good as" in capsys.readouterr().out


def test_a_cohort_that_is_mixed_by_nature_or_small_has_no_outliers(tmp_path):
    write_cohort(tmp_path, axes=("RAS",) * 4 + ("LPS",))  # one in five is turned
    assert found(tmp_path) == []
    write_table(tmp_path / "splits/IXI_train_fold0.csv", [row(name) for name in HEALTHY[:5]])
    for table_name in ("IXI_train_fold1.csv", "IXI_val_fold0.csv", "IXI_val_fold1.csv", "IXI_test.csv"):
        remove(f"splits/{table_name}")(tmp_path)
    all_of(finer(IMAGE), finer(MASK))(tmp_path)
    assert found(tmp_path) == []


def test_labels_may_be_as_far_from_whole_numbers_as_scaling_puts_them(root):
    edit(MASK, lambda array: np.float32(0.9999) * array)(root)
    assert found(root) == []


# Modalities


def test_a_modality_that_few_have_is_checked_where_it_is_there(root):
    image = IMAGE.replace("t2", "flair")
    save(root / image, array_of(root, IMAGE), affine_of(root, IMAGE))
    assert found(root) == [(IMAGE, "duplicate")]  # one contrast given out as another
    edit(image, lambda array: array[::-1].copy())(root)
    assert found(root) == []
    edit(image, one_voxel(np.inf))(root)
    assert found(root) == [(image, "not-finite")] and found(root, modality="t2") == []
    missing = [fault for fault in found(root, modality="flair") if fault[1] == "missing"]
    assert len(missing) == len(HEALTHY + PATIENTS) - 1


# Leaks, and splits without


def published_like_leak(root: Path) -> None:
    """Three subjects of the training tables stand in the test table too, one under another name."""
    table(IXI_TEST, lambda rows: [*rows, row(HEALTHY[3]), row(HEALTHY[9])])(root)
    renamed(TWIN, HEALTHY[5])(root)


def test_leaks_are_found_by_id_and_by_content_and_written_splits_have_none(root, capsys):
    published_like_leak(root)
    twin = f"Train/ixi/t2/{TWIN}_t2.nii.gz"
    leaks = [(twin, "leak-content"), (IXI_TEST, "leak-id"), (IXI_TEST, "leak-id")]
    assert found(root) == leaks
    assert main(["check", str(root), "--write-splits"]) == 3
    out = capsys.readouterr().out
    assert "train (fold 0, 1)" in out and "--config.data.splits=splits_leak_free" in out
    assert found(root, splits="splits_leak_free") == [(twin, "duplicate")]
    rows = {
        (split, fold): datasets.load("ixi", root, split, "t2", fold, splits="splits_leak_free")
        for split in ("train", "val")
        for fold in range(5)
    }
    test = {s.id for s in datasets.load("ixi", root, "test_healthy", "t2", splits="splits_leak_free")}
    for fold in range(5):
        train, val = ({subject.id for subject in rows[split, fold]} for split in ("train", "val"))
        assert (
            train and val and len(train | val | test) == len(train) + len(val) + len(test) == len(HEALTHY) + 1
        )
        sides = [side for side in (train, val, test) if side & {TWIN, HEALTHY[5]}]
        assert len(sides) == 1
    remove(twin)(root)
    for path in (root / "splits_leak_free").glob("*.csv"):
        replaced_rows = [line for line in path.read_text().splitlines() if TWIN not in line]
        path.write_text("\n".join(replaced_rows))
    assert main(["check", str(root), "--splits", "splits_leak_free"]) == 0


def test_whose_scans_lie_in_two_data_sets_stays_in_the_first(root, capsys):
    (root / "images").mkdir()
    for person, name in enumerate(HEALTHY[:6]):  # each a session of somebody with another scan of their own
        os.link(
            root / f"Train/ixi/t2/{name}_t2.nii.gz", root / f"images/p{person // 2}_ses{person % 2}_t2.nii.gz"
        )
    own = [f"p{person}_ses{session}" for person in range(8) for session in (5, 6)]
    for number, name in enumerate(own):
        save(root / f"images/{name}_t2.nii.gz", voxels(np.random.default_rng(900 + number))["image"])
    main(["check", str(root), "--write-splits"])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert [line.split(",")[0] for line in told] == [f"left out of folder: p{n}" for n in range(3)]
    codes = {code for _, code in found(root, splits="splits_leak_free")}
    assert not codes & {"leak-id", "leak-content"}
    test = {one.id for one in datasets.load("ixi", root, "test_healthy", "t2", splits="splits_leak_free")}
    for pair in zip(HEALTHY[:6:2], HEALTHY[1:6:2], strict=True):  # one person, as the folder tells
        assert len(test & set(pair)) != 1
    kept = {
        one.person
        for split in ("train", "val", "test_healthy")
        for one in datasets.load("folder", root, split, "t2", splits="splits_leak_free")
    }
    assert kept == {f"p{n}" for n in range(3, 8)}


def test_two_sessions_of_a_person_belong_in_one_split(tmp_path):
    scans = [f"sub-{person:02}_ses-{session}" for person in range(4) for session in (1, 2)]
    files = {scan: f"{scan.replace('_', '/')}/anat/{scan}_T2w.nii.gz" for scan in scans}
    for number, file in enumerate(files.values()):
        save(tmp_path / file, voxels(np.random.default_rng(number))["image"].astype(np.int16))
    save(
        tmp_path / files[scans[0]].replace("T2w", "T1w"),
        np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6),
    )
    assert (
        found(tmp_path) == []
    )  # without tables everybody is divided by person; without masks grids may differ
    rows = [
        row(scan, label=0, img_path=f"/{file}", mask_path="", seg_path="") for scan, file in files.items()
    ]
    write_table(tmp_path / "splits/bids_train_fold0.csv", rows[:5])
    write_table(tmp_path / "splits/bids_test.csv", rows[5:])
    assert [fault.subject for fault in check(tmp_path).faults] == ["sub-02"]
    assert found(tmp_path) == [("splits/bids_test.csv", "leak-id")]
    first, second = (files[scan] for scan in scans[4:6])
    save(tmp_path / second, array_of(tmp_path, first))  # one scan given out as two: no second leak
    assert found(tmp_path) == [("splits/bids_test.csv", "leak-id"), (second, "duplicate")]


# The command


def test_the_command_says_everything_in_text_in_json_and_by_its_exit_code(root, tmp_path, capsys):
    out = tmp_path / "faults.json"
    assert main(["check", str(root), "--json", str(out)]) == 0
    assert json.loads(out.read_text())["faults"] == []
    assert capsys.readouterr().out == "no faults in 36 files of 16 subjects\n"
    edit(SEG, np.zeros_like)(root)
    assert main(["check", str(root)]) == 0  # a warning alone
    assert "0 errors, 1 warning in 36 files of 16 subjects" in capsys.readouterr().out
    edit(IMAGE, one_voxel(np.nan), head=flip)(root)
    assert main(["check", str(root), "--json", str(out), "--dataset", "ixi", "--modality", "t2"]) == 3
    printed, written = capsys.readouterr().out, json.loads(out.read_text())
    assert written["data"] == str(root)
    assert written["counts"] == {
        "files": 24,
        "subjects": 12,
        "errors": 2,
        "warnings": 0,
        "codes": {"not-finite": 1, "sform-qform": 1},
    }
    first = written["faults"][0]
    assert first == {
        "file": IMAGE,
        "code": "not-finite",
        "severity": "error",
        "subject": HEALTHY[4],
        "detail": "1 of 5760 voxels are NaN or infinite; replace them, e.g. by numpy.nan_to_num",
    }
    assert f"  {IMAGE}  {HEALTHY[4]}  1 of 5760 voxels are NaN or infinite\n" in printed
    assert printed.splitlines()[-1] == "2 errors, 0 warnings in 24 files of 12 subjects"


@pytest.mark.parametrize(
    "words, message",
    [
        (["{root}/nowhere"], "nowhere: no such folder"),
        (["{root}/Train"], "no data set there"),
        (["{root}", "--dataset", "wmh"], "unknown data set 'wmh': choose one of brats21, ixi"),
        (["{root}", "--modality", "pd"], "unknown modality 'pd'"),
        (["{root}", "--splits", "other"], "no folder 'other'"),
        (["{root}", "--workers", "0"], "at least one"),
        (["{root}", "--write-splits", "splits"], "splits: exists already"),
    ],
)
def test_a_bad_call_is_one_line(root, capsys, words, message):
    assert main(["check", *(word.format(root=root) for word in words)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and len(printed.err.splitlines()) == 1 and not printed.out


def planted_and_found() -> list[tuple[str, str, str]]:
    """(kind, codes that must be reported, whether they and no others were) of every kind of fault."""
    lines = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        write_cohort(Path(folder) / "clean")
        for number, (kind, (plant, expected)) in enumerate(PLANTS.items()):
            copied = Path(folder) / str(number)
            plant(shutil.copytree(Path(folder) / "clean", copied, copy_function=os.link))
            reported = "yes" if found(copied) == sorted(expected) else "no"
            lines.append((kind, ", ".join(code for _, code in expected), reported))
    return lines


if __name__ == "__main__":
    print("| planted | code | found, nothing else |\n|---|---|---|")
    for line in planted_and_found():
        print(f"| {' | '.join(line)} |")
