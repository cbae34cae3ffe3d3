"""Are weights read from torch's files bit by bit, and is nothing that stands in them executed?"""

import copy
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch_zip import Code, call, code, lightning, name, tensor, write_archive, write_checkpoint

from cdm_jax.errors import CheckpointError
from cdm_jax.torch_file import read_torch
from cdm_jax.torch_pickle import Call, Name, Reference, read_pickle

STATE = {
    "conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "conv.bias": np.array([0.1, -2, 3e4], np.float16),
    "half": np.array([1.5, -3], ml_dtypes.bfloat16),
    "scalar": np.array(2.5),
    "count": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False]),
}


def same(state, expected):
    assert list(state) == list(expected)
    for entry, array in expected.items():
        assert state[entry].dtype == array.dtype and state[entry].shape == array.shape
        np.testing.assert_array_equal(state[entry], array)


# Weights


def test_a_state_dict_and_a_lightning_checkpoint_are_read_bit_by_bit(tmp_path):
    bare = read_torch(write_checkpoint(tmp_path / "bare.pt", STATE))
    same(bare.state, STATE)
    assert bare.step == 0
    kept = read_torch(write_checkpoint(tmp_path / "last.ckpt", STATE, lambda e: lightning(e, step=14400)))
    same(kept.state, STATE)
    assert kept.step == 14400
    with pytest.raises(ValueError, match="read-only"):
        kept.state["conv.weight"][0] = 1


def test_views_share_their_storage_and_keep_their_strides(tmp_path):
    numbers = np.arange(24, dtype=np.float32)
    entries = {
        "last": tensor("0", numbers, offset=3, size=(4, 5), stride=(1, 4)),
        "every": tensor("0", numbers, offset=1, size=(3,), stride=(8,)),
        "one": tensor("0", numbers, offset=23, size=(), stride=()),
    }
    path = write_archive(tmp_path / "views.pt", code(entries) + b".", {"0": numbers.tobytes()})
    state = read_torch(path).state
    np.testing.assert_array_equal(state["last"], numbers[3:23].reshape(5, 4).T)
    np.testing.assert_array_equal(state["every"], [1, 9, 17])
    assert state["one"] == 23
    assert np.shares_memory(state["last"], state["every"])


def test_parameters_are_tensors(tmp_path):
    weight = np.ones(3, np.float32)
    parameter = call(name("torch._utils", "_rebuild_parameter"), tensor("0", weight), True, {})
    path = write_archive(tmp_path / "p.pt", code({"w": parameter}) + b".", {"0": weight.tobytes()})
    same(read_torch(path).state, {"w": weight})


def test_safetensors_are_read_bit_by_bit(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors", metadata={"step": "12"})
    kept = read_torch(tmp_path / "a.safetensors")
    same({entry: kept.state[entry] for entry in STATE}, STATE)
    assert kept.step == 12
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-5])
    with pytest.raises(CheckpointError, match="cut.safetensors: cannot be read"):
        read_torch(tmp_path / "cut.safetensors")


class Settings:
    """Like what Lightning pickles beside the weights."""

    def __init__(self):
        self.parent = self


def test_what_torch_saves_is_what_torch_loads(tmp_path):
    torch = pytest.importorskip("torch")
    conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    batch_norm = torch.nn.BatchNorm2d(4)
    model = torch.nn.Sequential(conv, batch_norm, torch.nn.Linear(2, 2, dtype=torch.bfloat16))
    state = model.state_dict() | {"view": torch.arange(10)[2:9:3], "own": torch.nn.Parameter(torch.ones(2))}
    whole = {
        "state_dict": state,
        "global_step": 5,
        "hyper_parameters": Settings(),
        "optimizer_states": [torch.optim.Adam(model.parameters()).state_dict()],
        "dtype": torch.float32,
    }
    for protocol in (2, 4):
        torch.save(whole, tmp_path / "a.ckpt", pickle_protocol=protocol)
        kept = read_torch(tmp_path / "a.ckpt")
        assert list(kept.state) == list(state) and kept.step == 5
        for entry, expected in state.items():
            np.testing.assert_array_equal(kept.state[entry].astype(np.float32), expected.detach().float())
    torch.save(model.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="old.pt: neither .* weights_only=True"):
        read_torch(tmp_path / "old.pt")
    torch.save(batch_norm, tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match="module.pt: holds a whole pickled object"):
        read_torch(tmp_path / "module.pt")


