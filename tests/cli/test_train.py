"""`sam2-hf train` as a user runs it: a file or a folder, several processes, killed and resumed, wrong in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from sam2_hf import Sam2Model, Sam2Processor
from sam2_hf.cli.main import run
from sam2_hf.errors import ConfigError
from sam2_hf.runs.train_settings import TrainSettings
from sam2_hf.training.acceleration import takes_cpu
from tests.tiny import micro_processor, saved_micro
from tests.training.toy import davis_folder, masks_folder

SIDE = 64
PAGE = Image.new("RGB", (4, 4))
FAST = {"learning_rate": 1e-3, "encoder_learning_rate": 1e-3, "layer_decay": 1.0, "clip_norm": 1.0}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "sam2_hf.cli.main", "train", *map(str, arguments)]


@pytest.fixture
def train(monkeypatch, capfd):
    """The command in this process: exit code, stdout, stderr."""

    def call(*arguments) -> SimpleNamespace:
        AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps its settings for the whole process
        monkeypatch.setattr(sys, "argv", ["sam2-hf", "train", *map(str, arguments)])
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
        return SimpleNamespace(returncode=code, **capfd.readouterr()._asdict())

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return Path(saved_micro(tmp_path_factory.mktemp("model"), SIDE))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return masks_folder(tmp_path_factory.mktemp("pictures"), 8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return davis_folder(tmp_path_factory.mktemp("clips"), 4, frames=3)


def written(folder: Path, model: Path, data: list[dict], **changes) -> Path:
    values = {
        "output": "unused",
        "model": str(model),
        "data": data,
        "optimiser": FAST,
        "prompts": {"num_corrections": 1},
        "workers": 0,
        "log_every": 1,
        "memory_dropout": 0.0,
        **changes,
    }
    path = folder / "run.json"
    path.write_text(json.dumps(values))
    return path


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in log(folder)]


def test_one_command_fine_tunes_on_a_folder_and_measures_before_and_after(train, model, pictures, tmp_path):
    done = train(
        *("--dataset", "masks", "--root", pictures, "--model", model, "--output", tmp_path / "out", "--json"),
        *("--hold-out", 0.25, "--epochs", 2, "--batch-size", 2, "--learning-rate", "1e-3"),
    )
    assert done.returncode == 0, done.err
    assert "held out: p3, p7" in done.err
    assert "before: box_mIoU" in done.err
    told = [line for line in done.err.splitlines() if line.startswith("step ")]
    assert told[0].startswith("step 1 of 6: loss ") and told[0].endswith(" left")
    assert [line.split(", ")[0] for line in told if "mIoU" in line][-1].startswith("step 6: box_mIoU ")
    summary = json.loads(done.out)
    assert log(tmp_path / "out")[0]["step"] == 0 and "validation" in log(tmp_path / "out")[0]
    assert f"shown in: {tmp_path / 'out' / 'curves.png'}, {tmp_path / 'out' / 'examples.png'}" in done.err
    assert summary["steps"] == 6
    assert 0 <= summary["validation"]["1_click_mIoU"] <= 100
    Sam2Model.from_pretrained(tmp_path / "out" / "model")
    Sam2Processor.from_pretrained(tmp_path / "out" / "best")


def test_recommended_thresholds_are_handed_on_to_a_fine_tuned_model(train, pictures, tmp_path):
    processor = micro_processor(SIDE)
    processor.image_processor.mask_generation = {"pred_iou_thresh": 0.4}
    start = saved_micro(tmp_path / "start", SIDE)
    processor.save_pretrained(start)
    arguments = ("--dataset", "masks", "--root", pictures, "--model", start, "--max-steps", "1")
    assert train(*arguments, "--output", tmp_path / "out").returncode == 0
    kept = Sam2Processor.from_pretrained(tmp_path / "out" / "model").image_processor
    assert kept.mask_generation == {"pred_iou_thresh": 0.4}


def in_process_of_its_own(*arguments) -> None:
    """One thread: the machine's cores are the other tests'."""
    done = subprocess.run(command(*arguments), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_killed_run_resumes_with_the_losses_of_an_uninterrupted_one(model, clips, tmp_path):
    data = [{"kind": "davis", "root": str(clips), "sampling": {"num_frames": 2, "reverse": 0.5}}]
    path = written(tmp_path, model, data, epochs=100, max_steps=12, save_every=3, average=0.9)
    in_process_of_its_own("--config", path, "--output", tmp_path / "whole")
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        command("--config", path, "--output", broken), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 400
    while process.poll() is None and time.monotonic() < deadline:
        log = broken / "log.jsonl"
        if (broken / "checkpoint.pt").exists() and log.exists() and log.read_text().count("\n") >= 5:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(losses(broken)) < 12
    in_process_of_its_own("--config", path, "--output", broken, "--resume")
    assert losses(broken) == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(model, clips, tmp_path):
    """Also with unequal numbers of objects: what is summed over objects is divided by the mean over processes.

    Adam turns a gradient that is zero but for rounding into a whole step, so a few weights may differ.
    """
    weights, norms = {}, {}
    for processes, size in ((1, 2), (2, 1)):
        data = [{"kind": "davis", "root": str(clips), "batch_size": size, "sampling": {"num_frames": 2}}]
        path = written(tmp_path, model, data, epochs=1, max_steps=2, prompts={"max_initial_frames": 1})
        folder = tmp_path / f"out{processes}"
        in_process_of_its_own("--config", path, "--output", folder, "--num-processes", processes)
        weights[processes] = load_file(folder / "model" / "model.safetensors")
        norms[processes] = [record["gradient_norm"] for record in log(folder)]
    assert norms[2] == pytest.approx(norms[1], rel=1e-4)
    assert losses(tmp_path / "out2") == pytest.approx(losses(tmp_path / "out1"), rel=1e-3)
    for name, value in weights[1].items():
        assert ((weights[2][name] - value).abs() > 3e-4).float().mean() < 1e-3, name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "pass either --config FILE, or --dataset KIND"),
        (("--dataset", "masks"), 2, "--dataset needs --root"),
        (("--config", "nowhere.json"), 3, "nowhere.json: there is no such file"),
        (("--dataset", "masks", "--root", "nowhere"), 3, "nowhere: there is no such folder"),
        (("--dataset", "voc", "--root", "."), 2, "there is no data set kind 'voc'"),
        (("--dataset", "masks", "--root", ".", "--preset", "fast"), 2, "there is no preset 'fast'"),
        (("--dataset", "masks", "--root", ".", "--dtype", "int8"), 2, "dtype must be auto, fp32, bf16 or fp16"),
        (("--dataset", "masks", "--root", ".", "--device", "cuda:99"), 2, "device 'cuda:99' is not to be had here"),
    ],
)
def test_wrong_arguments_are_named(train, model, tmp_path, arguments, code, message):
    done = train(*arguments, "--model", model, "--output", tmp_path / "out")
    assert done.returncode == code, done.err
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_finished_run_is_not_overwritten_and_that_is_said_at_once(train, model, pictures, tmp_path, monkeypatch):
    path = written(tmp_path, model, [{"kind": "masks", "root": str(pictures)}], max_steps=1)
    assert train("--config", path, "--output", tmp_path / "out").returncode == 0
    monkeypatch.setattr("sam2_hf.runs.train.load", None)  # no model is loaded for it
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 7
    assert "holds a run already" in done.err


def test_a_run_that_failed_before_its_first_checkpoint_does_not_block_the_next(train, model, tmp_path, monkeypatch):
    """Also where the folder is chosen by default: every run has one of its own."""
    root = masks_folder(tmp_path / "data", 2)
    good = (root / "images" / "p1.png").read_bytes()
    (root / "images" / "p1.png").write_bytes(good[:200])  # its header is whole, so it is found when its turn comes
    path = written(tmp_path, model, [{"kind": "masks", "root": str(root)}], max_steps=4)
    assert train("--config", path, "--output", tmp_path / "out").returncode == 3
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "failed"
    (root / "images" / "p1.png").write_bytes(good)
    assert train("--config", path, "--output", tmp_path / "out").returncode == 0
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        done = train("--dataset", "masks", "--root", root, "--model", model, "--max-steps", 1, "--json")
        assert json.loads(done.out)["output"] == f"runs/train/{number}"


def test_a_resumed_run_draws_its_whole_curve_and_the_same_pictures(train, model, pictures, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("sam2_hf.runs.train_pictures.learning_curves", lambda records: drawn.append(records) or PAGE)
    monkeypatch.setattr("sam2_hf.runs.train_pictures.examples_sheet", lambda *shown: drawn.append(shown) or PAGE)
    path = written(tmp_path, model, [{"kind": "masks", "root": str(pictures)}], max_steps=2)
    assert train("--config", path, "--output", tmp_path / "out").returncode == 0
    assert train("--config", path, "--output", tmp_path / "out", "--max-steps", 4, "--resume").returncode == 0
    first, last = drawn[1], drawn[-1]
    assert [record["step"] for record in drawn[-2]] == [1, 2, 3, 4]
    assert (first[3], last[3]) == (2, 4)
    assert [one.name for one in first[0]] == [one.name for one in last[0]]
    for one, other in zip(first[1], last[1], strict=True):  # before training: a few pixels are on the edge
        assert (one != other).mean() < 0.02
    assert json.loads((tmp_path / "out" / "run.json").read_text())["files"].count("examples.png") == 1


def test_a_picture_that_cannot_be_drawn_is_told_once_and_ends_nothing(train, model, pictures, tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("no ink")

    monkeypatch.setattr("sam2_hf.runs.train_pictures.learning_curves", broken)
    told = []
    monkeypatch.setattr("sam2_hf.runs.train_pictures.logger.warning", told.append)
    path = written(tmp_path, model, [{"kind": "masks", "root": str(pictures)}], max_steps=2, save_every=1)
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 0
    assert told == [f"{tmp_path / 'out' / 'curves.png'}: cannot be drawn (no ink)"]
    assert f"shown in: {tmp_path / 'out' / 'examples.png'}" in done.err


def test_a_picture_of_someone_else_is_not_replaced(train, model, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "curves.png").write_bytes(b"mine")
    path = written(tmp_path, model, [{"kind": "masks", "root": str(pictures)}], max_steps=1)
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 7
    assert "curves.png: exists already" in done.err
    assert (tmp_path / "out" / "curves.png").read_bytes() == b"mine"


def test_overwriting_and_going_on_are_two_things(train, model, pictures, tmp_path):
    path = written(tmp_path, model, [{"kind": "masks", "root": str(pictures)}], max_steps=1)
    assert train("--config", path, "--output", tmp_path / "out").returncode == 0
    assert train("--config", path, "--output", tmp_path / "out", "--overwrite", "--resume").returncode == 2
    assert train("--config", path, "--output", tmp_path / "out", "--overwrite").returncode == 0
    assert train("--dataset", "masks", "--root", pictures, "--resume").returncode == 2


def test_a_broken_picture_stops_the_run_with_its_name(train, model, tmp_path):
    root = masks_folder(tmp_path / "data", 2)
    (root / "images" / "p1.png").write_bytes(b"no picture")
    path = written(tmp_path, model, [{"kind": "masks", "root": str(root)}], max_steps=4)
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 3
    assert "p1.png" in done.err


def test_a_mask_of_another_size_is_told_in_one_line_before_the_first_step(train, model, tmp_path):
    root = masks_folder(tmp_path / "data", 3)
    Image.new("L", (56, 41), 1).save(root / "masks" / "p1.png")
    path = written(tmp_path, model, [{"kind": "masks", "root": str(root)}], max_steps=4, workers=1)
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 3
    (line,) = [line for line in done.err.splitlines() if not line.startswith("model: ")]
    assert line.startswith("error: ")
    assert "p1.png: the mask is (height, width) (41, 56), its picture p1.png is (40, 56)" in line
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_a_batch_is_told_in_one_line_too(train, model, tmp_path):
    """Polygons are drawn in a worker of the loader, whose traceback says nothing to a user."""
    root = masks_folder(tmp_path / "data", 1)
    image = {"id": 1, "file_name": "p0.png", "height": 40, "width": 56}
    annotations = [{"image_id": 1, "segmentation": [[1, 2, 3, 4]]}]
    (root / "cells.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    path = written(tmp_path, model, [{"kind": "coco", "root": str(root)}], max_steps=4, workers=1)
    done = train("--config", path, "--output", tmp_path / "out")
    assert done.returncode == 3
    lines = [line for line in done.err.splitlines() if not line.startswith(("model: ", "4 steps to "))]
    assert len(lines) == 1, done.err
    assert "cells.json: annotations[0]: a polygon is [x, y, x, y, ...] with at least three corners" in lines[0]


def test_device_and_dtype_are_chosen_as_in_the_other_commands(train, model, pictures, tmp_path):
    """`dtype` is the precision of what is computed; weights are kept in full."""
    common = ("--dataset", "masks", "--root", pictures, "--model", model, "--max-steps", 1, "--device", "cpu")
    for name, arguments in (("no", ()), ("bf16", ("--dtype", "bf16"))):
        done = train(*common, *arguments, "--output", tmp_path / name)
        assert done.returncode == 0, done.err
        assert json.loads((tmp_path / name / "config.json").read_text())["mixed_precision"] == name
    full, half = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("no", "bf16"))
    assert {value.dtype for value in half.values()} == {value.dtype for value in full.values()}
    whole, mixed = losses(tmp_path / "no"), losses(tmp_path / "bf16")
    assert mixed == pytest.approx(whole, rel=0.05)
    assert mixed != whole  # bf16 keeps 3 digits, so it is seen in the loss
    done = train(*common, "--dtype", "fp16", "--output", tmp_path / "fp16")
    assert done.returncode == 2
    assert "fp16 needs a GPU" in done.err


def test_the_file_of_a_run_says_its_precision_unless_another_is_asked_for(tmp_path):
    path = tmp_path / "run.json"
    data = [{"kind": "masks", "root": "."}]
    path.write_text(json.dumps({"output": "out", "model": "m", "data": data, "mixed_precision": "bf16"}))
    assert TrainSettings(config=str(path)).to_config().mixed_precision == "bf16"
    assert TrainSettings(config=str(path), dtype="fp32").to_config().mixed_precision == "no"


def test_one_device_is_not_shared_by_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("sam2_hf.training.acceleration.placement", lambda device: (device, None))
    with pytest.raises(ConfigError, match="'cuda:1' is one device, but each process has its own"):
        takes_cpu("cuda:1", "no")


def test_help_needs_no_torch():
    code = "import sys, sam2_hf.cli.train; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
