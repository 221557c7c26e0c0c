"""Runs as files: every mistake is named, defaults are the recipe, presets and held-out clips."""

import json
import runpy
from pathlib import Path

import pytest

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.build import hold_out_clips, open_clips
from sam2_hf.training.config import PRESETS, DataConfig, TrainConfig, fine_tuning, from_dict, read_config
from tests.training.toy import masks_folder

RECIPES = Path(__file__).parents[2] / "recipes"
MINIMAL = {"output": "out", "model": "folder", "data": [{"kind": "masks", "root": "here"}]}


def written(tmp_path, **changes):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**MINIMAL, **changes}))
    return path


def test_what_is_left_out_is_the_recipe(tmp_path):
    config = read_config(written(tmp_path))
    assert config.optimiser.learning_rate == 5e-6
    assert config.prompts.num_corrections == 7
    assert config.loss.focal == 20
    assert (config.seed, config.epochs, config.loss_reduction) == (123, 40, "sum")
    assert config.data[0].repeat == 1  # the original's example lacks its multiplier


def test_configurations_survive_being_written(tmp_path):
    config = read_config(
        written(
            tmp_path,
            lora={"rank": 4},
            extra_loss={"root": "loss.py", "options": {"weight": 1}},
            data=[
                {"kind": "python", "root": "a.py", "library": [{"kind": "masks", "root": "x"}], "repeat": 1.5},
                {"kind": "davis", "root": "y", "sampling": {"num_frames": 4}, "augment": {"jitter": [0, 0.1, 0]}},
            ],
        )
    )
    again = from_dict(TrainConfig, json.loads(config.to_json()), "again")
    assert again == config
    assert config.uses_clips
    assert config.data[0].library[0].root == "x"
    assert config.extra_loss.root == str(tmp_path / "loss.py")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {}}, r"run\.json: there is no field 'optimizer'"),
        ({"optimiser": {"lr": 1}}, r"run\.json\.optimiser: there is no field 'lr'"),
        ({"data": [{"kind": "masks", "root": "a", "sampling": {"frames": 2}}]}, r"data\[0\]\.sampling: there is no"),
        ({"epochs": "ten"}, r"run\.json\.epochs: expected a number, got 'ten'"),
        ({"epochs": 1.5}, r"expected a whole number, got 1\.5"),
        ({"epochs": 0}, r"`epochs` is 0"),
        ({"data": []}, "`data` is empty"),
        ({"data": [{"kind": "davis"}]}, "needs `root`"),
        ({"model": None}, "name a `model` to start from"),
        ({"loss_reduction": "max"}, "'sum' or 'mean', got 'max'"),
        ({"mixed_precision": "fp8"}, "got 'fp8'"),
        ({"prompts": {"box_probability": 2}}, "`box_probability` is 2"),
        ({"prompts": 3}, "expected an object with the fields of PromptOptions"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_config(written(tmp_path, **changes))


def test_a_file_that_is_not_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: is not JSON"):
        read_config(tmp_path / "run.json")


def test_the_dense_teacher_says_where_it_went(tmp_path):
    with pytest.raises(ConfigError, match=r'"extra_loss": {"root": "dense\.py".* with recipes/dense\.py'):
        read_config(written(tmp_path, dense_weight=0.5, dense_until=0.7))


@pytest.mark.parametrize("more", [{}, {"scenes": {"size": 64}, "count": 10}])
def test_made_up_scenes_say_where_they_went(tmp_path, more):
    with pytest.raises(ConfigError, match=r'"kind": "python" and "root": "scenes\.py", with recipes/scenes\.py'):
        read_config(written(tmp_path, data=[{"kind": "scenes", **more}]))


def test_fields_of_earlier_versions_that_did_nothing_are_left_out(tmp_path):
    entry = {"kind": "masks", "root": "here", "scenes": {"size": 192}}
    former = {"data": [{**entry, "library": [entry]}], "dense_weight": 0.0, "dense_until": 1.0}
    now = [{"kind": "masks", "root": "here", "library": [{"kind": "masks", "root": "here"}]}]
    assert read_config(written(tmp_path, **former)) == read_config(written(tmp_path, data=now))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_complete_runs(preset):
    config = fine_tuning(preset, kind="masks", root="here", model="m", output="o", learning_rate=1e-3)
    assert config.optimiser.learning_rate == 1e-3
    assert config.optimiser.encoder_learning_rate <= 1e-3
    assert (config.lora is not None) == (preset == "lora")
    assert (config.data[0].sampling.num_frames > 1) == preset.startswith("video")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.json")), ids=lambda path: path.stem)
def test_the_committed_recipes_can_be_read(path):
    assert read_config(path).data


def test_a_preset_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no preset 'fast'"):
        fine_tuning("fast", kind="masks", root="here", model="m", output="o")


def test_held_out_clips_are_spread_evenly_and_never_trained_on(tmp_path):
    config = fine_tuning("image", kind="masks", root=str(masks_folder(tmp_path, 8)), model="m", output="o")
    changed, held = hold_out_clips(config, 0.25)
    assert held == ["p3", "p7"]
    trained = [clip.name for clip in open_clips(changed.data[0], tmp_path)]
    assert trained == ["p0", "p1", "p2", "p4", "p5", "p6"]
    assert [clip.name for clip in open_clips(changed.validation[0], tmp_path)] == held
    with pytest.raises(SourceError, match="leaves nothing"):
        hold_out_clips(config, 0.01)


def test_patterns_that_match_nothing_are_an_error(tmp_path):
    root = str(masks_folder(tmp_path, 2))
    with pytest.raises(SourceError, match=r"no clip is called 'q\*'; the first are \['p0', 'p1'\]"):
        open_clips(DataConfig(kind="masks", root=root, include=("q*",)), tmp_path)
    with pytest.raises(SourceError, match="leave no clip"):
        open_clips(DataConfig(kind="masks", root=root, exclude=("p*",)), tmp_path)


def test_a_tenth_of_every_class_is_held_out():
    hold_out = runpy.run_path(str(RECIPES / "hold_out.py"))["held_out"]
    names = [f"a/cat_{number:03d}" for number in range(40)] + [f"a/dog_{number:03d}" for number in range(20)]
    held = hold_out([*reversed(names), "b/one_1"])
    assert [name.partition("_")[0] for name in held] == ["a/cat"] * 4 + ["a/dog"] * 2
    assert hold_out(names) == held
