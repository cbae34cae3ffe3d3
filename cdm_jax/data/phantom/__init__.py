"""An embedded cohort: healthy subjects and patients made from real human anatomy, step by step.

anatomy.py    the MNI152 2009 template's tissue maps          -> Anatomy
geometry.py   where a subject's voxels lie in the template    -> Grid
lesions.py    where its lesions are, what they push aside     -> Lesion
tissue.py     contrasts, lesion contrast, bias field, noise   -> image
subject.py    all of the above for one (seed, index)
cohort.py     NIfTI files and split tables on disk
"""

from cdm_jax.data.phantom.anatomy import Anatomy, load_anatomy
from cdm_jax.data.phantom.cohort import write_cohort
from cdm_jax.data.phantom.subject import make_subject

__all__ = ["Anatomy", "load_anatomy", "make_subject", "write_cohort"]
