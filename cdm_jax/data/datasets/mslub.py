"""Which published tables hold the patients of MSLUB, multiple sclerosis?"""

from cdm_jax.data.datasets.tree import Dataset

MSLUB = Dataset(
    splits={
        "val_patients": "MSLUB_val.csv",
        "test_patients": "MSLUB_test.csv",
    }
)
