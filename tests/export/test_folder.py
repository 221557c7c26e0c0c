"""A folder of exported parts: whole or not there, checked, and enough to click and track without PyTorch."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sam2_hf
from sam2_hf import Sam2InferenceSession, TrackingPolicy
from sam2_hf.cli.main import app
from sam2_hf.errors import (
    CheckpointMismatchError,
    ConfigError,
    MissingExtraError,
    MissingWeightsError,
    OutputExistsError,
)
from sam2_hf.export import folder as exporting
from sam2_hf.export.folder import ExportOptions, export
from tests.tiny import micro_model, micro_processor, scene_image

pytestmark = pytest.mark.filterwarnings("ignore:::torch.*")  # the exporter warns of itself
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_click_and_track.py"
HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason='ONNX is not installed: pip install "sam2_hf[export]"')
MEMORY_ENCODER = ExportOptions(format="torch", parts=("memory-encoder",))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "jax"}, "one of onnx, torch, got 'jax'"),
        ({"parts": ("head",)}, "there is no part 'head'"),
        ({"opset": 9}, "at least 18"),
        ({"max_prompted": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**wrong)


def test_what_a_model_does_not_have_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="places for 2 to 7"):
        export(micro_model(), micro_processor(), tmp_path / "a", ExportOptions(format="torch", memory_frames=8))
    with pytest.raises(MissingWeightsError):
        export(micro_model(image_only=True), micro_processor(), tmp_path / "a", MEMORY_ENCODER)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "a.txt").touch()
    with pytest.raises(OutputExistsError):
        export(micro_model(), micro_processor(), tmp_path / "taken", MEMORY_ENCODER)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_missing_libraries_are_named_with_their_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.NEEDED, "onnx", ("no_such_library",))
    with pytest.raises(MissingExtraError, match=r'no_such_library: pip install "sam2_hf\[export\]"'):
        export(micro_model(), micro_processor(), tmp_path / "a")


def test_torch_programs_take_any_number_of_objects_and_the_manifest_describes_them(tmp_path):
    model, lines = micro_model(), []
    folder = export(model, micro_processor(), tmp_path / "parts", MEMORY_ENCODER, say=lines.append)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "memory-encoder.pt2"]
    assert "as the model to" in lines[0]
    part = manifest["parts"]["memory-encoder"]
    assert part["inputs"][1] == {"name": "masks", "shape": ["objects", 1, 64, 64], "dtype": "float32"}
    assert manifest["memory"]["maps"] == 10 and manifest["memory"]["pointers"] == 19
    assert manifest["image"]["size"] == 256 and manifest["image"]["mean"] == [0.485, 0.456, 0.406]
    made = torch.export.load(folder / part["file"]).module()
    inputs = exporting.PARTS["memory-encoder"](model, exporting._bank(model, MEMORY_ENCODER)).sample(5, 0)
    assert made(*inputs).shape == (5, 16, 16, 16)


def test_a_failed_check_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_relative", lambda expected, found: float("nan"))
    with pytest.raises(CheckpointMismatchError, match="memory-encoder: output 'memory'"):
        export(micro_model(), micro_processor(), tmp_path / "parts", MEMORY_ENCODER)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """The embedded model as ONNX, by the command."""
    folder = tmp_path_factory.mktemp("onnx") / "parts"
    app(["export", "embedded", str(folder), "--offline", "--quiet"], standalone_mode=False)
    return folder


@needs_onnx
@pytest.mark.slow
def test_onnx_files_alone_click_and_track_as_the_library_does(parts, tmp_path):
    """Two objects through a clip that is longer than the bank, in a process that has no PyTorch."""
    frames = [scene_image(120, 180).crop((x, x // 2, x + 140, x // 2 + 90)) for x in range(0, 36, 4)]
    for number, frame in enumerate(frames):
        (tmp_path / "frames").mkdir(exist_ok=True)
        frame.save(tmp_path / "frames" / f"{number:03d}.png")
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['example', {str(parts)!r}, {str(tmp_path / 'frames')!r}, '--point', '70,45', '--point', '20,20',"
        f" '--output', {str(tmp_path / 'masks')!r}]\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
        "assert not {'torch', 'transformers', 'sam2_hf'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    model, processor, _ = sam2_hf.load("embedded", device="cpu", offline=True)
    session = Sam2InferenceSession(model, processor, video=frames, policy=TrackingPolicy(fill_hole_area=0))
    for object_id, point in ((1, [70, 45]), (2, [20, 20])):
        session.add_prompt(frame_index=0, object_id=object_id, points=[point], labels=[1])
    areas = 0
    for frame in session.propagate():
        for object_id, mask in zip(frame.object_ids, np.asarray(frame.masks), strict=True):
            file = tmp_path / "masks" / f"{frame.frame_index:03d}_{object_id}.png"
            found, known = np.asarray(Image.open(file)) > 0, np.asarray(mask).reshape(90, 140)
            assert np.count_nonzero(found != known) <= 0.01 * known.size, file.name
            areas += int(known.sum())
    assert areas


@needs_onnx
@pytest.mark.slow
def test_half_precision_is_exported_and_checked(tmp_path):
    options = ExportOptions(parts=("image-encoder",), half=True)
    folder = export(micro_model(), micro_processor(), tmp_path / "parts", options)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["dtype"] == manifest["parts"]["image-encoder"]["inputs"][0]["dtype"] == "float16"
