"""What is said about one fault?"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WARNINGS = {
    "two-spaces",
    "no-lesion",
    "outside-mask",
    "orientation-outlier",
    "spacing-outlier",
    "shape-outlier",
}
"""Codes that may be as they should: they do not make a check fail. All others are errors."""

_COPY = "copy or download it again"
_REMAKE = "write it anew from its source"
_RESAMPLE = "resample it to the others, labels with nearest neighbour"
_LOOK = "look at it, and leave it out if it does not belong there"
_KEEP_ONE = "keep one of them"
_DIVIDE = "write splits without leaks by 'cdm check DATA --write-splits'"

WAYS_OUT = {
    "missing": "put it there, or take its row out of the table",
    "unreadable": "convert it to NIfTI, or copy it again",
    "truncated": _COPY,
    "corrupt-gzip": _COPY,
    "bad-header": _REMAKE,
    "too-large": "raise --max-volume-gb if that is its true size",
    "bad-dtype": "store one real number a voxel",
    "bad-shape": "store one 3-D volume",
    "channels": "split the series and keep one of its volumes",
    "not-finite": "replace them, e.g. by numpy.nan_to_num",
    "constant": _REMAKE,
    "bad-affine": "write a correct affine, e.g. with nibabel's set_sform",
    "sform-qform": "set both to the right one, e.g. with nibabel's set_sform and set_qform",
    "two-spaces": "the sform is taken; remove it if the qform is meant",
    "empty-mask": "make the brain mask anew",
    "full-mask": "make the brain mask anew",
    "not-labels": "resample labels with nearest neighbour, or round them",
    "shape-mismatch": _RESAMPLE,
    "affine-mismatch": _RESAMPLE,
    "outside-mask": "make the brain mask anew if it cuts lesions off: what lies outside is not scored",
    "healthy-lesion": "set its label to 1 and move it to the patients, or empty its label map",
    "no-lesion": "complete its label map, or leave it out: it has nothing to be found",
    "orientation-outlier": _LOOK,
    "spacing-outlier": _LOOK,
    "shape-outlier": _LOOK,
    "duplicate": _KEEP_ONE,
    "duplicate-id": _KEEP_ONE,
    "leak-id": _DIVIDE,
    "leak-content": _DIVIDE,
    "bad-table": "correct the table",
    "bad-name": "rename it, or keep one of the two; until then nothing else of its data set is checked",
}
"""Code -> what to do about it."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong: in which file, under which code of `data.faults.FAULTS`, whose, what exactly."""

    file: Path
    code: str
    subject: str
    what: str

    @property
    def severity(self) -> str:
        """Either "error" or "warning"."""
        return "warning" if self.code in WARNINGS else "error"

    @property
    def detail(self) -> str:
        """One sentence with the way out."""
        return f"{self.what}; {WAYS_OUT[self.code]}"


def times(sizes: Iterable[float]) -> str:
    """Sizes as in "192 x 192 x 100"."""
    return " x ".join(f"{size:g}" for size in sizes)
