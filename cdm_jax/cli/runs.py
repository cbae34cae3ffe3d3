"""`cdm runs`."""

import argparse

EXAMPLE = """example:
  cdm runs runs/
  cdm runs . --json

States: running; finished; preempted, interrupted and killed (the same 'cdm train' goes on from the last
checkpoint); diverged; failed; stopped (of an earlier version, which kept no state); damaged.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("folder", metavar="FOLDER", help="where to look, to any depth")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(compiles=False)


REASON = 100
"""Characters of a reason that a line of the table shows; --json keeps all."""


def run(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from cdm_jax.report.runs import as_json, as_text
    from cdm_jax.runs import find

    runs = find(args.folder)
    if args.json:
        print(as_json(runs))
    else:
        short = [replace(run, reason=cut(run.reason)) for run in runs]
        print(as_text(short) if runs else f"{args.folder}: no runs here")


def cut(text: str, most: int = REASON) -> str:
    """The text, or its beginning with "..." as the last of `most` characters."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."
