"""How does a cohort get onto the disk?"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nibabel as nib
import numpy as np

from cdm_jax.data.datasets.phantom import PHANTOM
from cdm_jax.data.datasets.table import COLUMNS, to_csv
from cdm_jax.data.phantom.anatomy import Anatomy, load_anatomy
from cdm_jax.data.phantom.subject import make_subject, subject_age
from cdm_jax.data.phantom.tissue import MODALITIES
from cdm_jax.errors import UsageError, choose
from cdm_jax.files import atomic_path, write_text

PATIENT_SPLITS = ("val_patients", "test_patients")
FOLDS = 5


def write_cohort(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    test_healthy: int,
    val_patients: int,
    test_patients: int,
    modality: str = "t2",
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> None:
    """Write scans, masks, segmentations (int16 and uint8 NIfTI) and, last, the split tables.

    Every file is atomic. A second call with another modality adds the same people's other scans.

    Args:
      train, val, test_healthy, val_patients, test_patients: subjects in each split, none in two.
      progress: called with (subjects done, subjects in all).
    Raises:
      UsageError: unknown modality, negative count, or a folder that cannot be written.
    """
    choose(MODALITIES, modality, "modality")
    counts = {
        "train": train,
        "val": val,
        "test_healthy": test_healthy,
        "val_patients": val_patients,
        "test_patients": test_patients,
    }
    splits = _assign(counts)
    anatomy, total, done = load_anatomy(), sum(counts.values()), 0
    with ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(_write_subject, Path(folder), anatomy, seed, index, modality, split in PATIENT_SPLITS)
            for split, indices in splits.items()
            for index in indices
        ]
        try:
            for done, job in enumerate(as_completed(jobs), start=1):
                job.result()
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for name, indices in _tables(splits).items():
        rows = [
            _row(seed, index, any(index in splits[split] for split in PATIENT_SPLITS)) for index in indices
        ]
        write_text(Path(folder) / "splits" / name, to_csv(COLUMNS, rows))


def _tables(splits: dict[str, range]) -> dict[str, Sequence[int]]:
    """{table: subjects}. Each further fold validates on others, as many as the first, and trains on the rest."""
    tables: dict[str, Sequence[int]] = {
        PHANTOM.splits[split]: indices for split, indices in splits.items() if split not in ("train", "val")
    }
    healthy, size = [*splits["val"], *splits["train"]], len(splits["val"])
    for fold in range(FOLDS):
        held = healthy[fold * size : (fold + 1) * size]
        if held or fold == 0:
            rest = sorted(set(healthy) - set(held))
            tables |= {
                PHANTOM.splits["train"].format(fold=fold): rest,
                PHANTOM.splits["val"].format(fold=fold): held,
            }
    return tables


def _assign(counts: dict[str, int]) -> dict[str, range]:
    """Consecutive subject indices for each split."""
    start, splits = 0, {}
    for split, count in counts.items():
        if count < 0:
            raise UsageError(f"{split}={count}: a cohort cannot have a negative number of subjects")
        splits[split] = range(start, start + count)
        start += count
    return splits


def _write_subject(
    folder: Path, anatomy: Anatomy, seed: int, index: int, modality: str, patient: bool
) -> None:
    image, mask, seg, affine = make_subject(anatomy, seed, index, modality=modality, lesions=patient)
    paths = _paths(index, modality, patient)
    _write_nifti(folder / paths["img_path"], np.rint(image).astype(np.int16), affine)
    _write_nifti(folder / paths["mask_path"], mask, affine)
    if patient:
        _write_nifti(folder / paths["seg_path"], seg, affine)


def _paths(index: int, modality: str, patient: bool) -> dict[str, str]:
    """A subject's files below the cohort's folder, in the published tree."""
    base = "Test/phantom" if patient else "Train/phantom"
    name = f"PH{index:04d}"
    return {
        "img_path": f"{base}/{modality}/{name}_{modality}.nii.gz",
        "mask_path": f"{base}/mask/{name}_mask.nii.gz",
        "seg_path": f"{base}/seg/{name}_seg.nii.gz" if patient else "",
    }


def _write_nifti(path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, code=1)  # 1: scanner coordinates
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _row(seed: int, index: int, patient: bool) -> dict[str, object]:
    """Paths begin with a slash and name the T1 scan, as in the published tables, whatever the modality."""
    paths = {column: f"/{path}" if path else "" for column, path in _paths(index, "t1", patient).items()}
    name = Path(paths["img_path"]).name
    return {"img_name": name, "age": subject_age(seed, index), "label": int(patient), **paths}
