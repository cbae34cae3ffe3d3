"""Why could a checkpoint not be saved?"""

from cdm_jax.errors import CheckpointError


class SaveError(CheckpointError):
    """A checkpoint that could not be saved; `full`: because the disk, or what one may use of it, is full."""

    def __init__(self, message: str, full: bool = False):
        super().__init__(message, full)  # both, so that it crosses processes by pickle
        self.full = full

    def __str__(self) -> str:
        return self.args[0]
