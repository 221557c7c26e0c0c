"""Weights between those of two phases of training: one share for the parts that see pictures, one for the memory.

    python recipes/blend.py runs/embedded-9/model runs/embedded-10/model OUT --pictures 0.7 --memory 0

A share of 0 takes the first model, 1 the second. Both must be of one configuration.
"""

import argparse
from pathlib import Path

import torch

from sam2_hf import Sam2Model, Sam2Processor
from sam2_hf.training.optimisation import PARTS


def blend(first: Sam2Model, second: Sam2Model, pictures: float, memory: float) -> Sam2Model:
    """The second model with its weights moved towards the first, in place."""
    weights = first.state_dict()
    with torch.no_grad():
        for name, value in second.state_dict().items():
            share = memory if name.startswith(PARTS["memory"]) else pictures
            if value.is_floating_point():
                value.copy_((1 - share) * weights[name] + share * value)
    return second


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=float, default=0.5)
    parser.add_argument("--memory", type=float, default=0.5)
    given = parser.parse_args(arguments)
    if given.out.exists():
        raise SystemExit(f"{given.out}: is there already; choose another folder")
    models = [Sam2Model.from_pretrained(name) for name in (given.first, given.second)]
    blend(*models, given.pictures, given.memory).save_pretrained(given.out)
    Sam2Processor.from_pretrained(given.second).save_pretrained(given.out)


if __name__ == "__main__":
    main()
