"""What does a pickle say, without running any of it?

A pickle is a program for a stack machine. Python's own machine imports the names that stand in it, calls them and
sets the state of what they return, which is how a file can take over a computer. The machine here has no
instruction for any of that: it leaves a `Name`, a `Call` or a `Reference` where the others would act.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cdm_jax.errors import CheckpointError


@dataclass(frozen=True)
class Name:
    """What the file wants imported: `name` of `module`."""

    module: str
    name: str


@dataclass(frozen=True, eq=False, repr=False)  # both would recurse through whatever the file has nested
class Call:
    """What the file wants called."""

    function: Any
    arguments: Any


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """What the file keeps elsewhere, under a persistent id."""

    id: Any


MARK = object()
ORDERED_DICT = Name("collections", "OrderedDict")

VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Instructions that push their argument."""

CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": lambda: MARK,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip


def read_pickle(data: bytes) -> Any:
    """The pickled object in dicts, lists, tuples, numbers, strings and the notes above; sets become lists.

    Dicts keep the entries whose key is a string or an integer. An OrderedDict is a dict; no other call is
    carried out, and what the file would do to its result is passed over.

    Raises:
      CheckpointError: `data` is no pickle, or has an instruction that no checkpoint needs.
    """
    stack: list = []
    memo: dict[int, Any] = {}
    argument: Any
    try:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return stack.pop()
            if name in VALUES:
                stack.append(argument)
            elif name in CONSTANTS:
                stack.append(CONSTANTS[name]())
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name in ON_STACK:
                ON_STACK[name](stack)
            elif name in ("GLOBAL", "INST"):
                module, _, attribute = argument.partition(" ")
                stack.append(Name(module, attribute) if name == "GLOBAL" else Call(argument, _marked(stack)))
            elif name not in ("PROTO", "FRAME"):
                raise CheckpointError(f"its pickle has the instruction {name}, which no checkpoint needs")
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise CheckpointError("its pickle is damaged") from error
    raise CheckpointError("its pickle has no end")


def _marked(stack: list) -> list:
    """Take what was pushed since the last mark, and the mark."""
    values = []
    while (value := stack.pop()) is not MARK:
        values.append(value)
    return values[::-1]


def _tuple(size: int) -> Callable[[list], None]:
    def push(stack: list) -> None:
        values = [stack.pop() for _ in range(size)]
        stack.append(tuple(reversed(values)))

    return push


def _extend(target: Any, values: list) -> None:
    if type(target) is list:
        target.extend(values)


def _set_items(target: Any, values: list) -> None:
    """Keys of other types are left out: the hash of a nested tuple can take for ever."""
    if type(target) is dict:
        pairs = zip(values[::2], values[1::2], strict=True)
        target.update((key, value) for key, value in pairs if type(key) in (str, int))


def _one(change: Callable[[Any, list], None], size: int) -> Callable[[list], None]:
    """Change what stands below the last `size` values."""

    def act(stack: list) -> None:
        values = [stack.pop() for _ in range(size)]
        change(stack[-1], values[::-1])

    return act


def _many(change: Callable[[Any, list], None]) -> Callable[[list], None]:
    """Change what stands below the last mark."""

    def act(stack: list) -> None:
        values = _marked(stack)
        change(stack[-1], values)

    return act


def _dict(stack: list) -> None:
    values: dict = {}
    _set_items(values, _marked(stack))
    stack.append(values)


def _name(stack: list) -> None:
    name, module = stack.pop(), stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name that is no string")
    stack.append(Name(module, name))


def _call(stack: list) -> None:
    arguments, function = stack.pop(), stack.pop()
    is_dict = isinstance(function, Name) and function == ORDERED_DICT and arguments == ()
    stack.append({} if is_dict else Call(function, arguments))


def _call_with_keywords(stack: list) -> None:
    stack.pop()
    _call(stack)


ON_STACK: dict[str, Callable[[list], Any]] = {
    "POP": lambda stack: stack.pop(),
    "POP_MARK": _marked,
    "DUP": lambda stack: stack.append(stack[-1]),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda stack: stack.append(tuple(_marked(stack))),
    "LIST": lambda stack: stack.append(_marked(stack)),
    "FROZENSET": lambda stack: stack.append(_marked(stack)),
    "DICT": _dict,
    "APPEND": _one(_extend, 1),
    "APPENDS": _many(_extend),
    "ADDITEMS": _many(_extend),
    "SETITEM": _one(_set_items, 2),
    "SETITEMS": _many(_set_items),
    "STACK_GLOBAL": _name,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "OBJ": lambda stack: stack.append(Call(None, _marked(stack))),
    "BUILD": lambda stack: stack.pop(),  # an object's state
    "BINPERSID": lambda stack: stack.append(Reference(stack.pop())),
}
"""Instructions that need nothing but the stack."""
