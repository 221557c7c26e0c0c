"""Taking the library's names over happens in a process of its own, because it cannot be undone."""

import subprocess
import sys

import torch

import sam2_hf
from tests.tiny import micro_model, saved_micro, scene_image

CODE = """
import sys
from transformers import (
    AutoConfig, AutoImageProcessor, AutoModel, AutoModelForMaskGeneration, AutoProcessor, Sam2Config, Sam2VideoConfig,
)
import sam2_hf
video, image = sys.argv[1:]
assert type(AutoConfig.from_pretrained(video)) is Sam2VideoConfig, "importing took something over"
sam2_hf.register_auto_classes()
sam2_hf.register_auto_classes()
for folder, image_only in ((video, False), (image, True)):
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is sam2_hf.Sam2Config and config.image_only == image_only
    assert type(AutoModel.from_pretrained(folder)) is sam2_hf.Sam2Model
    assert type(AutoModelForMaskGeneration.from_pretrained(folder)) is sam2_hf.Sam2Model
    assert type(AutoImageProcessor.from_pretrained(folder)) is sam2_hf.Sam2ImageProcessor
    processor = AutoProcessor.from_pretrained(folder)
    assert type(processor) is sam2_hf.Sam2Processor
    assert type(processor.image_processor) is sam2_hf.Sam2ImageProcessor
"""


def test_auto_classes_resolve_to_ours_after_registration_only(tmp_path):
    for name, image_only in (("video", False), ("image", True)):
        saved_micro(tmp_path / name, image_only=image_only)
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "video"), str(tmp_path / "image")], check=True)


TASKS = """
import sys
import transformers
import sam2_hf, sam2_hf.pipelines
tasks = transformers.pipelines.PIPELINE_REGISTRY.get_supported_tasks()
assert {"promptable-segmentation", "video-object-segmentation"} <= set(tasks), tasks
sam2_hf.register_auto_classes()
for task in ("promptable-segmentation", "video-object-segmentation", "mask-generation"):
    loaded = transformers.pipeline(task, model=sys.argv[1], device="cpu")
    assert type(loaded.model) is sam2_hf.Sam2Model, task
assert "torchvision" not in sys.modules
"""


def test_library_builds_our_tasks_from_a_folder_once_our_classes_are_registered(tmp_path):
    saved_micro(tmp_path)
    done = subprocess.run([sys.executable, "-c", TASKS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "already registered" not in done.stderr and "not supported" not in done.stderr


TASKS_CODE = """
import sys
import sam2_hf.pipelines
from transformers import pipeline
from sam2_hf import Sam2Model, Sam2Processor
folder, bare, picture = sys.argv[1:]
model, processor = Sam2Model.from_pretrained(folder), Sam2Processor.from_pretrained(folder)
ways = [{"model": folder}, {"model": model, "processor": processor}, {"model": bare}]
ways += [{"model": model, "image_processor": processor.image_processor}, {"model": model, "image_processor": folder}]
for task in ("promptable-segmentation", "video-object-segmentation"):
    for arguments in ways:
        made = pipeline(task, **arguments)
        assert type(made.model) is Sam2Model, task
        assert made.segmenter.image_processor.size["height"] == 256
assert len(pipeline("promptable-segmentation", model=folder)(picture, points=[30, 20])) == 1
"""


def test_the_librarys_pipeline_knows_our_tasks_without_registering_classes(tmp_path):
    """By name, with a model and processor of ours, and where a folder has no processor's file."""
    saved_micro(tmp_path / "whole")
    micro_model().save_pretrained(tmp_path / "bare")
    scene_image().save(tmp_path / "a.png")
    arguments = [str(tmp_path / name) for name in ("whole", "bare", "a.png")]
    subprocess.run([sys.executable, "-c", TASKS_CODE, *arguments], check=True)


def test_compiled_model_is_accepted(tmp_path):
    made = sam2_hf.pipeline("promptable-segmentation", model=torch.compile(micro_model(), backend="eager"))
    assert len(made(scene_image(), points=[30, 20])) == 1
