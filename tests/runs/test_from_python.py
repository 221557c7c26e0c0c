"""Runs called from Python, as the command line calls them; their defaults and the doors that users have."""

import json
import threading
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from sam2_hf.cli.main import app
from sam2_hf.errors import ConfigError, OutputExistsError, PromptError
from sam2_hf.processing.requests import requests_from
from sam2_hf.runs.evaluate_settings import EvaluateSettings
from sam2_hf.runs.predict import predict
from sam2_hf.runs.predict_settings import PredictSettings
from sam2_hf.runs.track import track
from sam2_hf.runs.track_settings import TrackSettings
from sam2_hf.runs.train_settings import TrainSettings
from tests.tiny import saved_micro, scene_image

SIDE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return saved_micro(tmp_path_factory.mktemp("model"), SIDE)


@pytest.fixture
def pictures(tmp_path) -> str:
    (tmp_path / "in").mkdir()
    for number in range(3):
        scene_image(40, 60, seed=number).save(tmp_path / "in" / f"{number}.png")
    return str(tmp_path / "in")


def test_pictures_are_segmented_from_python_also_in_a_thread_of_its_own(model, pictures, tmp_path):
    settings = PredictSettings(
        sources=(pictures,),
        requests=tuple(requests_from(boxes=[5, 5, 40, 30])),
        save=("json",),
        model=model,
        device="cpu",
        output=str(tmp_path / "out"),
    )
    found, lines = [], []
    thread = threading.Thread(target=lambda: found.append(predict(settings, say=lines.append)))
    thread.start()
    thread.join()
    (outcome,) = found
    assert (outcome.status, outcome.failed) == ("done", {})
    assert outcome.counts == {"pictures": 3, "done": 3, "resumed": 0, "objects": 3}
    assert json.loads((outcome.folder / "run.json").read_text())["files"] == [
        *(f"{number}.json" for number in range(3)), "prompts.json", "results.jsonl",
    ]  # fmt: skip
    assert lines[0].startswith("model: ")
    with pytest.raises(OutputExistsError, match="holds a run already"):
        predict(settings)


def test_videos_are_tracked_from_python(model, pictures, tmp_path):
    requests = tuple(requests_from(objects=[{"id": "cat", "frame": 1, "box": [5, 5, 40, 30]}]))
    settings = TrackSettings(
        sources=(pictures,), requests=requests, save=("csv",), model=model, device="cpu", output=str(tmp_path / "out")
    )
    (outcome,), failed = track(settings)
    assert (outcome.status, outcome.frames, failed) == ("done", 2, {})
    assert (outcome.folder / "areas.csv").exists()


def test_settings_that_cannot_be_meant_are_refused_before_anything_is_loaded(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="--save takes"):
        PredictSettings(sources=(pictures,), save=("film",))
    with pytest.raises(ConfigError, match="--direction takes"):
        TrackSettings(sources=(pictures,), direction="sideways")
    with pytest.raises(ConfigError, match="--resume needs --output"):
        EvaluateSettings(roots=("davis",), resume=True)
    with pytest.raises(PromptError, match="no prompt given"):
        predict(PredictSettings(sources=(pictures,)))
    with pytest.raises(ConfigError, match="pass either --config FILE"):
        TrainSettings().to_config()
    assert not Path("runs").exists()


COMMANDS = {"predict": PredictSettings, "track": TrackSettings, "eval": EvaluateSettings, "train": TrainSettings}
ELSEWHERE = {"sources", "requests", "roots", "save", "formats", "palette", "clips", "exclude", "include", "config"}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_setting_has_an_option_and_the_default_that_help_shows(command):
    options = {one.name: one for one in typer.main.get_command(app).commands[command].params}
    for entry in fields(COMMANDS[command]):
        if entry.name in ELSEWHERE:
            continue
        default = options[entry.name].default
        if isinstance(entry.default, tuple):
            default = tuple(int(part) for part in default.split(","))
        assert default == entry.default, entry.name
