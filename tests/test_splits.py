"""Nobody stands on two sides of a split, and what is written loads again."""

from collections import Counter
from pathlib import Path

import pytest
import trees
from hypothesis import given, settings
from hypothesis import strategies as st

from cdm_jax.data.datasets import DATASETS, Subject, load
from cdm_jax.data.splits import make_splits, write_splits
from cdm_jax.errors import UsageError

SIDES = ("train", "val", "test")


def subject(id, label=0, age=None):
    return Subject(id, Path(f"{id}_t1.nii.gz"), None, None, label, age)


def healthy(count):
    """A cohort with three sites and ages from 20 to 79."""
    return [
        subject(f"IXI{n:03}-{('Guys', 'HH', 'IOP')[n * n % 3]}-{n:04}", 0, 20.0 + n * 7 % 60)
        for n in range(count)
    ]


def sides(splits, fold):
    """{scan: on which sides it stands} in one fold."""
    found = {}
    for side, names in zip(
        SIDES,
        ([f"train_fold{fold}"], [f"val_fold{fold}", "val_patients"], ["test_healthy", "test_patients"]),
        strict=True,
    ):
        for name in names:
            for one in splits[name]:
                found.setdefault(one, []).append(side)
    return found


@st.composite
def cohorts(draw):
    """Up to 40 people with one to three scans each, some with lesions in some scans; twins among them."""
    subjects = []
    for n in range(draw(st.integers(0, 40))):
        kind = draw(st.sampled_from([(0,), (0,), (1,), (0, 0), (1, 1), (0, 1), (0, 0, 0)]))
        age = draw(st.one_of(st.none(), st.floats(18, 95)))
        names = [f"sub-{n:02}"] if len(kind) == 1 else [f"sub-{n:02}_ses-{k}" for k in range(len(kind))]
        subjects += [subject(name, label, age) for name, label in zip(names, kind, strict=True)]
    names = st.sampled_from([one.id for one in subjects] or ["nobody"])
    return subjects, draw(st.lists(st.tuples(names, names), max_size=5)), draw(st.integers(0, 5))


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.randoms(use_true_random=False))
def test_everybody_stands_once_and_with_their_own(cohort, rng):
    subjects, twins, seed = cohort
    splits = make_splits(subjects, twins=twins, seed=seed)
    for fold in range(5):
        found = sides(splits, fold)
        assert sorted(found, key=str) == sorted(subjects, key=str)
        assert all(len(where) == 1 for where in found.values())
        side_of = {one.id: where[0] for one, where in found.items()}
        for a, b in [*twins, *((a.id, b.id) for a in subjects for b in subjects if a.person == b.person)]:
            assert side_of.get(a) == side_of.get(b)
        for name in (f"train_fold{fold}", f"val_fold{fold}", "test_healthy"):
            assert not any(one.label for one in splits[name])
    assert all(one.label for name in ("val_patients", "test_patients") for one in splits[name])
    vals = Counter(one.id for fold in range(5) for one in splits[f"val_fold{fold}"])
    assert max(vals.values(), default=1) == 1
    shuffled = rng.sample(subjects, len(subjects))
    assert make_splits(shuffled, twins=[(b, a) for a, b in reversed(twins)], seed=seed) == splits


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(0, 9))
def test_sites_and_ages_are_spread_to_within_a_person(count, seed):
    subjects = healthy(count)
    splits = make_splits(subjects, seed=seed)
    rest = [one for one in subjects if one not in splits["test_healthy"]]

    def strata(members, band):
        return Counter((one.id.split("-")[1], one.age // 20 if band else 0) for one in members)

    for band in (False, True):
        whole, remaining, tested = (
            strata(members, band) for members in (subjects, rest, splits["test_healthy"])
        )
        for stratum, size in whole.items():
            assert abs(tested[stratum] - size * len(splits["test_healthy"]) / count) < 1
            for fold in range(5):
                val = splits[f"val_fold{fold}"]
                assert abs(strata(val, band)[stratum] - remaining[stratum] * len(val) / len(rest)) < 1.2
    assert count < 7 or {len(splits[f"val_fold{fold}"]) for fold in range(5)} == {
        max(1, round(len(rest) * 44 / 431))
    }


@pytest.mark.parametrize(
    "label, count, wanted",
    [
        (0, 591, {"train_fold0": 387, "val_fold0": 44, "test_healthy": 160}),  # IXI as published
        (1, 655, {"val_patients": 66, "test_patients": 589}),  # ATLAS as published
        (1, 30, {"val_patients": 10, "test_patients": 20}),  # MSLUB as published
        (1, 2, {"val_patients": 1, "test_patients": 1}),
        (1, 1, {"test_patients": 1}),
        (0, 2, {"train_fold0": 1, "val_fold0": 1, "train_fold4": 2}),
        (0, 0, {}),
    ],
)
def test_sizes(label, count, wanted):
    splits = make_splits([subject(f"s{n}", label) for n in range(count)])
    assert {name: len(members) for name, members in splits.items() if name in wanted} == wanted
    assert not any(splits[name] for name in splits if name.endswith("patients") != bool(label))


def test_the_seed_draws_other_people_of_the_same_number():
    first, second = (make_splits(healthy(60), seed=seed) for seed in (0, 1))
    assert first != second
    assert [len(members) for members in first.values()] == [len(members) for members in second.values()]


def test_who_has_a_healthy_and_a_lesioned_scan_is_tested_with_both():
    both = [subject("sub-1_ses-1", 0), subject("sub-1_ses-2", 1)]
    splits = make_splits([*healthy(20), *both])
    assert both[0] in splits["test_healthy"] and both[1] in splits["test_patients"]


def test_twins_may_be_linked_through_one_who_is_elsewhere():
    subjects = healthy(40)
    far = (make_splits(subjects)["test_healthy"][0].id, make_splits(subjects)["train_fold0"][0].id)
    splits = make_splits(subjects, twins=[(far[0], "elsewhere"), ("elsewhere", far[1])])
    side_of = {one.id: where[0] for one, where in sides(splits, 0).items()}
    assert side_of[far[0]] == side_of[far[1]]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "phantom"])