# Pickles in general

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_come_back_as_they_were(data, protocol):
    if protocol == 2:  # which has no bytes, and calls a function to make them
        data = json.loads(json.dumps(data, default=lambda _: None))
    assert read_pickle(pickle.dumps(data, protocol)) == data


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pickles_are_refused_in_one_way(data):
    valid = pickle.dumps(
        {"a": [1, (2.5, "x")], "b": {"c": Settings}, "d": {1, 2}}, data.draw(st.integers(0, 5))
    )
    place = data.draw(st.integers(0, len(valid)))
    damaged = valid[:place] + data.draw(st.binary(max_size=4)) + valid[place + data.draw(st.integers(0, 4)) :]
    try:
        read_pickle(damaged)
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1


def test_calls_and_names_are_notes():
    found = read_pickle(code({"c": call(name("os", "system"), "ls"), "n": name("os", "system")}) + b".")
    assert isinstance(found["c"], Call) and found["c"].arguments == ("ls",)
    assert found["c"].function == found["n"] == Name("os", "system")
    stored = read_pickle(code(("storage", 3)) + b"Q.")
    assert isinstance(stored, Reference) and stored.id == ("storage", 3)


# Hostile pickles: opcodes as in pickletools, TOUCH and OPEN would leave a file

TOUCH, OPEN = "touch marker", "open('marker', 'w')"


def stacked(module: str, attribute: str) -> Code:
    """A name by STACK_GLOBAL, under which Python follows dots."""
    return Code(code(module) + code(attribute) + b"\x93")


def built(target: bytes, state: object) -> Code:
    return Code(target + code(state) + b"b")


def nested(kind: bytes, depth: int) -> Code:
    """A tuple of two of itself, memoised, again and again: its hash takes 2**depth steps."""
    return Code(b")" + b"".join(b"q\x00h\x00\x86" for _ in range(depth)) + kind)


