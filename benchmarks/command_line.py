"""How does a benchmark read its options, and what does it end with?"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from cdm_jax.compilation import enable_cache
from cdm_jax.errors import CdmError, UsageError


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def run(job: Callable[[argparse.Namespace], None], parser: Parser, arguments=None) -> int:
    """Do `job` with the parsed `arguments`; returns the exit code, a `CdmError` is one line on stderr."""
    try:
        args = parser.parse_args(arguments)
        enable_cache()
        job(args)
    except CdmError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def counts(text: str, option: str) -> tuple[int, ...]:
    """The whole numbers of a comma list, each at least 1 and none twice; UsageError names the option."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UsageError(f"{option} takes whole numbers from 1 on, with commas between, not '{text}'")
    return tuple(dict.fromkeys(map(int, words)))


def at_least(least: int, value: int, option: str) -> int:
    """`value`, or a UsageError that names the option."""
    if value < least:
        raise UsageError(f"{option} must be at least {least}, not {value}")
    return value
