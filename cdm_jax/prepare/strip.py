"""Where is the brain: as given, as another program finds it, or wherever a stripped scan is not empty?"""

import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

from cdm_jax.data.brain_mask import STRIPPED_SHARE, estimate_mask
from cdm_jax.data.volume import Volume, read_labels
from cdm_jax.errors import VolumeError

LARGEST_BRAIN_ML = 2300  # a head has more; a small or cut one may not
OUTPUT = "brain.nii.gz"
LEFT = ("brain_mask.nii.gz", "brain_bet.nii.gz", OUTPUT)
"""What the command leaves, the mask first: HD-BET writes the stripped scan to its output, the mask beside it."""


def run_command(scan: Volume, template: str, scratch: Path, max_gb: float) -> np.ndarray:
    """The brain mask bool [H,W,D] that an external program finds; its output may also be the stripped scan.

    Args:
      template: command line with {input} and {output}, run without a shell; scratch: folder in which a
        temporary one is made for the output.
    Raises:
      VolumeError: code "no-mask": the program failed or found nothing; or its output cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=scratch) as folder:
        files = {"{input}": str(scan.path.absolute()), "{output}": str(Path(folder).absolute() / OUTPUT)}
        words = [_fill(word, files) for word in shlex.split(template)]
        ended = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if ended.returncode:
            told = (ended.stderr.strip() or ended.stdout.strip() or "it said nothing").splitlines()[-1]
            raise VolumeError(scan.path, "no-mask", f"'{words[0]}' ended with {ended.returncode}: {told}")
        left = [path for name in LEFT if (path := Path(folder) / name).is_file()]
        if not left:
            raise VolumeError(
                scan.path, "no-mask", f"'{words[0]}' wrote no {OUTPUT}; is {{output}} its output?"
            )
        mask = _not_zero(left[0], scan, max_gb, words[0])
    if not mask.any():
        raise VolumeError(scan.path, "no-mask", f"'{words[0]}' found no brain")
    return ndimage.binary_fill_holes(mask)


def foreground(scan: Volume) -> np.ndarray:
    """The brain mask bool [H,W,D] of a scan without skull.

    Raises:
      VolumeError: code "no-mask": the scan seems to have its skull.
    """
    if is_stripped(scan.array):
        mask = estimate_mask(scan)
        if millilitres(mask, scan.affine) <= LARGEST_BRAIN_ML:
            return mask
    reason = (
        "is not skull-stripped and has no brain mask; give masks with the raw data, or a command, e.g. "
        "--brain-mask-cmd 'hd-bet -i {input} -o {output}'"
    )
    raise VolumeError(scan.path, "no-mask", reason)


def millilitres(mask: np.ndarray, affine: np.ndarray) -> float:
    """The volume of a mask."""
    return float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)


def is_stripped(array: np.ndarray) -> bool:
    """Whether enough voxels are exactly as the commonest corner is, as `estimate_mask` asks of a stripped scan."""
    corners, counts = np.unique(array[np.ix_(*[(0, -1)] * 3)], return_counts=True)
    return bool(np.mean(array == corners[counts.argmax()]) >= STRIPPED_SHARE)


def _not_zero(path: Path, scan: Volume, max_gb: float, program: str) -> np.ndarray:
    try:
        return read_labels(path, scan, max_gb) != 0
    except VolumeError as error:
        raise VolumeError(scan.path, error.code, f"what '{program}' wrote: {error.reason}") from error


def _fill(word: str, files: dict[str, str]) -> str:
    for name, path in files.items():
        word = word.replace(name, path)
    return word
