"""How gradients become steps."""

import optax


def make_schedule(lr: float, steps: int, warmup: int = 0, cosine: bool = False) -> optax.Schedule:
    """Learning rate by step: constant, after a linear warm-up, falling to 0 along a cosine if asked."""
    main = optax.cosine_decay_schedule(lr, max(steps - warmup, 1)) if cosine else optax.constant_schedule(lr)
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), main], [warmup]) if warmup else main


def make_optimizer(
    lr: float,
    steps: int,
    *,
    warmup: int = 0,
    cosine: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    clip: float = 0.0,
) -> optax.GradientTransformation:
    """Adam (AdamW where `weight_decay` > 0), after clipping the global norm to `clip` where that is > 0."""
    schedule = make_schedule(lr, steps, warmup, cosine)
    adam = optax.adamw(schedule, *betas, weight_decay=weight_decay)
    return optax.chain(optax.clip_by_global_norm(clip), adam) if clip else adam
