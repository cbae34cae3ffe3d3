"""Does the reader of split tables understand the published tree, and say clearly when it cannot?"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdm_jax import build
from cdm_jax import config as configs
from cdm_jax.data.datasets import DATASETS, Dataset, load, read_split
from cdm_jax.data.datasets.tree import COLUMNS, MODALITIES, in_modality, subject_id
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
