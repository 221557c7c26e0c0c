"""The recipes of the embedded checkpoint, on a made-up data folder of the same layout: they open, and they train."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from PIL import Image

from sam2_hf.training.build import build_sources, random_model
from sam2_hf.training.config import read_config
from sam2_hf.training.trainer import Sam2Trainer
from tests.golden.recipe import golden_scene, golden_scene_ids
from tests.tiny import micro_model

RECIPES = Path(__file__).parents[2] / "recipes"
FIRST = ("embedded-1", "embedded-2", "embedded-3", "embedded-4", "embedded-5")
SECOND = ("embedded-6", "embedded-7", "embedded-8", "embedded-9", "embedded-10", "embedded-11")
SECOND += ("embedded-gpu", "embedded-gpu-wide")
HELD_CLIPS = ("cows", "motocross-jump", "elephant", "dance-jump")
SIZE = (32, 44)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    AcceleratorState._reset_state(reset_partial_state=True)


def save_picture(root, name, seed):
    path = root / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(golden_scene(*SIZE, seed=seed % 3)).save(path)
    Image.fromarray(golden_scene_ids(*SIZE, seed=seed % 3)).save(path.with_suffix(".mask.png"))


def save_clip(root, name, frames=5):
    for kind, draw in (("JPEGImages", golden_scene), ("Annotations", golden_scene_ids)):
        (root / name / kind).mkdir(parents=True)
        for frame in range(frames):
            Image.fromarray(draw(*SIZE, frame).astype(np.uint8)).save(root / name / kind / f"{frame:05d}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    held = (RECIPES / "held-out.txt").read_text().split()
    sets = sorted({name.partition("/")[0] for name in held})
    for seed, name in enumerate([*held, *(f"{folder}/kept_{number}" for folder in sets for number in range(2))]):
        save_picture(root / "photos", name, seed)
    cells = ("mri-cardiac/SC-N-09-1", "nuclei-fluo/dsb_00071198d059", "nuclei-stained/dsb_15039b3acccc")
    cells += ("phase-contrast-cells/usiigaci_set33", "em-axons/ads_train1", "em-axons/kept", "natural-davis/kept")
    cells += tuple(f"natural-davis/davis345_{number}" for number in ("012", "036", "059", "093", "117"))
    for seed, name in enumerate(cells):
        save_picture(root / "images", name, seed)
    for name in ("cows", "motocross-jump", "cmr-SC-HF-I-09", "cmr-SC-N-07", "nuclei3d-1", "dog"):
        save_clip(root / "videos", name)
    for name in ("elephant", "dance-jump", "bus"):
        save_clip(root / "videos-small", name)
    for name, mode in (("cutouts", "RGBA"), ("backgrounds", "RGB")):
        (root / name).mkdir()
        Image.new(mode, SIZE, (200, 10, 10, 255)[: len(mode)]).save(root / name / "one.png")
    return root


def small(name, tmp_path, **changes):
    """The recipe with everything as it is but numbers: batches of two, two steps."""
    config = read_config(RECIPES / f"{name}.json")
    entries = tuple(replace(entry, batch_size=2, repeat=1.0, count=2) for entry in config.data)
    numbers = {"workers": 0, "max_steps": 2, "log_every": 1, "cache": str(tmp_path / "cache")}
    return replace(config, output=str(tmp_path / "run"), data=entries, **numbers, **changes)


@pytest.mark.parametrize("name", SECOND)
def test_what_is_held_out_is_never_drawn(name, data, tmp_path):
    held = set((RECIPES / "held-out.txt").read_text().split())
    found = set()
    for mixed in build_sources(small(name, tmp_path), data):
        for clip in getattr(mixed.source, "clips", ()):
            found.add(clip.name)
        for lender, index in getattr(getattr(mixed.source, "composer", None), "pieces", _NONE)._clips:
            found.add(lender.clips[index].name)
    assert found
    assert not found & held
    assert not found & set(HELD_CLIPS)


class _NONE:
    _clips = ()


@pytest.mark.parametrize("name", [*FIRST, *SECOND])
def test_the_recipe_trains(name, data, tmp_path):
    config = small(name, tmp_path)
    trainer = Sam2Trainer(micro_model(image_size=64), config, build_sources(config, data))
    record = trainer.train()
    assert np.isfinite(record["loss"])
    assert trainer.step == 2
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["mixed_precision"] == ("bf16" if "gpu" in name else "no")


def test_every_source_of_the_recipe_gives_a_sample(data, tmp_path):
    for name in (*FIRST, *SECOND):
        for mixed in build_sources(small(name, tmp_path), data):
            sample = mixed.source.sample(0, np.random.default_rng(0))
            assert sample.masks[:, 0].flatten(1).any(dim=1).all()


def test_the_wide_model_fits_the_wheel_in_half_precision():
    model = random_model(read_config(RECIPES / "embedded-gpu-wide.json"))
    assert 5_000_000 < sum(value.numel() for value in model.parameters()) < 6_000_000
