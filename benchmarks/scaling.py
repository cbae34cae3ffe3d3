"""What does training the paper's model cost on 1 to 1024 devices, on paper?

python benchmarks/scaling.py            count the model's numbers anew, print the tables of docs/scaling.md
python benchmarks/scaling.py --write    put the tables there

Formulas stand beside the functions; the hardware is assumed, see `HARDWARE`.
"""

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

from command_line import Parser, run

from cdm_jax import config as configs
from cdm_jax import methods
from cdm_jax.dry_run import SHARE, parameter_counts, step_flops
from cdm_jax.files import write_text
from cdm_jax.report.table import markdown

DOC = Path(__file__).parents[1] / "docs" / "scaling.md"
STEPS, BATCH = 14_400, 32  # as published
DEVICES = tuple(2**power for power in range(11))
BATCHES = (32, 128, 512, 4096)


@dataclass(frozen=True)
class Model:
    """What the model asks of any machine.

    Attributes:
      parameters: learnt numbers, float32; flops: of one slice, there and back, see `dry_run.step_flops`.
      norms: small sums over all devices that wait for each other, of the encoder's BatchNorm.
      activations: bytes that one slice keeps for the way back, in float32; slice_bytes: image, mask and id.
    """

    parameters: int
    flops: float
    norms: int
    activations: float
    slice_bytes: int


@dataclass(frozen=True)
class Hardware:
    """One kind of device and how it is wired, all assumed.

    Attributes:
      rate: FLOP/s of a large bfloat16 matrix product; share: of it that a step reaches; memory: bytes/s.
      inside: bytes/s that a device sends within its host of `host` devices; between: its part of what the host
        sends to others; latency: seconds of one message.
    """

    rate: float = 790e12
    share: float = SHARE
    memory: float = 4.3e12
    inside: float = 360e9
    between: float = 45e9
    latency: float = 5e-6
    host: int = 8


HARDWARE = {"fast": Hardware(), "slow": Hardware(between=1.4e9)}
"""Ports of 400 Gbit/s for each device, or one of 100 Gbit/s for all eight of a host, nine tenths of which are used."""

BFLOAT16 = 2 / 3
"""Of the bytes kept for the way back in float32: norms keep float32 in both, see docs/scaling.md."""


def counted() -> Model:
    """The paper's model by this package's own count; `norms` and `activations` are taken from `PAPER`."""
    config = configs.load("configs/default.py", [f"--config.train.batch={BATCH}"])
    parameters = parameter_counts(methods.variable_shapes(config)["params"])["all"]
    height, width, _ = config.preprocess.shape
    return Model(
        parameters, step_flops(config) / BATCH, PAPER.norms, PAPER.activations, 5 * height * width + 4
    )


def compute(model: Model, hardware: Hardware, devices: int, batch: int) -> float:
    """Seconds: batch / n slices of F FLOPs each, and Adam, which moves seven float32 numbers a parameter."""
    slices = batch / devices * model.flops / (hardware.share * hardware.rate)
    return slices + 7 * 4 * model.parameters / hardware.memory


def exchange(size: float, hardware: Hardware, devices: int) -> float:
    """Seconds of a ring all-reduce of `size` bytes: within the hosts, then of each share between h hosts, and back.

    2 (g-1)/g size / inside + 2 (h-1)/h size / g / between + 2 log2(n) latency for n = g h devices, g a host.
    """
    g = min(devices, hardware.host)
    h = devices / g
    ring = (g - 1) / g * size / hardware.inside + (h - 1) / h * size / g / hardware.between
    return 2 * ring + 2 * math.log2(devices) * hardware.latency


def sent(model: Model, devices: int, cut: bool = False) -> float:
    """Bytes that a device sends in a step: 2 (n-1)/n 4 N, or with the state cut 3 (n-1)/n 4 N.

    Copied states sum their gradients (reduce-scatter, all-gather); cut ones gather the parameters on the way there
    and again on the way back, and scatter the gradients' sum.
    """
    return (3 if cut else 2) * (devices - 1) / devices * 4 * model.parameters


def normalise(model: Model, hardware: Hardware, devices: int) -> float:
    """Seconds of the BatchNorm sums, too small to count by bytes: 2 log2(n) messages each, nothing to hide behind."""
    return model.norms * 2 * math.log2(devices) * hardware.latency


def exposed(model: Model, hardware: Hardware, devices: int, batch: int, hidden: bool = True) -> float:
    """Seconds of communication that the devices wait for; gradients may hide behind the way back, 2/3 of the work."""
    gradients = exchange(4 * model.parameters, hardware, devices)
    behind = 2 / 3 * compute(model, hardware, devices, batch) if hidden else 0.0
    return max(0.0, gradients - behind) + normalise(model, hardware, devices)


