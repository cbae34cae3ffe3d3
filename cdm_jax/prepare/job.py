"""How does one subject get onto the disk, so that it is either done or not begun?"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from cdm_jax.data.datasets.subject import Raw
from cdm_jax.data.downloads import target
from cdm_jax.data.output import write_grid
from cdm_jax.errors import CdmError
from cdm_jax.files import write_json
from cdm_jax.prepare import manifest
from cdm_jax.prepare.claims import below, raw_files
from cdm_jax.prepare.settings import Settings
from cdm_jax.prepare.sidecar import describe, sidecar_path
from cdm_jax.prepare.space import new_header
from cdm_jax.prepare.subject import PreparedSubject, prepare
from cdm_jax.prepare.template import Template, load_template


def page_path(data: Path, settings: Settings) -> Path:
    """The quality page of everything that was prepared from one layout."""
    return data / f"quality_{settings.layout}.html"


@dataclass(frozen=True, eq=False)
class Job:
    """What is the same for every subject.

    source: the folder of raw files; data: that of prepared ones; parameters: what these depend on besides.
    """

    source: Path
    data: Path
    settings: Settings
    template: Template | None
    max_gb: float
    parameters: dict


def make_job(source: Path, data: Path, settings: Settings, max_gb: float) -> Job:
    """The job of all subjects; reads the template, where the steps need one.

    Raises:
      UsageError, VolumeError: as `load_template`.
    """
    template = load_template(settings.template, max_gb) if "register" in settings.steps else None
    hashed = {} if template is None else {"template_sha256": template.sha256()}
    return Job(source, data, settings, template, max_gb, settings.parameters() | hashed)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a subject: its manifest, or, if it failed, the reason; kept: it was done already."""

    id: str
    facts: dict | None = None
    kept: bool = False
    reason: str = ""


def work(job: Job, raw: Raw) -> Outcome:
    """Prepare a subject unless it is done; never raises for what is wrong with its files."""
    subject = job.data, job.settings.layout, raw.id
    try:
        made_from = _made_from(job, raw)
        done = manifest.read_done(*subject, made_from)
        if done is not None:
            return Outcome(raw.id, done, kept=True)
        with _one_thread():
            prepared = prepare(raw, job.settings, job.template, job.data, job.max_gb)
        _outdate_page(job)
        manifest.forget(*subject)  # only now: what fails leaves the earlier results as they were
        return Outcome(raw.id, _write(job, raw, prepared, made_from))
    except (CdmError, OSError, MemoryError, RuntimeError) as error:  # RuntimeError: what ITK raises
        return Outcome(raw.id, reason=" ".join(str(error).split()) or type(error).__name__)


def _write(job: Job, raw: Raw, prepared: PreparedSubject, made_from: dict) -> dict:
    """Images, mask, label map and sidecars; last, over all of them, the manifest."""
    made_by = {"parameters": job.parameters, "versions": manifest.versions()}
    header = new_header(prepared.space, prepared.code)
    images = {modality: target(job.settings.layout, raw.id, modality) for modality in prepared.scans}
    labels = {"mask": prepared.mask} | ({} if prepared.seg is None else {"seg": prepared.seg})
    places = {kind: target(job.settings.layout, raw.id, kind) for kind in labels}
    for modality, file in images.items():
        scan = prepared.scans[modality]
        raw_file = below(raw.images[modality], job.source)
        write_grid(job.data / file, scan.image, header)
        facts = describe(scan, prepared.space, raw_file, made_from["inputs"][raw_file], made_by)
        write_json(sidecar_path(job.data / file), facts)
    for kind, file in places.items():
        write_grid(job.data / file, labels[kind], header)
    sidecars = [sidecar_path(Path(file)).as_posix() for file in images.values()]
    facts = {
        "id": raw.id,
        "images": images,
        **places,
        "notes": prepared.notes,
        **made_by,
        **made_from,
        "raw_root": str(job.source.resolve()),
    }
    return manifest.write(
        job.data, job.settings.layout, raw.id, facts, [*images.values(), *places.values(), *sidecars]
    )


def _made_from(job: Job, raw: Raw) -> dict:
    """What decides whether a subject must be done again: options, files, and which file is which."""
    inputs = {file: manifest.file_hash(job.source / file) for file in raw_files(raw, job.source)}
    roles = raw.images | {"mask": raw.mask, "seg": raw.seg}
    return {
        "parameters": job.parameters,
        "inputs": inputs,
        "roles": {role: below(path, job.source) for role, path in roles.items() if path is not None},
        "seg_values": list(raw.seg_values),
    }


def _outdate_page(job: Job) -> None:
    """Remove the quality page before what it shows changes, so that this or the next run writes it anew."""
    page_path(job.data, job.settings).unlink(missing_ok=True)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep ITK to one thread: how it shares work among several decides the last bit of a sum."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
