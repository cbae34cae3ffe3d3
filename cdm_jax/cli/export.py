"""`cdm export`."""

import argparse

EXAMPLE = """example:
  cdm export --workdir demo_out/run -o sampler.npz
  cdm export --workdir demo_out/run -o ddim.npz --config.sampler.name=ddim --config.sampler.steps=20
  cdm export --workdir demo_out/run -o weights --format safetensors

stablehlo: one file with the compiled-ahead sampler and its weights, which runs with jax and numpy alone.
safetensors: a folder with the weights under the published PyTorch names, the config and the threshold, which
every --workdir takes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of a trained model")
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH", help="the .npz file or the new folder"
    )
    parser.add_argument("--format", choices=["stablehlo", "safetensors"], default="stablehlo")
    parser.set_defaults(config=None)


def run(args: argparse.Namespace) -> None:
    from cdm_jax.export import export, export_weights

    if args.format == "safetensors":
        count = export_weights(args.workdir, args.output, args.overrides)
        print(f"written: {args.output}; {count:,} parameters in model.safetensors, with config.json")
        return
    difference = export(args.workdir, args.output, args.overrides)
    print(f"written: {args.output}; on two slices it differs from the model by at most {difference:.1e}")