def efficiency(model: Model, hardware: Hardware, devices: int, batch: int, hidden: bool = True) -> float:
    """Slices a second and device, of those on one: its step, shared out, over the step with its waits."""
    step = compute(model, hardware, devices, batch) + exposed(model, hardware, devices, batch, hidden)
    return compute(model, hardware, 1, batch) / devices / step


def memory(model: Model, devices: int, batch: int, cut: bool = False) -> float:
    """Bytes a device: 20 N (parameters, average, two moments, gradients) or the n-th part, and the activations.

    The parts of a cut state that are gathered at a time are small.
    """
    return 20 * model.parameters / (devices if cut else 1) + batch / devices * model.activations * BFLOAT16


def row(model: Model, hardware: Hardware, devices: int, batch: int) -> dict:
    """One line of the first tables."""
    work, wait = compute(model, hardware, devices, batch), exposed(model, hardware, devices, batch)
    rate = batch / (work + wait)
    return {
        "devices": devices,
        "slices": batch / devices,
        "compute": 1e3 * work,
        "exchange": 1e3 * exchange(4 * model.parameters, hardware, devices),
        "sent": sent(model, devices) / 1e6,
        "sent_cut": sent(model, devices, cut=True) / 1e6,
        "norms": 1e3 * normalise(model, hardware, devices),
        "wait": 1e3 * wait,
        "efficiency": efficiency(model, hardware, devices, batch),
        "unhidden": efficiency(model, hardware, devices, batch, hidden=False),
        "minutes": STEPS * BATCH / rate / 60,
        "rate": rate,
        "input": rate * model.slice_bytes / 1e6,
        "memory": memory(model, devices, batch) / 1e9,
        "cut": memory(model, devices, batch, cut=True) / 1e9,
    }


def number(key, form: str = ""):
    """A column; without a form in three figures, whole from 100 on."""
    return key, lambda row: format(row[key], form or (",.0f" if row[key] >= 100 else ".3g"))


COLUMNS = {
    "devices": number("devices", "d"),
    "slices each": number("slices"),
    "compute, ms": number("compute"),
    "gradients sent, MB": number("sent", ".0f"),
    "ms": number("exchange"),
    "BatchNorm, ms": number("norms"),
    "waited, ms": number("wait"),
    "efficiency": number("efficiency", ".0%"),
    "nothing hidden": number("unhidden", ".0%"),
    "run, minutes": number("minutes"),
    "slices/s": number("rate", ",.0f"),
    "input, MB/s": number("input"),
    "memory, GB": number("memory"),
    "state cut: GB": number("cut"),
    "sent, MB": number("sent_cut", ".0f"),
}


def tables(model: Model) -> dict[str, str]:
    """Each table of docs/scaling.md under its name."""
    found = {}
    for batch in (BATCH, BATCHES[-1]):
        rows = [row(model, HARDWARE["fast"], n, batch) for n in DEVICES if n <= batch]
        found[f"batch {batch}"] = markdown(rows, COLUMNS)
    lines = [
        {"devices": n} | {(kind, batch): efficiency(model, hardware, n, batch) if n <= batch else math.nan
                          for kind, hardware in HARDWARE.items() for batch in BATCHES}
        for n in DEVICES
    ]  # fmt: skip
    columns = {"devices": number("devices", "d")}
    columns |= {
        f"{kind}, batch {batch}": number((kind, batch), ".0%") for kind in HARDWARE for batch in BATCHES
    }
    return found | {"efficiency": markdown(lines, columns)}


def with_tables(text: str, model: Model) -> str:
    """The document with every table between its two marks made anew."""
    for name, table in tables(model).items():
        marks = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(marks, lambda found, table=table: f"{found[1]}{table}{found[2]}", text, flags=re.S)
    return text


def job(args: argparse.Namespace) -> None:
    model = counted()
    print(model)
    for name, table in tables(model).items():
        print(f"\n{name}\n{table}")
    if args.write:
        write_text(DOC, with_tables(DOC.read_text(), model))


def main(arguments: list[str] | None = None) -> int:
    options = Parser(
        prog="scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    return run(job, options, arguments)


PAPER = Model(parameters=68_619_329, flops=443.002e9, norms=204, activations=0.73e9, slice_bytes=46_084)
"""As counted; norms and activations by compiling the step, as docs/scaling.md says."""


if __name__ == "__main__":
    raise SystemExit(main())
