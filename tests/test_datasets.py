"""Does the reader of split tables understand the published tree, and say clearly when it cannot?"""

from pathlib import Path

import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from cdm_jax import build
from cdm_jax import config as configs
from cdm_jax.data.datasets import DATASETS, Dataset, Subject, load, present, read_split
from cdm_jax.data.datasets.tree import COLUMNS, MODALITIES, in_modality, subject_id
from cdm_jax.detect import find_mask
from cdm_jax.errors import UsageError

IXI = """\
,img_name,"SEX_ID (1=m, 2=f)",age,label,img_path,mask_path,seg_path,Agegroup
64,IXI001-Guys-0753_t1.nii.gz,1,55.83,0,/Train/IXI/t1/IXI001-Guys-0753_t1.nii.gz,\
/Train/IXI/mask/IXI001-Guys-0753_mask.nii.gz,,2.0
50,IXI002-HH-0740_t1.nii.gz,2,,0,/Train/IXI/t1/IXI002-HH-0740_t1.nii.gz,,,1.0
"""
BRATS = """\
img_name,age,label,img_path,mask_path,seg_path
BraTS2021_00001,,1,Test/Brats21/t1/BraTS2021_00001_t1.nii.gz,\
Test/Brats21/mask/BraTS2021_00001_mask.nii.gz,Test/Brats21/seg/BraTS2021_00001_seg.nii.gz
"""
HEADER = ",".join(COLUMNS)


@pytest.fixture
def root(tmp_path):
    """The published tree: the tables say IXI, the folder is called ixi."""
    scans = ["IXI001-Guys-0753", "IXI002-HH-0740"]
    for name in [f"Train/ixi/{m}/{scan}_{m}" for m in ("t1", "t2", "mask") for scan in scans] + [
        f"Test/Brats21/{m}/BraTS2021_00001_{m}" for m in ("t1", "t2", "flair", "mask", "seg")
    ]:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits/IXI_train_fold0.csv").write_text(IXI)
    (tmp_path / "splits/Brats21_test.csv").write_text(BRATS, encoding="utf-8-sig")
    (tmp_path / "splits/avail_t2.csv").write_text("0\nIXI002-HH-0740_t2.nii.gz\n")
    return tmp_path


@pytest.mark.parametrize("modality", ["t1", "t2"])
def test_published_training_table(root, modality):
    first, second = read_split(root, "IXI_train_fold0.csv", modality)
    assert first.id == "IXI001-Guys-0753" and first.label == 0 and first.age == 55.83
    assert first.image == root / f"Train/ixi/{modality}/IXI001-Guys-0753_{modality}.nii.gz"
    assert first.mask == root / "Train/ixi/mask/IXI001-Guys-0753_mask.nii.gz"
    assert first.seg is None and second.mask is None and second.age is None


@pytest.mark.parametrize("modality", MODALITIES)
def test_published_patient_table(root, modality):
    (patient,) = read_split(root, "Brats21_test.csv", modality)
    assert patient.id == "BraTS2021_00001" and patient.label == 1
    assert patient.image == root / f"Test/Brats21/{modality}/BraTS2021_00001_{modality}.nii.gz"
    assert patient.seg.is_file() and patient.mask.is_file()


def test_only_available_scans_are_kept(root):
    ixi = Dataset({"train": "IXI_train_fold{fold}.csv"}, available={"t2": "avail_t2.csv"})
    assert [subject.id for subject in ixi.load(root, "train", "t2")] == ["IXI002-HH-0740"]


@given(
    stem=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,8}[0-9]", fullmatch=True).filter(
        lambda stem: subject_id(stem) == stem
    ),
    written=st.sampled_from(["t1", "T2", "FLAIR"]),
    ending=st.sampled_from([".nii", ".nii.gz"]),
    modality=st.sampled_from(MODALITIES),
)
def test_a_path_changes_its_modality_and_nothing_else(stem, written, ending, modality):
    path = f"/Test/at1as/{written}/{stem}_{written}{ending}"
    changed = in_modality(path, modality)
    assert changed == f"/Test/at1as/{modality}/{stem}_{modality}{ending}"
    assert subject_id(Path(path).name) == subject_id(Path(changed).name) == stem


def _write(root, text):
    (root / "splits/x.csv").write_text(text)
    return root, "x.csv", "t1"


