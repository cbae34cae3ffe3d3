"""The parts of `data_speed.py`, in the order of the data.

volumes.py      synthetic volumes       -> the store's files, ArrayRecord, .nii.gz
cache.py        what of them the system holds in memory
sides.py        files                   -> our batches
torch_side.py   the same files          -> torch's batches
measure.py      batches                 -> rows
"""
