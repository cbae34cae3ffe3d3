"""What does a checkpoint consist of, byte for byte?"""

import hashlib
import json
import math
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import jax

from cdm_jax.checkpoint.folder import sync, unrecorded_error
from cdm_jax.checkpoint.names import RECORD, is_unrecorded
from cdm_jax.checkpoint.reading import patiently
from cdm_jax.errors import CheckpointError
from cdm_jax.files import write_text

WAY_OUT = "remove this folder to go on from an earlier checkpoint, or train again"
THREADS = 8  # hashing and reading happen outside of Python's lock


def write(folder: Path, step: int, facts: dict, trees: Iterable[str]) -> None:
    """Bring every file of `folder` to the disk, then the record of them.

    Raises: UsageError, OSError: something cannot be read or written; there is no record then.
    """
    sizes = list_files(folder)
    digests = _each(lambda name: digest(folder / name, durable=True), sizes)
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        sync(inner)
    content = {
        "step": step,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "facts": facts,
        "devices": {"count": jax.device_count(), "kind": jax.devices()[0].device_kind,
                    "processes": jax.process_count()},
        "trees": list(trees),
        "files": {name: [sizes[name], digests[name]] for name in sizes},
    }  # fmt: skip
    write_text(folder / RECORD, _seal(content))
    sync(folder)
    sync(folder.parent)


def check(folder: Path, step: int, parts: Collection[str] | None = None) -> dict:
    """The facts of a checkpoint whose files are those of its record, to the last bit.

    Args: parts: the trees in question; all for None.
    Raises: CheckpointError: they are not; it names the first file that differs. UnreadableError: who knows.
    """
    record = read(folder, step)
    if missing := sorted(set(parts or ()) - set(record["trees"])):
        raise CheckpointError(f"{folder}: holds no '{missing[0]}', only {', '.join(record['trees'])}")
    left_out = set() if parts is None else set(record["trees"]) - set(parts)
    wanted, found = record["files"], patiently(lambda: list_files(folder), folder)
    names = [n for n in sorted(wanted.keys() | found.keys()) if n.partition("/")[0] not in left_out]
    for name in names:
        if fault := _fault(found.get(name), wanted.get(name, [None])[0]):
            raise damaged(folder / name, fault)
    digests = _each(lambda name: _digest_again(folder / name), names)
    for name in names:
        if digests[name] != wanted[name][1]:
            raise damaged(folder / name, "changed since it was written (checksum)")
    return record["facts"]


def is_good(folder: Path, step: int) -> bool:
    """Whether `check` passes."""
    try:
        check(folder, step)
    except CheckpointError:
        return False
    return True


def read(folder: Path, step: int) -> dict:
    """The record in `folder`.

    Raises: CheckpointError: there is none, it is damaged, or of another step. UnreadableError: who knows.
    """
    path = folder / RECORD
    try:
        written = patiently(path.read_bytes, path)
        content = json.loads(written)
        sealed = written == _seal({n: v for n, v in content.items() if n != "sha256"}).encode()
    except FileNotFoundError as error:
        if is_unrecorded(folder):
            raise unrecorded_error(folder) from error
        raise CheckpointError(f"{folder}: holds no finished checkpoint; train first") from error
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, "is no record") from error
    if not sealed:
        raise damaged(path, "changed since it was written (checksum)")
    if content["step"] != step:
        raise damaged(path, f"belongs to step {content['step']}")
    return content


def damaged(path: Path, fault: str) -> CheckpointError:
    """The refusal of a checkpoint for the fault of one of its files."""
    return CheckpointError(f"{path}: {fault}; {WAY_OUT}")


def list_files(folder: Path) -> dict[str, int]:
    """{path in `folder`: bytes} of all files but the record. Raises: OSError: one of its folders is closed to us."""
    walk = os.walk(folder, onerror=_raise)
    paths = [Path(where) / name for where, _, inside in walk for name in inside]
    names = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {name: names[name].stat().st_size for name in sorted(names) if name != RECORD}


def digest(path: Path, durable: bool = False) -> str:
    """SHA-256 of a file, read in a stream; `durable`: its bytes are on the disk before this returns.

    Raises: OSError: it cannot be read, or not be brought there.
    """
    with path.open("rb") as file:
        if durable:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: object) -> object:
    """`value` as JSON holds it: what is no finite number becomes null.

    Raises: TypeError: JSON has no form for it.
    """
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]  # a NumPy or JAX scalar
    if isinstance(value, float) and not math.isfinite(value):
        return None
    json.dumps(value)
    return value


def best_steps(facts: dict) -> list[int]:
    """Steps of facts["best"], best first, without those whose loss was no number."""
    return [step for step, loss in facts.get("best") or [] if loss is not None]


def _fault(found: int | None, wanted: int | None) -> str:
    if found is None:
        return "missing"
    if wanted is None:
        return "not of this checkpoint (unexpected file)"
    return "" if found == wanted else f"{found} bytes instead of {wanted}"


def _digest_again(path: Path) -> str:
    try:
        return patiently(lambda: digest(path), path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})") from error


def _raise(error: OSError) -> None:
    raise error


def _each(function, names: Iterable[str]) -> dict:
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as threads:
        names = list(names)
        return dict(zip(names, threads.map(function, names), strict=True))


def _seal(content: dict) -> str:
    """The text of a record, which ends with the digest of the rest: no bit of it can change unnoticed."""
    text = json.dumps(content, allow_nan=False)
    return json.dumps(content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1) + "\n"
