"""How does a folder without split tables become a data set?"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from cdm_jax.data.datasets.dataset import Dataset
from cdm_jax.data.datasets.leak_free import key, make_splits, split_and_fold
from cdm_jax.data.datasets.subject import ANY, MODALITIES, Raw, Subject
from cdm_jax.data.datasets.tree import read_split
from cdm_jax.errors import UsageError, choose


def _nobody(root: Path) -> list[Raw]:
    return []


@dataclass(frozen=True)
class Scanned(Dataset):
    """A data set whose files say who is there; tables, where there are any, say who is in which split.

    Without tables the splits are those of `make_splits` over everybody, so they are the same in every modality.

    Args:
      scan: scan(root) -> every subject there.
      holds: holds(root) -> whether there is anything to scan.
    """

    scan: Callable[[Path], list[Raw]] = _nobody
    holds: Callable[[Path], bool] = Path.is_dir

    def load(
        self,
        root: Path,
        split: str,
        modality: str,
        fold: int = 0,
        splits: str = "splits",
        require: bool = True,
    ) -> list[Subject]:
        """The subjects of one split that were scanned in `modality`.

        Raises:
          UsageError: as `read_split`; two files for one image.
        """
        table = choose(self.splits, split, "split").format(fold=fold)
        choose(dict.fromkeys(MODALITIES), modality, "modality")
        raws = {raw.id: raw for raw in self.scan(Path(root))}
        if super().offered(root, splits):
            rows = read_split(root, table, None, splits=splits, require=require)
        else:
            rows = choose(_divide(raws.values()), key(split, fold), "split")
        images = {row.id: _image(raws.get(row.id), row, modality) for row in rows}
        found = [replace(row, image=image) for row in rows if (image := images[row.id])]
        if not found and require:
            raise UsageError(f"{root}: nobody with a {modality} scan in the split '{key(split, fold)}'")
        return found

    def listed(self, path: str) -> str:
        """How a table names the image at `path`: as it is, since other modalities may be named otherwise."""
        return path

    def find(self, root: Path) -> list[Raw]:
        """Every subject under `root`, in a table or not."""
        return self.scan(Path(root))

    def offered(self, root: Path, splits: str = "splits") -> list[tuple[str, int]]:
        """(split, fold) of each table that is there, or, without tables, of each split that is not empty."""
        tables = super().offered(root, splits)
        if tables or not self.holds(Path(root)):
            return tables
        return [split_and_fold(name) for name, members in _divide(self.find(root)).items() if members]

    def present(self, root: Path, splits: str = "splits") -> bool:
        """Whether `root` holds a table of this data set, or something to scan."""
        return bool(super().offered(root, splits)) or self.holds(Path(root))


def _divide(raws: Iterable[Raw]) -> dict[str, list[Subject]]:
    """Everybody, each with one image of whatever modality."""
    return make_splits([subject for raw in raws if (subject := raw.subject(next(iter(raw.images))))])


def _image(raw: Raw | None, row: Subject, modality: str) -> Path | None:
    """The scan in `modality`, None where there is none; the listed one of who is in a table alone, or lost it."""
    if raw is None or not row.image.is_file():
        return row.image
    return raw.images.get(modality, raw.images.get(ANY))
