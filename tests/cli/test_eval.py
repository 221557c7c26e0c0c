"""`sam2-hf eval` on generated data sets with the micro model, in this process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sam2_hf.cli.main import run
from sam2_hf.evaluation.semi_supervised import SemiSupervised
from tests.evaluation.toy import davis_data_set, moving_ids, picture_data_set, sav_data_set
from tests.numbers import same_record
from tests.tiny import micro_model, micro_processor, saved_micro

SIDE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return saved_micro(tmp_path_factory.mktemp("model"), SIDE)


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


def same_scores(first: Path, second: Path) -> bool:
    """Whether two runs measured the same, in per cent; a pixel on a threshold may have flipped."""
    return same_record(results(first), results(second), rounding=0.5)


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
    assert summary["global"]["JF"] == pytest.approx(results(semi)["global"]["JF"])
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
    assert same_scores(folder, semi)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_lets_the_clip_at_hand_be_finished(semi, model, davis, tmp_path, monkeypatch, capsys, number):
    folder, original = tmp_path / "out", SemiSupervised.measure
    arguments = ("--root", davis, "--model", model, "-o", folder, "--baselines")

    def interrupted(self, clip):
        signal.raise_signal(number)
        return original(self, clip)

    with monkeypatch.context() as patched:
        patched.setattr(SemiSupervised, "measure", interrupted)
        assert evaluate(monkeypatch, *arguments) == 130
    assert "stopping after the clip at hand" in capsys.readouterr().err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert len(list((folder / "clips").iterdir())) == 1
    assert evaluate(monkeypatch, *arguments, "--resume") == 0
    assert {video["name"] for video in results(folder)["videos"]} == {"walk", "run"}


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
    assert same_scores(tmp_path / "out", semi)


@pytest.mark.slow
def test_two_processes_make_the_whole(semi, model, davis, tmp_path):
    pytest.importorskip("accelerate")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--no-python", sys.executable, "-c", "from sam2_hf.cli.main import run; run()", "eval"]
    command += ["--root", davis, "--model", model, "-o", tmp_path / "out", "--baselines", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert same_scores(tmp_path / "out", semi)
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


def coco_data_set(folder: Path, absolute: bool) -> Path:
    """Two pictures with one object each, named relative to the JSON file or by their whole path."""
    import numpy as np
    from pycocotools import mask as rle

    from tests.evaluation.toy import HEIGHT, WIDTH, disc, write_pictures

    write_pictures(folder / "pictures", 2)
    images, annotations = [], []
    for index in range(2):
        name = f"pictures/{index:05d}.jpg"
        name = str((folder / name).resolve()) if absolute else f"../{folder.name}/{name}"
        images.append({"id": index, "file_name": name, "height": HEIGHT, "width": WIDTH})
        shape = rle.encode(np.asfortranarray(disc(12, 20, 7), dtype=np.uint8))
        segmentation = {"size": shape["size"], "counts": shape["counts"].decode()}
        box = [13, 5, 15, 15]
        entry = {"id": index, "image_id": index, "category_id": 1, "bbox": box, "area": 150, "iscrowd": 0}
        annotations.append({**entry, "segmentation": segmentation})
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
    (folder / "labels.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("absolute", [True, False])
def test_another_model_gets_numbers_of_its_own_and_nothing_is_written_beside_the_pictures(
    model, tmp_path, monkeypatch, absolute
):
    import torch

    root = coco_data_set(tmp_path / "data", absolute)
    before = sorted(root.rglob("*"))
    other = tmp_path / "other"
    torch.manual_seed(7)
    network = micro_model(image_size=SIDE)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.3 * torch.randn_like(value))
    network.save_pretrained(other)
    micro_processor(SIDE).save_pretrained(other)
    arguments = ("--dataset", "coco", "--root", root, "--protocol", "box")
    for name, weights in (("a", model), ("b", other)):
        assert evaluate(monkeypatch, *arguments, "--model", weights, "-o", tmp_path / name) == 0
    assert sorted(root.rglob("*")) == before
    scores = [results(tmp_path / name)["global"]["box_mIoU"] for name in "ab"]
    assert scores[0] != scores[1]


def test_true_masks_are_never_removed(model, tmp_path, monkeypatch, capsys):
    """The data set as its own output folder: its `masks` and `clips` are the user's."""
    root = tmp_path / "cells"
    davis_data_set(root, {"walk": moving_ids(4)})
    for name in ("masks", "clips"):
        (root / name).mkdir()
        (root / name / "mine.png").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for more in ((), ("--overwrite",)):
        assert evaluate(monkeypatch, "--root", root, "--model", model, "-o", root, *more) == 7
        assert "mine.png: exists already" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["results.csv", "report.md", "worst.png", "run.json", "results.json"])
def test_files_of_the_user_are_not_touched(model, davis, tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("mine")
    for more in ((), ("--overwrite",)):
        assert evaluate(monkeypatch, "--root", davis, "--model", model, "-o", tmp_path, *more) == 7
    assert (path.read_text(), list(tmp_path.iterdir())) == ("mine", [path])


def test_overwriting_removes_the_earlier_run_and_nothing_else(model, davis, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    assert evaluate(monkeypatch, "--root", davis, "--model", model, "-o", folder) == 0
    (folder / "notes.txt").write_text("mine")
    again = ("--root", davis, "--model", model, "-o", folder, "--overwrite", "--clips", "run")
    assert evaluate(monkeypatch, *again) == 0
    assert (folder / "notes.txt").exists()
    assert [path.name for path in (folder / "masks").iterdir()] == ["run"]
    assert [path.name for path in (folder / "clips").iterdir()] == ["run.json"]
    scored = ("--root", davis, "--protocol", "metrics", "--pred", folder, "-o", folder, "--overwrite")
    assert evaluate(monkeypatch, *scored) == 7  # it would remove the masks that it reads
    assert (folder / "masks" / "run" / "00000.png").exists()


def test_run_is_not_gone_on_with_by_other_weights(model, davis, tmp_path, monkeypatch, capsys):
    import shutil

    import torch

    own = tmp_path / "model"
    shutil.copytree(model, own)
    arguments = ("--root", davis, "--model", own, "-o", tmp_path / "out", "--clips", "run")
    assert evaluate(monkeypatch, *arguments) == 0
    network = micro_model(image_size=SIDE)
    with torch.no_grad():
        network.mask_decoder.iou_token.weight.add_(1)
    network.save_pretrained(own)
    assert evaluate(monkeypatch, *arguments, "--resume") == 7
    assert "was made with weights_sha256=" in capsys.readouterr().err


def test_model_of_a_run_that_is_gone_on_with_is_the_one_it_was_begun_with(model, davis, tmp_path, monkeypatch, capsys):
    arguments = ("--root", davis, "--model", "auto", "--offline", "-o", tmp_path / "out", "--clips", "run")
    monkeypatch.setenv("SAM2_HF_MODEL", model)
    assert evaluate(monkeypatch, *arguments) == 0
    monkeypatch.delenv("SAM2_HF_MODEL")
    assert evaluate(monkeypatch, *arguments, "--resume") == 0
    assert f"model: {model} (as the run was begun)" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = "import sys; from sam2_hf.cli.main import app; app(['eval', '--help'], standalone_mode=False)\n"
    code += "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
