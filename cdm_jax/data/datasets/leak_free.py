"""Who stands in which split, so that nobody stands in two?"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from cdm_jax.data.datasets.subject import Subject

TEST_SHARE = 160 / 591  # of the healthy, as in the published IXI tables
VAL_SHARE = 44 / 431  # of the healthy that are not in test, for each fold
PATIENT_VAL_SHARE = 0.1  # but at least:
PATIENT_VAL = 10  # or a third, where there are fewer than three times as many
BAND = 20  # years
_SITE = re.compile(r"IXI\d+-([A-Za-z]+)-|sub-(r\d{3})s\d|(Utrecht|Singapore|Amsterdam)_")

Group = list[Subject]
"""Scans that must not be parted: of one person, or of people who share a scan."""


def make_splits(
    subjects: Sequence[Subject], *, twins: Iterable[tuple[str, str]] = (), folds: int = 5, seed: int = 0
) -> dict[str, list[Subject]]:
    """Splits in which no person stands on two sides, balanced over site and age.

    Everybody is, within each fold, in exactly one of train, val and test; no two folds validate on the same
    person. Shares are those of the published tables, counted in persons; within each site, and each age band
    of a site, they hold to about one person. The result depends on the ids and the seed, not on the order of
    `subjects`.

    Args:
      twins: pairs of ids that must stay together; ids of nobody here may link two that are.
    Returns: {"train_fold0", "val_fold0", ... "test_healthy", "val_patients", "test_patients": subjects by id};
      who has a healthy and a lesioned scan is in test with both.
    """
    groups = sorted(
        _groups(subjects, twins), key=lambda group: (_stratum(group[0]), _draw(seed, group[0].id))
    )
    kinds = [{bool(subject.label) for subject in group} for group in groups]
    healthy, patients, mixed = (
        [group for group, kind in zip(groups, kinds, strict=True) if kind == wanted]
        for wanted in ({False}, {True}, {False, True})
    )
    test, rest = _take(healthy, min(round(TEST_SHARE * len(healthy)), max(len(healthy) - 2, 0)), seed)
    val_patients, test_patients = _take(patients, _patient_val(len(patients)), seed)
    splits: dict[str, list[Group]] = {}
    for fold, (val, train) in enumerate(_folds(rest, folds, seed)):
        splits |= {f"train_fold{fold}": train, f"val_fold{fold}": val}
    splits |= {
        "test_healthy": test + mixed,
        "val_patients": val_patients,
        "test_patients": test_patients + mixed,
    }
    return {name: _members(name, chosen) for name, chosen in splits.items()}


def _groups(subjects: Sequence[Subject], twins: Iterable[tuple[str, str]]) -> list[Group]:
    """Connected components under "same person" and "twins", each by id."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for a, b in [*((f"person {s.person}", s.id) for s in subjects), *twins]:
        parent[root(a)] = root(b)
    groups: dict[str, Group] = {}
    for subject in sorted(subjects, key=_order):
        groups.setdefault(root(subject.id), []).append(subject)
    return list(groups.values())


def _stratum(subject: Subject) -> tuple[str, int]:
    """Site, as far as the id tells it, then age band."""
    found = _SITE.match(subject.id)
    site = next(filter(None, found.groups())) if found else ""
    return site, -1 if subject.age is None else int(subject.age // BAND)


def _draw(seed: int, name: str) -> int:
    """A number that only `seed` and `name` decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def _take(groups: list[Group], count: int, seed: int) -> tuple[list[Group], list[Group]]:
    """`count` groups spread evenly over the sorted list, from a start that is drawn; then all others.

    Of any run of m neighbours, so of each stratum, m * count / len(groups) are taken, give or take less than one.
    """
    size = len(groups)
    start = _draw(seed, "start") % max(size, 1)
    taken: list[Group] = []
    others: list[Group] = []
    for i, group in enumerate(groups):
        chosen = ((i + 1) * count + start) // size > (i * count + start) // size
        (taken if chosen else others).append(group)
    return taken, others


def _folds(groups: list[Group], folds: int, seed: int) -> Iterator[tuple[list[Group], list[Group]]]:
    """(val, train) of each fold: the vals disjoint, of one size where there are enough groups for that."""
    each = max(1, round(min(VAL_SHARE, 1 / folds) * len(groups)))
    if folds * each > len(groups):
        each = 1
    held, _ = _take(groups, min(folds * each, len(groups)) if len(groups) > 1 else 0, seed)
    for fold in range(folds):
        val = held[fold::folds]
        inside = {group[0].id for group in val}
        yield val, [group for group in groups if group[0].id not in inside]


def _patient_val(count: int) -> int:
    """How many of the patients choose the threshold."""
    return max(round(PATIENT_VAL_SHARE * count), min(PATIENT_VAL, count // 3), int(count > 1))


def _members(split: str, groups: list[Group]) -> list[Subject]:
    """The groups' subjects by id; of a mixed group, those that belong into `split`."""
    lesioned = split.endswith("patients")
    members = [subject for group in groups for subject in group if bool(subject.label) == lesioned]
    return sorted(members, key=_order)


def _order(subject: Subject) -> tuple[str, str]:
    return subject.id, str(subject.image)


def key(split: str, fold: int) -> str:
    """What `make_splits` calls the split "train", "val", ... of that fold."""
    return f"{split}_fold{fold}" if split in ("train", "val") else split


def split_and_fold(key: str) -> tuple[str, int]:
    """("train", 3) of "train_fold3"; the fold is 0 where there is but one."""
    split, _, fold = key.partition("_fold")
    return split, int(fold or 0)
