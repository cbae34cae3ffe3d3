"""What does memory hold, of files and of this process?"""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

PAGE = 4096


def drop(paths: Sequence[Path]) -> None:
    """Ask the system to forget the files' pages; it keeps those that are mapped or not yet written."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached_share(paths: Sequence[Path]) -> float | None:
    """Share of the files whose middle page can be read without waiting; None where the system cannot tell."""
    held = 0
    for path in paths:
        with path.open("rb") as file:
            # Else the system answers, and goes on to read the whole file in the background.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            try:
                held += (
                    os.preadv(file.fileno(), [bytearray(PAGE)], path.stat().st_size // 2, os.RWF_NOWAIT) > 0
                )
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    return None
    return held / len(paths)


def resident() -> dict[str, float]:
    """MB that this process holds: its own, and pages of mapped files, which the system may take back."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssFile"):
                found[name] = int(value.split()[0]) / 1024
    return {"own_mb": found.get("RssAnon", float("nan")), "mapped_mb": found.get("RssFile", float("nan"))}
