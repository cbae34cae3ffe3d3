"""Detection over files: scans in, five files a scan out."""

from collections.abc import Sequence
from pathlib import Path

from cdm_jax import provenance
from cdm_jax.data import volume as volumes
from cdm_jax.data.datasets.subject import subject_id
from cdm_jax.detection import Detection
from cdm_jax.detector import Detector
from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.files import write_json
from cdm_jax.prepare.native import Native, read_native, to_native
from cdm_jax.progress import Progress
from cdm_jax.report.slices import draw_slices


def detect_all(
    source: str | Path,
    output: str | Path,
    *,
    workdir: str | Path,
    mask: str | Path | None = None,
    threshold: float | None = None,
    overrides: Sequence[str] = (),
    pictures: bool = True,
    native: bool = False,
    **spread,
) -> tuple[int, dict[Path, str]]:
    """Run `Detector.detect_many` on a file or a folder of files and write the results to `output`.

    A volume that cannot be used does not stop the others.
    Args:
      overrides, spread: as for `Detector.load`; pictures: draw them, half a second each; native: write the maps of
        scans that `cdm prepare` made on the grids of the raw scans.
    Returns: how many there were, and those that failed with the reason. Raises: as `Detector.load`, and UsageError for
      paths that are not there and an output folder that cannot be written.
    """
    scans = volumes.list_volumes(source)
    masks = [find_mask(mask, scan) for scan in scans]
    check_names(scans)
    raw = {scan: read_native(scan) for scan in scans} if native else {}
    check_writable(Path(output))
    detector = Detector.load(workdir, overrides, **spread)
    failed = {}
    with Progress(len(scans), "detect", "volume") as progress:
        written = detector.detect_many(
            scans, masks, threshold, lambda found: write_maps(Path(output), found, raw.get(found.scan.path))
        )
        for scan, detection in zip(scans, written, strict=True):
            try:
                found = detection.result()
                if pictures:
                    draw(Path(output), found)
            except VolumeError as error:
                failed[scan] = error.reason if error.path == scan else str(error)
            except MemoryError:
                failed[scan] = "does not fit into memory"
            progress.advance()
    return len(scans), failed


def write_maps(output: Path, detection: Detection, native: Native | None = None) -> Detection:
    """Write the three volumes and the facts of one scan, on its own grid or that of its raw scan, `native`."""
    scan, facts, space = detection.scan, detection.facts, ""
    arrays = {"recon": detection.recon, "anomaly": detection.anomaly, "lesion_mask": detection.lesion_mask}
    if native:
        space, facts = "_space-native", facts | {"space": "native", "raw": str(native.like.path)}
        orders = {"recon": 1, "anomaly": 1, "lesion_mask": 0}
        arrays = {what: to_native(array, scan, native, orders[what]) for what, array in arrays.items()}
    name = f"{volumes.stem(scan.path)}{space}"
    for what, array in arrays.items():
        volumes.write(output / f"{name}_desc-{what}.nii.gz", array, native.like if native else scan)
    write_json(output / f"{name}.json", facts | {"environment": provenance.environment()})
    return detection


def draw(output: Path, detection: Detection) -> Path:
    """Draw the picture of one scan and return its path; apart from `write_maps`, as matplotlib is for one thread."""
    picture = output / f"{volumes.stem(detection.scan.path)}.png"
    draw_slices(picture, detection)
    return picture


def find_mask(mask: str | Path | None, scan: Path) -> Path | None:
    """The mask of `scan`: the file given, or in the folder given the one named as the scan, ID or ID_mask."""
    if mask is None or not Path(mask).is_dir():
        return None if mask is None else Path(mask)
    id = subject_id(scan.name)
    for name in (volumes.stem(scan), id, f"{id}_mask"):
        for suffix in (".nii.gz", ".nii"):
            path = Path(mask) / f"{name}{suffix}"
            if path.exists():
                return path
    raise UsageError(
        f"{mask}: holds no mask named {volumes.stem(scan)}.nii.gz, {id}.nii.gz or {id}_mask.nii.gz"
    )


def check_names(scans: list[Path]) -> None:
    """Refuse two scans whose results would have one name."""
    names = [volumes.stem(scan) for scan in scans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two scans are named {twice[0]}: their results would overwrite each other")


def check_writable(output: Path) -> None:
    """Fail before any work if results could not be written."""
    write_json(output / ".cdm-writable", {})
    (output / ".cdm-writable").unlink()
