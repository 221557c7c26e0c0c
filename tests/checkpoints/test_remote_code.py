"""A pushed repository gives our classes where they are asked for, and the library's own where not."""

import subprocess
import sys

import pytest
from transformers.utils import logging

from sam2_hf.checkpoints.remote_code import add_remote_code
from tests.tiny import MICRO_TRUNK, saved_micro, scene_image

pytestmark = pytest.mark.slow  # a process of its own, because dynamic modules stay in the one that loaded them
CODE = """
import sys
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForMaskGeneration, AutoProcessor, pipeline
folder, picture = sys.argv[1:]
assert type(AutoConfig.from_pretrained(folder)) is transformers.Sam2VideoConfig
assert type(AutoModel.from_pretrained(folder)) is transformers.Sam2VideoModel
import sam2_hf
trusted = {"trust_remote_code": True}
assert type(AutoModel.from_pretrained(folder, **trusted)) is sam2_hf.Sam2Model
assert type(AutoModelForMaskGeneration.from_pretrained(folder, **trusted)) is sam2_hf.Sam2Model
assert type(AutoProcessor.from_pretrained(folder, **trusted)) is sam2_hf.Sam2Processor
made = pipeline("promptable-segmentation", model=folder, **trusted)
assert type(made.model) is sam2_hf.Sam2Model and len(made(picture, points=[30, 20])) == 1
assert type(sam2_hf.Sam2Model.from_pretrained(folder)) is sam2_hf.Sam2Model
"""


def test_classes_of_a_pushed_folder(tmp_path):
    logging.disable_progress_bar()
    widths = {"vision_config": {"fpn_hidden_size": 128, "backbone_config": MICRO_TRUNK}}
    saved_micro(tmp_path / "model", memory_encoder_output_channels=64, **widths)  # what native knows
    add_remote_code(tmp_path / "model")
    scene_image().save(tmp_path / "a.png")
    arguments = [sys.executable, "-c", CODE, str(tmp_path / "model"), str(tmp_path / "a.png")]
    environment = {"HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
