"""Which scans are unlike nearly all others of their kind?"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cdm_jax.data.check.fault import Fault, times
from cdm_jax.data.check.subject import Facts

MOST = 0.9  # of the scans must agree before another stands out: so among fewer than ten none does
NEAR = 1.1  # times the median, or its inverse: agrees
FAR = 1.5  # times the median, or its inverse: stands out


def outliers(facts: Iterable[Facts]) -> Iterator[Fault]:
    """Scans that stand out by orientation, voxel size or else number of voxels among those of one modality.

    A cohort of mixed orientations, spacings or sizes has no outliers.
    """
    groups: dict[tuple[str, str], list[Facts]] = {}
    for fact in facts:
        groups.setdefault((fact.dataset, fact.modality), []).append(fact)
    for group in groups.values():
        yield from _turned(group)
        resized = list(_unlike(group, "spacing-outlier", lambda fact: fact.spacing, "mm a voxel"))
        yield from resized
        known = {fault.file for fault in resized}  # who has other voxels has another number of them
        rest = [fact for fact in group if fact.path not in known]
        yield from _unlike(rest, "shape-outlier", lambda fact: fact.shape, "voxels")


def _turned(group: Sequence[Facts]) -> Iterator[Fault]:
    usual, count = Counter(fact.axes for fact in group).most_common(1)[0]
    for fact in group:
        if count >= MOST * len(group) and fact.axes != usual:
            what = f"axes {fact.axes}, {count} of {len(group)} scans have {usual}"
            yield Fault(fact.path, "orientation-outlier", fact.id, what)


def _unlike(
    group: Sequence[Facts], code: str, sizes: Callable[[Facts], tuple[float, ...]], unit: str
) -> Iterator[Fault]:
    values = np.array([sizes(fact) for fact in group], float).round(3)
    usual = np.median(values, axis=0)
    ratio = np.exp(np.abs(np.log(values / usual))).max(axis=1)
    if np.mean(ratio <= NEAR) < MOST:
        return
    for fact, value, apart in zip(group, values, ratio, strict=True):
        if apart > FAR:
            what = f"{times(value)} {unit} along R, A, S; usual are {times(usual)}"
            yield Fault(fact.path, code, fact.id, what)
