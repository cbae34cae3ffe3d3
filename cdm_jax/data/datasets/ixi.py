"""Which published tables hold the splits of IXI, the healthy training set?"""

from cdm_jax.data.datasets.tree import Dataset

IXI = Dataset(
    splits={
        "train": "IXI_train_fold{fold}.csv",
        "val": "IXI_val_fold{fold}.csv",
        "test_healthy": "IXI_test.csv",
    },
    available={"t2": "avail_t2.csv"},
)
