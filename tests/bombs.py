"""Small files, or sparse ones, that ask for more than they should get."""

import gzip
import os
import zlib
from pathlib import Path

from mutants import sources


def zeros(path: Path, first: bytes, count: int, each: int = 1 << 26) -> None:
    """A gzip file of `first` and then `count` streams of 64 MB of zeros."""
    path.write_bytes(gzip.compress(first) + gzip.compress(bytes(each), 1) * count)


def asking(number: int, field: str, value) -> bytes:
    """The plain bytes of a source whose header asks for too much."""
    return sources()[number].edited(field, value)


def sparse(path: Path, first: bytes, size: int) -> None:
    path.write_bytes(first)
    os.truncate(path, size)


def one_stream(path: Path, first: bytes, megabytes: int, tail: bytes = b"") -> None:
    """One gzip stream of `first` and then zeros; `tail` stands where its checksum should."""
    deflate = zlib.compressobj(1, wbits=31)
    start = deflate.compress(first) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(start + block * megabytes + (deflate.flush()[:-8] + tail if tail else b""))


def dims(*sizes: int) -> list[int]:
    return [len(sizes), *sizes, *[1] * (7 - len(sizes))]


BIG = ("dim", dims(512, 512, 512))  # of uint8: allowed, so that the stream itself must be found out
BOMBS = {  # name: code it is refused with, how it is made
    "zeros.nii.gz": ("unreadable", lambda path: zeros(path, b"", 64)),
    "goes-on.nii.gz": ("too-large", lambda path: zeros(path, sources()[0].content, 64)),
    "goes-on-in-one-stream.nii.gz": ("too-large", lambda path: one_stream(path, sources()[0].content, 4096)),
    "big-goes-on.nii.gz": ("too-large", lambda path: zeros(path, asking(1, *BIG), 64)),
    "big-ends-early.nii.gz": ("truncated", lambda path: one_stream(path, asking(1, *BIG), 120)),
    "big-checksum.nii.gz": ("corrupt-gzip", lambda path: one_stream(path, asking(1, *BIG), 128, bytes(8))),
    "big-promise.nii.gz": ("truncated", lambda path: zeros(path, asking(1, *BIG), 0)),
    "big-promise.nii": ("truncated", lambda path: path.write_bytes(asking(1, *BIG))),
    "cube.nii": ("too-large", lambda path: path.write_bytes(asking(1, "dim", dims(*[32767] * 3)))),
    "cube.nii.gz": ("too-large", lambda path: zeros(path, asking(1, "dim", dims(*[32767] * 3)), 64)),
    "seven-axes.nii": ("too-large", lambda path: path.write_bytes(asking(3, "dim", dims(*[32767] * 7)))),
    "series.nii.gz": ("too-large", lambda path: zeros(path, asking(0, "dim", dims(256, 256, 256, 4000)), 64)),
    "2-to-120.nii": ("too-large", lambda path: path.write_bytes(asking(4, "dim", dims(*[2**40] * 3)))),
    "overflow-to-zero.nii": ("too-large", lambda path: path.write_bytes(asking(5, "dim", dims(2**32, 2**32, 16)))),
    "negative.nii": ("bad-header", lambda path: path.write_bytes(asking(5, "dim", dims(-(2**32), -(2**31), 2)))),
    "offset.nii": ("bad-header", lambda path: path.write_bytes(asking(4, "vox_offset", 2**62))),
    "offset.nii.gz": ("too-large", lambda path: zeros(path, asking(0, "vox_offset", 6e7), 64)),
    "sparse-50-GB.nii": ("too-large", lambda path: sparse(path, sources()[3].content, 50 * 10**9)),
    "sparse-2-GB.nii": ("too-large", lambda path: sparse(path, sources()[3].content, 19 * 10**8)),
    "padding-50-GB.nii.gz": ("too-large", lambda path: sparse(path, gzip.compress(b""), 50 * 10**9)),
    "a-million-streams.nii.gz": ("corrupt-gzip", lambda path: path.write_bytes(gzip.compress(b"") * 1_000_001)),
    "gzip-of-gzip.nii.gz": ("unreadable", lambda path: zeros(path, gzip.compress(sources()[0].content), 64)),
}  # fmt: skip
