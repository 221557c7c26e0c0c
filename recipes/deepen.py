"""A deeper trunk that starts by computing the same: new blocks whose outputs are zero, in the chosen stages.

    python recipes/deepen.py runs/embedded-10/model OUT --new 0 0 4 1

adds four blocks to the third stage and one to the fourth. A new block starts as a copy of its neighbour, or at random
where the stage has none but its pooling one, with the two projections that write into the residual stream set to zero.
It looks where that neighbour looks (windows or everything).
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from sam2_hf import Sam2Config, Sam2Model, Sam2Processor

TRUNK = "vision_encoder.backbone.blocks"


def order_of_blocks(stages: list[int], new: list[int]) -> list[tuple[int, bool]]:
    """Which old block each block of the deeper trunk comes from, and whether it is new."""
    order, first = [], 0
    for count, added in zip(stages, new, strict=True):
        last = first + count - 1
        before = [max(1, (k + 1) * count // added) for k in range(added)]  # old blocks in front of each new one
        for block in range(first, last + 1):
            order.append((block, False))
            neighbour = block if block > first or first == 0 else min(block + 1, last)
            order += [(neighbour, True)] * before.count(block - first + 1)
        first = last + 1
    return order


def deepen(model: Sam2Model, new: list[int]) -> Sam2Model:
    """A model of the same function with `new[i]` more blocks in stage i."""
    settings = model.config.to_dict()
    trunk = settings["vision_config"]["backbone_config"]
    stages, looks_everywhere = trunk["blocks_per_stage"], set(trunk["global_attention_blocks"])
    order = order_of_blocks(stages, new)
    trunk["blocks_per_stage"] = [count + added for count, added in zip(stages, new, strict=True)]
    trunk["global_attention_blocks"] = [at for at, (block, _) in enumerate(order) if block in looks_everywhere]
    deeper = Sam2Model(Sam2Config.from_dict(settings))
    old, weights = model.state_dict(), deeper.state_dict()
    for name, fresh in weights.items():
        at, _, rest = name.removeprefix(TRUNK + ".").partition(".")
        block, is_new = order[int(at)] if name.startswith(TRUNK) else (None, False)
        value = old[name if block is None else f"{TRUNK}.{block}.{rest}"]
        if is_new and rest.startswith(("attn.proj.", "mlp.proj_out.")):
            weights[name] = torch.zeros_like(fresh)
        elif value.shape == fresh.shape:  # not so for a new block beside a pooling one alone
            weights[name] = value
    nn.Module.load_state_dict(deeper, weights, strict=True)
    return deeper


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--new", type=int, nargs="+", required=True, metavar="N", help="new blocks of each stage")
    given = parser.parse_args(arguments)
    if given.out.exists():
        raise SystemExit(f"{given.out}: is there already; choose another folder")
    model = Sam2Model.from_pretrained(given.model)
    deepen(model, given.new).save_pretrained(given.out)
    Sam2Processor.from_pretrained(given.model).save_pretrained(given.out)


if __name__ == "__main__":
    main()
