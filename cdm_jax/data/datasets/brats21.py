"""Which published tables hold the patients of BraTS21, tumours?"""

from cdm_jax.data.datasets.tree import Dataset

BRATS21 = Dataset(
    splits={
        "val_patients": "Brats21_val.csv",
        "test_patients": "Brats21_test.csv",
    }
)
