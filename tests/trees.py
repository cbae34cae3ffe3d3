"""Small data sets of real NIfTI files in each of the trees that are read, one function for all."""

import functools
from pathlib import Path

import nibabel as nib
import numpy as np

PLACES = {
    "ixi": ("Train/ixi", ("t1", "t2")),
    "brats21": ("Test/Brats21", ("t1", "t2", "flair")),
    "mslub": ("Test/MSLUB", ("t1", "t2", "flair")),
    "atlas": ("Test/ATLAS_v2", ("t1",)),
    "wmh": ("Test/WMH", ("t1", "flair")),
}
BIDS_NAMES = {"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}
SPLITS = ("train", "val", "test_healthy", "val_patients", "test_patients")


def ids(name: str, count: int) -> list[str]:
    """Names as the data set has them."""
    form = {
        "ixi": lambda n: f"IXI{n:03}-{('Guys', 'HH', 'IOP')[n % 3]}-{n:04}",
        "brats21": lambda n: f"BraTS2021_{n:05}",
        "mslub": lambda n: f"patient{n:02}",
        "atlas": lambda n: f"sub-r001s{n:03}_ses-1",
        "wmh": lambda n: f"{('Utrecht', 'Singapore', 'Amsterdam_GE3T')[n % 3]}_{n}",
        "bids": lambda n: f"sub-{n:02}",
        "folder": lambda n: f"case{n:02}",
    }[name]
    return [form(n) for n in range(count)]


def save(path: Path, content: bytes | None = None) -> Path:
    """A volume of 4 x 4 x 4 voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or _volume())
    return path


@functools.cache
def _volume() -> bytes:
    import gzip

    return gzip.compress(
        nib.Nifti1Image(np.arange(64, dtype=np.uint8).reshape(4, 4, 4), np.eye(4)).to_bytes()
    )


def write(root: Path, name: str, count: int = 12) -> tuple[str, ...]:
    """The tree of data set `name` under `root`; bids and folder: every second subject a patient.

    Returns: the modalities that exist; IXI's last subject has no T2.
    """
    if name in PLACES:
        place, modalities = PLACES[name]
        for id in ids(name, count):
            for kind in (*modalities, "mask", *(() if name == "ixi" else ("seg",))):
                save(root / f"{place}/{kind}/{id}_{kind}.nii.gz")
        if name == "ixi":
            (root / f"{place}/t2/{id}_t2.nii.gz").unlink()
        return modalities
    for n, id in enumerate(ids(name, count)):
        for modality in ("t1", "t2", "flair"):
            if name == "bids":
                save(root / f"{id}/anat/{id}_{BIDS_NAMES[modality]}.nii.gz")
            else:
                save(root / f"images/{modality}/{id}_{modality}.nii.gz")
        masks = root / f"derivatives/strip/{id}/anat/{id}_desc-brain_mask.nii.gz"
        save(masks if name == "bids" else root / f"masks/{id}.nii.gz")
        lesion = root / f"derivatives/lesions/{id}/anat/{id}_label-lesion_mask.nii.gz"
        if n % 2:
            save(lesion if name == "bids" else root / f"labels/{id}.nii.gz")
    return ("t1", "t2", "flair")
