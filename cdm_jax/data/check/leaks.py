"""Who, or what, stands twice?"""

from collections.abc import Iterable, Iterator, Sequence

from cdm_jax.data.check.fault import Fault
from cdm_jax.data.check.subject import Facts
from cdm_jax.data.check.tables import Place, Row

SIDES = {"train": 0, "val": 1, "val_patients": 1, "test_healthy": 2, "test_patients": 2}
"""Split -> side. What stands on two sides in one fold leaks from the earlier to the later one."""


def leaks_by_id(rows: Iterable[Row]) -> Iterator[Fault]:
    """People on two sides in one fold: a fault for each table that holds whom an earlier side holds too."""
    stands: dict[tuple[str, str], set[Place]] = {}
    for row in rows:
        stands.setdefault((row.place.dataset, row.subject.person), set()).add(row.place)
    for (_, person), places in stands.items():
        for place in places:
            earlier = [other for other in places if _leaks(other, place)]
            if earlier:
                yield Fault(place.table, "leak-id", person, f"stands in {_names(earlier)} as well")


def copies(facts: Iterable[Facts]) -> list[list[Facts]]:
    """The images that are not alone with their voxels: groups of them, each in order of path."""
    groups: dict[str, dict] = {}
    for fact in sorted(facts, key=lambda fact: (fact.path, fact.id)):
        groups.setdefault(fact.digest, {})[fact.path, fact.id] = fact
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def leaks_by_content(groups: Iterable[Sequence[Facts]], rows: Iterable[Row]) -> Iterator[Fault]:
    """For each group the faults that, once mended, leave one image: leaks first, the rest are duplicates."""
    stands: dict[tuple[str, str], set[Place]] = {}
    for row in rows:
        stands.setdefault((row.place.dataset, row.subject.id), set()).add(row.place)
    for group in groups:
        kept = list(group)
        for fact in reversed(group):
            sources = [(other, places) for other in kept if (places := _earlier(other, fact, stands))]
            if sources:
                other, places = sources[0]
                what = f"has the voxels of {_name(other)} in {_names(places)}"
                yield Fault(fact.path, "leak-content", fact.id, what)
                kept.remove(fact)
        for fact in kept[1:]:
            yield Fault(fact.path, "duplicate", fact.id, f"has the voxels of {_name(kept[0])}")


def _earlier(other: Facts, fact: Facts, stands: dict[tuple[str, str], set[Place]]) -> list[Place]:
    """Where another person stands on an earlier side than `fact` does."""
    if (other.dataset, other.person) == (fact.dataset, fact.person):
        return []  # a leak by id, if any
    here, there = (stands.get((f.dataset, f.id), set()) for f in (fact, other))
    return [place for place in there if any(_leaks(place, own) for own in here)]


def _leaks(earlier: Place, later: Place) -> bool:
    together = earlier.fold == later.fold or None in (earlier.fold, later.fold)
    return together and SIDES[earlier.split] < SIDES[later.split]


def _names(places: Iterable[Place]) -> str:
    """The splits with their folds, such as "train (fold 0, 1, 2), val (fold 3)"."""
    folds: dict[str, list[int]] = {}
    for place in sorted(places, key=lambda place: (SIDES[place.split], place.fold or 0)):
        folds.setdefault(place.split, []).extend([] if place.fold is None else [place.fold])
    return ", ".join(
        f"{split} (fold {', '.join(map(str, numbers))})" if numbers else split
        for split, numbers in folds.items()
    )


def _name(fact: Facts) -> str:
    return f"{fact.path.name} ({fact.id})"
