"""The README's first command at its real size, on a seed that no one chose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_beats_the_intensity_threshold_on_a_fresh_seed(tmp_path):
    command = [sys.executable, "-P", "-m", "cdm_jax", "demo", "--out", str(tmp_path / "out"), "--seed", "11"]
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # as quick as a user's
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr[-2000:]
    threshold, model = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    print(f"AUPRC {threshold['auprc']:.3f} by threshold, {model['auprc']:.3f} by cDDPM")
    assert model["auprc"] > threshold["auprc"]
    assert model["auroc"] > threshold["auroc"]
    assert model["healthy_l1"] < 0.15
    for path in done.stdout.split("open:")[1].split():
        assert Path(path).stat().st_size > 0
