"""How do scans come into the store, each once?"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from cdm_jax.data.datasets.tree import Subject
from cdm_jax.data.entry import Entry, open_entry, write_entry
from cdm_jax.data.hashes import Known, content_hash, read_known, write_known
from cdm_jax.data.preprocess import Prepared, preprocess, to_model_fraction, to_model_grid
from cdm_jax.data.store import Store, allow_open_files
from cdm_jax.data.volume import Volume, read, read_mask, read_seg
from cdm_jax.errors import UsageError, VolumeError, choose
from cdm_jax.files import atomic_path

VERSION = 1  # of what this code makes of the same scan and settings: raise it, and all is prepared anew
LABELS = {
    "majority": lambda seg, prepared: to_model_fraction(seg, prepared) >= 0.5,
    "nearest": to_model_grid,  # as published: labels shift by half a voxel where the grid coarsens by two
}
"""How lesion labels come to the model grid."""
HASHES = "hashes.json"
ABANDONED = 24 * 3600  # seconds after which nobody is still writing a temporary file


def untold(items: Iterable, total: int) -> Iterable:
    """The progress that says nothing."""
    return items


def build(
    root: str | Path,
    subjects: Sequence[Subject],
    *,
    workers: int = 2,
    progress: Callable[[Iterable, int], Iterable] = untold,
    verify: bool = True,
    max_gb: float = 2.0,
    **settings,
) -> Store:
    """Open the prepared volumes of `subjects` under `root`; what is not there yet, or damaged, is prepared first.

    A volume's file is named by its scan's contents and the settings: splits share it, a build that was killed goes
    on where it stopped, and several processes may build at once.

    Args:
      workers: threads that prepare.
      progress: progress(iterable, total) tells how far the preparing is; it is called if there is any.
      verify: compare checksums of what is there already.
      max_gb: of the voxels of a scan, as for `read`.
      settings: `labels` (a key of `LABELS`) and keyword arguments of `preprocess`.
    Raises:
      UsageError: a file is missing, or `root` cannot be written.
      VolumeError: a file cannot be used; those prepared before it stay.
    """
    root = Path(root)
    if workers < 1:
        raise UsageError(f"data.workers={workers}: at least one thread has to prepare the volumes")
    remove_abandoned(root)
    allow_open_files(len(subjects))
    with ThreadPoolExecutor(workers) as pool:
        paths = name_entries(root, subjects, settings, pool.map)
        wanted = dict(zip(paths, subjects, strict=True))  # two names of one scan share its entry
        found = dict(zip(wanted, pool.map(partial(whole_entry, verify=verify), wanted), strict=True))
        entries = {path: entry for path, entry in found.items() if entry is not None}
        missing = [path for path in wanted if path not in entries]
        if missing:
            require_writable(root)
            scans = [wanted[path] for path in missing]
            made = pool.map(partial(make_entry, max_gb=max_gb, **settings), missing, scans)
            entries |= zip(missing, progress(made, len(missing)), strict=True)
    return Store([subject.id for subject in subjects], [entries[path] for path in paths])


def name_entries(root: Path, subjects: Sequence[Subject], settings: dict, each: Callable) -> list[Path]:
    """Where each subject's entry stands or will: under a hash of its files' contents and of `settings`."""
    known = read_known(root / HASHES)
    before = dict(known)
    paths = list(each(lambda subject: entry_path(root, subject, settings, known), subjects))
    if known != before:
        write_known(root / HASHES, known)
    return paths


def entry_path(root: Path, subject: Subject, settings: dict, known: Known) -> Path:
    """As `name_entries` for one subject; what is computed is added to `known`."""
    files = (subject.image, subject.mask, subject.seg)
    content = [VERSION, settings, *(path and content_hash(path, known) for path in files)]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    return root / f"{key.hexdigest()[:32]}.npy"


def whole_entry(path: Path, verify: bool) -> Entry | None:
    """The entry in `path`, None where there is none or a damaged one."""
    try:
        return open_entry(path, verify) if path.is_file() else None
    except (VolumeError, OSError):
        return None


def make_entry(path: Path, subject: Subject, max_gb: float, **settings) -> Entry:
    """Prepare the subject and write it to `path`, unless another process has done so meanwhile."""
    if (there := whole_entry(path, verify=True)) is not None:
        return there
    _, prepared, seg = prepare_subject(subject, max_gb=max_gb, **settings)
    if entry_path(path.parent, subject, settings, {}) != path:
        raise VolumeError(subject.image, "unreadable", "it changed while it was prepared; start again")
    image, mask, seg = (np.moveaxis(array, 2, 0) for array in (prepared.image, prepared.mask, seg))
    write_entry(path, image, mask, seg, prepared.spacing)
    return open_entry(path, verify=False)


def prepare_subject(
    subject: Subject, labels: str, max_gb: float = 2.0, **settings
) -> tuple[Volume, Prepared, np.ndarray]:
    """(volume as read, prepared volume, seg bool on the model grid) of one subject; no seg is all False."""
    volume = read(subject.image, max_gb)
    mask = read_mask(subject.mask, volume, max_gb) if subject.mask else None
    prepared = preprocess(volume, mask, max_gb=max_gb, **settings)
    if subject.seg is None:
        return volume, prepared, np.zeros(prepared.mask.shape, bool)
    seg = read_seg(subject.seg, volume, max_gb)
    return volume, prepared, choose(LABELS, labels, "labels")(seg, prepared)


def require_writable(root: Path) -> None:
    """Raises: UsageError: nothing can be written to `root`."""
    try:
        with atomic_path(root / ".cdm-writable") as temporary:
            temporary.touch()
        (root / ".cdm-writable").unlink(missing_ok=True)
    except UsageError as error:
        raise UsageError(
            f"{root}: cannot be written; choose another by --config.data.store=FOLDER"
        ) from error


def remove_abandoned(root: Path) -> None:
    """Remove what killed builds left half-written, once nobody can be writing it any more."""
    for path in root.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
