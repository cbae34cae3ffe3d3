"""Five hundred files that are not quite what they were, made from six that are."""

import gzip
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.1, 0.3) @ np.diag([-0.9, 1.1, 3]), [30, -40, 5]
)


@dataclass(frozen=True)
class Source:
    """A small scan as the plain bytes of its file."""

    kind: type
    order: str
    content: bytes
    zipped: bool

    @property
    def suffix(self) -> str:
        return ".nii.gz" if self.zipped else ".nii"

    def stored(self, content: bytes) -> bytes:
        return gzip.compress(content, 1) if self.zipped else content

    def edited(self, field: str, value, index=...) -> bytes:
        """The plain bytes with one header field overwritten."""
        header = self.header()
        with np.errstate(all="ignore"):
            header[field][index] = np.array(value).astype(header[field].dtype)
        return header.tobytes() + self.content[header.nbytes :]

    def header(self) -> np.ndarray:
        """A copy of the header's fields."""
        return np.ndarray((), self.kind.template_dtype.newbyteorder(self.order), self.content).copy()


def head_phantom() -> np.ndarray:
    """A bright ellipsoid with a brighter spot on black."""
    x, y, z = np.indices((14, 16, 10)) - np.array([6.5, 7.5, 4.5])[:, None, None, None]
    head = 100 * ((x / 6) ** 2 + (y / 7) ** 2 + (z / 4) ** 2 < 1)
    return head + 20 * (x > 1) * (y > 2) * (head > 0) + 3 * np.cos(x + y) * (head > 0)


def source(kind, dtype, order, zipped, change=lambda header: None) -> Source:
    header = kind(endianness=order)
    header.set_data_shape(head_phantom().shape)
    header.set_data_dtype(dtype)
    header.set_sform(AFFINE, 1)
    header.set_qform(AFFINE, 1)
    header.set_slope_inter(1, 0)
    change(header)
    image = {nib.Nifti1Header: nib.Nifti1Image, nib.Nifti2Header: nib.Nifti2Image}[kind]
    scan = image(head_phantom().astype(dtype), None, header)
    return Source(kind, order, scan.to_bytes(), zipped)


@cache
def sources() -> list[Source]:
    one, two = nib.Nifti1Header, nib.Nifti2Header
    comment = nib.nifti1.Nifti1Extension("comment", b"made of nothing " * 5)
    return [
        source(one, np.int16, "<", True, lambda header: header.set_slope_inter(0.5, 3)),
        source(one, np.uint8, ">", False),
        source(one, np.float32, "<", True, lambda header: header.extensions.append(comment)),
        source(one, np.float64, "<", False, lambda header: header.set_sform(None, 0)),
        source(two, np.float64, "<", True),
        source(two, np.int16, ">", False),
    ]


# --- Mutations: mutation(rng, source) -> bytes of a file


def header_bytes(rng, base):
    content, at = bytearray(base.content), rng.integers(base.kind.sizeof_hdr)
    junk = rng.bytes(rng.integers(1, 9))
    content[at : at + len(junk)] = junk
    return base.stored(bytes(content))


def one_field(field, values, index=lambda rng: ...):
    """Mutations that set `field`, or one random entry of it, to one of `values`."""

    def mutate(rng, base):
        return base.stored(base.edited(field, values[rng.integers(len(values))], index(rng)))

    return mutate


def some_field(*choices):
    return lambda rng, base: choices[rng.integers(len(choices))](rng, base)


def huge_extension(rng, base):
    """An extension that promises up to 2 GB and holds 24 bytes, before voxels that are where they should be."""
    size, start = base.kind.sizeof_hdr, base.kind.sizeof_hdr + 4
    esize = int(rng.choice([-1, 0, 7, 32, 2**20, 2**31 - 1]))
    extension = np.array([1, esize, 6], base.order + "i4").tobytes() + rng.bytes(24)
    old = int(base.header()["vox_offset"])
    return base.stored(base.edited("vox_offset", start + 32)[:size] + extension + base.content[old:])


def garbage_extension(rng, base):
    content = bytearray(base.content)
    size = base.kind.sizeof_hdr
    content[size : size + 4] = rng.bytes(4)
    return base.stored(bytes(content))


def bad_magic(rng, base):
    magics = [b"ni1", b"n+1", b"n+2", b"ni2", b"N+1", b"", b"n+3", rng.bytes(3)]
    return base.stored(base.edited("magic", magics[rng.integers(len(magics))]))


