"""What can be chosen in a preparation?"""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cdm_jax.errors import UsageError, choose

STEPS = {
    "strip": "find the brain and zero what lies outside",
    "register": "move the brain onto the template",
    "resample": "sample at 1 mm",
    "crop": "cut out the brain's box",
    "n4": "correct the bias field",
}
"""In the order in which they are done, whatever the order in which they are asked for."""

INTERPOLATIONS = {"linear": 1, "bspline": 3}
"""Of images; masks and labels are always taken from the nearest voxel."""


@dataclass(frozen=True)
class Settings:
    """What the prepared files of a subject depend on besides its raw files.

    layout: a key of `data.downloads.LAYOUTS`; steps: keys of `STEPS`; mask_command: template with {input} and
    {output}, "" for none; template: path of the template, None for the MNI152 brain; interpolation: a key of
    `INTERPOLATIONS`.
    """

    layout: str
    steps: tuple[str, ...] = tuple(STEPS)
    mask_command: str = ""
    template: Path | None = None
    interpolation: str = "bspline"

    def parameters(self) -> dict:
        """What the manifest compares; the template's content is added there."""
        return {
            "layout": self.layout,
            "steps": list(self.steps),
            "mask_command": self.mask_command,
            "interpolation": self.interpolation,
        }


def make_settings(
    layout: str,
    *,
    steps: Sequence[str] = tuple(STEPS),
    mask_command: str = "",
    template: str | Path | None = None,
    interpolation: str = "bspline",
) -> Settings:
    """Settings that can be carried out.

    Raises:
      UsageError: an unknown step or interpolation, steps that need another one, a command that does not name
        its files or is not installed.
    """
    for step in steps:
        choose(STEPS, step, "step")
    choose(INTERPOLATIONS, interpolation, "interpolation")
    if "register" in steps and "resample" not in steps:
        raise UsageError("the step 'register' needs 'resample': a moved scan needs a new grid")
    if mask_command:
        _check_command(mask_command)
    chosen = tuple(step for step in STEPS if step in steps)
    return Settings(layout, chosen, mask_command, Path(template) if template else None, interpolation)


def _check_command(template: str) -> None:
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise UsageError(f"--brain-mask-cmd {template}: {error}") from error
    for name in ("{input}", "{output}"):
        if name not in template:
            raise UsageError(
                f"--brain-mask-cmd '{template}' lacks {name}, as in 'hd-bet -i {{input}} -o {{output}}'"
            )
    if shutil.which(words[0]) is None:
        raise UsageError(f"--brain-mask-cmd: '{words[0]}' is not installed, or not on the PATH")
