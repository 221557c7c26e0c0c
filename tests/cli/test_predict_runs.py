"""Runs of `sam2-hf predict`: sources, outputs, records, resuming, interruption, memory."""

import csv
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from sam2_hf import Sam2MaskGenerator
from sam2_hf.assets import EMBEDDED_CHECKPOINT
from sam2_hf.checkpoints.loading import load
from sam2_hf.cli.main import run
from sam2_hf.disk.run_folder import RunFolder
from sam2_hf.disk.whole import write_whole
from sam2_hf.pipelines import image as image_module
from sam2_hf.pipelines.image import segment
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.runs import predict_methods
from sam2_hf.runs.predict_outputs import PredictOutputs
from sam2_hf.runs.settings import next_folder
from tests.numbers import same_file, same_masks, same_picture
from tests.tiny import saved_micro, scene_image

SCRIPT = Path(sys.executable).with_name("sam2-hf")
SIDE, SIZE = 64, (40, 60)
POINT = ("--point", "30,20")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return saved_micro(tmp_path_factory.mktemp("model"), SIDE)


@pytest.fixture
def predict(model, monkeypatch, capsys):
    """Calls the command as the console script does; returns exit code, stdout and stderr."""

    def call(*arguments, model=model) -> tuple[int, str, str]:
        settings = ["--model", model, "--device", "cpu", "--dtype", "fp32", "--no-progress"]
        monkeypatch.setattr(sys, "argv", ["sam2-hf", "predict", *map(str, [*settings, *arguments])])
        with pytest.raises(SystemExit) as stop:
            run()
        return int(stop.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def tree(tmp_path) -> Path:
    """Five pictures in two folders."""
    for number, name in enumerate(("1.png", "2.png", "10.png", "sub/1.png", "sub/2.jpg")):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scene_image(*SIZE, seed=number).save(path)
    return tmp_path / "in"


def names(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def status(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


# What is written


def test_tree_is_mirrored_with_records_in_order_and_a_sheet(predict, tree, tmp_path):
    code, stdout, _ = predict(tree, "--recursive", *POINT, "-o", tmp_path / "out", "--json")
    assert code == 0
    summary = json.loads(stdout)
    assert {"encode", "decode", "write"} <= summary.pop("timings_ms").keys()
    expected = {"output": str(tmp_path / "out"), "pictures": 5, "done": 5, "resumed": 0, "objects": 5}
    assert summary == {**expected, "classes": {}, "failed": {}, "status": "done"}
    stems = ("1", "2", "10", "sub/1", "sub/2")
    own = [f"{stem}{suffix}" for stem in stems for suffix in (".json", ".png")]
    assert names(tmp_path / "out") == sorted([*own, "contact_sheet.jpg", "prompts.json", "results.jsonl", "run.json"])
    lines = records(tmp_path / "out")
    assert [line["key"] for line in lines] == ["sub/1.png", "sub/2.jpg", "1.png", "2.png", "10.png"]
    for line in lines:
        result = ImageResult.from_dict(line)
        assert result.source == str(tree / line["key"])
        saved = ImageResult.from_json((tmp_path / "out" / f"{line['name']}.json").read_text())
        assert saved.masks == result.masks
    made = status(tmp_path / "out")
    assert (made["status"], made["counts"]["done"], made["counts"]["objects"], made["failed"]) == ("done", 5, 5, {})
    assert made["argv"][0] == "predict" and made["versions"]["torch"] == torch.__version__
    assert {"encode", "decode", "write"} <= made["timings_ms"].keys()


def test_every_kind_and_format_holds_the_masks(predict, tree, tmp_path):
    boxes = ("--box", "3:5,5,40,30", "--box", "7:20,10,58,38")
    kinds = ("--save", "overlay,json", "--save", "masks,crops,contours", "--format", "coco,yolo,labelme,png,semantic")
    out = tmp_path / "out"
    code, _, _ = predict(tree, "--recursive", *boxes, *kinds, "--max-size", "30", "-o", out)
    assert code == 0
    data = COCO(str(out / "coco.json"))
    assert [image["file_name"] for image in data.loadImgs(data.getImgIds())] == [line["key"] for line in records(out)]
    assert data.getAnnIds() == list(range(1, 11))
    for number, line in enumerate(records(out), start=1):
        result, name = ImageResult.from_dict(line), line["name"]
        assert line["files"] and all((out / file).is_file() for file in line["files"])
        annotations = data.loadAnns(data.getAnnIds(imgIds=number))
        assert [rle.area(data.annToRLE(entry)) for entry in annotations] == result.areas.tolist()
        with np.load(out / f"{name}.npz") as saved:
            assert np.array_equal(saved["masks"], result.masks.dense())
        with Image.open(out / "masks" / f"{name}.png") as numbers:
            shown = np.asarray(numbers)
        assert set(np.unique(shown)) <= {0, 3, 7}
        assert ((shown > 0) == result.masks.dense().any(axis=0)).all()
        assert len(json.loads((out / "labelme" / f"{name}.json").read_text())["shapes"]) == (result.areas > 0).sum()
        assert (out / "labels" / f"{name}.txt").exists() and (out / "semantic" / f"{name}.png").exists()
        outlines = json.loads((out / f"{name}.contours.json").read_text())
        assert [entry["id"] for entry in outlines["objects"]] == [3, 7]
        crops = [out / "crops" / f"{name}_{key}.png" for key, area in zip((3, 7), result.areas, strict=True) if area]
        assert all(crop.is_file() for crop in crops)
        with Image.open(out / f"{name}.png") as overlay:
            assert max(overlay.size) == 30


def test_coco_has_the_classes_of_prompts_and_one_for_objects_without(predict, tree, tmp_path):
    names = [{"id": 1, "name": "cup"}, {"id": 2, "name": None}, {"id": 3, "name": "spoon"}]
    boxes = {1: [5, 5, 40, 30], 2: [20, 10, 58, 38], 3: [1, 1, 20, 20]}
    prompts = [{"frame": 0, "object": key, "list": [{"box": box}]} for key, box in boxes.items()]
    record = {"schema": "sam2_hf.session/1", "objects": names, "prompts": prompts}
    (tmp_path / "prompts.json").write_text(json.dumps(record))
    arguments = ("--prompts", tmp_path / "prompts.json", "--format", "coco", "--save", "json", "-o", tmp_path / "out")
    assert predict(tree / "1.png", *arguments)[0] == 0
    data = json.loads((tmp_path / "out" / "coco.json").read_text())
    named = {entry["id"]: entry["name"] for entry in data["categories"]}
    found = {entry["attributes"]["object_id"]: named[entry["category_id"]] for entry in data["annotations"]}
    assert found == {1: "cup", 2: "object", 3: "spoon"}


def test_yolo_names_its_classes_and_polygons_are_written_where_asked(predict, tree, tmp_path):
    arguments = ("--box", "5,5,40,30", "--format", "yolo,coco,labelme", "--polygons", "--save", "json")
    assert predict(tree / "1.png", *arguments, "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "data.yaml").read_text() == "path: .\nlabels: labels\nnames:\n  0: object\n"
    (annotation,) = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert isinstance(annotation["segmentation"], list) and annotation["segmentation"][0][0] >= 0
    shapes = json.loads((tmp_path / "out" / "labelme" / "1.json").read_text())["shapes"]
    assert {shape["shape_type"] for shape in shapes} == {"polygon"}


def test_filters_and_drawing_are_those_of_the_result(predict, tree, tmp_path, model):
    boxes = ("--box", "5,5,40,30", "--box", "20,10,58,38", "--box", "1,1,20,20")
    picture = tree / "1.png"
    network, processor, _ = load(model, device="cpu", dtype="fp32")
    corners = [[5, 5, 40, 30], [20, 10, 58, 38], [1, 1, 20, 20]]
    whole = segment(network, processor, picture, boxes=corners)
    least = int(sorted(whole.areas)[1])
    options = ("--min-area", least, "--alpha", "0.9", "--palette", "#ff0000,#00ff00,#0000ff")
    assert predict(picture, *boxes, *options, "-o", tmp_path / "out")[0] == 0
    found = ImageResult.from_json((tmp_path / "out" / "1.json").read_text())
    expected = whole.filter(min_area=least)
    assert found.object_ids == expected.object_ids
    with Image.open(tmp_path / "out" / "1.png") as overlay:
        drawn = expected.plot(alpha=0.9, palette=["#ff0000", "#00ff00", "#0000ff"])
        assert same_picture(overlay, drawn)


def test_everything_is_what_the_generator_finds(predict, tmp_path):
    picture = Path(EMBEDDED_CHECKPOINT).parent / "coffee.jpg"
    options = ("--points-per-side", "4", "--min-iou", "0.3", "--min-stability", "0.3", "--max-det", "3")
    assert predict(picture, "--everything", *options, "-o", tmp_path / "out", model="embedded")[0] == 0
    network, processor, _ = load("embedded", device="cpu", dtype="fp32")
    generator = Sam2MaskGenerator(
        network, processor, points_per_side=4, pred_iou_thresh=0.3, stability_score_thresh=0.3
    )
    expected = generator(picture).filter(min_iou=0.3, top=3)
    found = ImageResult.from_json((tmp_path / "out" / "coffee.json").read_text())
    assert len(found) == len(expected) > 0
    assert same_masks(found.masks, expected.masks)


def test_everything_that_keeps_nothing_says_why_with_the_options_to_change(predict, tmp_path):
    picture = Path(EMBEDDED_CHECKPOINT).parent / "coffee.jpg"
    options = ("--everything", "--points-per-side", "3", "--min-iou", "1", "-o", tmp_path / "out")
    code, _, stderr = predict(picture, *options, model="embedded")
    assert code == 0
    said = next(line for line in stderr.splitlines() if "nothing was found: " in line)
    assert said.startswith(f"{picture}: nothing was found: of 27 candidates 27 fell to --min-iou 1 (")
    assert re.search(r"; --min-iou 0\.\d+ and --min-stability 0\.\d+ would keep about \d", said)


# Sources


def test_table_gives_every_picture_its_boxes_and_classes(predict, tree, tmp_path, model):
    rows = [["1.png", 5, 5, 40, 30, "cat"], ["2.png", 1, 1, 20, 20, "dog"], ["1.png", 20, 10, 58, 38, "dog"]]
    with (tree / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([*rows, ["10.png"]])
    code, stdout, _ = predict(tree / "boxes.csv", "--format", "coco", "-o", tmp_path / "out", "--json")
    assert code == 4
    assert list(json.loads(stdout)["failed"]) == [str(tree / "10.png")]
    first, second = (ImageResult.from_dict(line) for line in records(tmp_path / "out"))
    assert (first.labels, first.class_ids.tolist()) == (("cat", "dog"), [0, 1])
    assert (second.labels, second.class_ids.tolist()) == (("dog",), [1])
    network, processor, _ = load(model, device="cpu", dtype="fp32")
    expected = segment(network, processor, tree / "1.png", boxes=[[5, 5, 40, 30], [20, 10, 58, 38]])
    assert same_masks(first.masks, expected.masks)
    data = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert data["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [entry["category_id"] for entry in data["annotations"]] == [1, 2, 2]


def test_frames_of_a_video_get_files_of_their_own(predict, tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(6):
            frame = av.VideoFrame.from_image(scene_image(48, 64, seed=index))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    options = ("--stride", "2", "--start", "1", "--save", "json")
    assert predict(tmp_path / "clip.mp4", *POINT, *options, "-o", tmp_path / "out")[0] == 0
    own = [f"clip.mp4#00000{index}.json" for index in (1, 3, 5)]
    assert names(tmp_path / "out") == [*own, "prompts.json", "results.jsonl", "run.json"]


def test_archive_with_a_bad_member_and_list_on_standard_input(predict, tree, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(tree / "1.png", "a/1.png")
        broken = tarfile.TarInfo("a/2.png")
        broken.size = 3
        archive.addfile(broken, io.BytesIO(b"bad"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{tree}/2.png\n"))
    options = ("--save", "json", "-o", tmp_path / "out", "--json")
    code, stdout, _ = predict(tmp_path / "shard.tar", "-", *POINT, *options)
    assert code == 4
    assert list(json.loads(stdout)["failed"]) == [f"{tmp_path}/shard.tar!a/2.png"]
    assert names(tmp_path / "out") == ["2.json", "a/1.json", "prompts.json", "results.jsonl", "run.json"]


def test_rows_of_a_data_set_stream_in(predict, tree, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    data = datasets.Dataset.from_dict({"image": [str(tree / "1.png"), str(tree / "2.png")]}, features=features)
    (tmp_path / "flowers").mkdir()
    data.to_parquet(str(tmp_path / "flowers" / "train-0.parquet"))
    arguments = (f"hub:{tmp_path}/flowers", *POINT, "--save", "json", "-o", tmp_path / "out")
    assert predict(*arguments)[0] == 0
    own = ["flowers/train/000000.json", "flowers/train/000001.json"]
    assert names(tmp_path / "out") == [*own, "prompts.json", "results.jsonl", "run.json"]
    assert predict(*arguments, "--resume")[0] == 0
    assert status(tmp_path / "out")["counts"]["resumed"] == 2


def test_pictures_of_one_name_in_two_folders_are_told_apart(predict, tree, tmp_path):
    sources = (tree / "1.png", tree / "sub" / "1.png")
    assert predict(*sources, *POINT, "--save", "json", "-o", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["in/1.json", "prompts.json", "results.jsonl", "run.json", "sub/1.json"]


# Before the run


def test_dry_run_lists_files_and_loads_and_writes_nothing(predict, tree, tmp_path):
    arguments = (tree, "--recursive", *POINT, "--save", "json,crops", "-o", tmp_path / "out", "--dry-run")
    before = names(tmp_path)
    code, stdout, _ = predict(*arguments, model="not/there")
    assert code == 0
    assert f"{tree}/sub/2.jpg -> {tmp_path}/out/sub/2.json, {tmp_path}/out/crops/sub/2_<id>_<label>.png" in stdout
    assert "pictures: 5; nothing was written" in stdout
    record = json.loads(predict(*arguments, "--json", model="not/there")[1])
    assert (record["pictures"], len(record["inputs"]), record["dry_run"]) == (5, 5, True)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--everything", "--multimask"], "--multimask goes with prompts"),
        (["--everything", *POINT], "takes no prompts"),
        ([*POINT, "--points-per-side", "8"], "--points-per-side goes with --everything"),
        ([*POINT, "--format", "voc"], "voc"),
        ([*POINT, "--start", "5", "--end", "5"], "--end 5 must be after"),
        ([*POINT, "--resume"], "--resume needs --output"),
        ([*POINT, "--alpha", "2"], "--alpha"),
        ([*POINT, "--max-size", "-3"], "--max-size"),
    ],
)
def test_options_that_mean_nothing_together_stop_with_2(predict, tree, tmp_path, monkeypatch, options, complaint):
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    code, stdout, stderr = predict(tree, *options)
    assert (code, stdout) == (2, "")
    assert complaint in stderr
    assert names(tmp_path) == before


def test_folder_of_another_run_stops_with_7(predict, tree, tmp_path):
    arguments = ("--save", "json", "-o", tmp_path / "out")
    assert predict(tree / "1.png", *POINT, *arguments)[0] == 0
    code, _, stderr = predict(tree / "2.png", *POINT, *arguments)
    assert (code, "holds a run already" in stderr) == (7, True)
    code, _, stderr = predict(tree / "1.png", "--point", "31,20", *arguments, "--resume")
    assert code == 7
    assert (
        "was made with prompts[0].points[0]=[30.0, 20.0], now [31.0, 20.0]; use --overwrite or another --output"
        in stderr
    )
    assert predict(tree / "1.png", *POINT, "-o", tmp_path / "new", "--resume")[0] == 7


# Stopping and going on


ALL = ("--recursive", "--box", "3:5,5,40,30", "--save", "overlay,json,masks,crops", "--format", "coco,png")


def same_files(folder: Path, whole: Path) -> bool:
    """All files but run.json, with the same results."""
    kept = [name for name in names(whole) if name != "run.json"]
    assert [name for name in names(folder) if name != "run.json"] == kept
    return all(same_file(folder / name, whole / name) for name in kept)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_is_resumed_to_the_same_results_by_the_command_it_prints(
    predict, tree, tmp_path, monkeypatch, capsys, number
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert predict(tree, *ALL, "-o", whole)[0] == 0
    original, calls = predict_methods.FromPrompts.__call__, []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            signal.raise_signal(number)
        return original(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(predict_methods.FromPrompts, "__call__", interrupted)
        code, stdout, stderr = predict(tree, *ALL, "-o", out, "--overwrite")
    assert code == 130
    assert "2 of 5 pictures" in stdout
    assert len(records(out)) == 2  # the picture at hand is finished
    assert status(out)["status"] == "interrupted"
    command = stderr.splitlines()[-1].removeprefix("interrupted; go on with: ")
    assert "--overwrite" not in command
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as stop:
        run()
    assert not stop.value.code
    capsys.readouterr()
    assert status(out)["counts"] == {"pictures": 5, "done": 3, "resumed": 2, "objects": 3}
    assert same_files(out, whole)


def test_second_signal_stops_at_once(predict, tree, tmp_path, monkeypatch):
    def stop_twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("goes on after the second signal")

    monkeypatch.setattr(predict_methods.FromPrompts, "__call__", stop_twice)
    assert predict(tree, *POINT, "-o", tmp_path / "out")[0] == 130
    assert status(tmp_path / "out")["status"] == "interrupted"
    assert records(tmp_path / "out") == []


def test_killed_run_is_resumed_to_the_same_bytes(predict, tree, tmp_path, model):
    out, whole = tmp_path / "out", tmp_path / "whole"
    for number in range(60):
        shutil.copy(tree / "1.png", tree / f"copy{number}.png")
    assert predict(tree, *ALL, "-o", whole)[0] == 0
    settings = ["--model", model, "--device", "cpu", "--dtype", "fp32", "--no-progress"]
    command = [SCRIPT, "predict", *settings, tree, *ALL, "-o", out]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 100
        lines = out / "results.jsonl"
        while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    assert 0 < len(lines.read_text().splitlines()) < 65
    with lines.open("a") as file:
        file.write('{"schema": "sam2_hf.ann')  # as a line that was being written
    assert predict(tree, *ALL, "-o", out, "--resume")[0] == 0
    for part in out.rglob(".*part*"):
        part.unlink()
    assert same_files(out, whole)


def test_resume_makes_pictures_again_whose_files_are_gone_or_that_failed(predict, tree, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert predict(tree, *ALL, "-o", whole)[0] == 0
    good = (tree / "2.png").read_bytes()
    (tree / "2.png").write_bytes(good[:100])
    assert predict(tree, *ALL, "-o", out)[0] == 4
    (tree / "2.png").write_bytes(good)
    (out / "10.json").unlink()
    assert predict(tree, *ALL, "-o", out, "--resume")[0] == 0
    assert status(out)["counts"]["done"] == 2
    assert same_files(out, whole)


def test_a_changed_prompt_is_not_mixed_with_the_earlier_one(predict, tree, tmp_path):
    """Prompts, masks and lists count by what is in them, not by the names of their files."""
    made = tmp_path / "made"
    assert predict(tree / "1.png", *POINT, "--save", "json", "-o", made)[0] == 0
    record = json.loads((made / "prompts.json").read_text())
    cases = {"prompts.json": ("--prompts", tmp_path / "prompts.json"), "mask.png": ("--mask", tmp_path / "mask.png")}
    cases["list.csv"] = (tmp_path / "list.csv",)
    first = {"prompts.json": json.dumps(record).encode(), "list.csv": f"{tree}/1.png,5,5,40,30\n".encode()}
    record["prompts"][0]["list"][0]["x"] = 31.0
    second = {"prompts.json": json.dumps(record).encode(), "list.csv": f"{tree}/1.png,5,5,41,30\n".encode()}
    for kept, right in ((first, 40), (second, 41)):
        buffer = io.BytesIO()
        mask = np.zeros(SIZE, np.uint8)
        mask[5:30, 5:right] = 255
        Image.fromarray(mask).save(buffer, "PNG")
        kept["mask.png"] = buffer.getvalue()
    for name, asked in cases.items():
        (tmp_path / name).write_bytes(first[name])
        arguments = (*asked, *(() if name == "list.csv" else (tree / "1.png",)), "--save", "json")
        arguments = (*arguments, "-o", tmp_path / f"out-{name}")
        assert predict(*arguments)[0] == 0, name
        assert predict(*arguments, "--resume")[0] == 0, name
        (tmp_path / name).write_bytes(second[name])
        code, _, stderr = predict(*arguments, "--resume")
        assert (code, "was made with " in stderr) == (7, True), name


def test_what_a_run_reads_is_never_overwritten(predict, tree, tmp_path):
    """A second run with `--overwrite` in the folder where an earlier one wrote its prompts and masks."""
    out = tmp_path / "out"
    assert predict(tree / "1.png", "--box", "5,5,40,30", "--format", "png", "-o", out)[0] == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for asked in (("--prompts", out / "prompts.json"), ("--mask", out / "masks" / "1.png")):
        code, _, stderr = predict(tree / "1.png", *asked, "-o", out, "--overwrite")
        assert (code, "is read by this run" in stderr) == (7, True)
    assert predict(out / "1.png", *POINT, "-o", out, "--overwrite")[0] == 7
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_model_of_a_run_is_never_removed_by_it(predict, model, tree, tmp_path):
    """From a folder that an earlier run wrote it to, with `--overwrite`."""
    folder = RunFolder(tmp_path / "trained", "predict", {})
    with folder.locked():
        folder.begin(keep=False)
        for file in Path(model).iterdir():
            write_whole(folder.path / "model" / file.name, file.read_bytes(), overwrite=False)
        folder.write("done")
    before = sorted(folder.path.rglob("*"))
    asked = (tree / "1.png", *POINT, "--model", folder.path / "model", "-o", folder.path, "--overwrite")
    code, _, stderr = predict(*asked)
    assert (code, "is read by this run" in stderr) == (7, True)
    assert sorted(folder.path.rglob("*")) == before


def test_second_run_in_the_folder_of_a_running_one_is_refused(predict, tree, tmp_path, monkeypatch, model):
    out, original, ended = tmp_path / "out", predict_methods.FromPrompts.__call__, []
    command = [SCRIPT, "predict", tree / "2.png", *POINT, "--model", model, "-o", out, "--overwrite"]

    def meanwhile(self, *arguments):
        if not ended:
            ended.append(subprocess.run([*map(str, command)], capture_output=True, text=True))
        return original(self, *arguments)

    monkeypatch.setattr(predict_methods.FromPrompts, "__call__", meanwhile)
    assert predict(tree, *POINT, "--save", "json", "-o", out)[0] == 0
    assert ended[0].returncode == 7
    assert "another run is writing there" in ended[0].stderr
    assert len(records(out)) == 3


def test_run_into_a_folder_below_its_source_is_resumed_and_made_again(predict, tree, tmp_path, monkeypatch):
    """What a run wrote is no picture to be segmented."""
    monkeypatch.chdir(tree)
    for more in ((), ("--resume",), ("--overwrite",)):
        assert predict(".", "--recursive", *POINT, "-o", "out", *more)[0] == 0
        assert [line["key"] for line in records(tree / "out")] == ["sub/1.png", "sub/2.jpg", "1.png", "2.png", "10.png"]
    assert predict("**/*.png", *POINT, "-o", "again")[0] == 0
    assert len(records(tree / "again")) == 4
    code, _, stderr = predict("out", *POINT, "-o", "third")
    assert (code, "4 that runs wrote" in stderr) == (3, True)
    assert predict("out/1.png", *POINT, "-o", "third")[0] == 0  # named itself


def test_names_as_long_as_a_disk_takes_are_segmented(predict, tree, tmp_path):
    long = "x" * 251 + ".png"
    shutil.copy(tree / "1.png", tree / long)
    (tree / "list.csv").write_text(f"{long},5,5,40,30,{'y' * 300}\n")
    kinds = ("--save", "overlay,json,masks,contours,crops", "--format", "yolo,labelme,png,semantic,coco")
    code, _, stderr = predict(tree / "list.csv", *kinds, "-o", tmp_path / "out")
    assert code == 0, stderr
    (line,) = records(tmp_path / "out")
    assert line["key"] == long and all((tmp_path / "out" / file).is_file() for file in line["files"])
    assert len(line["files"]) == 9


def test_lines_of_a_list_that_name_nothing_fail_alone(predict, tree, tmp_path):
    names = ["1.png", "x" * 300 + ".png", "http://[::1/x.png", "absent.png", "a\0.png", "sub/1.png"]
    (tree / "list.txt").write_text("\n".join(names) + "\n")
    code, stdout, _ = predict(tree / "list.txt", *POINT, "--save", "json", "-o", tmp_path / "out", "--json")
    assert code == 4
    summary = json.loads(stdout)
    assert (summary["done"], len(summary["failed"])) == (2, 4)
    assert "zero byte" in summary["failed"][repr(names[4])]
    assert "File name too long" in summary["failed"][str(tree / names[1])]
    assert "is no address" in summary["failed"][names[2]]


def test_one_broken_video_of_a_glob_does_not_fail_the_others(predict, tree, tmp_path):
    with tarfile.open(tree / "good.tar", "w") as archive:
        archive.add(tree / "1.png", "a.png")
    (tree / "bad.mp4").write_bytes(b"no video")
    (tree / "worse.tar").write_bytes(b"no archive")
    code, stdout, _ = predict(tree / "*.*", *POINT, "--save", "json", "-o", tmp_path / "out", "--json")
    assert code == 4
    summary = json.loads(stdout)
    assert sorted(summary["failed"]) == [str(tree / "bad.mp4"), str(tree / "worse.tar")]
    assert (summary["done"], summary["pictures"]) == (4, 6)


def test_fractions_of_pictures_of_several_sizes_are_written_and_read_again(predict, tree, tmp_path):
    scene_image(50, 80).save(tree / "2.png")
    asked = ("--point", "0.5,0.5", "--normalized", "--save", "json")
    assert predict(tree, *asked, "-o", tmp_path / "a")[0] == 0
    again = ("--prompts", tmp_path / "a" / "prompts.json", "--save", "json")
    assert predict(tree, *again, "--normalized", "-o", tmp_path / "b")[0] == 0
    masks = [[line["objects"] for line in records(tmp_path / name)] for name in "ab"]
    assert [[entry["rle"] for entry in line] for line in masks[0]] == [
        [entry["rle"] for entry in line] for line in masks[1]
    ]
    code, _, stderr = predict(tree, *again, "-o", tmp_path / "c")
    assert (code, "fractions of width and height here; pass --normalized" in stderr) == (2, True)


def test_full_disk_ends_the_run_with_its_name_and_the_run_goes_on_later(predict, tree, tmp_path, monkeypatch):
    before, original = resource.getrlimit(resource.RLIMIT_FSIZE), PredictOutputs.write
    arguments = (tree, "--recursive", *POINT, "-o", tmp_path / "out")

    def fuller(self, result, name):
        if name == "1":
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        return original(self, result, name)

    with monkeypatch.context() as patched:
        patched.setattr(PredictOutputs, "write", fuller)
        try:
            code, _, stderr = predict(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (code, f"{tmp_path}/out/1.png" in stderr) == (1, True)
    assert len(records(tmp_path / "out")) == 2
    assert predict(*arguments, "--resume")[0] == 0
    assert status(tmp_path / "out")["counts"]["resumed"] == 2


# Memory and processes


def test_pictures_encoded_together_are_the_pictures_one_by_one(predict, tree, tmp_path):
    (tree / "broken.png").write_bytes((tree / "1.png").read_bytes()[:200])
    for size in ("1", "3"):
        arguments = (tree, "--recursive", *POINT, "--save", "json", "--batch-size", size, "-o", tmp_path / size)
        assert predict(*arguments)[0] == 4
    assert names(tmp_path / "1") == names(tmp_path / "3")
    for one, other in zip(records(tmp_path / "1"), records(tmp_path / "3"), strict=True):
        assert [entry["rle"] for entry in one["objects"]] == [entry["rle"] for entry in other["objects"]]
    assert list(status(tmp_path / "3")["failed"]) == [str(tree / "broken.png")]


def test_pictures_at_once_are_halved_and_stay_so(predict, tree, tmp_path, monkeypatch):
    original, tried = image_module.segment_batch, []

    def small_machine(model, processor, pictures, *arguments, **options):
        tried.append(len(pictures))
        if len(pictures) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(model, processor, pictures, *arguments, **options)

    monkeypatch.setattr(image_module, "segment_batch", small_machine)
    arguments = (tree, "--recursive", *POINT, "--save", "json", "--batch-size", "2", "-o", tmp_path / "out")
    code, _, stderr = predict(*arguments)
    assert (code, tried) == (0, [2, 1, 1, 1, 1, 1])
    assert stderr.count("out of memory; going on with 1 pictures at once") == 1


def test_two_runs_without_a_folder_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [next_folder("predict").name for _ in range(3)] == ["1", "2", "3"]
    assert [next_folder("predict", reserve=False).name for _ in range(2)] == ["4", "4"]


def test_objects_are_halved_until_they_fit(predict, tree, tmp_path, monkeypatch):
    original, tried = image_module.segment_batch, []

    def small_machine(*arguments, object_batch, **options):
        tried.append(object_batch)
        if object_batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*arguments, object_batch=object_batch, **options)

    monkeypatch.setattr(image_module, "segment_batch", small_machine)
    arguments = (tree, *POINT, "--save", "json", "--object-batch", "8", "-o", tmp_path / "out")
    code, _, stderr = predict(*arguments)
    assert (code, tried) == (0, [8, 4, 2, 2, 2])
    assert "out of memory; going on with --object-batch 4" in stderr


def test_picture_that_never_fits_stops_with_8(predict, tree, tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("MPS backend out of memory")

    monkeypatch.setattr(image_module, "segment_batch", full)
    code, _, stderr = predict(tree, *POINT, "-o", tmp_path / "out")
    assert code == 8
    assert "1.png: out of memory even object by object" in stderr
    assert status(tmp_path / "out")["status"] == "failed"


def test_missing_library_stops_with_6(predict, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, _, stderr = predict("hub:user/name", *POINT, "-o", tmp_path / "out")
    assert (code, "sam2_hf[data]" in stderr) == (6, True)


def test_one_thread_and_none_give_what_two_give(predict, tree, tmp_path):
    for workers in (0, 1, 4):
        assert predict(tree, *POINT, "--workers", workers, "-o", tmp_path / str(workers))[0] == 0
    assert same_files(tmp_path / "0", tmp_path / "1")
    assert same_files(tmp_path / "4", tmp_path / "1")


def test_process_ends_with_130_after_one_signal(tree, tmp_path, model):
    for number in range(200):
        os.link(tree / "1.png", tree / f"copy{number}.png")
    command = [SCRIPT, "predict", tree, *POINT, "--model", model, "--device", "cpu", "-o", tmp_path / "out"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines, deadline = tmp_path / "out" / "results.jsonl", time.monotonic() + 100
        while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "go on with: sam2-hf predict" in stderr
    assert status(tmp_path / "out")["status"] == "interrupted"
    assert status(tmp_path / "out")["counts"]["done"] == len(records(tmp_path / "out"))