@pytest.mark.parametrize(
    "text, message",
    [
        (HEADER.replace("mask_path,", "") + "\n", "x.csv: column 'mask_path' is missing"),
        ("", "x.csv: column 'img_name' is missing"),
        (HEADER + "\n", "x.csv: no subjects"),
        (HEADER + "\na,,0,,,\n", "x.csv: column 'img_path' is empty for 'a'"),
        (HEADER + "\na,,0,/nowhere/a.nii.gz,,\n", "nowhere/a.nii.gz: not there, but listed in .*x.csv"),
        (HEADER + "\na,,0,{ok},,/a_seg.nii.gz\n", "a_seg.nii.gz: not there, but listed in .*x.csv"),
        (HEADER + "\na,old,0,{ok},,\n", "column 'age' of 'a' is 'old'"),
        (HEADER + "\na,,,{ok},,\n", "column 'label' of 'a' is ''"),
        (HEADER + "\na,,nan,{ok},,\n", "column 'label' of 'a' is 'nan'"),
        (HEADER + "\na,inf,0,{ok},,\n", "column 'age' of 'a' is 'inf'"),
        (HEADER + "\na,,0,{ok}\n", None),
    ],
)
def test_a_wrong_table_is_named_with_its_column(root, text, message):
    arguments = _write(root, text.replace("{ok}", "/Train/ixi/t1/IXI002-HH-0740_t1.nii.gz"))
    if message is None:  # a short row: what it lacks counts as empty
        assert read_split(*arguments)[0].mask is None
        return
    with pytest.raises(UsageError, match=message):
        read_split(*arguments)


def test_wrong_places_and_names_say_what_there_is(root, tmp_path):
    with pytest.raises(UsageError, match="nowhere: no folder 'splits'"):
        read_split(tmp_path / "nowhere", "IXI_train_fold0.csv", "t1")
    with pytest.raises(UsageError, match="fold9.csv: no such split table.*IXI_train_fold0.csv"):
        read_split(root, "IXI_train_fold9.csv", "t1")
    with pytest.raises(UsageError, match="unknown modality 'pd'.*t1"):
        read_split(root, "IXI_train_fold0.csv", "pd")
    with pytest.raises(UsageError, match="unknown data set 'nope'.*phantom"):
        load("nope", root, "train", "t1")
    with pytest.raises(UsageError, match="unknown split 'test'.*test_patients"):
        load("phantom", root, "test", "t1")


def test_every_data_set_has_tables_for_its_splits():
    for dataset in DATASETS.values():
        names = [name.format(fold=0, modality="t2") for name in dataset.splits.values()]
        assert len(set(names)) == len(names) and all(name.endswith(".csv") for name in names)


def test_patients_may_come_from_another_data_set_than_the_healthy(root):
    config = configs.load(
        "configs/cddpm.py", [f"--config.data.root={root}", "--config.data.patients=brats21"]
    )
    assert [subject.id for subject in build.subjects(config, "train")] == ["IXI002-HH-0740"]
    assert [subject.id for subject in build.subjects(config, "test_patients")] == ["BraTS2021_00001"]


def test_another_folder_of_tables_and_files_that_are_not_there(root):
    (root / "splits").rename(root / "mine")
    (missing := root / "Train/ixi/t2/IXI002-HH-0740_t2.nii.gz").unlink()
    with pytest.raises(UsageError, match="no folder 'splits'"):
        load("ixi", root, "train", "t2")
    with pytest.raises(UsageError, match="IXI002-HH-0740_t2.nii.gz: not there"):
        load("ixi", root, "train", "t2", splits="mine")
    assert [one.image for one in load("ixi", root, "train", "t2", splits="mine", require=False)] == [missing]


def test_a_table_that_is_no_text(root):
    (root / "splits/x.csv").write_bytes(b"img_name,age\xff\xfe\n")
    with pytest.raises(UsageError, match="x.csv: not a table in UTF-8"):
        read_split(root, "x.csv", "t1")


def test_a_folder_tells_which_data_sets_it_holds(root, tmp_path):
    assert set(present(root)) == {"ixi", "brats21"}
    assert DATASETS["ixi"].offered(root) == [("train", 0)]
    trees.write(tmp_path / "new", "wmh", 1)
    assert set(present(tmp_path / "new")) == {"wmh"} and not DATASETS["wmh"].offered(tmp_path / "new")
    assert not present(tmp_path / "nowhere")


