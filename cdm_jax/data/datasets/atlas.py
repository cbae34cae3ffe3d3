"""Which published tables hold the patients of ATLAS v2, stroke, T1 only?"""

from cdm_jax.data.datasets.tree import Dataset

ATLAS = Dataset(
    splits={
        "val_patients": "ATLAS_v2_val.csv",
        "test_patients": "ATLAS_v2_test.csv",
    }
)
