"""Where compiled programs are kept, so that a second run of the same shapes starts at once."""

import os
from pathlib import Path

import jax


def cache_folder() -> Path:
    """`$JAX_COMPILATION_CACHE_DIR`, or `cdm_jax/xla` in the user's cache folder."""
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else user / "cdm_jax" / "xla"


def enable_cache() -> None:
    """Keep every program that took at least half a second to compile; nothing where the folder is not writable."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
