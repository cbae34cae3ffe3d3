"""How every figure is saved: headless, atomic."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cdm_jax.files import atomic_path


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, free of pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 110) -> None:
    """Write `figure` to `path` (.png or .pdf) atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def upright(image):
    """An axial slice [H,W] of a RAS volume turned so that the front of the head is up (patient's left right)."""
    return image.T[::-1]
