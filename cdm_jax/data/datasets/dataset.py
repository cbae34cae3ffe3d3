"""Where does a data set in the published tree keep its tables, where its scans?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cdm_jax.data.datasets.subject import MODALITIES, Raw, Subject, subject_id
from cdm_jax.data.datasets.table import Person, read_people
from cdm_jax.data.datasets.tree import in_modality, locate, read_split
from cdm_jax.data.datasets.volumes import list_volumes
from cdm_jax.data.names import stem
from cdm_jax.errors import choose

PEOPLE = "subjects.csv"
"""What is known of the subjects of one folder of the tree; see `read_people`."""


@dataclass(frozen=True)
class Dataset:
    """Where a data set lies.

    Args:
      splits: {split: name of its table}; `{fold}` is filled in.
      available: {modality: table of the scans that exist in it}, where not all were scanned.
      places: folders of the tree, those of patients under Test/.
    """

    splits: dict[str, str]
    available: dict[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    def load(
        self,
        root: Path,
        split: str,
        modality: str,
        fold: int = 0,
        splits: str = "splits",
        require: bool = True,
    ) -> list[Subject]:
        """The subjects of one split; see `read_split`."""
        name = choose(self.splits, split, "split").format(fold=fold)
        available = self.available_table(modality)
        needed = modality in self.available or Path(root, splits, available).is_file()
        return read_split(root, name, modality, available if needed else None, splits, require)

    def available_table(self, modality: str) -> str:
        """The table of the scans that exist in `modality`; optional where `available` does not name it."""
        own = f"{next(iter(self.splits.values())).partition('_')[0]}_avail_{modality}.csv"
        return self.available.get(modality, own)

    def listed(self, path: str) -> str:
        """How a table names the image at `path`: as the T1 scan, whatever the modality."""
        return in_modality(path, "t1")

    def find(self, root: Path) -> list[Raw]:
        """Every subject whose scans lie in the tree, in a table or not."""
        return [raw for place in self.places for raw in find_place(Path(root), place)]

    def offered(self, root: Path, splits: str = "splits") -> list[tuple[str, int]]:
        """(split, fold) of each table that is there; the fold is 0 where there is but one."""
        return [
            (split, int((re.findall(r"fold(\d+)", path.name) or ["0"])[0]))
            for split, name in self.splits.items()
            for path in sorted((Path(root) / splits).glob(name.format(fold="[0-9]*")))
        ]

    def present(self, root: Path, splits: str = "splits") -> bool:
        """Whether `root` holds a table of this data set, or scans of it."""
        return bool(self.offered(root, splits)) or any(
            locate(Path(root), place).is_dir() for place in self.places
        )


def find_place(root: Path, place: str) -> Iterator[Raw]:
    """Every subject in one folder of the tree: PLACE/MODALITY/ID_MODALITY.nii.gz, PLACE/{mask,seg}/ID_*.nii.gz."""
    images: dict[str, dict[str, Path]] = {}
    folder = locate(root, place)
    for modality in MODALITIES:
        for path in list_volumes(folder / modality):
            if stem(path).lower().endswith(f"_{modality}"):
                images.setdefault(subject_id(path.name), {})[modality] = path
    people = read_people(folder / PEOPLE)
    masks, segs = ({stem(path): path for path in list_volumes(folder / kind)} for kind in ("mask", "seg"))
    for id, scans in sorted(images.items()):
        mask, seg = masks.get(f"{id}_mask"), segs.get(f"{id}_seg")
        age = people.get(id, Person()).age
        yield Raw(id, scans, mask, seg, label=int(place.startswith("Test/")), age=age)
