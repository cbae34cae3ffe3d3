"""Unsupervised anomaly detection in brain MRI with conditioned diffusion models, in JAX."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdm_jax.detector import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import `Detector`, and jax with it, only when asked for: `cdm --help` must answer at once."""
    if name == "Detector":
        from cdm_jax.detector import Detector

        return Detector
    raise AttributeError(f"module 'cdm_jax' has no attribute '{name}'")
