"""`sam2-hf predict`, mostly in this process; the installed script only where a process of its own matters."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from PIL import Image

from sam2_hf.cli.main import run
from sam2_hf.pipelines.image import segment
from sam2_hf.pipelines.results import ImageResult
from tests.numbers import same_file, same_masks, same_picture
from tests.tiny import micro_config, micro_model, micro_processor, saved_micro, scene_image

SCRIPT = Path(sys.executable).with_name("sam2-hf")
SIZE = (60, 90)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    return Path(saved_micro(tmp_path_factory.mktemp("model")))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder with one picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    scene_image(*SIZE).save(folder / "scene.png")
    return folder


@pytest.fixture
def predict(model_folder, monkeypatch, capsys):
    """Calls the command as the console script does; returns exit code, stdout and stderr."""

    def call(*arguments, model=model_folder) -> tuple[int, str, str]:
        settings = ["--model", model, "--device", "cpu", "--dtype", "fp32"]
        monkeypatch.setattr(sys, "argv", ["sam2-hf", "predict", *map(str, [*settings, *arguments])])
        with pytest.raises(SystemExit) as stop:
            run()
        return int(stop.value.code or 0), *capsys.readouterr()

    return call


RUN_FILES = ("run.json", "results.jsonl", "prompts.json", "contact_sheet.jpg")


def names(folder: Path) -> list[str]:
    """Files below a folder, hidden ones too, but those of the run as a whole."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name not in RUN_FILES)
    return sorted(str(file.relative_to(folder)) for file in files)


def read(file: Path) -> ImageResult:
    return ImageResult.from_json(file.read_text())


def test_point_and_box_give_the_overlay_and_the_record_that_segment_gives(predict, pictures, tmp_path, model_folder):
    arguments = ["--point", "2:40,30", "--point", "2:5,5,-", "--box", "3:10.5,8,70,50", "--output", tmp_path / "out"]
    code, stdout, stderr = predict(pictures / "scene.png", *arguments)
    assert (code, names(tmp_path / "out")) == (0, ["scene.json", "scene.png"])
    assert "1 of 1" in stdout
    assert str(model_folder) in stderr
    result = read(tmp_path / "out" / "scene.json")
    expected = segment(
        micro_model(),
        micro_processor(),
        pictures / "scene.png",
        points=[[[[40, 30], [5, 5]], []]],
        labels=[[[1, 0], []]],
        boxes=[[[], [10.5, 8, 70, 50]]],
        object_ids=[2, 3],
    )
    assert result.object_ids == (2, 3)
    assert same_masks(result.masks, expected.masks)
    assert result.prompts == expected.prompts
    assert result.alternatives == ()
    np.testing.assert_allclose(result.iou_scores, expected.iou_scores, atol=1e-6)
    with Image.open(tmp_path / "out" / "scene.png") as overlay:
        assert overlay.size == SIZE[::-1]
        assert same_picture(overlay, expected.plot())


def test_prompts_without_ids_number_boxes_and_give_points_to_object_1(predict, pictures, tmp_path):
    boxes = ["--box", "5,5,40,40", "--box", "45,10,80,50"]
    code, _, _ = predict(pictures / "scene.png", *boxes, "--point", "20,20", "--output", tmp_path / "out")
    result = read(tmp_path / "out" / "scene.json")
    assert (code, result.object_ids) == (0, (1, 2))
    assert [prompt.box for prompt in result.prompts] == [[5, 5, 40, 40], [45, 10, 80, 50]]
    assert [prompt.points for prompt in result.prompts] == [[[20, 20]], []]


def test_prompts_of_a_run_make_the_same_run_again(predict, pictures, tmp_path):
    options = ["--point", "2:0.5,0.5", "--box", "3:0.1,0.1,0.8,0.8", "--normalized"]
    assert predict(pictures / "scene.png", *options, "--output", tmp_path / "out")[0] == 0
    again = ["--prompts", tmp_path / "out" / "prompts.json"]
    assert predict(pictures / "scene.png", *again, "--output", tmp_path / "again")[0] == 0
    assert same_file(tmp_path / "again" / "scene.json", tmp_path / "out" / "scene.json")
    code, _, stderr = predict(pictures / "scene.png", *again, "--point", "1,2", "--output", tmp_path / "both")
    assert (code, "leave out --point" in stderr) == (2, True)
    code, _, stderr = predict(pictures / "scene.png", "--prompts", tmp_path / "no.json", "--output", tmp_path / "none")
    assert (code, "no such file of prompts" in stderr) == (2, True)


def test_mask_file_is_the_prompt_that_it_shows(predict, pictures, tmp_path):
    shown = np.zeros(SIZE, dtype=np.uint8)
    shown[10:40, 20:70] = 1
    Image.fromarray(shown * 255).save(tmp_path / "mask.png")
    code, _, _ = predict(pictures / "scene.png", "--mask", tmp_path / "mask.png", "--output", tmp_path / "out")
    expected = segment(micro_model(), micro_processor(), pictures / "scene.png", masks=shown[None])
    assert code == 0
    assert same_masks(read(tmp_path / "out" / "scene.json").masks, expected.masks)


