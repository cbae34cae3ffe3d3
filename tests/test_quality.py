"""Does the page of pictures show a failed skull strip first?"""

import base64
import io
import re

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from cdm_jax.errors import UsageError
from cdm_jax.prepare.quality import OUTLINE, Row, draw, write_page

SHAPE = (20, 22, 18)
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
SIZES = {
    "a": (14, 15, 12),
    "b": (14, 15, 13),
    "c": (14, 16, 13),
    "stripped_badly": (19, 20, 16),
}  # voxels of 0.512 ml


def brain(size):
    """A bright box of that many voxels in the middle of a darker field, and its mask."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice((n - s) // 2, (n - s) // 2 + s) for n, s in zip(SHAPE, size, strict=True))] = 1
    noise = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    return mask + 0.3 * noise, mask


def write_scans(tmp_path, sizes):
    made = []
    for id, size in sizes.items():
        image, mask = tmp_path / f"{id}.nii.gz", tmp_path / f"{id}_mask.nii.gz"
        for path, array in zip((image, mask), brain(size), strict=True):
            nib.save(nib.Nifti1Image(array, AFFINE), path)
        made.append(Row(id, "t2", image, mask, "clipped <below>" if id == "b" else ""))
    return made


@pytest.fixture
def rows(tmp_path):
    return write_scans(tmp_path, SIZES)


def read(page):
    """[(text of a row, its pictures)] in order."""
    text = page.read_text()
    assert "<script" not in text and "http" not in text
    found = []
    for row in re.findall(r"<tr class.*?</tr>", text):
        pngs = re.findall(r"base64,([^\"]*)", row)
        pictures = [imread(io.BytesIO(base64.b64decode(png)))[..., :3] for png in pngs]
        found.append((re.sub(r"<img[^>]*>", "", row), pictures))
    return found


def test_the_failed_strip_stands_first_and_marked(tmp_path, rows):
    write_page(tmp_path / "page.html", rows)
    found = read(tmp_path / "page.html")
    ids = [re.search(r"<td>(a|b|c|stripped_badly)</td>", text)[1] for text, _ in found]
    assert ids[0] == "stripped_badly" and sorted(ids) == sorted(SIZES)
    assert ["marked" in text for text, _ in found] == [True, False, False, False]
    for id, (text, pictures) in zip(ids, found, strict=True):
        assert f"<td>{np.prod(SIZES[id]) * 0.512:.0f} ml" in text
        assert [picture.shape[:2] for picture in pictures] == [(22, 20), (18, 20), (18, 22)]
    assert "standard deviations from the cohort" in found[0][0] and "outside 800 to 2200 ml" in found[0][0]
    assert "clipped &lt;below&gt;" in next(text for text, _ in found if "<td>b</td>" in text)


def test_marked_scans_stand_first_even_where_most_are_marked(tmp_path):
    sizes = {
        f"s{depth}": (17, 18, depth) for depth in (18, 16, 15, 14, 13)
    }  # the median of 2350 ml is too large too
    write_page(tmp_path / "page.html", write_scans(tmp_path, sizes))
    order = [
        (re.search(r"<td>(s\d+)</td>", text)[1], "marked" in text) for text, _ in read(tmp_path / "page.html")
    ]
    assert order == [("s18", True), ("s16", True), ("s15", True), ("s13", False), ("s14", False)]


def test_the_outline_runs_just_outside_the_mask():
    image, mask = brain(SIZES["a"])
    png, width, height = draw(image, mask.astype(bool), AFFINE)[0]
    red = np.abs(imread(io.BytesIO(png))[..., :3] - OUTLINE).max(-1) < 0.01
    assert (width, height) == (20 * 8, 22 * 8)
    assert red.sum() == 2 * (14 + 15)  # the four sides of the box, without corners
    inside = mask[:, :, 9].T[::-1].astype(bool)
    assert not (red & inside).any()


def test_pictures_do_not_depend_on_how_the_scan_is_stored():
    image, mask = brain(SIZES["c"])
    mask = mask.astype(bool) & (np.indices(SHAPE).sum(0) > 18)  # not symmetric
    wanted = draw(image, mask, AFFINE)
    for codes in ("LPS", "PIR", "SAL"):
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(codes)
        )
        turned = [nib.orientations.apply_orientation(array, turn) for array in (image, mask)]
        assert draw(*turned, AFFINE @ nib.orientations.inv_ornt_aff(turn, SHAPE)) == wanted


def test_fine_scans_make_small_pictures_of_the_same_size():
    image, mask = (np.repeat(array, 2, axis=0) for array in brain(SIZES["a"]))
    (axial, width, height), *_ = draw(image, mask.astype(bool), np.diag([0.5, 1.0, 1.0, 1.0]))
    assert imread(io.BytesIO(axial)).shape[:2] == (11, 10) and (width, height) == (20, 22)


def test_a_scan_that_cannot_be_read_is_a_row_too(tmp_path, rows):
    rows[1].image.write_bytes(b"no volume")
    rows[2].mask.unlink()
    write_page(tmp_path / "page.html", rows)
    found = read(tmp_path / "page.html")
    assert sum("b.nii.gz: " in text or "c_mask.nii.gz: no such file" in text for text, _ in found[:2]) == 2
    assert [len(pictures) for _, pictures in found] == [0, 0, 3, 3]
    with pytest.raises(UsageError, match="cannot be written"):
        write_page(tmp_path / "page.html/inside.html", rows)
    write_page(tmp_path / "none.html", [])
    assert "0 scans" in (tmp_path / "none.html").read_text()
