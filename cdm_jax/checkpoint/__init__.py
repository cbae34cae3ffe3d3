"""How is a training run kept on disk, so that what is read is what was written?

A checkpoint is the folder `workdir/checkpoints/STEP`: arrays as Orbax writes them, and `record.json`, written
last, with the size and SHA-256 of every file. A folder without a record is unfinished, or not ours (see `names`),
and read by nobody; one whose files differ from its record is damaged and refused by name.
"""

from cdm_jax.checkpoint.failure import SaveError
from cdm_jax.checkpoint.reader import last_good, restore, restore_variables, steps, verify
from cdm_jax.checkpoint.writer import Writer, sweep, writer

__all__ = [
    "SaveError",
    "Writer",
    "last_good",
    "restore",
    "restore_variables",
    "steps",
    "sweep",
    "verify",
    "writer",
]
