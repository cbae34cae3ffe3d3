"""Which files of a BIDS dataset are one scan, its brain mask or its lesion mask?"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.data.datasets.volumes import list_volumes
from cdm_jax.data.names import stem
from cdm_jax.errors import UsageError

SUFFIXES = {"T1w": "t1", "T2w": "t2", "FLAIR": "flair"}


@dataclass(frozen=True)
class File:
    """One NIfTI file, {"sub": "01", ...} and the last part of its name; `base` is the dataset that holds it."""

    path: Path
    base: Path
    entities: dict[str, str]
    suffix: str

    @property
    def session(self) -> str:
        return "_".join(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities)


def list_files(root: Path) -> list[File]:
    """The anatomical files of the dataset, then those of the derivatives inside it."""
    bases = [root, *sorted(root.glob("derivatives/[!.]*"))]
    paths = [(path, base) for base in bases for place in ("sub-*/anat", "sub-*/ses-*/anat")
             for folder in sorted(base.glob(place)) for path in list_volumes(folder)]  # fmt: skip
    return [_file(path, base) for path, base in paths if path.name.startswith("sub-")]


def _file(path: Path, base: Path) -> File:
    parts = stem(path).split("_")
    return File(path, base, dict(part.split("-", 1) for part in parts if "-" in part), parts[-1])


def choose_images(files: Iterable[File]) -> dict[str, dict[str, File]]:
    """{id: {modality: file}}, of several those in the space of a lesion mask, preprocessed, in their own space."""
    files = list(files)
    lesions = by_person(filter(is_lesion_mask, files))
    scans: dict[tuple[str, str], list[File]] = {}
    for file in files:
        if file.suffix in SUFFIXES:
            scans.setdefault((file.session, SUFFIXES[file.suffix]), []).append(file)
    images: dict[str, dict[str, File]] = {}
    for (session, modality), several in scans.items():
        spaces = {mask.entities.get("space") for mask in lesions.get(several[0].entities["sub"], [])
                  if mask.entities.get("ses") in (None, several[0].entities.get("ses"))}  # fmt: skip
        ranks = [(file.entities.get("space") not in spaces, *_rank(file)) for file in several]
        best = [file for file, rank in zip(several, ranks, strict=True) if rank == min(ranks)]
        for file in best:
            id = session if len(best) == 1 else "_".join([session, *_distinction(file)])
            if modality in images.setdefault(id, {}):
                raise _ambiguous(file, images[id][modality])
            images[id][modality] = file
    return images


def _rank(file: File) -> tuple[int, bool]:
    return {"preproc": 0, None: 1}.get(file.entities.get("desc"), 2), "space" in file.entities


def _distinction(file: File) -> list[str]:
    return [f"{key}-{value}" for key, value in file.entities.items() if key in ("acq", "rec", "run", "ce")]


def is_brain_mask(file: File) -> bool:
    return file.suffix == "mask" and "brain" in (file.entities.get("desc"), file.entities.get("label"))


def is_lesion_mask(file: File) -> bool:
    label, desc = (file.entities.get(key, "").lower() for key in ("label", "desc"))
    lesion = label in ("l", "r", "wmh") or "lesion" in label + desc
    return lesion and file.suffix in ("mask", "roi", "dseg")


def by_person(files: Iterable[File]) -> dict[str, list[File]]:
    """{"01": files} of each `sub`."""
    people: dict[str, list[File]] = {}
    for file in files:
        people.setdefault(file.entities["sub"], []).append(file)
    return people


def choose_mask(candidates: list[File], images: dict[str, File]) -> Path | None:
    """The mask of a session: of those that fit an image, from the image's own dataset before any other."""
    for image in images.values():
        fitting = [mask for mask in candidates if _fits(mask, image)]
        fitting = [mask for mask in fitting if mask.base == image.base] or fitting
        fitting = [mask for mask in fitting if mask.suffix == "mask"] or fitting
        if len(fitting) > 1:
            raise _ambiguous(*fitting[:2])
        if fitting:
            return fitting[0].path
    return None


def _fits(mask: File, image: File) -> bool:
    """Whether the mask lies in the image's space, and says of itself nothing that is not true of the image."""
    aside = ("desc", "label", "space", "res")
    said = {key: value for key, value in mask.entities.items() if key not in aside}
    same_space = mask.entities.get("space") == image.entities.get("space")
    return same_space and said.items() <= image.entities.items()


def _ambiguous(file: File, other: File) -> UsageError:
    return UsageError(f"{file.path}: as good as {other.path} for the same scan; keep one of them")
