"""Whatever stands in a file, it is read, or refused in one line: `python tests/test_hostile.py` counts which."""

import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bombs import BOMBS
from conftest import TINY
from identity import identity_detector
from mutants import MUTATIONS, mutants, sources

from cdm_jax import Detector
from cdm_jax.data import volume
from cdm_jax.data.faults import FAULTS
from cdm_jax.detect import detect_all
from cdm_jax.errors import VolumeError

SECONDS = 5  # of computing, after which a file counts as hanging
MEGABYTES = 300  # resident, while bombs are refused


class Hang(BaseException):
    """Not an Exception, so that nothing that is tested catches it."""


@contextmanager
def alarm():
    """Raise `Hang` after `SECONDS` of this process's computing; wall time would count the neighbours' too."""

    def ring(*_):
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(path: Path) -> str:
    """ "read" for a usable scan, else the code of the one line that refuses it; anything else raises."""
    try:
        with alarm():
            scan = volume.read(path)
    except VolumeError as error:
        assert error.path == path and str(error).startswith(f"{path}: ") and "\n" not in str(error)
        assert error.code in FAULTS
        return error.code
    assert scan.array.dtype == np.float32 and scan.array.ndim == 3 and scan.array.dtype.isnative
    assert np.isfinite(scan.array).all() and scan.array.min() < scan.array.max()
    assert np.isfinite(scan.affine).all() and np.linalg.det(scan.affine) != 0
    return "read"


def outcomes(kind: str, folder: Path) -> Counter:
    return Counter(outcome(path) for path in mutants(kind, folder))


def table() -> str:
    """Markdown: mutants of each kind, how many were read, the others by the code that refused them."""
    rows = ["| mutation | files | read | refused |", "|---|---|---|---|"]
    total: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for kind in MUTATIONS:
            found = outcomes(kind, Path(folder))
            total += found
            rows.append(row(kind, found))
    return "\n".join([*rows, row("all", total)])


def row(kind: str, found: Counter) -> str:
    refused = ", ".join(f"{code} {count}" for code, count in found.most_common() if code != "read")
    return f"| {kind} | {found.total()} | {found['read']} | {refused} |"


def test_there_are_five_hundred_mutants_of_files_that_can_be_read(tmp_path):
    assert sum(count for count, _ in MUTATIONS.values()) == 500
    for number, base in enumerate(sources()):
        path = tmp_path / f"{number}{base.suffix}"
        path.write_bytes(base.stored(base.content))
        assert outcome(path) == "read"
        assert np.array_equal(volume.read(path).array, nib.load(path).get_fdata().astype(np.float32))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", MUTATIONS)
def test_a_mutant_is_read_or_refused_in_one_line(kind, tmp_path):
    assert outcomes(kind, tmp_path).total() == MUTATIONS[kind][0]


def test_the_alarm_rings(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SECONDS", 0.01)

    def forever(path, max_gb):
        while True:
            pass

    monkeypatch.setattr(volume, "decode", forever)
    with pytest.raises(Hang):
        outcome(tmp_path / "any.nii")


@pytest.mark.parametrize("kind", ["extensions", "gzip or not against the name"])
def test_what_does_not_concern_the_voxels_does_not_change_them(kind, tmp_path):
    for number, path in enumerate(mutants(kind, tmp_path)):
        base = sources()[number % len(sources())]
        (tmp_path / "plain.nii").write_bytes(base.content)
        assert np.array_equal(volume.read(path).array, volume.read(tmp_path / "plain.nii").array)


def test_a_refused_file_leaves_no_output(tmp_path, monkeypatch):
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    kinds = ["cut", "corrupt gzip", "magic", "vox_offset", "datatype, bitpix", "dimensions 0, -1, 32767"]
    for kind in kinds:
        refused = next(path for path in mutants(kind, tmp_path) if outcome(path) != "read")
        refused.rename(scans / f"{kind.split(',')[0].replace(' ', '-')}{''.join(refused.suffixes)}")
    (scans / "fine.nii").write_bytes(sources()[0].content)
    monkeypatch.setattr(Detector, "load", lambda *_, **__: identity_detector(*TINY))
    count, failed = detect_all(scans, output, workdir="none", threshold=0.5)
    assert count == 7 and {path.name for path in failed} == {p.name for p in scans.iterdir()} - {"fine.nii"}
    assert all("\n" not in reason and str(tmp_path) not in reason for reason in failed.values())
    assert {path.name.split(".")[0].split("_desc")[0] for path in output.iterdir()} == {"fine"}


# --- Bombs

DEFUSE = r"""
import json, re, sys
from pathlib import Path
from cdm_jax.data.volume import read
from cdm_jax.errors import VolumeError
for path in sys.argv[1:]:
    try:
        code = read(path) and "read"
    except VolumeError as error:
        code = error.code
    # Not getrusage, whose peak contains that of the process that started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(json.dumps([code, int(peak) // 1000]))
"""


def test_bombs_are_refused_in_little_memory(tmp_path):
    for name, (_, make) in BOMBS.items():
        make(tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-c", DEFUSE, *(tmp_path / name for name in BOMBS)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    found = [json.loads(line) for line in run.stdout.splitlines()]
    codes = dict(zip(BOMBS, [code for code, _ in found], strict=True))
    assert codes == {name: code for name, (code, _) in BOMBS.items()}
    assert found[-1][1] < MEGABYTES, f"MB at the peak, bomb by bomb: {[peak for _, peak in found]}"


if __name__ == "__main__":
    print(table())
