"""Does the process that claimed a workdir still run?"""

import datetime
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

STALE = 180.0
"""Seconds without a sign of life after which a holder that cannot be looked at (another host) counts as gone."""


@dataclass(frozen=True)
class Holder:
    """One process: `boot` says which start of its machine, `space` in which namespace `pid` counts."""

    host: str
    boot: str
    space: str
    pid: int
    began: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}: {_short(self.command.split(' '))}"


def read_claim(path: Path) -> Holder:
    """What a claim says; one that a power cut emptied is nobody's, which its age alone can tell.

    Raises: FileNotFoundError: it was released just now.
    """
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return Holder("an unknown host", "", "", 0, "", "an unknown time", "unreadable")


def alive(claim: Path, other: Holder, now: float) -> bool:
    """Whether the process of a claim still runs: looked up where it can be, else by its last sign of life."""
    me = this_process()
    if (other.host, other.boot, other.space) == (me.host, me.boot, me.space):
        return _began(other.pid) == other.began
    if other.host == me.host and other.boot != me.boot:
        return False  # this machine was started anew
    try:
        return now - claim.stat().st_mtime < STALE
    except FileNotFoundError:
        return False


def this_process() -> Holder:
    """The claim of this process."""
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    command = _short([name, *sys.argv[1:]])
    boot = _read("/proc/sys/kernel/random/boot_id")
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return Holder(socket.gethostname(), boot, space, os.getpid(), _began(os.getpid()) or "", since, command)


def _short(words: list[str]) -> str:
    """`cdm VERB`, or another program's name alone; a claim of an earlier version holds the whole command line."""
    if words[0] not in ("cdm", "cdm_jax", "__main__.py"):
        return words[0]
    return " ".join(["cdm", *(word for word in words[1:2] if not word.startswith("-"))])


def _began(pid: int) -> str | None:
    """When process `pid` began, in the system's own count ("" where it cannot be told); None if it is gone."""
    if stat := _read(f"/proc/{pid}/stat"):
        fields = stat.rpartition(")")[2].split()  # after the name, which may hold anything
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
