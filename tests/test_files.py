"""A file that exists is complete; a log can be rewound and read as a table."""

import numpy as np
import pytest

from cdm_jax import files, metric_log, provenance
from cdm_jax.errors import UsageError
from cdm_jax.report.table import markdown


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/x.txt"):
        files.write_text(tmp_path / "file" / "x.txt", "text")


def test_the_log_can_be_rewound_and_read_as_csv(tmp_path):
    log = tmp_path / "metrics.jsonl"
    metric_log.append(
        log, {"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}, {"step": 2, "val_loss": 0.125}
    )
    metric_log.rewind(log, 1)
    assert metric_log.read(log) == [{"step": 1, "loss": 0.5}]
    metric_log.append(log, {"step": 2, "val_loss": 0.125})
    assert metric_log.to_csv(metric_log.read(log)) == "step,loss,val_loss\n1,0.5,\n2,,0.125\n"


def test_the_table_is_aligned_and_dashes_what_is_not_defined():
    row = dict.fromkeys(("dice", "dice_std", "best_dice", "auprc", "auroc", "seconds"), 0.25)
    row |= {"method": "cDDPM", "healthy_false_positive_share": 0.0123, "healthy_l1": float("nan"), "seed": 7}
    lines = markdown([row]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "cDDPM", "0.250 ± 0.250", "0.250", "0.250", "0.250", "1.23", "-", "0.25", "7",
    ]  # fmt: skip


def test_a_missing_library_is_named_as_such(monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARIES", ("numpy", "no-such-library"))
    found = provenance.environment()["versions"]
    assert found["numpy"] == np.__version__ and found["no-such-library"] == "none"
