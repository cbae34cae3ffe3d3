"""How does one prepared volume lie in a file, and is the file whole?

A `.npy` of a single record, which any numpy opens: image, mask and seg [D,H,W], spacing, checksum of every byte
before it. One slice is one contiguous read. Not ArrayRecord: of random slices with their masks such maps gave some
200,000 a second, ArrayRecord, which hands out copies, 35,000 to 50,000 (one thread, warm; `benchmarks/data_speed.py`).
"""

import io
import mmap
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.files import atomic_path

CHECKSUM_BYTES = 4
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
        try:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != () or dtype != record(dtype["image"].shape):
                raise ValueError(f"a record of {dtype}")
        except Exception as error:  # numpy, ast and tokenize fail in half a dozen ways
            raise VolumeError(path, "bad-header", f"not a prepared volume; {WAY_OUT}") from error
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype, file.tell()
