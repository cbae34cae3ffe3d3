"""How the content of a file comes in small pieces, gzipped or not."""

import zlib
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

COMPRESSED, PIECE = 1 << 13, 1 << 20  # bytes taken from a gzip stream, bytes it may give for them at a time
HIGHEST_RATIO = 1032  # 258 bytes for 2 bits: deflate cannot do more
MOST_MEMBERS = 1_000_000  # gzip streams in one file


def is_gzip(file: BinaryIO) -> bool:
    """Whether the file begins as gzip does, whatever its name says."""
    file.seek(0)
    return file.read(2) == b"\x1f\x8b"


def head(file: BinaryIO, zipped: bool, length: int) -> bytes:
    """The first bytes of the content, fewer than `length` where there are no more; errors as for `pieces`."""
    found = b""
    for piece in pieces(file, zipped):
        found += piece[:length]
        if len(found) >= length:
            break
    return found[:length]


def pieces(file: BinaryIO, zipped: bool) -> Iterator[bytes]:
    """The content from its start on, at most `PIECE` bytes at a time; gzip is checked to its end.

    Raises:
      EOFError: the gzip stream ends too early.
      zlib.error: it is damaged: length, checksum, or something else after it.
    """
    file.seek(0)
    return _inflate(file) if zipped else iter(partial(file.read, PIECE), b"")


def _inflate(file: BinaryIO) -> Iterator[bytes]:
    compressed = file.read(COMPRESSED)
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            if not compressed:
                raise EOFError
            yield member.decompress(compressed, PIECE)
            compressed = member.unconsumed_tail or (b"" if member.eof else file.read(COMPRESSED))
        compressed = _skip_padding(member.unused_data, file)
        if not compressed:
            return
    raise zlib.error("more than a million streams in one file")


def _skip_padding(compressed: bytes, file: BinaryIO) -> bytes:
    """The next bytes that are not zeros, which some tools append."""
    while not compressed.lstrip(b"\0") and (compressed := file.read(COMPRESSED)):
        pass
    return compressed.lstrip(b"\0")
