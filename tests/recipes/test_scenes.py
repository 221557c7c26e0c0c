"""Made-up scenes: exact masks, everything from the generator, surfaces of real pictures; and their source."""

import json
from pathlib import Path

import numpy as np
import pytest
from scene_renderer import SceneOptions, SceneRenderer
from scene_textures import PictureLibrary

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.errors import ConfigError
from sam2_hf.training.build import build_sources
from sam2_hf.training.config import read_config
from tests.training.toy import masks_folder

RECIPES = Path(__file__).parents[2] / "recipes"


def renderer(**options):
    return SceneRenderer(SceneOptions(size=64, **options))


def test_scenes_depend_on_their_generator_only():
    first, second, other = (renderer().render(np.random.default_rng(seed), 2) for seed in (4, 4, 5))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == (2, 64, 64, 3)
    assert first[0].dtype == first[1].dtype == np.uint8


def test_scenes_move_hide_and_show_objects_that_differ_from_what_is_around_them():
    contrasts, moved = [], 0
    for seed in range(40):
        frames, ids = renderer(colony_probability=0).render(np.random.default_rng(seed), 4)
        moved += not np.array_equal(ids[0], ids[3])
        for key in np.unique(ids[0])[1:]:
            inside = frames[0][ids[0] == key].mean(axis=0)
            contrasts.append(np.abs(inside - frames[0][ids[0] == 0].mean(axis=0)).max())
    assert moved > 30
    assert np.median(contrasts) > 10


def test_colonies_have_many_objects():
    counts = [
        len(np.unique(renderer(colony_probability=1).render(np.random.default_rng(seed))[1])) for seed in range(5)
    ]
    assert min(counts) > 4


def test_real_pictures_lend_scenes_their_surfaces():
    pixels, mask = np.zeros((24, 36, 3), np.uint8), np.zeros((24, 36), bool)
    library = PictureLibrary.from_clips([ArrayClip("clip", [pixels] * 10, [{1: mask}] * 10)], frames_per_clip=2)
    assert len(library.pictures) == 2
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 200
    library = PictureLibrary(pictures=[red])
    options = SceneOptions(size=64, real_background=1, colony_probability=0, max_objects=1)
    frames, ids = SceneRenderer(options, library).render(np.random.default_rng(1))
    background = frames[0][ids[0] == 0]
    assert background[:, 0].mean() > background[:, 1].mean() + 50


def recipe(folder, **changes):
    entry = {
        "kind": "python",
        "root": str(RECIPES / "scenes.py"),
        "count": 5,
        "options": {"scene": {"size": 64}},
        "library": [{"kind": "masks", "root": str(masks_folder(folder / "data", 2))}],
        "sampling": {"num_frames": 2, "max_objects": 2, "fill_objects": True, "reverse": 0.5},
    }
    (folder / "run.json").write_text(json.dumps({"output": "o", "model": "m", "data": [entry | changes]}))
    return read_config(folder / "run.json")


@pytest.mark.parametrize("changes", [{}, {"library": []}])
def test_a_recipe_makes_clips_with_visible_objects(tmp_path, changes):
    source = build_sources(recipe(tmp_path, **changes))[0].source
    assert len(source) == 5
    for index in range(5):
        sample = source.sample(index, np.random.default_rng(index))
        assert sample.frames.shape == (2, 3, 64, 64)
        assert sample.masks.shape == (2, 2, 64, 64)
        assert sample.masks[:, 0].flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    ("options", "message"), [({"scenes": {}}, "no option 'scenes'"), ({"scene": {"seize": 3}}, "no field 'seize'")]
)
def test_a_wrong_option_is_named(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        build_sources(recipe(tmp_path, options=options))
