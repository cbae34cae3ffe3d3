"""What can go wrong because of the input, each kind with its exit code."""

from collections.abc import Mapping
from pathlib import Path


class CdmError(Exception):
    """An error that one line explains; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(CdmError):
    """A wrong flag, a path that is not there, an unknown config key or name."""

    exit_code = 2


class VolumeError(CdmError):
    """A volume that cannot be used: `path` says which, `code` what (a key of `data.faults.FAULTS`), `reason` why."""

    exit_code = 4

    def __init__(self, path: str | Path, code: str, reason: str):
        super().__init__(path, code, reason)  # all three, so that it crosses processes by pickle
        self.path, self.code, self.reason = Path(path), code, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class CheckpointError(CdmError):
    """A checkpoint or state dict that is missing, damaged or of another architecture."""

    exit_code = 5


class DivergedError(CdmError):
    """Training met a NaN or an infinity."""

    exit_code = 6


class StoppedError(CdmError):
    """A signal ended a run: `exit_code` is 75 where the system asked (try again), 130 where the user did."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message, exit_code)
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.args[0]


class PeerError(CdmError):
    """Another process of the same run is gone; the same command on every host goes on from the last checkpoint."""

    exit_code = 75


def choose(table: Mapping, name: str, what: str):
    """`table[name]`, or a UsageError that lists the known names of `what`."""
    if name not in table:
        raise UsageError(f"unknown {what} '{name}': choose one of {', '.join(sorted(table))}")
    return table[name]
