"""How is a data folder checked from one end to the other?"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cdm_jax.data.check.cases import Case, gather, people
from cdm_jax.data.check.copies import keep_one, twins_in
from cdm_jax.data.check.fault import Fault
from cdm_jax.data.check.leaks import copies, leaks_by_content, leaks_by_id
from cdm_jax.data.check.outliers import outliers
from cdm_jax.data.check.subject import Facts, check_case
from cdm_jax.data.check.tables import Row, read_rows, repeated_ids
from cdm_jax.data.datasets import Dataset, present
from cdm_jax.data.datasets.subject import ANY, MODALITIES, Subject
from cdm_jax.data.splits import make_splits, write_splits
from cdm_jax.errors import UsageError, choose
from cdm_jax.progress import track


@dataclass(frozen=True)
class Report:
    """What a check found, and who is there.

    Args:
      faults: in order of file and code.
      files, subjects: how many were looked at.
      people: {data set: everybody once}.
      copies: groups of (data set, id) whose images have the same voxels.
    """

    root: Path
    faults: tuple[Fault, ...]
    files: int
    subjects: int
    people: dict[str, list[Subject]]
    copies: list[list[tuple[str, str]]]

    @property
    def errors(self) -> int:
        """How many of the faults are errors."""
        return sum(fault.severity == "error" for fault in self.faults)


@dataclass(frozen=True)
class Contents:
    """What a data set holds by its tables and folders."""

    rows: list[Row]
    cases: list[Case]
    people: list[Subject]
    faults: list[Fault]


def check(
    root: str | Path,
    *,
    dataset: str | None = None,
    modality: str | None = None,
    splits: str = "splits",
    workers: int = 2,
    max_gb: float = 2.0,
) -> Report:
    """Read every file of a data folder to its end and list every fault.

    Args:
      dataset, modality: check these alone; by default all that are there.
      splits: folder of the split tables; where there are none, the scans that lie in the tree are checked.
      workers: threads that read; memory is that of as many subjects.
      max_gb: largest size of a volume.
    Raises:
      UsageError: no such folder, or no data set in it.
    """
    root = Path(root)
    if workers < 1:
        raise UsageError(f"--workers={workers}: at least one is needed")
    found = {
        name: _contents(root, name, data, modality, splits)
        for name, data in _choose(root, dataset, splits).items()
    }
    cases = [case for contents in found.values() for case in contents.cases]
    rows = [row for contents in found.values() for row in contents.rows]
    faults, facts = _check_cases(cases, workers, max_gb)
    groups = copies(facts)
    faults |= {fault for contents in found.values() for fault in contents.faults}
    faults |= {*repeated_ids(rows), *leaks_by_id(rows), *leaks_by_content(groups, rows), *outliers(facts)}
    return Report(
        root=root,
        faults=tuple(sorted(faults)),
        files=len({file for case in cases for file in case.files}),
        subjects=len({(case.dataset, case.person) for case in cases}),
        people={name: contents.people for name, contents in found.items()},
        copies=[[(fact.dataset, fact.id) for fact in group] for group in groups],
    )


def write_leak_free(report: Report, folder: str) -> list[Path]:
    """Write stratified folds of everybody in which no person and no image stands on two sides; their tables.

    Whose scans lie in two data sets stays in the first of them alone; stderr says who.

    Raises:
      UsageError: nobody has a scan; as `write_splits`.
    """
    if not any(report.people.values()):
        raise UsageError(f"{report.root}: nobody there has a scan, so there is nobody to divide")
    kept = keep_one(report.people, report.copies)
    twins = {name: twins_in(name, report.people, report.copies) for name in kept}
    splits = {name: make_splits(people, twins=twins[name]) for name, people in kept.items()}
    return write_splits(report.root, splits, folder)


def _choose(root: Path, dataset: str | None, splits: str) -> dict[str, Dataset]:
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    if splits != "splits" and not (root / splits).is_dir():
        raise UsageError(f"{root}: no folder '{splits}' there")
    there = present(root, splits)
    if not there:
        raise UsageError(f"{root}: no data set there; give the folder that holds Train, Test and splits")
    return there if dataset is None else {dataset: choose(there, dataset, "data set")}


def _contents(root: Path, name: str, dataset: Dataset, modality: str | None, splits: str) -> Contents:
    try:
        raws = dataset.find(root)
    except UsageError as error:
        return Contents([], [], [], [_scan_fault(error)])
    seen = {there for raw in raws for there in raw.images}
    modalities = [m for m in MODALITIES if m in seen] if seen and ANY not in seen else MODALITIES
    if modality is not None:
        modalities = [choose({m: m for m in MODALITIES}, modality, "modality")]
    rows, faults = read_rows(root, name, dataset, modalities, splits)
    if rows and not faults:
        raws = []  # the tables say which scans there are
    return Contents(rows, gather(name, rows, raws, modality), people(rows, raws), faults)


def _scan_fault(error: UsageError) -> Fault:
    """What keeps a data set's files from being told apart: a file's name, or a table beside them."""
    file, _, what = str(error).partition(": ")
    table = Path(file).suffix in (".csv", ".tsv", ".json")
    return Fault(Path(file), "bad-table" if table else "bad-name", "", what.partition(";")[0])


def _check_cases(cases: Iterable[Case], workers: int, max_gb: float) -> tuple[set[Fault], list[Facts]]:
    cases = list(cases)
    faults: set[Fault] = set()
    facts: list[Facts] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            results = pool.map(partial(check_case, max_gb=max_gb), cases)
            for found, kept in track(results, len(cases), "check", "subject"):
                faults.update(found)
                facts += kept
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return faults, facts
