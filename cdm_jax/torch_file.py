"""Which weights are in a checkpoint of PyTorch, or in a safetensors file?"""

import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from cdm_jax.errors import CheckpointError
from cdm_jax.torch_pickle import Call, Name, Reference, read_pickle

STORAGES = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16, "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8,
    "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
"""Names in the module torch -> the type of a storage's elements."""

TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
PARAMETERS = (
    Name("torch._utils", "_rebuild_parameter"),
    Name("torch._utils", "_rebuild_parameter_with_state"),
)


@dataclass(frozen=True)
class TorchFile:
    """Names -> arrays in torch layout, which may share memory and cannot be written; steps trained, 0 if unknown."""

    state: dict[str, np.ndarray]
    step: int


def read_torch(path: str | Path) -> TorchFile:
    """The weights in a zip file of `torch.save` (a Lightning checkpoint or a state dict) or in a safetensors file.

    Nothing that stands in the file is imported or called, and torch is not needed. Only the state dict is read
    from the disk.

    Raises:
      CheckpointError: there is no such file, it is damaged, of another kind, or holds more than plain tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[:4] == b"PK\x03\x04":
            return _read_zip(path)
        if head[8:] == b"{":
            return _read_safetensors(path)
        raise CheckpointError(
            "neither a zip file of torch.save nor safetensors; if an older torch wrote it, save it anew with "
            "torch.save(torch.load(f, weights_only=True), g)"
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zip, struct and safetensors each have errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read ({reason})") from error


def _read_safetensors(path: Path) -> TorchFile:
    with safe_open(path, framework="np") as file:
        names, step = file.keys(), (file.metadata() or {}).get("step", "0")
        _check_names(names)
        return TorchFile({name: file.get_tensor(name) for name in names}, _step(int(step)))


def _read_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        records = _records(archive.infolist(), path.stat().st_size)
        if "data.pkl" not in records:
            raise CheckpointError("a zip file, but not of torch.save: it has no data.pkl")
        if "byteorder" in records and archive.read(records["byteorder"]) != b"little":
            raise CheckpointError("its numbers are not little-endian")
        root = read_pickle(archive.read(records["data.pkl"]))
        entries = _state_dict(root)
        _check_names(entries)
        state = _arrays(archive, records, {name: _tensor(name, entry) for name, entry in entries.items()})
    return TorchFile(state, _step(root.get("global_step")))


def _records(members: Iterable[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by their path below the archive's one folder.

    torch.save compresses nothing: members that take more room than the file of `size` bytes are a bomb.
    """
    members, records, folders = list(members), {}, set()
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or not set("\\:").isdisjoint(member.filename):
            raise CheckpointError("its archive has a member whose name leads out of it")
        if member.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("its archive is compressed, which torch.save never does")
        folders.add(path.parts[:1])
        records["/".join(path.parts[1:])] = member
    if len(folders) != 1 or len(records) != len(members) or sum(m.file_size for m in members) > size:
        raise CheckpointError(
            "its archive is not of torch.save: several folders, or members on top of others"
        )
    return records


def _state_dict(root: Any) -> dict[str, Any]:
    """The state dict of a Lightning checkpoint, or `root` if it is one itself."""
    if isinstance(root, Call):
        raise CheckpointError("holds a whole pickled object; save its state_dict() in place of it")
    entries = root.get("state_dict", root) if isinstance(root, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError("holds no state dict")
    return entries


def _check_names(names: Iterable) -> None:
    """A name is shown to the user, and may not play with the terminal."""
    if not all(isinstance(name, str) and name.isprintable() and len(name) < 300 for name in names):
        raise CheckpointError("its state dict has an entry whose name is no plain text")


def _step(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**31 else 0


@dataclass(frozen=True)
class Tensor:
    """A view of the `count` numbers in the archive's data/`key`; its layout as it stands in the file."""

    key: str
    dtype: np.dtype
    count: int
    offset: Any
    size: Any
    stride: Any


def _tensor(name: str, entry: Any) -> Tensor:
    """What a state dict's entry says about its tensor."""
    if isinstance(entry, Call) and entry.function in PARAMETERS and entry.arguments:
        entry = entry.arguments[0]
    if isinstance(entry, Call) and entry.function == TENSOR:
        match entry.arguments:
            case (Reference(("storage", Name("torch", kind), str(key), _, int(count))), *layout):
                if kind in STORAGES and len(layout) >= 3:
                    return Tensor(key, np.dtype(STORAGES[kind]), count, *layout[:3])
    raise CheckpointError(f"its entry {name} is no plain tensor")


def _arrays(
    archive: zipfile.ZipFile, records: Mapping[str, zipfile.ZipInfo], tensors: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    """The arrays of the tensors; each storage is read once."""
    storages: dict[str, bytes] = {}
    arrays = {}
    for name, tensor in tensors.items():
        record = records.get(f"data/{tensor.key}")
        if record is None or record.file_size != tensor.count * tensor.dtype.itemsize:
            raise CheckpointError(f"its entry {name} has numbers that are missing or of another count")
        if tensor.key not in storages:
            storages[tensor.key] = archive.read(record)
        arrays[name] = _view(name, tensor, np.frombuffer(storages[tensor.key], tensor.dtype))
    return arrays


def _view(name: str, tensor: Tensor, numbers: np.ndarray) -> np.ndarray:
    """The tensor's array: no copy, and never beyond `numbers` or larger than they are."""
    size, stride, layout = tensor.size, tensor.stride, (tensor.offset, *tensor.size, *tensor.stride)
    if any(type(number) is not int or number < 0 for number in layout) or len(size) != len(stride):
        raise CheckpointError(f"its entry {name} has a layout that is none")
    count = math.prod(size)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > len(numbers) or (count and last >= len(numbers)):
        raise CheckpointError(f"its entry {name} reaches beyond its numbers")
    strides = [step * numbers.itemsize for step in stride] if count else None
    rest = numbers[tensor.offset :] if count else numbers[:0]
    return np.lib.stride_tricks.as_strided(rest, size, strides, writeable=False)
