"""Who stays where, of those whose scans lie in two data sets?"""

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

from cdm_jax.data.datasets.subject import Subject

People = Mapping[str, Sequence[Subject]]
Copies = Sequence[Sequence[tuple[str, str]]]
"""Groups of (data set, id) whose images have the same voxels."""


def keep_one(people: People, copies: Copies) -> dict[str, list[Subject]]:
    """Everybody in the first of the data sets that hold a scan of theirs; stderr says who is left out of others."""
    order = list(people)
    persons = {(name, one.id): one.person for name in people for one in people[name]}
    left_out = set()
    for group in copies:
        first = min((name for name, _ in group), key=order.index)
        for name, id in group:
            if name != first:
                left_out.add((name, persons.get((name, id), id)))
    for name, person in sorted(left_out):
        print(f"left out of {name}: {person}, whose scan is in an earlier data set too", file=sys.stderr)
    return {
        name: [one for one in members if (name, one.person) not in left_out]
        for name, members in people.items()
    }


def twins_in(name: str, people: People, copies: Copies) -> list[tuple[str, str]]:
    """Pairs of ids that data set `name` must not part, some linked through a person of another data set."""

    def node(dataset: str, id: str) -> str:
        return id if dataset == name else f"{dataset}/{id}"

    same = [(node(*a), node(*b)) for group in copies for a, b in pairwise(group)]
    elsewhere = [
        (node(other, one.id), f"{other}/person {one.person}")
        for other, members in people.items()
        for one in members
        if other != name
    ]
    return same + elsewhere
