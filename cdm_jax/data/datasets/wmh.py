"""Which published tables hold the patients of WMH, white matter hyperintensities?"""

from cdm_jax.data.datasets.tree import Dataset

WMH = Dataset(
    splits={
        "val_patients": "WMH_val.csv",
        "test_patients": "WMH_test.csv",
    }
)
