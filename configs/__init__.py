"""Configurations: `default` holds every knob once, the others what differs."""