def test_normalized_multimask_and_every_kind_of_file(predict, pictures, tmp_path):
    options = ["--point", "0.5,0.25", "--normalized", "--multimask", "--save", "json,masks"]
    code, _, _ = predict(pictures / "scene.png", *options, "--output", tmp_path / "out")
    assert (code, names(tmp_path / "out")) == (0, ["scene.json", "scene.npz"])
    result = read(tmp_path / "out" / "scene.json")
    assert result.prompts[0].points == [[45, 15]]
    assert [len(candidates) for candidates in result.alternatives] == [3]
    assert result.alternatives[0].rle[0] == result.masks.rle[0]
    with np.load(tmp_path / "out" / "scene.npz") as saved:
        assert saved["masks"].shape == (1, *SIZE)
        assert np.array_equal(saved["masks"], result.masks.dense())
        assert saved["object_ids"].tolist() == [1]


def test_folder_and_glob_give_every_picture_in_natural_order(predict, tmp_path):
    for folder, name in (("a", "10.png"), ("a", "2.png"), ("b", "1.jpg")):
        (tmp_path / folder).mkdir(exist_ok=True)
        scene_image(*SIZE).save(tmp_path / folder / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    arguments = [tmp_path / "a", tmp_path / "b" / "*.jpg", "--point", "40,30", "--save", "json", "--no-progress"]
    code, stdout, stderr = predict(*arguments, "--output", tmp_path / "out")
    assert (code, names(tmp_path / "out")) == (0, ["1.json", "10.json", "2.json"])
    assert "3 of 3" in stdout
    told = [line.partition(" -> ") for line in stderr.splitlines() if line.endswith(".json")]  # a line per picture
    assert [written for _, _, written in told] == ["2.json", "10.json", "1.json"]
    assert all(str(tmp_path) in line and "1 object; " in line for line, _, _ in told)
    assert len(stderr.splitlines()) == 5  # and the model, and the times


def test_two_pictures_of_one_stem_get_files_of_their_own(predict, tmp_path):
    scene_image(*SIZE).save(tmp_path / "a.jpg")
    scene_image(40, 50).save(tmp_path / "a.png")
    code, _, _ = predict(tmp_path / "a.jpg", tmp_path / "a.png", "--point", "20,20", "--output", tmp_path / "out")
    assert code == 0
    assert names(tmp_path / "out") == ["a.jpg.json", "a.jpg.png", "a.png.json", "a.png.png"]
    assert read(tmp_path / "out" / "a.jpg.json").size == SIZE
    assert read(tmp_path / "out" / "a.png.json").size == (40, 50)


def test_existing_files_stop_with_7_and_are_kept(predict, pictures, tmp_path):
    scene_image(*SIZE).save(pictures / "other.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scene.json").write_text("kept")
    arguments = [pictures, "--point", "40,30", "--output", tmp_path / "out"]
    code, stdout, stderr = predict(*arguments)
    assert (code, stdout, names(tmp_path / "out")) == (7, "", ["scene.json"])
    assert (tmp_path / "out" / "scene.json").read_text() == "kept"
    assert "scene.json: exists already" in stderr
    assert predict(*arguments, "--overwrite")[0] == 7  # no run wrote it
    assert (tmp_path / "out" / "scene.json").read_text() == "kept"


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(predict, pictures, tmp_path):
    scene_image(*SIZE).save(pictures / "other.png")
    out = tmp_path / "out"
    box = ("--box", "10.5,8,70,50", "--output", out)
    assert predict(pictures, *box, "--save", "json,crops", "--format", "yolo,coco")[0] == 0
    (out / "notes.txt").write_text("mine")
    (out / "crops" / "mine.jpg").write_text("mine")
    code, _, stderr = predict(pictures, *box)
    assert (code, "--overwrite" in stderr) == (7, True)
    assert predict(pictures / "scene.png", *box, "--save", "json", "--overwrite")[0] == 0
    assert names(out) == ["crops/mine.jpg", "notes.txt", "scene.json"]


@pytest.mark.parametrize("name", ["prompts.json", "crops/scene_9.png"])
def test_files_of_the_user_are_not_touched(predict, pictures, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    arguments = (pictures, "--point", "40,30", "--save", "crops,json", "--output", tmp_path / "out")
    code, _, stderr = predict(*arguments)
    assert (code, path.read_text()) == (7, "mine")
    assert path.name in stderr


def test_overwrite_never_replaces_a_picture_that_is_segmented(predict, pictures):
    before = (pictures / "scene.png").read_bytes()
    code, _, stderr = predict(pictures / "scene.png", "--point", "40,30", "--output", pictures, "--overwrite")
    assert (pictures / "scene.png").read_bytes() == before
    assert code == 7
    assert "scene.png" in stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "no prompt"),
        (["--point", "40;30"], "40;30"),
        (["--point", "40,30,1"], "40,30,1"),
        (["--point", "nan,30"], "nan"),
        (["--box", "1,2,3"], "1,2,3"),
        (["--box", "70,50,10,8"], "no area"),
        (["--box", "1:1,2,30,40", "--box", "1:5,6,70,50"], "object 1"),
        (["--point", "40,30", "--save", "overlay,mp4"], "mp4"),
        (["--point", "40,30", "--dtype", "fp8"], "fp8"),
        (["--point", "40,30", "--palette", "notacolour"], "notacolour"),
    ],
)
def test_prompts_and_options_that_mean_nothing_stop_with_2(predict, pictures, tmp_path, options, complaint):
    code, stdout, stderr = predict(pictures / "scene.png", *options, "--output", tmp_path / "out")
    assert (code, stdout) == (2, "")
    assert complaint in stderr
    assert not (tmp_path / "out").exists()


