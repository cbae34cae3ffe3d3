"""Who trains in a workdir now?"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from cdm_jax.errors import UsageError
from cdm_jax.session.claim import STALE, Holder, alive, read_claim, this_process

REFRESH = 15.0
"""Seconds after which a holder tells again that it lives."""

NAMES = ".lock-*.json"
"""Claims: the one with the highest number holds, a lower one is the claim of a process that is gone."""


@contextlib.contextmanager
def locked(workdir: str | Path) -> Iterator[None]:
    """Hold `workdir` against other trainers; a folder made for that alone is removed again.

    A lock whose process is gone is taken over, which one line on stderr says.
    Raises: UsageError: another process trains there, or nothing can be written there.
    """
    workdir = Path(workdir).absolute()
    missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
    try:
        claim = _acquire(workdir)
        leaving = threading.Event()
        refresher = threading.Thread(target=_refresh, args=(claim, leaving), daemon=True)
        refresher.start()
        try:
            yield
        finally:
            leaving.set()
            refresher.join()
            claim.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # not empty: the run left something
            for folder in missing:
                folder.rmdir()


def holder(workdir: str | Path) -> Holder | None:
    """The process that trains in `workdir`; None if there is none, or it is gone."""
    claims = _claims(Path(workdir))
    return claims[-1][1] if claims and alive(*claims[-1], now=time.time()) else None


def _acquire(workdir: Path) -> Path:
    """The path of this process's claim, once no other holds.

    A number can be claimed once only, so of two that follow on the same stale claim one wins.
    """
    me = this_process()
    while True:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            with _written(workdir, me) as draft:
                now = draft.stat().st_mtime  # by the clock that stamps the claims, a file server's perhaps
                claims = _claims(workdir)
                for path, other in reversed(claims):
                    if alive(path, other, now):
                        raise UsageError(f"{workdir}: {_refusal(other)}")
                claim = _numbered(workdir, _number(claims[-1][0]) + 1 if claims else 1)
                os.link(draft, claim)
        except (FileExistsError, FileNotFoundError):  # another was faster, or it removed the folder
            continue
        except OSError as error:
            raise UsageError(f"{workdir}: cannot be locked ({error.strerror or error})") from error
        if others := [o for path, o in _claims(workdir) if path != claim and alive(path, o, now)]:
            claim.unlink()  # one began while the claim we followed on came to its end
            raise UsageError(f"{workdir}: {_refusal(others[0])}")
        for path, other in claims:
            print(f"{workdir}: took over the lock of a run that is gone ({other})", file=sys.stderr)
            path.unlink(missing_ok=True)
        _sweep(workdir, now)
        return claim


@contextlib.contextmanager
def _written(workdir: Path, me: Holder) -> Iterator[Path]:
    """A claim's text in a file of its own: linked to its number it is there at once and whole."""
    draft = workdir / f".lock-{uuid.uuid4().hex[:8]}.tmp"
    try:
        draft.write_text(json.dumps(asdict(me)) + "\n", encoding="utf-8")
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _sweep(workdir: Path, now: float) -> None:
    """Remove the drafts of processes that were killed while they wrote one."""
    for draft in workdir.glob(".lock-*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if now - draft.stat().st_mtime > STALE:
                draft.unlink()


def _claims(workdir: Path) -> list[tuple[Path, Holder]]:
    """The claims that stand in `workdir`, the highest number last."""
    found = []
    for path in sorted(workdir.glob(NAMES), key=_number):
        with contextlib.suppress(FileNotFoundError):  # it was released just now
            found.append((path, read_claim(path)))
    return found


def _number(claim: Path) -> int:
    return int(claim.stem.removeprefix(".lock-"))


def _numbered(workdir: Path, number: int) -> Path:
    return workdir / f".lock-{number}.json"


def _refusal(other: Holder) -> str:
    wait = "" if other.host == socket.gethostname() else f" (if it is gone, wait {STALE / 60:.0f} minutes)"
    return f"a run is going on there already, {other}; stop it first or choose another folder{wait}"


def _refresh(claim: Path, leaving: threading.Event) -> None:
    """Stamp the claim until `leaving`; ends the process if another took the claim over (this one slept too long)."""
    while not leaving.wait(REFRESH):
        try:
            os.utime(claim)
        except FileNotFoundError:
            if now_there := holder(claim.parent):
                print(f"{claim.parent}: this run lost its lock to {now_there}; it ends", file=sys.stderr)
                os._exit(UsageError.exit_code)
        except OSError:
            pass  # a file server that is away for a while
