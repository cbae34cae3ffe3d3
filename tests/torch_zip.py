"""Checkpoints as torch.save writes them, assembled without torch: a zip archive around a pickle of protocol 2."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage",
            "bfloat16": "BFloat16Storage", "bool": "BoolStorage"}  # fmt: skip


class Code(bytes):
    """Pickle instructions that leave one value, to stand in the place of a value."""


def name(module: str, attribute: str) -> Code:
    return Code(f"c{module}\n{attribute}\n".encode())


def call(function: bytes, *arguments: Any) -> Code:
    """function(*arguments), by REDUCE."""
    return Code(function + b"(" + b"".join(code(argument) for argument in arguments) + b"tR")


def code(value: Any) -> bytes:
    """The instructions that build `value`."""
    if isinstance(value, Code):
        return value
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        packed = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(packed)]) + packed
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    assert isinstance(value, dict), value
    return b"}(" + b"".join(code(key) + code(entry) for key, entry in value.items()) + b"u"


def tensor(key: str, array: np.ndarray, /, **changes: Any) -> Code:
    """An entry of a state dict; `changes`: of its storage's key and count, or of its offset, size and stride."""
    array = np.asarray(array)
    strides = tuple(step // array.itemsize for step in array.strides)
    facts = {"key": key, "count": array.size, "offset": 0, "size": array.shape, "stride": strides} | changes
    storage = ("storage", name("torch", STORAGES[array.dtype.name]), facts["key"], "cpu", facts["count"])
    reference = Code(code(storage) + b"Q")
    hooks = call(name("collections", "OrderedDict"))
    layout = (facts["offset"], facts["size"], facts["stride"])
    return call(name("torch._utils", "_rebuild_tensor_v2"), reference, *layout, False, hooks)


def write_archive(path: Path, pickled: bytes, storages: dict[str, bytes], folder: str = "archive") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled)
        archive.writestr(f"{folder}/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"{folder}/data/{key}", data)
        archive.writestr(f"{folder}/version", "3\n")
    return path


def write_checkpoint(path: Path, state: dict[str, np.ndarray], wrap=lambda entries: entries) -> Path:
    """A file of the state dict; `wrap` puts its entries (names -> `Code`) into a larger checkpoint."""
    entries = {n: tensor(str(i), array) for i, (n, array) in enumerate(state.items())}
    storages = {str(i): np.asarray(array).tobytes() for i, array in enumerate(state.values())}
    return write_archive(path, b"\x80\x02" + code(wrap(entries)) + b".", storages)


def lightning(entries: dict, step: int = 0, **more: Any) -> dict:
    """A Lightning checkpoint with what such a file holds beside the weights."""
    config = Code(
        code(name("omegaconf.dictconfig", "DictConfig")) + b")\x81" + code({"_content": {"lr": 1}}) + b"b"
    )
    beside = {"epoch": 3, "global_step": step, "callbacks": {}, "hyper_parameters": {"cfg": config}}
    return {"state_dict": entries, **beside, **more}