@pytest.mark.parametrize("name", trees.PLACES)
def test_scans_in_the_tree_are_found_without_tables(tmp_path, name):
    modalities = trees.write(tmp_path, name, 3)
    (tmp_path / trees.PLACES[name][0] / "subjects.csv").write_text(f"id,age\n{trees.ids(name, 2)[1]},51.5\n")
    raws = DATASETS[name].find(tmp_path)
    assert [raw.id for raw in raws] == sorted(trees.ids(name, 3))
    assert set(raws[0].images) == set(modalities)
    healthy = name == "ixi"
    for raw in raws:
        assert raw.mask.is_file() and raw.label == (not healthy) and (raw.seg is None) == healthy
        assert all(path.name == f"{raw.id}_{modality}.nii.gz" for modality, path in raw.images.items())
        assert raw.age == (51.5 if raw.id == trees.ids(name, 2)[1] else None)


@pytest.mark.parametrize("name", ["folder", "bids"])
def test_a_folder_without_tables_is_split_the_same_way_in_every_modality(tmp_path, name):
    trees.write(tmp_path, name)
    assert set(present(tmp_path)) == {name}
    assert {split for split, _ in DATASETS[name].offered(tmp_path)} == set(trees.SPLITS)
    for split, fold in DATASETS[name].offered(tmp_path):
        first, second = (load(name, tmp_path, split, modality, fold) for modality in ("t1", "flair"))
        assert [one.id for one in first] == [one.id for one in second]
        for one in first:
            assert one.image.is_file() and one.mask.is_file() and one.label == (one.seg is not None)
            assert one.label == int(split.endswith("patients"))
    with pytest.raises(UsageError, match="unknown split 'train_fold9'"):
        load(name, tmp_path, "train", "t1", 9)
    with pytest.raises(UsageError, match="unknown modality 'pd'"):
        load(name, tmp_path, "train", "pd")
    with pytest.raises(UsageError, match="unknown split 'test'"):
        load(name, tmp_path, "test", "t1")


def _folder(root, *names):
    for name in names:
        trees.save(root / name)
    return {raw.id: raw for raw in DATASETS["folder"].find(root)}


NNUNET = '{"channel_names": {"0": "FLAIR", "1": "T1w", "2": "T1Gd", "3": "T2w"}}'


@pytest.mark.parametrize(
    "names, modalities, seg",
    [
        (["images/a.nii", "labels/a.nii.gz", "masks/a.nii"], {"image"}, True),
        (
            ["images/a_t2.nii.gz", "images/a_FLAIR.nii.gz", "masks/a_brain_mask.nii.gz"],
            {"t2", "flair"},
            False,
        ),
        (["images/t1/a.nii.gz", "images/t2/a_t2.nii.gz", "labels/a_t2_seg.nii.gz"], {"t1", "t2"}, True),
        (["a.nii.gz", "a_mask.nii.gz", "a_lesion_mask.nii.gz", "masks/._a.nii"], {"image"}, True),
        (["images/a_0000.nii.gz", "labels/a.nii.gz"], {"image"}, True),
        (["imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"], {"image"}, True),
        (
            [*(f"imagesTr/a_000{n}.nii.gz" for n in range(4)), "labelsTr/a.nii.gz"],
            {"t1", "t2", "flair"},
            True,
        ),
    ],
)
def test_forms_of_a_folder(tmp_path, names, modalities, seg):
    if len(names) == 5:
        (tmp_path / "dataset.json").write_text(NNUNET)
    found = _folder(tmp_path, *names)
    assert set(found) == {"a"} and set(found["a"].images) == modalities
    assert (found["a"].seg is not None) == seg == bool(found["a"].label)
    assert (found["a"].mask is not None) == any(
        "mask" in name and "lesion" not in name and "._" not in name for name in names
    )
    if modalities == {"image"}:  # what does not tell its modality serves in any
        assert found["a"].subject("t1").image == found["a"].subject("flair").image
    if len(names) == 5:
        assert found["a"].images["t2"].name == "a_0003.nii.gz"


