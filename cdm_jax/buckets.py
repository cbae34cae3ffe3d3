"""How do volumes with any number of slices go through a few compiled batch sizes?"""

import numpy as np

SHARES = 4


def buckets(count: int, batch: int) -> list[np.ndarray]:
    """Rows 0 ... count - 1 in batches: full ones, then a rest padded to the next quarter of one.

    So at most four sizes are ever compiled, and a call computes less than a quarter of a batch in vain. Padding
    counts on beyond the last row: row r stands for row r % count, to be cut off again.
    """
    share = -(-batch // SHARES)
    full = count // batch * batch
    rest = min(-(-(count - full) // share) * share, batch)
    rows = np.arange(full + rest)
    return [rows[start : start + batch] for start in range(0, len(rows), batch)]
