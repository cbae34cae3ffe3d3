"""Unsupervised anomaly detection in brain MRI with conditioned diffusion models, in JAX."""

__version__ = "0.1.0"