SYSTEM = name("os", "system")
MODULE = call(name("builtins", "__import__"), "os")
INNER = pickle.dumps([1])[:-1] + SYSTEM + code(TOUCH) + b"\x85R."
ORDERED = name("collections", "OrderedDict")
HOSTILE = {
    "os.system": call(SYSTEM, TOUCH),
    "posix.system": call(name("posix", "system"), TOUCH),
    "nt.system": call(name("nt", "system"), TOUCH),
    "os.popen": call(name("os", "popen"), TOUCH),
    "os.execv": call(name("os", "execv"), "/bin/touch", ["touch", "marker"]),
    "os.unlink": call(name("os", "unlink"), "marker"),
    "shutil.rmtree": call(name("shutil", "rmtree"), "precious"),
    "subprocess.Popen": call(name("subprocess", "Popen"), ["touch", "marker"]),
    "subprocess, new object": Code(name("subprocess", "Popen") + code((["touch", "marker"],)) + b"\x81"),
    "subprocess, with keywords": Code(name("subprocess", "Popen") + code((TOUCH,)) + code({"shell": True}) + b"\x92"),
    "builtins.eval": call(name("builtins", "eval"), OPEN),
    "builtins.exec": call(name("builtins", "exec"), OPEN),
    "eval of Python 2": call(name("__builtin__", "eval"), OPEN),
    "builtins.open": call(name("builtins", "open"), "marker", "w"),
    "getattr of an import": call(call(name("builtins", "getattr"), MODULE, "system"), TOUCH),
    "importlib": call(name("importlib", "import_module"), "antigravity"),
    "runpy": call(name("runpy", "run_path"), "script.py"),
    "attrgetter": call(call(call(name("operator", "attrgetter"), "system"), MODULE), TOUCH),
    "methodcaller": call(call(name("operator", "methodcaller"), "system", TOUCH), MODULE),
    "functools.partial": call(call(name("functools", "partial"), SYSTEM, TOUCH)),
    "map": call(name("builtins", "list"), call(name("builtins", "map"), SYSTEM, [TOUCH])),
    "types.FunctionType": call(call(name("types", "FunctionType"), call(name("marshal", "loads"), b"\xe3"), {})),
    "types.CodeType": call(name("types", "CodeType"), 0, 0, 0, 0, 0, 0, b"", (), (), (), "", "", 0, b""),
    "webbrowser": call(name("webbrowser", "open"), "file:///etc/passwd"),
    "ctypes": call(name("ctypes", "CDLL"), "libc.so.6"),
    "socket": call(name("socket", "create_connection"), ("127.0.0.1", 9)),
    "pickle.loads": call(name("pickle", "loads"), INNER),
    "_pickle.loads": call(name("_pickle", "loads"), INNER),
    "torch.load": call(name("torch", "load"), "control.pickle"),
    "torch.storage": call(name("torch.storage", "_load_from_bytes"), INNER),
    "numpy.load": call(name("numpy", "load"), "control.pickle", None, True),
    "copyreg": call(name("copyreg", "_reconstructor"), name("subprocess", "Popen"), name("builtins", "object"), None),
    "stacked name": call(stacked("os", "system"), TOUCH),
    "dots below an allowed class": call(stacked("collections", "OrderedDict.fromkeys"), ["marker"]),
    "dots below an allowed module": call(stacked("torch._utils", "os.system"), TOUCH),
    "globals of an allowed function": stacked("torch._utils", "_rebuild_tensor_v2.__globals__"),
    "an allowed function elsewhere": call(stacked("os", "_rebuild_tensor_v2"), TOUCH),
    "an allowed function's arguments": call(name("torch._utils", "_rebuild_tensor_v2"), call(SYSTEM, TOUCH), 0, (), ()),
    "__setstate__ of an instance": built(built(call(ORDERED), {"__setstate__": SYSTEM}), TOUCH),
    "__setstate__ of a class": built(built(ORDERED, (None, {"__setstate__": SYSTEM})), TOUCH),
    "__class__": built(call(ORDERED), (None, {"__class__": name("subprocess", "Popen")})),
    "__reduce__": built(ORDERED, (None, {"__reduce__": SYSTEM, "__init__": SYSTEM})),
    "code of our own function": built(name("cdm_jax.torch_file", "read_torch"), (None, {"__code__": None})),
    "INST": Code(b"(" + code(TOUCH) + b"ios\nsystem\n"),
    "OBJ": Code(b"(" + SYSTEM + code(TOUCH) + b"o"),
    "extension 1": Code(b"\x82\x01"),
    "extension 2": Code(b"\x83\x01\x02"),
    "extension 4": Code(b"\x84\x01\x02\x03\x04"),
    "persistent line": Code(b"P../../../etc/passwd\n"),
    "persistent path": Code(code(("storage", name("torch", "FloatStorage"), "../../etc/passwd", "cpu", 1)) + b"Q"),
    "persistent call": Code(call(SYSTEM, TOUCH) + b"Q"),
    "environment": Code(name("os", "environ") + code("marker") + code("1") + b"s"),
    "path of imports": Code(name("sys", "path") + code("marker") + b"a"),
    "paths of imports": Code(name("sys", "path") + b"(" + code("marker") + b"e"),
    "modules": Code(name("sys", "modules") + b"(" + code("antigravity") + SYSTEM + b"u"),
    "set": Code(name("sys", "path") + b"(" + code("marker") + b"\x90"),
    "hash bomb": Code(b"}" + nested(b"Ns", 60)),
    "memo bomb": Code(b"Nr\xff\xff\xff\x7f"),
    "deep lists": Code(b"]" * 200_000 + b"a" * 199_999),
    "deep calls": Code(b"".join([SYSTEM] * 20_000) + b")" + b"\x85R" * 20_000),
    "string without end": Code(b"\x8d" + b"\xff" * 8),
    "number without end": Code(b"\x8b\xff\xff\xff\x7f"),
    "digits without end": Code(b"I" + b"9" * 100_000 + b"\n"),
    "frame that lies": Code(b"\x95" + b"\xff" * 7 + b"\x00N"),
    "list in itself": Code(name("torch._utils", "_rebuild_parameter") + b"]q\x05(h\x05eR"),
    "empty stack": Code(b"RRR"),
    "a mark as a value": Code(b"(("),
    "a zip archive": Code(b"PK\x03\x04" + b"\0" * 30),
}  # fmt: skip