def cut(rng, base):
    content = base.stored(base.content)
    return content[: rng.integers(len(content))]


def corrupt(rng, base):
    """Bytes changed, dropped or doubled inside the gzip stream."""
    content = bytearray(gzip.compress(base.content, int(rng.integers(0, 10))))
    at, length = rng.integers(len(content)), rng.integers(1, 20)
    content[at : at + length] = [rng.bytes(length), b"", bytes(content[at : at + length]) * 2][
        rng.integers(3)
    ]
    return bytes(content)


def members(rng, base):
    """Several gzip streams in one file, empty ones and padding among them."""
    edge = rng.integers(len(base.content))
    parts = [gzip.compress(part) for part in (base.content[:edge], b"", base.content[edge:])]
    return b"".join(parts) + [b"", bytes(500), rng.bytes(50)][rng.integers(3)]


def misnamed(rng, base):
    return base.content if base.zipped else gzip.compress(base.content)


def trailing(rng, base):
    return base.stored(
        base.content + [bytes, rng.bytes][rng.integers(2)](int(rng.choice([1, 1000, 2_000_000])))
    )


def swapped(rng, base):
    """The other byte order in the header alone: still a header, of other voxels."""
    header = base.header().byteswap()
    return base.stored(header.tobytes() + base.content[header.nbytes :])


def flips(rng, base):
    content = bytearray(base.stored(base.content))
    for at in rng.integers(len(content), size=rng.integers(1, 6)):
        content[at] ^= 1 << rng.integers(8)
    return bytes(content)


def another_file(rng, base):
    texts = [
        b"",
        b"\x1f\x8b",
        bytes(1000),
        b"<!DOCTYPE html>",
        gzip.compress(b""),
        rng.bytes(2000),
        b"\x5c\x01\0\0",
    ]
    return texts[rng.integers(len(texts))]


SHAPES = [
    [3, 32767, 32767, 32767, 1, 1, 1, 1],
    [7, *[32767] * 7],
    [4, 14, 16, 10, 32767, 1, 1, 1],
    [4, 14, 16, 5, 2, 1, 1, 1],
    [5, 14, 16, 10, 1, 1, 1, 1],
    [2, 14, 160, 1, 1, 1, 1, 1],
]
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-30, 1e30, 3e38]
MUTATIONS = {  # kind: how many, how
    "header bytes": (70, header_bytes),
    "dimensions 0, -1, 32767": (60, some_field(
        one_field("dim", [0, -1, 1, 8, 32767], lambda rng: rng.integers(4)), one_field("dim", SHAPES))),
    "pixdim": (30, one_field("pixdim", NUMBERS, lambda rng: rng.integers(5))),
    "datatype, bitpix": (40, some_field(
        one_field("datatype", [0, 1, 2, 16, 32, 128, 255, 256, 1280, 1536, 2304, -1, 32767]),
        one_field("bitpix", [0, 1, 7, -8, 32767]))),
    "vox_offset": (30, one_field("vox_offset", [0, -352, 100, 351, 353, 400, 1e6, 2e9, 9e18, np.nan, np.inf])),
    "sform, qform, quaternion": (30, some_field(
        *[one_field(f"srow_{axis}", NUMBERS, lambda rng: rng.integers(4)) for axis in "xyz"],
        *[one_field(f"quatern_{axis}", NUMBERS) for axis in "bcd"],
        one_field("sform_code", [0, -1, 99]), one_field("qform_code", [0, -1, 99]))),
    "scl_slope, scl_inter": (30, some_field(one_field("scl_slope", NUMBERS), one_field("scl_inter", NUMBERS))),
    "extensions": (30, some_field(huge_extension, garbage_extension)),
    "magic": (20, bad_magic),
    "byte order of the header": (6, swapped),
    "cut": (45, cut),
    "corrupt gzip": (45, corrupt),
    "several gzip streams": (12, members),
    "gzip or not against the name": (12, misnamed),
    "bytes after the voxels": (12, trailing),
    "another file": (8, another_file),
    "bit flips anywhere": (20, flips),
}  # fmt: skip


def mutants(kind: str, folder: Path):
    """The files of one kind of mutation, written one after the other."""
    count, mutate = MUTATIONS[kind]
    for number in range(count):
        rng = np.random.default_rng([zlib.crc32(kind.encode()), number])
        base = sources()[number % len(sources())]
        path = folder / f"mutant_{number:03}{base.suffix}"
        path.write_bytes(mutate(rng, base))
        yield path