@pytest.mark.parametrize(
    "names, message",
    [
        (["images/a.nii", "labels/b.nii"], "labels/b.nii: belongs to no image"),
        (["images/a.nii", "images/a.nii.gz"], "a.nii.gz: stands for the same as .*a.nii"),
        (["images/a_t1.nii", "images/t1/a.nii"], "stands for the same"),
        (["images/a.nii", "masks/a.nii", "masks/a_mask.nii"], "a_mask.nii: stands for the same"),
        (["imagesTr/a_0000.nii", "imagesTr/a_0001.nii"], "a_0001.nii: ends in none of the channels _0000"),
    ],
)
def test_what_a_folder_leaves_unclear_is_refused(tmp_path, names, message):
    with pytest.raises(UsageError, match=message):
        _folder(tmp_path, *names)


def test_a_list_of_subjects_says_more_than_the_files(tmp_path):
    (tmp_path / "subjects.csv").write_text("id,age,label\na,40,\nb,,1\n")
    found = _folder(tmp_path, "images/a.nii", "images/b.nii")
    assert [(raw.age, raw.label) for raw in found.values()] == [(40.0, 0), (None, 1)]
    (tmp_path / "subjects.csv").write_text("id,age\na,old\n")
    with pytest.raises(UsageError, match="subjects.csv: column 'age' of 'a' is 'old'"):
        _folder(tmp_path)
    (tmp_path / "subjects.csv").unlink()
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "images/a.nii").rename(tmp_path / "imagesTr/a_0000.nii")
    (tmp_path / "images/b.nii").unlink()
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(UsageError, match="dataset.json: does not name"):
        _folder(tmp_path)


def _bids(root, *names):
    for name in names:
        trees.save(root / f"{name}.nii.gz")
    return {raw.id: raw for raw in DATASETS["bids"].find(root)}


def test_sessions_and_runs_are_subjects_of_one_person(tmp_path):
    found = _bids(
        tmp_path,
        "sub-1/ses-a/anat/sub-1_ses-a_T1w",
        "sub-1/ses-a/anat/sub-1_ses-a_FLAIR",
        "sub-1/ses-b/anat/sub-1_ses-b_run-1_T1w",
        "sub-1/ses-b/anat/sub-1_ses-b_run-2_T1w",
        "sub-1/ses-b/anat/sub-1_ses-b_run-2_label-L_desc-T1lesion_mask",
    )
    assert set(found) == {"sub-1_ses-a", "sub-1_ses-b_run-1", "sub-1_ses-b_run-2"}
    assert set(found["sub-1_ses-a"].images) == {"t1", "flair"}
    assert [raw.label for raw in found.values()] == [1, 1, 1]  # a patient in any session
    assert [raw.seg is not None for raw in found.values()] == [False, False, True]
    assert {raw.subject("t1").person for raw in found.values()} == {"sub-1"}


def test_the_preprocessed_scan_comes_with_the_mask_of_its_own_space(tmp_path):
    prep = "derivatives/prep/sub-1/anat/sub-1"
    found = _bids(
        tmp_path,
        "sub-1/anat/sub-1_T1w",
        f"{prep}_desc-preproc_T1w",
        f"{prep}_space-MNI_desc-preproc_T1w",
        f"{prep}_desc-brain_mask",
        f"{prep}_space-MNI_desc-brain_mask",
        "derivatives/other/sub-1/anat/sub-1_desc-brain_mask",
        "derivatives/other/sub-1/anat/sub-1_dseg",
    )["sub-1"]
    assert found.images["t1"] == tmp_path / f"{prep}_desc-preproc_T1w.nii.gz"
    assert found.mask == tmp_path / f"{prep}_desc-brain_mask.nii.gz" and found.seg is None


def test_participants_say_who_is_healthy(tmp_path):
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tgroup\nsub-1\t89+\tControl\nsub-2\tn/a\tpatient\nsub-3\t7.5\tn/a\n"
    )
    found = _bids(
        tmp_path, *(f"sub-{n}/anat/sub-{n}_T2w" for n in range(1, 5)), "sub-4/anat/sub-4_desc-lesion_mask"
    )
    assert [(raw.age, raw.label) for raw in found.values()] == [(89.0, 0), (None, 1), (7.5, 0), (None, 1)]


