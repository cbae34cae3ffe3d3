"""What does the published system look like in PyTorch, written for speed?

Our own implementation of its UNet, encoder and reconstructions, with the published state-dict names. It stands
for the published code in comparisons of speed, and is held to the same golden outputs as cdm_jax.
"""
