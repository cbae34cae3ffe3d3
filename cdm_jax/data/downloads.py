"""How does a data set as downloaded come to its place in the tree?"""

from collections.abc import Iterable
from pathlib import Path

from cdm_jax.data.datasets import DATASETS, atlas, bids, brats21, folder, ixi, mslub, wmh
from cdm_jax.data.datasets.dataset import PEOPLE
from cdm_jax.data.datasets.download import Download
from cdm_jax.data.datasets.subject import ANY, MODALITIES, Raw
from cdm_jax.data.datasets.table import Person, write_people
from cdm_jax.errors import UsageError, choose

__all__ = ["LAYOUTS", "Raw", "find", "target", "write_known"]

LAYOUTS: dict[str, Download] = {
    "ixi": ixi.DOWNLOAD,
    "brats21": brats21.DOWNLOAD,
    "mslub": mslub.DOWNLOAD,
    "atlas": atlas.DOWNLOAD,
    "wmh": wmh.DOWNLOAD,
    "bids": bids.DOWNLOAD,
    "folder": folder.DOWNLOAD,
}


def find(layout: str, root: Path) -> list[Raw]:
    """Every subject of the download under `root`, in any depth, as archives unpack differently.

    Patients whose lesion map a challenge holds back are left out.

    Raises:
      UsageError: unknown layout, nothing of it under `root`, two files for one scan.
    """
    download = choose(LAYOUTS, layout, "layout")
    raws = download.scan(Path(root)) if Path(root).is_dir() else []
    if not raws:
        raise UsageError(f"{root}: holds nothing of the layout '{layout}'; looked for {download.form}")
    return raws


def target(layout: str, id: str, kind: str) -> str:
    """Where a prepared file goes below the data's folder; `kind`: a key of `Raw.images`, "mask" or "seg".

    What is published in a tree goes there. What is not becomes a folder that `datasets.folder` reads.

    Raises:
      UsageError: unknown layout or kind.
    """
    choose(LAYOUTS, layout, "layout")
    places = DATASETS[layout].places
    choose(
        dict.fromkeys((*MODALITIES, "mask", "seg") if places else (*MODALITIES, ANY, "mask", "seg")),
        kind,
        "kind",
    )
    if places:
        return f"{places[0]}/{kind}/{id}_{kind}.nii.gz"
    own = {"mask": f"masks/{id}", "seg": f"labels/{id}", ANY: f"images/{id}"}
    return own.get(kind, f"images/{kind}/{id}_{kind}") + ".nii.gz"


def write_known(layout: str, data: Path, raws: Iterable[Raw]) -> Path:
    """Write the subjects' ages and labels to where the data sets look for them; return the table's path."""
    choose(LAYOUTS, layout, "layout")
    path = Path(data, *DATASETS[layout].places[:1], PEOPLE)
    write_people(path, {raw.id: Person(raw.age, raw.label) for raw in raws})
    return path
