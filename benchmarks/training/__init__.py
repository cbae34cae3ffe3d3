"""The parts of `train_speed.py`: cells -> feed -> sides -> measure -> report."""