def test_what_is_written_loads_again_in_every_modality(tmp_path, name):
    modalities = trees.write(tmp_path, name)
    raws = {raw.id: raw for raw in DATASETS[name].find(tmp_path)}
    splits = make_splits([raw.subject(modalities[-1]) or raw.subject("t1") for raw in raws.values()])
    tables = write_splits(tmp_path, {name: splits}, "leak_free")
    assert tables and all(table.is_file() for table in tables)
    for modality in modalities:
        for split, fold in DATASETS[name].offered(tmp_path, "leak_free"):
            members = splits[f"{split}_fold{fold}" if split in ("train", "val") else split]
            wanted = [found for one in members if (found := raws[one.id].subject(modality))]
            if wanted:
                assert load(name, tmp_path, split, modality, fold, splits="leak_free") == wanted
    written = {one.id for split, fold in DATASETS[name].offered(tmp_path, "leak_free")
               for one in load(name, tmp_path, split, "t1", fold, splits="leak_free")}  # fmt: skip
    assert written == set(raws)


def test_several_data_sets_share_one_folder(tmp_path):
    names = ("ixi", "brats21")
    made = {}
    for name in names:
        trees.write(tmp_path, name)
        made[name] = make_splits(
            [raw.subject("t2") for raw in DATASETS[name].find(tmp_path) if "t2" in raw.images]
        )
    write_splits(tmp_path, made, "leak_free")
    for name, split in (("ixi", "test_healthy"), ("brats21", "val_patients")):
        assert load(name, tmp_path, split, "t2", splits="leak_free") == made[name][split]


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    trees.write(tmp_path, "ixi")
    healthy_only = make_splits([raw.subject("t1") for raw in DATASETS["ixi"].find(tmp_path)])
    with pytest.raises(UsageError, match="brats21: has no table for train, but .* such as IXI"):
        write_splits(tmp_path, {"ixi": healthy_only, "brats21": healthy_only}, "new")
    with pytest.raises(UsageError, match="is not below .*elsewhere"):
        write_splits(tmp_path / "elsewhere", {"ixi": healthy_only}, "new")
    with pytest.raises(UsageError, match="unknown data set 'nope'"):
        write_splits(tmp_path, {"nope": healthy_only}, "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / "elsewhere").exists()
    write_splits(tmp_path, {"ixi": healthy_only}, "new")
    with pytest.raises(UsageError, match="exists already"):
        write_splits(tmp_path, {"ixi": healthy_only}, "new")


def test_who_lacks_a_modality_is_left_out_of_it_alone(tmp_path):
    trees.write(tmp_path, "brats21")
    for id in trees.ids("brats21", 4):
        (tmp_path / f"Test/Brats21/t1/{id}_t1.nii.gz").unlink()
    people = [raw.subject("t2") for raw in DATASETS["brats21"].find(tmp_path)]
    write_splits(tmp_path, {"brats21": make_splits(people)}, "new")
    loaded = {
        modality: {
            one.id
            for split in ("val_patients", "test_patients")
            for one in load("brats21", tmp_path, split, modality, splits="new")
        }
        for modality in ("t1", "t2", "flair")
    }
    everybody = set(trees.ids("brats21", 12))
    assert loaded["t2"] == loaded["flair"] == everybody
    assert loaded["t1"] == everybody - set(trees.ids("brats21", 4))
