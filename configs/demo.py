"""The embedded cohort on a laptop: `cdm demo`, or by hand

cdm train --config=configs/demo.py --config.data.root=demo_out/cohort --workdir=demo_out/run
"""

from cdm_jax.configs import default
from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = default.get_config()
    config.preprocess.update(spacing=4.0, shape=(40, 48, 40), antialias=True)
    config.data.brain_only = True
    config.augment.update(gamma=0.0, bias_field=0.0, blur=0.0, ghosting=0.0)
    config.model.update(channels=16, multipliers=(1, 2, 4), blocks=2)
    config.encoder.update(name="resnet18", features=128, width=32)
    config.spark.update(mask_ratio=0.5, width=128)  # two of the 2x2 patches of a slice
    config.patched.size = 24
    config.autoencoder.noise_size = 4  # 16 mm
    # 128 to 8 mm, the published range but for its finest octave, which would be one pixel here.
    config.noise.update(frequency=32.0, octaves=5, shared_train=False)
    config.train.update(
        steps=700, batch=16, lr=1.5e-3, warmup=20, cosine=True, ema=0.99, log_every=10, eval_every=100
    )
    # Levels chosen on validation patients: at 4 mm a lesion spans few pixels and survives weaker noise.
    config.sampler.update(t_starts=(650, 750, 850), draws=2, batch=16)
    config.anomaly.update(erosion=0.0, median=3, min_component=3)
    return config