@pytest.mark.parametrize(
    "names",
    [
        ["sub-1/anat/sub-1_T1w", "derivatives/x/sub-1/anat/sub-1_T1w"],
        ["sub-1/anat/sub-1_T1w", "sub-1/anat/sub-1_desc-brain_mask", "sub-1/anat/sub-1_label-brain_mask"],
    ],
)
def test_two_files_for_one_scan_are_refused(tmp_path, names):
    with pytest.raises(UsageError, match="as good as .* keep one of them"):
        _bids(tmp_path, *names)


def test_tables_decide_who_of_a_folder_is_where(tmp_path):
    trees.write(tmp_path, "folder", 4)
    (tmp_path / "images/t2/case02_t2.nii.gz").unlink()
    (tmp_path / "splits").mkdir()
    rows = [f"{id}_t1.nii.gz,,0,/images/t1/{id}_t1.nii.gz,," for id in ("case00", "case02")]
    table = tmp_path / "splits/folder_train_fold0.csv"
    table.write_text("\n".join([HEADER, *rows]) + "\n")
    assert DATASETS["folder"].offered(tmp_path) == [("train", 0)]
    assert [one.id for one in load("folder", tmp_path, "train", "t1")] == ["case00", "case02"]
    assert [one.id for one in load("folder", tmp_path, "train", "t2")] == ["case00"]  # the other has no T2
    with pytest.raises(UsageError, match="no such split table"):
        load("folder", tmp_path, "val", "t1")
    (missing := tmp_path / "images/t1/case02_t1.nii.gz").unlink()
    with pytest.raises(UsageError, match="case02_t1.nii.gz: not there, but listed"):
        load("folder", tmp_path, "train", "t1")
    assert missing in [one.image for one in load("folder", tmp_path, "train", "t1", require=False)]


LESION = "sub-1/anat/sub-1_label-lesion_mask"
IN_MNI = "derivatives/x/sub-1/anat/sub-1_space-MNI"


@pytest.mark.parametrize(
    "names, image, seg",
    [
        ([f"{IN_MNI}_label-lesion_mask"], "sub-1/anat/sub-1_T1w", None),
        (
            [f"{IN_MNI}_T1w", f"{IN_MNI}_label-lesion_mask"],
            f"{IN_MNI}_T1w",
            f"{IN_MNI}_label-lesion_mask",
        ),
        (["sub-1/anat/sub-1_run-7_label-lesion_mask"], "sub-1/anat/sub-1_T1w", None),
        (["sub-1/ses-9/anat/sub-1_ses-9_label-lesion_mask"], "sub-1/anat/sub-1_T1w", None),
        (["sub-1/anat/sub-1_acq-x_label-L_roi"], "sub-1/anat/sub-1_T1w", None),
        (
            ["sub-1/anat/sub-1_desc-lesion_dseg"],
            "sub-1/anat/sub-1_T1w",
            "sub-1/anat/sub-1_desc-lesion_dseg",
        ),
        (["sub-1/anat/sub-1_label-WMH_mask"], "sub-1/anat/sub-1_T1w", "sub-1/anat/sub-1_label-WMH_mask"),
        ([LESION, "sub-1/anat/sub-1_desc-lesion_dseg"], "sub-1/anat/sub-1_T1w", LESION),
    ],
)
def test_whoever_has_a_lesion_file_is_a_patient(tmp_path, names, image, seg):
    found = _bids(tmp_path, "sub-1/anat/sub-1_T1w", "sub-2/anat/sub-2_T1w", *names)
    assert [raw.label for raw in found.values()] == [1, 0]
    assert found["sub-1"].images["t1"] == tmp_path / f"{image}.nii.gz"
    assert found["sub-1"].seg == (tmp_path / f"{seg}.nii.gz" if seg else None)


def test_one_person_of_a_folder_counts_once(tmp_path):
    found = _folder(
        tmp_path,
        *(
            f"P01_{name}.nii.gz"
            for name in ("T1w", "T2w", "FLAIR", "t1ce", "T1w_brain", "bet_t2", "bet_mask")
        ),
        *("s1.nii.gz", "s1_bet.nii.gz", "s1_ses-2.nii.gz"),
    )
    assert {id: set(raw.images) for id, raw in found.items()} == {
        "P01": {"t1", "t2", "flair"},
        "s1": {"image"},
        "s1_ses-2": {"image"},
    }
    assert found["P01"].mask == tmp_path / "P01_bet_mask.nii.gz"
    assert {raw.images["image"].name for raw in found.values() if "image" in raw.images} == {
        "s1.nii.gz",
        "s1_ses-2.nii.gz",
    }
    with pytest.raises(UsageError, match=r"s1_odd.nii.gz: is this somebody else than 's1'\? rename it"):
        _folder(tmp_path, "s1_odd.nii.gz")