WATCH = """
import json, os, sys
from pathlib import Path
from cdm_jax.errors import CheckpointError
from cdm_jax.torch_file import read_torch

folder, events, watching = Path(sys.argv[1]), [], False

def hook(event, arguments):
    if watching and not (event == "open" and arguments[1] in ("r", "rb") and str(arguments[0]).startswith(str(folder))):
        events.append(event)

def trace():
    return [sorted(sys.modules), list(sys.path), dict(os.environ), sorted(p.name for p in folder.iterdir())]

def outcome(path, read):
    global watching
    before = trace()
    events.clear()
    watching = True
    try:
        read(path)
        result = "read"
    except CheckpointError as error:
        result = str(error)
    except BaseException as error:
        result = repr(error)
    watching = False
    return {"result": result, "events": sorted(set(events)), "same": before == trace()}

def careless(path):
    import pickle
    pickle.loads(path.read_bytes())

read_torch(folder / "harmless.ckpt")  # codecs are imported once
sys.addaudithook(hook)
found = {path.name: outcome(path, read_torch) for path in sorted(folder.glob("*.ckpt"))}
found["control"] = outcome(folder / "control.pickle", careless)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{file: what a process that watches itself saw while it read the file}."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "precious").mkdir()
    (folder / "script.py").write_text(OPEN)
    (folder / "control.pickle").write_bytes(HOSTILE["os.system"] + b".")
    weights = {"w": np.ones(2, np.float32)}
    write_checkpoint(folder / "harmless.ckpt", weights, lightning)
    for number, hostile in enumerate(HOSTILE.values()):
        places = {
            "beside": lambda entries, h=hostile: lightning(entries, hyper_parameters=h),
            "entry": lambda entries, h=hostile: entries | {"v": h},
            "root": lambda entries, h=hostile: h,
        }
        for place, wrap in places.items():
            write_checkpoint(folder / f"{place}{number}.ckpt", weights, wrap)
    done = subprocess.run([sys.executable, "-c", WATCH, folder], cwd=folder, text=True, capture_output=True,
                          check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(HOSTILE)), ids=list(HOSTILE))
def test_hostile_pickles_leave_no_trace(outcomes, number):
    for place in ("beside", "entry", "root"):
        outcome = outcomes[f"{place}{number}.ckpt"]
        assert outcome["events"] == [] and outcome["same"], (place, outcome)
        refused = f"{place}{number}.ckpt: " in outcome["result"] and "\n" not in outcome["result"]
        assert refused or (outcome["result"] == "read" and place == "beside"), (place, outcome)


def test_the_watch_sees_what_a_careless_reader_does(outcomes):
    assert "os.system" in outcomes["control"]["events"] and not outcomes["control"]["same"]
    assert outcomes["harmless.ckpt"] == {"result": "read", "events": [], "same": True}


# Hostile archives and layouts


def zip_of(path: Path, members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return path


GOOD = {
    "a/data.pkl": code({"w": tensor("0", np.ones(2, np.float32))}) + b".",
    "a/data/0": np.ones(2, np.float32).tobytes(),
}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (GOOD | {"a/../../evil": b""}, "leads out"),
        (GOOD | {"/etc/evil": b""}, "leads out"),
        (GOOD | {"a\\..\\evil": b""}, "leads out"),
        (GOOD | {"C:/evil": b""}, "leads out"),
        (GOOD | {"b/data.pkl": b"N."}, "several folders"),
        (GOOD | {"a//data.pkl": b"N."}, "on top of others"),
        (GOOD | {"a/byteorder": b"big"}, "not little-endian"),
        (GOOD | {"a/data/0": b"1234"}, "entry w has numbers that are missing or of another count"),
        ({"a/data.pkl": GOOD["a/data.pkl"]}, "entry w has numbers that are missing"),
        ({"a/data/0": b""}, "no data.pkl"),
        ({"a/data.pkl": b"}."}, "no state dict"),
        ({"a/data.pkl": code({"x": 3}) + b"."}, "entry x is no plain tensor"),
        ({"a/data.pkl": code({3: tensor("0", np.ones(2))}) + b"."}, "name is no plain text"),
        ({"a/data.pkl": code({"\x1b[2J": tensor("0", np.ones(2))}) + b"."}, "name is no plain text"),
    ],
)
def test_archives_that_torch_never_writes_are_refused(tmp_path, members, reason):
    assert read_torch(zip_of(tmp_path / "good.pt", GOOD)).state["w"].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match=f"bad.pt: .*{reason}"):
        read_torch(zip_of(tmp_path / "bad.pt", members))


def test_bombs_are_refused_unread(tmp_path):
    zeros = {"a/data.pkl": GOOD["a/data.pkl"], "a/data/0": bytes(10_000_000)}
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch(zip_of(tmp_path / "deflated.pt", zeros, zipfile.ZIP_DEFLATED))
    path = tmp_path / "overlapping.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in GOOD.items():
            archive.writestr(member, data)
        for number in range(1, 200):
            twin = copy.copy(archive.getinfo("a/data.pkl"))
            twin.filename = f"a/data/{number}"
            archive.filelist.append(twin)
    with pytest.raises(CheckpointError, match="on top of others"):
        read_torch(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 2},
        {"offset": -1},
        {"stride": (2, 4)},
        {"stride": (-4, 1)},
        {"stride": (1,)},
        {"size": (3, 5)},
        {"size": (3, 4, 1)},
        {"size": (2**40, 2**40), "stride": (0, 0)},
        {"size": (2**62, 4), "stride": (0, 1)},
        {"size": (100, 4), "stride": (0, 1)},
        {"size": (1, 4), "stride": (2**70, 1), "offset": 2**70},
        {"size": (0, 2**70)},
        {"size": (True, 4)},
        {"size": "34"},
        {"size": 12},
        {"size": None},
        {"count": 2**61},
        {"count": -12},
        {"count": 11},
        {"key": "../data.pkl"},
        {"key": 0},
    ],
    ids=str,
)
def test_tensors_beyond_their_numbers_are_refused(tmp_path, changes):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = write_archive(
        tmp_path / "a.pt", code({"w": tensor("0", array, **changes)}) + b".", {"0": array.tobytes()}
    )
    with pytest.raises(CheckpointError, match="a.pt: "):
        read_torch(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x80\x02N.", b"\xff" * 8 + b"{", b"hello, world"])
def test_other_files_are_one_line(tmp_path, data):
    path = tmp_path / "other.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="other.pt: ") as caught:
        read_torch(path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(CheckpointError, match="none.pt: cannot be read .No such file"):
        read_torch(tmp_path / "none.pt")
