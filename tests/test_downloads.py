"""Are downloads read as they come, and do their prepared files become data sets that load?"""

import shutil

import pytest
import trees

from cdm_jax.data import downloads
from cdm_jax.data.datasets import DATASETS, load
from cdm_jax.data.splits import make_splits, write_splits
from cdm_jax.errors import UsageError

FORMS = {
    "ixi": (
        [
            "IXI-T1/IXI002-Guys-0828-T1",
            "IXI-T2/IXI002-Guys-0828-T2",
            "IXI012-HH-1211-T1",
            "IXI012-HH-1211-PD",
        ],
        {"IXI002-Guys-0828": {"t1", "t2"}, "IXI012-HH-1211": {"t1"}},
    ),
    "brats21": (
        [
            *(f"BraTS2021_00000/BraTS2021_00000_{kind}" for kind in ("t1", "t1ce", "t2", "flair", "seg")),
            "BraTS2021_00003/BraTS2021_00003_t1",
        ],
        {"BraTS2021_00000": {"t1", "t2", "flair"}},
    ),
    "mslub": (
        [
            *(
                f"patient01/patient01_{kind}"
                for kind in ("T1W", "T1WKS", "T2W", "FLAIR", "brainmask", "consensus_gt")
            ),
            "patient01/raw/patient01_FLAIR",
            *(f"patient02/{kind}" for kind in ("FLAIR", "brainmask", "consensus_gt")),
        ],
        {"patient01": {"t1", "t2", "flair"}, "patient02": {"flair"}},
    ),
    "atlas": (
        [
            f"Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_{kind}"
            for kind in ("T1w", "label-L_desc-T1lesion_mask")
        ]
        + ["Testing/R100/sub-r100s001/ses-1/anat/sub-r100s001_ses-1_space-MNI152NLin2009aSym_T1w"],
        {"sub-r001s001_ses-1": {"t1"}},
    ),
    "wmh": (
        [
            f"training/Utrecht/0/{name}"
            for name in ("orig/T1", "orig/FLAIR", "orig/3DT1", "pre/T1", "pre/FLAIR", "wmh")
        ]
        + [
            "test/Amsterdam/Philips_VU .PETMR_01./161/pre/FLAIR",
            "test/Amsterdam/Philips_VU .PETMR_01./161/wmh",
        ]
        + ["additional_annotations/observer_o3/training/Utrecht/0/result"],
        {"Utrecht_0": {"t1", "flair"}, "Amsterdam_PhilipsVUPETMR01_161": {"flair"}},
    ),
    "bids": (
        ["sub-1/anat/sub-1_T1w", "sub-1/anat/sub-1_desc-lesion_mask", "sub-2/ses-1/anat/sub-2_ses-1_FLAIR"],
        {"sub-1": {"t1"}, "sub-2_ses-1": {"flair"}},
    ),
    "folder": (["images/a", "labels/a", "images/b_t2"], {"a": {"image"}, "b": {"t2"}}),
}


@pytest.fixture
def raw(tmp_path):
    def write(layout):
        for name in FORMS[layout][0]:
            trees.save(tmp_path / "raw" / f"{name}.nii.gz")
        return tmp_path / "raw"

    return write


@pytest.mark.parametrize("layout", FORMS)
def test_a_download_is_found_as_it_comes(raw, layout):
    found = {one.id: one for one in downloads.find(layout, raw(layout))}
    assert {id: set(one.images) for id, one in found.items()} == FORMS[layout][1]
    for one in found.values():
        assert one.label == (one.seg is not None)
        assert all(path.is_file() for path in (*one.images.values(), one.mask or one.seg) if path)
        assert (one.mask is not None) == (layout == "mslub")


def test_facts_of_single_downloads(raw):
    root = raw("ixi")
    (root / "IXI.csv").write_text("IXI_ID,AGE\n2,35.8\n2,36\n12,\n,44\n")
    assert {one.id: one.age for one in downloads.find("ixi", root)} == {
        "IXI002-Guys-0828": 35.8,
        "IXI012-HH-1211": None,
    }
    root = raw("wmh")
    by_id = {one.id: one for one in downloads.find("wmh", root)}
    assert by_id["Utrecht_0"].images["flair"].parent.name == "orig" and by_id["Utrecht_0"].seg_values == (1,)


@pytest.mark.parametrize("layout", FORMS)
def test_from_download_to_split(raw, tmp_path, layout):
    """What `cdm prepare` and `cdm check --write-splits` do with the files, without touching a voxel."""
    data, found = tmp_path / "data", downloads.find(layout, raw(layout))
    for one in found:
        for kind, path in [*one.images.items(), ("mask", one.mask), ("seg", one.seg)]:
            if path:
                place = data / downloads.target(layout, one.id, kind)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
    downloads.write_known(layout, data, found)
    name = layout if layout != "bids" else "folder"
    again = DATASETS[name].find(data)
    assert [(one.id, set(one.images), one.label, one.age) for one in again] == sorted(
        (one.id, set(one.images), one.label, one.age) for one in found
    )
    modality = "flair" if layout == "wmh" else "t1"
    splits = make_splits([subject for one in again if (subject := one.subject(modality))])
    write_splits(data, {name: splits}, "splits")
    for split, fold in DATASETS[name].offered(data):
        assert load(name, data, split, modality, fold)


def test_ages_and_labels_are_kept_beside_the_prepared_files(tmp_path):
    def someone(id, label, age):
        return downloads.Raw(id, {}, None, None, label, age)

    table = downloads.write_known("bids", tmp_path, [someone("sub-1", 1, None), someone("sub-2", 0, 30.5)])
    assert table == tmp_path / "subjects.csv"
    assert table.read_text() == "id,age,label\nsub-1,,1\nsub-2,30.5,0\n"
    downloads.write_known("bids", tmp_path, [someone("sub-2", 0, 31.0)])  # a second run adds and corrects
    assert table.read_text() == "id,age,label\nsub-1,,1\nsub-2,31.0,0\n"
    assert downloads.write_known("ixi", tmp_path, []) == tmp_path / "Train/ixi/subjects.csv"


def test_published_places():
    assert downloads.target("ixi", "IXI002-Guys-0828", "t2") == "Train/ixi/t2/IXI002-Guys-0828_t2.nii.gz"
    assert (
        downloads.target("atlas", "sub-r001s001_ses-1", "seg")
        == "Test/ATLAS_v2/seg/sub-r001s001_ses-1_seg.nii.gz"
    )
    assert downloads.target("folder", "a", "flair") == "images/flair/a_flair.nii.gz"
    with pytest.raises(UsageError, match="unknown kind 'image'"):
        downloads.target("ixi", "a", "image")
    with pytest.raises(UsageError, match="unknown layout 'phantom'.*brats21"):
        downloads.target("phantom", "a", "t1")


@pytest.mark.parametrize("layout", FORMS)
def test_what_is_not_there_is_said(tmp_path, layout):
    trees.save(tmp_path / "other/scan.nii.gz")
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=f"holds nothing of the layout '{layout}'; looked for "):
            downloads.find(layout, root)


def test_two_copies_of_a_download_are_refused(raw):
    for layout in ("ixi", "wmh"):
        root = raw(layout)
        shutil.copytree(root, root / "copy")
        with pytest.raises(UsageError, match="stands for the same as"):
            downloads.find(layout, root)
        shutil.rmtree(root)
    with pytest.raises(UsageError, match="unknown layout 'nope'"):
        downloads.find("nope", root)
