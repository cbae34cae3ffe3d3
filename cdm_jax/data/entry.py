"""How does one prepared volume lie in a file, and is the file whole?

A `.npy` of a single record, which any numpy opens: image, mask and seg [D,H,W], spacing, checksum of every byte
before it. One slice is one contiguous read. Not ArrayRecord: of random slices with their masks such maps gave some
200,000 a second, ArrayRecord, which hands out copies, 35,000 to 50,000 (one thread, warm; `benchmarks/data_speed.py`).
"""

import io
import mmap
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.files import atomic_path

CHECKSUM_BYTES = 4
MOST_HEADER = 1024
IMAGE_SHAPE = re.compile(rb"'image', '<f4', \((\d{1,6}), (\d{1,6}), (\d{1,6})\)")
WAY_OUT = "delete it, and it is prepared anew"


def record(shape: tuple[int, ...]) -> np.dtype:
    """The record of one volume of `shape` (D, H, W)."""
    return np.dtype(
        [
            ("image", "<f4", shape),
            ("mask", "?", shape),
            ("seg", "?", shape),
            ("spacing", "<f8", 3),
            ("crc32", "<u4"),
        ]
    )


@dataclass(frozen=True, eq=False)
class Entry:
    """One prepared volume, memory-mapped: image float32 [D,H,W] in [0, 1], mask and seg bool, spacing [H,W,D] in mm.

    It crosses processes as its path.
    """

    path: Path
    mapping: mmap.mmap
    image: np.ndarray
    mask: np.ndarray
    seg: np.ndarray
    spacing: tuple[float, ...]
    size: int  # bytes of the file

    def require_whole(self) -> None:
        """Raise VolumeError if the file was cut after it was opened: touching what is gone would kill the process."""
        if (size := self.mapping.size()) < self.size:
            raise VolumeError(
                self.path, "truncated", f"cut from {self.size} to {size} bytes while in use; {WAY_OUT}"
            )

    def __reduce__(self):
        return open_entry, (self.path, False)


def write_entry(
    path: Path, image: np.ndarray, mask: np.ndarray, seg: np.ndarray, spacing: tuple[float, ...]
) -> None:
    """Write arrays [D,H,W] to `path` atomically; who writes the same entry at the same time does no harm.

    Raises: UsageError: the folder cannot be written.
    """
    filled = np.zeros((), record(image.shape))
    for name, value in {"image": image, "mask": mask, "seg": seg, "spacing": spacing}.items():
        filled[name] = value
    buffer = io.BytesIO()
    np.save(buffer, filled, allow_pickle=False)
    body = buffer.getbuffer()[:-CHECKSUM_BYTES]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(body)
        file.write(zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little"))


def open_entry(path: Path, verify: bool = True) -> Entry:
    """Map the entry in `path`, after comparing its size, types and shapes with its header's.

    Args:
      verify: read all of it and compare its checksum, too.
    Raises:
      UsageError: it is not there, or cannot be opened.
      VolumeError: it is cut or damaged.
    """
    try:
        mapping, dtype, start = _map(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be opened ({error.strerror or error})") from error
    size = start + dtype.itemsize
    if len(mapping) != size:
        code = "truncated" if len(mapping) < size else "bad-header"
        raise VolumeError(path, code, f"{len(mapping)} bytes where {size} are needed; {WAY_OUT}")
    whole = np.ndarray((), dtype, mapping, start)
    if verify and zlib.crc32(memoryview(mapping)[:-CHECKSUM_BYTES]) != whole["crc32"]:
        raise VolumeError(path, "bad-checksum", f"its contents do not match their checksum; {WAY_OUT}")
    arrays = {name: whole[name] for name in ("image", "mask", "seg")}
    return Entry(path, mapping, **arrays, spacing=tuple(whole["spacing"].tolist()), size=size)


def _map(path: Path) -> tuple[mmap.mmap, np.dtype, int]:
    """(the mapped file, its record, the byte at which that starts)."""
    with path.open("rb") as file:
        start = file.read(MOST_HEADER)
        named = IMAGE_SHAPE.search(start)
        shape = tuple(map(int, named.groups())) if named else (0, 0, 0)
        if not named or not start.startswith(header := _header(shape)):
            raise VolumeError(path, "bad-header", f"not a prepared volume; {WAY_OUT}")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), record(shape), len(header)


@lru_cache(maxsize=32)
def _header(shape: tuple[int, ...]) -> bytes:
    """What `numpy.save` writes before a record of `shape`.

    Headers are compared with it, not parsed: numpy does that by `ast`, which fails now and then in threads of
    Python before 3.11.8.
    """
    buffer = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(record(shape)), "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()
