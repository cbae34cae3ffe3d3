"""The parts of `sample_speed.py`: cells -> sides -> measure -> report."""