@pytest.mark.parametrize(
    "id, person",
    [
        *((f"P00_{visit}", "P00") for visit in ("ses1", "ses-2", "ses-02_run-1", "SES-base", "run-2")),
        *((id, id) for id in ("P00", "case_sesame", "IXI002-Guys-0828")),
        ("sub-1_ses-1", "sub-1"),
    ],
)
def test_sessions_are_of_one_person(id, person):
    assert Subject(id, Path(id), None, None, 0, None).person == person


def test_a_session_of_who_is_there_stays_with_them_in_every_split(tmp_path):
    names = [f"P{n:02}{visit}" for n in range(12) for visit in ("", "_ses1", "_ses-02_run-1")]
    _folder(tmp_path, *(f"images/{name}.nii.gz" for name in names))
    sides = [{one.person for one in load("folder", tmp_path, split, "t1")} for split in trees.SPLITS[:3]]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 12


@pytest.mark.parametrize("name", list(trees.PLACES))
def test_hidden_files_are_nobody(tmp_path, name):
    modalities = trees.write(tmp_path, name, 2)
    place = trees.PLACES[name][0]
    for kind in (*modalities, "mask", "seg"):
        for hidden in ("._", ".tmp-1-"):
            trees.save(tmp_path / f"{place}/{kind}/{hidden}{trees.ids(name, 1)[0]}_{kind}.nii.gz")
    assert [raw.id for raw in DATASETS[name].find(tmp_path)] == sorted(trees.ids(name, 2))


def test_endings_in_capitals_and_links_to_nowhere_count(tmp_path):
    trees.save(tmp_path / "ixi/Train/ixi/t1/IXI002-Guys-0828_t1.NII.GZ")
    assert [raw.id for raw in DATASETS["ixi"].find(tmp_path / "ixi")] == ["IXI002-Guys-0828"]
    trees.save(tmp_path / "bids/sub-1/anat/sub-1_T1w.NII.GZ")
    assert [raw.id for raw in DATASETS["bids"].find(tmp_path / "bids")] == ["sub-1"]
    (tmp_path / "folder/images").mkdir(parents=True)
    (tmp_path / "folder/images/a.nii.gz").symlink_to(tmp_path / "annex/a")
    (raw,) = DATASETS["folder"].find(tmp_path / "folder")
    assert raw.id == "a" and not raw.images["image"].exists()


def test_a_list_of_subjects_names_those_who_are_there(tmp_path):
    (tmp_path / "subjects.csv").write_text("id,age\na,40\nc,50\nb,50\n")
    with pytest.raises(UsageError, match="subjects.csv: 'b' has no image"):
        _folder(tmp_path, "images/a.nii")


@pytest.mark.parametrize("name", ["folder", "ixi"])
def test_a_name_that_no_table_can_hold_is_refused(tmp_path, name):
    folder = tmp_path / ("images" if name == "folder" else "Train/ixi/t1")
    trees.save(folder / "caf\udce9_t1.nii.gz")
    assert set(present(tmp_path)) == {name}
    with pytest.raises(UsageError, match=r"caf\\udce9_t1.nii.gz: the name is not UTF-8; rename it"):
        DATASETS[name].find(tmp_path)


def test_masks_that_were_prepared_are_found_for_their_scans(tmp_path):
    scan = tmp_path / "images/t2/a_t2.nii.gz"
    with pytest.raises(UsageError, match="no mask named a_t2.nii.gz, a.nii.gz or a_mask.nii.gz"):
        find_mask(trees.save(tmp_path / "masks/b.nii").parent, scan)
    for name in ("a_mask.nii", "a_mask.nii.gz", "a.nii", "a.nii.gz", "a_t2.nii.gz"):  # the closest last
        wanted = trees.save(tmp_path / "masks" / name)
        assert find_mask(tmp_path / "masks", scan) == wanted