def test_source_without_a_picture_stops_with_3(predict, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "missing.png", tmp_path / "*.png"):
        code, stdout, stderr = predict(source, "--point", "40,30", "--output", tmp_path / "out")
        assert (code, stdout) == (3, "")
        assert stderr.startswith(f"error: {source}")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", ["missing", "missing.pt", "empty", "cut off", "incomplete", "not a number", "wrong field"]
)
def test_model_that_cannot_be_loaded_stops_with_6(predict, pictures, tmp_path, model_folder, kind):
    model = tmp_path / kind
    if not kind.startswith("missing"):
        model.mkdir()
    if kind in ("cut off", "incomplete", "not a number", "wrong field"):
        shutil.copytree(model_folder, model, dirs_exist_ok=True)
    if kind == "cut off":
        (model / "model.safetensors").write_bytes((model_folder / "model.safetensors").read_bytes()[:100_000])
    if kind == "incomplete":
        micro_config(memory_attention_num_layers=3).save_pretrained(model)  # one layer more than there are weights
    if kind == "wrong field":
        fields = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**fields, "num_maskmem": "7"}))
    if kind == "not a number":
        network = micro_model()
        with torch.no_grad():
            network.mask_decoder.iou_token.weight[0, 0] = float("nan")
        network.save_pretrained(model)
    arguments = ["--point", "40,30", "--output", tmp_path / "out"]
    code, stdout, stderr = predict(pictures / "scene.png", *arguments, model=model)
    assert (code, stdout) == (6, "")
    assert stderr.splitlines()[-1].startswith(f"error: {model}: ")
    assert not (tmp_path / "out").exists()


def test_default_model_without_hub_and_cache_is_the_embedded_one_and_says_why(predict, pictures, tmp_path, monkeypatch):
    monkeypatch.delenv("SAM2_HF_MODEL", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    code, _, stderr = predict(pictures / "scene.png", "--point", "40,30", "--output", tmp_path / "out", model="auto")
    assert code == 0
    assert (
        "the small embedded one (facebook/sam2.1-hiera-small is not in the cache and the Hub does not answer" in stderr
    )


def test_corrupt_picture_among_two_is_reported_with_4_and_the_other_is_written(predict, pictures, tmp_path):
    bad = pictures / "bad.png"
    bad.write_bytes((pictures / "scene.png").read_bytes()[:500])
    code, stdout, stderr = predict(pictures, "--point", "40,30", "--output", tmp_path / "out", "--json")
    assert (code, names(tmp_path / "out")) == (4, ["scene.json", "scene.png"])
    summary = json.loads(stdout)
    assert (summary["output"], summary["pictures"]) == (str(tmp_path / "out"), 2)
    assert list(summary["failed"]) == [str(bad)]
    assert str(bad) in summary["failed"][str(bad)]
    assert str(bad) in stderr


def test_prompt_far_outside_one_picture_fails_that_picture_only(predict, pictures, tmp_path):
    scene_image(8, 8).save(pictures / "small.png")
    code, stdout, _ = predict(pictures, "--point", "40,30", "--output", tmp_path / "out", "--json")
    assert (code, names(tmp_path / "out")) == (4, ["scene.json", "scene.png"])
    assert "far outside" in json.loads(stdout)["failed"][str(pictures / "small.png")]


def test_script_numbers_default_folders_and_prints_only_json(pictures, tmp_path, model_folder):
    (tmp_path / "runs" / "predict" / "1").mkdir(parents=True)
    command = [SCRIPT, "predict", pictures / "scene.png", "--point", "40,30", "--model", model_folder, "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    output = str(Path("runs", "predict", "2"))
    summary = json.loads(done.stdout)
    assert (summary["output"], summary["pictures"], summary["status"]) == (output, 1, "done")
    assert names(tmp_path / "runs") == ["predict/2/scene.json", "predict/2/scene.png"]


def test_first_default_folder_is_1_and_quiet_says_nothing(predict, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        code, stdout, stderr = predict(pictures / "scene.png", "--point", "40,30", "--quiet", "--json")
        assert (code, stderr, json.loads(stdout)["output"]) == (0, "", str(Path("runs", "predict", str(number))))
        assert names(tmp_path / "runs" / "predict" / str(number)) == ["scene.json", "scene.png"]


def test_script_passes_exit_code_and_message_on(tmp_path):
    command = [SCRIPT, "predict", tmp_path / "missing.png", "--point", "40,30"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert names(tmp_path) == []
