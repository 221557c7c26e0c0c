"""Which photographs are never trained on: every tenth of each set, in order of class and name.

    python recipes/hold_out.py DATA/photos > recipes/held-out.txt

The list is kept with the recipes, so that nothing depends on running this again.
"""

import sys
from pathlib import Path

from sam2_hf.datasets.formats.masks import open_masks

EVERY = 10


def held_out(names: list[str], every: int = EVERY) -> list[str]:
    """Every n-th name of each folder; sorted by name, a folder is sorted by class, so each class gives its share."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return [name for inside in folders.values() for name in inside[every // 2 :: every]]


if __name__ == "__main__":
    print("\n".join(held_out([clip.name for clip in open_masks(Path(sys.argv[1]))])))
