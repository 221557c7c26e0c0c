"""Composed scenes: what is put on a picture has an exact mask, soft edges, and depends on its generator only."""

import json
from pathlib import Path

import numpy as np
import pytest
from composing_pieces import Lending, Pieces, cut
from composing_scene import Composer, ComposingOptions, Layer, _clear
from PIL import Image

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.build import build_sources
from sam2_hf.training.config import read_config
from sam2_hf.training.decoded import FramesInMemory
from sam2_hf.training.own_sources import Lender

RECIPES = Path(__file__).parents[2] / "recipes"
GREY, RED = (90, 90, 90), (220, 20, 20)
QUIET = {"shadow": 0, "motion_blur": 0, "camera": 0, "comes_and_goes": 0, "in_front": 0, "look_alikes": 0}


def picture(size=(80, 100)):
    """A red disc on grey, object 1."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = (rows - 40) ** 2 + (columns - 50) ** 2 < 20**2
    pixels = np.full((*size, 3), GREY, np.uint8)
    pixels[mask] = RED
    return pixels, mask


def pieces(lending=None, cut_outs=(), backgrounds=()):
    pixels, mask = picture()
    clips = [ArrayClip("disc", [pixels], [{1: mask}])]
    lender = Lender(clips=clips, frames=FramesInMemory(clips, 100))
    return Pieces([lender], cut_outs, backgrounds, lending or Lending())


def composer(lending=None, **options):
    return Composer(pieces(lending), ComposingOptions(size=64, **options))


def recipe(folder, **options):
    for name, mode in (("images", "RGB"), ("cutouts", "RGBA"), ("backgrounds", "RGB")):
        (folder / name).mkdir(parents=True)
        Image.new(mode, (60, 50), (200, 10, 10, 255)[: len(mode)]).save(folder / name / "one.png")
    pixels, mask = picture()
    Image.fromarray(pixels).save(folder / "images" / "one.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "images" / "one.mask.png")
    entry = {
        "kind": "python",
        "root": str(RECIPES / "composing.py"),
        "count": 4,
        "options": {"cut_outs": "cutouts", "backgrounds": "backgrounds", "scene": {"size": 64}} | options,
        "library": [{"kind": "masks", "root": "images", "max_side": 100}],
        "sampling": {"num_frames": 3, "max_objects": 2, "fill_objects": True},
    }
    (folder / "run.json").write_text(json.dumps({"output": "o", "model": "m", "data": [entry]}))
    return read_config(folder / "run.json")


def test_an_object_is_cut_with_a_soft_edge_and_without_its_background():
    piece = np.asarray(cut(*picture()))
    alpha = piece[..., 3]
    assert piece.shape == (39, 39, 4)
    assert ((alpha > 0) & (alpha < 255)).sum() > 50
    assert (piece[alpha > 127][:, :3] == RED).all()
    assert 0.85 < (alpha > 127).sum() / picture()[1].sum() < 1


def test_scenes_depend_on_their_generator_only():
    first, again, other = (composer().render(np.random.default_rng(seed), 3) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_pieces_that_were_read_before_change_nothing(tmp_path):
    config = recipe(tmp_path)
    fresh, used = (build_sources(config, tmp_path)[0].source for _ in range(2))
    used.sample(0, np.random.default_rng(9))
    one, other = (source.sample(1, np.random.default_rng(5)) for source in (fresh, used))
    assert (one.frames == other.frames).all()


def test_what_a_mask_covers_is_the_object():
    layer = Layer(sprite=Image.new("RGBA", (20, 20), (*RED, 255)), centre=np.array([0.5, 0.5]), scale=0.5)
    drawn = np.asarray(layer.drawn(0, np.zeros(2), 64))
    inside = drawn[..., 3] > 127
    assert abs(int(inside.sum()) - 32 * 32) <= 64
    assert inside[18:46, 18:46].all()
    assert (drawn[inside][:, :3] == RED).all()


def test_objects_move_with_their_velocity_and_the_camera():
    layer = Layer(
        sprite=Image.new("RGBA", (8, 8), (*RED, 255)),
        centre=np.array([0.3, 0.5]),
        scale=0.2,
        velocity=np.array([0.1, 0]),
    )
    places = [np.asarray(layer.drawn(time, np.array([0, 0.05]) * time, 100))[..., 3].nonzero() for time in (0, 2)]
    (rows, columns), (later_rows, later_columns) = places
    assert later_columns.mean() - columns.mean() == pytest.approx(20, abs=1)
    assert later_rows.mean() - rows.mean() == pytest.approx(10, abs=1)


def test_a_blurred_object_is_wider_along_its_way():
    still = Layer(
        sprite=Image.new("RGBA", (8, 8), (*RED, 255)), centre=np.array([0.5, 0.5]), scale=0.2,
        velocity=np.array([0.2, 0]),
    )  # fmt: skip
    moved = Layer(**{name: getattr(still, name) for name in still.__slots__} | {"is_blurred": True})
    widths = [np.asarray(one.drawn(0, np.zeros(2), 100))[..., 3].any(axis=0).sum() for one in (still, moved)]
    assert widths[1] > widths[0] + 4


def test_objects_of_a_photograph_stay_objects():
    with_own = composer(Lending(with_objects=1), max_objects=1, **QUIET)
    found = [len(np.unique(with_own.render(np.random.default_rng(seed))[1])) for seed in range(20)]
    assert max(found) == 3  # background, the disc of the picture, the one put on it


def test_look_alikes_stand_beside_an_object():
    quiet = QUIET | {"look_alikes": 1}
    count = [len(composer(Lending(with_objects=1), max_objects=1, **quiet).render(np.random.default_rng(seed))[2])
             for seed in range(20)]  # fmt: skip
    assert max(count) >= 4


def test_something_in_front_splits_an_object():
    options = QUIET | {"in_front": 1}
    areas = {}
    for name, chosen in (("alone", QUIET), ("hidden", options)):
        ids = [composer(max_objects=1, **chosen).render(np.random.default_rng(seed))[1][0] for seed in range(30)]
        first = [int(one.max()) - (name == "hidden") for one in ids]
        areas[name] = np.mean([(one == number).sum() for one, number in zip(ids, first, strict=True)])
    assert areas["hidden"] < 0.9 * areas["alone"]


def test_objects_enter_and_leave():
    going = composer(max_objects=1, **QUIET | {"comes_and_goes": 1})
    gone = 0
    for seed in range(30):
        _, ids, _ = going.render(np.random.default_rng(seed), 4)
        seen = [(frame == ids.max()).any() for frame in ids]
        gone += seen[0] != seen[-1]
    assert gone >= 5


def test_hidden_objects_are_not_asked_for():
    ids, areas = np.zeros((64, 64), np.uint8), np.zeros(256, int)
    ids[:10, :10], ids[20:24, 20:24] = 1, 2
    areas[1], areas[2] = 100, 400
    assert _clear(ids, areas) == [1]


def test_a_recipe_makes_clips_of_the_shape_that_training_wants(tmp_path):
    sample = build_sources(recipe(tmp_path), tmp_path)[0].source.sample(0, np.random.default_rng(0))
    assert sample.frames.shape == (3, 3, 64, 64)
    assert sample.masks.shape == (2, 3, 64, 64)
    assert sample.masks[:, 0].flatten(1).any(dim=1).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cutouts": "x"}, ConfigError, "no option 'cutouts'"),
        ({"scene": {"seize": 3}}, ConfigError, "no field 'seize'"),
        ({"cut_outs": "nowhere"}, SourceError, "nowhere: holds no pictures"),
    ],
)
def test_a_wrong_option_is_named(tmp_path, options, error, message):
    config = recipe(tmp_path, **options)
    with pytest.raises(error, match=message):
        build_sources(config, tmp_path)


def test_pictures_without_a_usable_object_are_an_error():
    clips = [ArrayClip("empty", [np.zeros((40, 40, 3), np.uint8)], [{}])]
    lender = Lender(clips=clips, frames=FramesInMemory(clips, 100))
    with pytest.raises(SourceError, match="none had an object"):
        Pieces([lender], (), (), Lending()).object(np.random.default_rng(0))
