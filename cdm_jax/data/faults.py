"""What can be wrong with a file, a subject or a cohort, under which code?"""

FAULTS = {
    # one file
    "missing": "the file is not there",
    "unreadable": "not a NIfTI file",
    "truncated": "the file, or what its gzip stream holds, ends too early",
    "corrupt-gzip": "the gzip stream is damaged",
    "bad-checksum": "a prepared volume that does not match its checksum",
    "bad-header": "the header contradicts itself: dimensions, data type, offset or magic",
    "too-large": "more voxels, or more bytes behind them, than the limit allows",
    "bad-dtype": "voxels that are not one real number: colours, complex numbers or an unknown type",
    "bad-shape": "not one 3-D volume of at least two voxels a side",
    "channels": "several volumes or channels in one file",
    "not-finite": "voxels that are NaN or infinite",
    "constant": "every voxel is the same",
    "bad-affine": "an affine that is singular or not finite, or voxels of an impossible size",
    "sform-qform": "sform and qform place the same voxels differently in one space",
    "two-spaces": "sform and qform lead to different spaces",
    # a mask or label beside its image
    "empty-mask": "a brain mask without voxels",
    "full-mask": "a brain mask that covers everything",
    "not-labels": "a mask or label map with values that are not whole numbers from 0 on",
    "shape-mismatch": "another number of voxels than the image",
    "affine-mismatch": "another place in space than the image",
    "outside-mask": "lesion voxels outside the brain mask",
    "healthy-lesion": "lesion voxels in a healthy subject",
    "no-lesion": "a patient without a lesion voxel",
    # a cohort
    "orientation-outlier": "axes oriented unlike those of nearly all others",
    "spacing-outlier": "voxels of another size than nearly all others",
    "shape-outlier": "another number of voxels than nearly all others",
    "duplicate": "the same voxels as another file",
    "duplicate-id": "an id that stands twice in one table",
    "leak-id": "one person in two splits",
    "leak-content": "the same voxels in two splits",
    "bad-table": "a split table that cannot be read",
    "bad-name": "a file that belongs to no image, or two for one",
    # in preparation
    "no-mask": "a scan with its skull whose brain nothing tells",
    "unregistered": "a scan that could not be brought onto the template, or onto another scan of its subject",
}
"""Code -> meaning. The codes are what `cdm check --json` and `VolumeError.code` say."""
