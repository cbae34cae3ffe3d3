"""What is the hash of a file's contents, without reading again what has not changed?"""

import contextlib
import hashlib
import json
import time
from pathlib import Path

from cdm_jax.errors import UsageError, VolumeError
from cdm_jax.files import write_json

SETTLED = 2 * 10**9  # ns: a change sooner after the last than the clock ticks would leave the time as it is

Known = dict[str, list]
"""{path: [bytes, time of change, time of the inode's change, device, inode, SHA-256]}."""


def content_hash(path: Path, known: Known) -> str:
    """SHA-256 of the file's bytes: from `known` if its size and times are those that stand there, else added to it.

    Reading 400 scans takes seconds to a minute at every start, asking for their times a few milliseconds.

    Raises: UsageError: no such file; VolumeError: it cannot be read.
    """
    try:
        name, status = str(path.absolute()), path.stat()
        mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino]
        *remembered, digest = known.get(name, [None])
        if remembered == mark:
            return digest
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except OSError as error:
        raise VolumeError(path, "unreadable", f"cannot be read ({error.strerror})") from error
    if time.time_ns() - max(mark[1:3]) > SETTLED:
        known[name] = [*mark, digest]
    return digest


def read_known(path: Path) -> Known:
    """What `write_known` left in `path`; nothing if that cannot be read, as it can all be computed again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {name: row for name, row in rows if isinstance(row, list) and len(row) == 6}


def write_known(path: Path, known: Known) -> None:
    """Add `known` to what stands in `path`; where that cannot be written, the hashes are computed every time."""
    with contextlib.suppress(UsageError):
        write_json(path, read_known(path) | known)
