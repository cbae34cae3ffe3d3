"""Which tables hold the splits of the embedded cohort?"""

from cdm_jax.data.datasets.dataset import Dataset

PHANTOM = Dataset(
    splits={
        "train": "phantom_train_fold{fold}.csv",
        "val": "phantom_val_fold{fold}.csv",
        "test_healthy": "phantom_test.csv",
        "val_patients": "phantom_patients_val.csv",
        "test_patients": "phantom_patients_test.csv",
    },
    places=("Train/phantom", "Test/phantom"),
)
