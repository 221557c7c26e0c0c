"""`sam2-hf eval` on generated data sets with the micro model, in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sam2_hf.cli.main import run
from sam2_hf.evaluation.semi_supervised import SemiSupervised
from tests.evaluation.toy import davis_data_set, moving_ids, picture_data_set, sav_data_set
from tests.tiny import micro_model, micro_processor

SIDE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    micro_model(image_size=SIDE).save_pretrained(folder)
    micro_processor(SIDE).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def davis(tmp_path_factory) -> Path:
    return davis_data_set(tmp_path_factory.mktemp("davis"), {"walk": moving_ids(5), "run": moving_ids(4)})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return picture_data_set(tmp_path_factory.mktemp("pictures"), {"cells": 2, "cars": 1})


def evaluate(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["sam2-hf", "eval", *map(str, arguments)])
    try:
        run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def results(folder: Path, timed: bool = False) -> dict:
    found = json.loads((folder / "results.json").read_text())
    if not timed:
        found["global"].pop("frames_per_second", None)
        for video in found["videos"]:
            video.pop("seconds")
    return found


@pytest.fixture(scope="module")
def semi(model, davis, tmp_path_factory) -> Path:
    """A finished run of the default protocol."""
    folder = tmp_path_factory.mktemp("semi") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert evaluate(monkeypatch, "--root", davis, "--model", model, "-o", folder, "--baselines") == 0
    return folder


def test_semi_writes_masks_scores_and_what_made_them(semi):
    assert {path.name for path in semi.iterdir()} == {
        "clips", "masks", "results.json", "results.csv", "report.md", "run.json", "worst.png"
    }  # fmt: skip
    record = json.loads((semi / "run.json").read_text())
    assert record["status"] == "done"
    assert {"model", "version", "size", "image_size", "weights_sha256", "dtype", "device"} <= set(record["model"])
    assert record["policy"]["keep_corrections"] is True
    assert {video["name"]: video["frames"] for video in record["videos"]} == {"run": 2, "walk": 3}
    found = results(semi)
    assert {video["name"] for video in found["videos"]} == {"walk", "run"}
    assert found["baselines"]["first_mask_repeated"]["objects"] == found["global"]["objects"] == 6
    with Image.open(semi / "worst.png") as sheet:
        assert sheet.size[0] > 320


def test_metrics_of_the_written_masks_are_the_same(semi, davis, tmp_path, monkeypatch, capsys):
    arguments = ("--root", davis, "--protocol", "metrics", "--json")
    assert evaluate(monkeypatch, *arguments, "--pred", semi / "masks", "-o", tmp_path / "a") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["global"]["JF"] == results(semi)["global"]["JF"]
    assert evaluate(monkeypatch, *arguments, "--pred", semi, "-o", tmp_path / "b") == 0  # the run's folder will do
    assert results(tmp_path / "b", timed=True) == results(tmp_path / "a", timed=True)


def test_missing_video_is_exit_4_unless_it_is_allowed(semi, davis, tmp_path, monkeypatch, capsys):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "walk").symlink_to(semi / "masks" / "walk")
    arguments = ("--root", davis, "--protocol", "metrics", "--pred", tmp_path / "masks", "-o", tmp_path / "out")
    assert evaluate(monkeypatch, *arguments) == 4
    assert "run: left out, no prediction" in capsys.readouterr().err
    assert evaluate(monkeypatch, *arguments, "--overwrite", "--no-strict") == 0
    assert results(tmp_path / "out", timed=True)["missing"] == [{"name": "run", "reason": "no prediction"}]


def test_score_below_the_bar_is_exit_5(semi, davis, tmp_path, monkeypatch, capsys):
    arguments = ("--root", davis, "--protocol", "metrics", "--pred", semi, "-o", tmp_path / "out", "--overwrite")
    assert evaluate(monkeypatch, *arguments, "--fail-under", "99.5") == 5
    assert evaluate(monkeypatch, *arguments, "--fail-under", "0") == 0
    assert evaluate(monkeypatch, *arguments, "--fail-under", "J=99.5") == 5
    assert evaluate(monkeypatch, *arguments, "--fail-under", "K=1") == 2
    assert "no measure 'K'; there are J, F" in capsys.readouterr().err


def test_interrupted_run_goes_on_where_it_stopped(semi, model, davis, tmp_path, monkeypatch, capsys):
    folder, original = tmp_path / "out", SemiSupervised.measure
    arguments = ("--root", davis, "--model", model, "-o", folder, "--baselines")

    def stopped(self, clip):
        if clip.name == "walk":
            raise KeyboardInterrupt
        return original(self, clip)

    with monkeypatch.context() as patched:
        patched.setattr(SemiSupervised, "measure", stopped)
        assert evaluate(monkeypatch, *arguments) == 130
    assert f"--resume --output {folder}" in capsys.readouterr().err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    finished = (folder / "clips" / "run.json").read_bytes()

    assert evaluate(monkeypatch, *arguments, "--resume") == 0
    assert (folder / "clips" / "run.json").read_bytes() == finished
    assert results(folder) == results(semi)


def test_run_is_neither_replaced_nor_mixed_by_accident(semi, model, davis, monkeypatch, capsys):
    arguments = ("--root", davis, "--model", model, "-o", semi)
    assert evaluate(monkeypatch, *arguments) == 7
    assert evaluate(monkeypatch, *arguments, "--resume", "--prompt", "box", "--baselines") == 7
    assert "was made with prompt=mask, now box" in capsys.readouterr().err


def test_shards_make_the_whole(semi, model, davis, tmp_path, monkeypatch, capsys):
    arguments = ("--root", davis, "--model", model, "-o", tmp_path / "out", "--baselines")
    assert evaluate(monkeypatch, *arguments, "--shard", "1/2") == 0
    assert "1 clips of other shards are not" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()
    assert evaluate(monkeypatch, *arguments, "--shard", "0/2") == 0
    assert results(tmp_path / "out") == results(semi)


@pytest.mark.slow
def test_two_processes_make_the_whole(semi, model, davis, tmp_path):
    pytest.importorskip("accelerate")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--no-python", sys.executable, "-c", "from sam2_hf.cli.main import run; run()", "eval"]
    command += ["--root", davis, "--model", model, "-o", tmp_path / "out", "--baselines", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "out") == results(semi)
    assert done.stdout.count("written to") == 1


def test_sav_layout_is_tracked_and_scored(model, tmp_path, monkeypatch):
    root = sav_data_set(tmp_path / "sav", {"walk": moving_ids(5)})
    arguments = ("--dataset", "sav", "--root", root, "--prompt", "3", "--upstream", "--per-frame")
    assert evaluate(monkeypatch, *arguments, "--model", model, "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "masks" / "walk" / "005" / "00004.png").exists()
    assert "calibration" in results(tmp_path / "out")


def test_pictures_are_clicked_and_boxed(model, pictures, tmp_path, monkeypatch, capsys):
    arguments = ("--dataset", "masks", "--root", pictures, "--model", model, "--json", "-q")
    assert evaluate(monkeypatch, *arguments, "--protocol", "clicks", "--max-clicks", "3", "-o", tmp_path / "a") == 0
    summary = json.loads(capsys.readouterr().out)
    assert {"1_click_mIoU", "3_click_mIoU", "AUC@3"} < set(summary["global"])
    assert evaluate(monkeypatch, *arguments, "--protocol", "box", "--clips", "cells", "-o", tmp_path / "b") == 0
    assert json.loads(capsys.readouterr().out)["global"]["pictures"] == 2
    assert set(results(tmp_path / "a")["data_sets"]) == {"cells", "cars"}


def test_names_come_from_a_file(model, davis, tmp_path, monkeypatch, capsys):
    (tmp_path / "names.txt").write_text("run\n")
    arguments = ("--root", davis, "--model", model, "-o", tmp_path / "out", "--clips", f"@{tmp_path / 'names.txt'}")
    assert evaluate(monkeypatch, *arguments) == 0
    assert [video["name"] for video in results(tmp_path / "out")["videos"]] == ["run"]
    assert evaluate(monkeypatch, "--root", davis, "--model", model, "--clips", "@nowhere.txt") == 2
    assert "@nowhere.txt: cannot be read" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_interactive_and_speed_run(model, davis, tmp_path, monkeypatch, capsys):
    arguments = ("--root", davis, "--clips", "run", "--model", model, "--json")
    for way in ("offline", "online"):
        assert evaluate(monkeypatch, *arguments, "--protocol", f"interactive-{way}", "-o", tmp_path / way) == 0
        assert "JF_mean" in json.loads(capsys.readouterr().out)["global"]
    speed = ("--protocol", "speed", "--passes", "1", "--objects", "1", "--stream", "5", "-o", tmp_path / "speed")
    assert evaluate(monkeypatch, *arguments, *speed) == 0
    assert json.loads(capsys.readouterr().out)["global"]["frames_per_second"] > 0


def test_several_roots_keep_their_clips_apart(model, davis, tmp_path, monkeypatch):
    other = davis_data_set(tmp_path / "other", {"walk": moving_ids(4)})
    arguments = ("--root", davis, "--root", other, "--clips", f"{davis.name}/run,other/walk", "--model", model)
    assert evaluate(monkeypatch, *arguments, "-o", tmp_path / "out") == 0
    names = {video["name"] for video in results(tmp_path / "out")["videos"]}
    assert names == {f"{davis.name}/run", "other/walk"}


def test_wrong_calls_end_with_their_codes(model, davis, pictures, semi, tmp_path, monkeypatch, capsys):
    common = ("--root", davis, "--model", model, "-o", tmp_path / "out")
    wrong = (
        ("--dataset", "imagenet"),
        ("--protocol", "fast"),
        ("--prompt", "7"),
        ("--protocol", "metrics"),
        ("--pred", semi),
        ("--dataset", "masks"),
        ("--shard", "2/2"),
        ("--shard", "0/2", "--overwrite"),
        ("--clips", "absent"),
        ("--fail-under", "high"),
        ("--protocol", "speed", "--objects", "some"),
    )
    for arguments in wrong:
        assert evaluate(monkeypatch, *common, *arguments) == 2, arguments
    assert evaluate(monkeypatch, "--root", tmp_path / "absent", "--model", model, "-o", tmp_path / "out") == 3
    assert evaluate(monkeypatch, "--root", davis, "--model", tmp_path / "absent", "-o", tmp_path / "out") == 6
    assert evaluate(monkeypatch, *common, "--resume") == 7
    assert not (tmp_path / "out" / "results.json").exists()


def test_help_loads_nothing_heavy():
    code = "import sys; from sam2_hf.cli.main import app; app(['eval', '--help'], standalone_mode=False)\n"
    code += "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
