"""How does a whole download get prepared, in parallel, over as many runs as it takes?"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.downloads import find, write_known
from cdm_jax.errors import UsageError
from cdm_jax.prepare.claims import check_claims, gone
from cdm_jax.prepare.folder import alone_in, check_apart, check_names, remove_leftovers
from cdm_jax.prepare.job import Job, Outcome, make_job, page_path
from cdm_jax.prepare.quality import Row, write_page
from cdm_jax.prepare.settings import Settings
from cdm_jax.prepare.workers import work_all
from cdm_jax.progress import track


@dataclass(frozen=True, eq=False)
class Report:
    """What a run came to: the outcomes by subject, the quality page; gone: prepared, but no longer in RAW."""

    outcomes: list[Outcome]
    page: Path
    gone: list[str]

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.facts is None]


def prepare_all(
    source: str | Path, data: str | Path, settings: Settings, *, workers: int = 0, max_gb: float = 2.0
) -> Report:
    """Prepare every subject under `source` that is not done yet; nothing there is changed.

    Args:
      data: folder of the results; settings: see `make_settings`; workers: processes, 0 for one a core.
      max_gb: largest volume that is read.
    Raises:
      UsageError: nothing to prepare, `data` and `source` overlap, another run is at work there, or results
        of other raw files would be overwritten.
      VolumeError: the template cannot be used.
    """
    source, data = Path(source), Path(data)
    if not source.is_dir():
        raise UsageError(f"{source}: no such folder")
    check_apart(source, data)
    raws = find(settings.layout, source)
    check_names(raws)
    job = make_job(source, data, settings, max_gb)
    with alone_in(data):
        check_claims(source, data, settings.layout, raws)
        remove_leftovers(data, settings.layout, raws)
        came = work_all(job, raws, workers or os.cpu_count() or 1)
        outcomes = sorted(track(came, len(raws), "prepare", "subject"), key=lambda outcome: outcome.id)
        return _finish(job, raws, outcomes)


def guess_layout(root: str | Path) -> str:
    """The layout of a folder that looks like BIDS, "bids", or that of any other, "folder"."""
    root = Path(root)
    bids = (root / "dataset_description.json").is_file() or any(p.is_dir() for p in root.glob("sub-*"))
    return "bids" if bids else "folder"


def _finish(job: Job, raws: list[Raw], outcomes: list[Outcome]) -> Report:
    """Ages and labels, and the quality page where something changed."""
    facts = {outcome.id: outcome.facts for outcome in outcomes if outcome.facts is not None}
    done = [raw for raw in raws if raw.id in facts]
    if done:
        write_known(job.settings.layout, job.data, done)
    page = page_path(job.data, job.settings)
    if not page.exists():
        rows = [row for raw in done for row in _rows(job.data, facts[raw.id])]
        write_page(page, rows, partial(track, total=len(rows), what="quality page", unit="row"))
    return Report(outcomes, page, gone(job.source, job.data, job.settings.layout, raws))


def _rows(data: Path, facts: dict) -> Iterator[Row]:
    for modality, file in facts["images"].items():
        yield Row(facts["id"], modality, data / file, data / facts["mask"], facts["notes"])
