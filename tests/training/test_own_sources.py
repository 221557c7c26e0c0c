"""Sources that a recipe brings along as a Python file."""

import json

import numpy as np
import pytest

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.build import build_sources
from sam2_hf.training.config import read_config
from tests.training.toy import masks_folder

CODE = """
import torch
from sam2_hf.training.transforms import RawClip


class Borrowed:
    def __init__(self, entry, lender):
        self.count, self.value, self.lender = entry.count, entry.options["value"], lender

    def __len__(self):
        return self.count

    def sample(self, index, rng):
        pixels = self.lender.frames.get(0, 0).pixels
        frames = torch.full((1, 3, *pixels.shape[:2]), self.value, dtype=torch.uint8)
        return RawClip(frames=frames, masks=frames[:, :1] > 0, void=None, name=self.lender.clips[0].name)


def open_source(entry, base, lenders):
    return Borrowed(entry, lenders[0])
"""


def recipe(folder, code=CODE, **changes):
    folder.mkdir()
    if code is not None:
        (folder / "mine.py").write_text(code)
    entry = {
        "kind": "python",
        "root": "mine.py",
        "options": {"value": 7},
        "count": 5,
        "library": [{"kind": "masks", "root": "data", "include": ["@names.txt"]}],
    }
    (folder / "names.txt").write_text("p2\n")
    values = {"output": "out", "model": "m", "data": [entry | changes]}
    (folder / "run.json").write_text(json.dumps(values))
    return read_config(folder / "run.json")


def test_a_file_beside_the_recipe_makes_the_clips(tmp_path):
    masks_folder(tmp_path / "data", 3)
    source = build_sources(recipe(tmp_path / "recipe"), tmp_path)[0].source
    sample = source.sample(0, np.random.default_rng(0))
    assert (len(source), sample.name, sample.frames.unique().tolist()) == (5, "p2", [7])


def test_names_come_from_a_file_beside_the_recipe(tmp_path):
    assert recipe(tmp_path / "recipe").data[0].library[0].include == ("p2",)


def test_a_list_of_names_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"missing\.txt: there is no such file"):
        recipe(tmp_path / "recipe", library=[{"kind": "masks", "root": "data", "exclude": ["@missing.txt"]}])


def test_a_source_that_is_not_there_is_named(tmp_path):
    masks_folder(tmp_path / "data", 3)
    with pytest.raises(SourceError, match=r"mine\.py: there is no such file"):
        build_sources(recipe(tmp_path / "recipe", code=None), tmp_path)


def test_a_file_without_the_function_is_named(tmp_path):
    masks_folder(tmp_path / "data", 3)
    with pytest.raises(ConfigError, match=r"mine\.py: has no function `open_source"):
        build_sources(recipe(tmp_path / "recipe", code="x = 1"), tmp_path)
