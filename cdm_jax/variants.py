"""Methods and ablations as what each changes: the same on the paper's settings and on the demo's."""

from ml_collections import ConfigDict

VARIANTS: dict[str, dict] = {
    "cddpm": {},
    "cddpm_pretrained": {},  # and encoder.init: the folder of a `spark` run
    "cddpm_cross": {"model.conditioning": "cross_attention"},
    "cddpm_both": {"model.conditioning": "both"},
    "cddpm_gaussian": {"noise.name": "gaussian"},
    "cddpm_eps": {"diffusion.prediction": "eps"},
    "ddpm": {"encoder.name": "none"},
    "pddpm": {"encoder.name": "none", "model.objective": "patched"},
    "spark": {"model.objective": "spark", "train.betas": (0.9, 0.95), "train.weight_decay": 0.05},
    "ae": {"model.objective": "ae"},
    "vae": {"model.objective": "vae"},
    "dae": {"model.objective": "dae", "autoencoder.loss": "l2"},
}
"""Name -> {config key: value}."""


def vary(config: ConfigDict, name: str) -> ConfigDict:
    """`config` changed in place to the variant of that name."""
    config.update_from_flattened_dict(VARIANTS[name])
    return config
