"""From a config to a trained state: the trainer, its loop, and what is kept and told along the way."""
