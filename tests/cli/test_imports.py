"""What a command imports: what it needs and no more. Names are compared, not times."""

import subprocess
import sys

import pytest

from sam2_hf.assets import EMBEDDED_CHECKPOINT
from tests.tiny import scene_image

RUN = (
    "import sys; from sam2_hf.cli.main import run\n"
    "try: run()\nexcept SystemExit as end: assert not end.code, end.code\nfinally: print('\\n', *sys.modules)"
)
NOT_FOR_A_PICTURE = {
    "av",
    "cv2",
    "datasets",
    "matplotlib",
    "onnxruntime",
    "pandas",
    "peft",
    "supervision",
    "torchvision",
    "transformers.generation.utils",
    "transformers.pipelines",
    "transformers.trainer",
    "transformers.trainer_utils",
    "sam2_hf.datasets",
    "sam2_hf.evaluation.metrics",
    "sam2_hf.pipelines.registry",
    "sam2_hf.pipelines.video",
    "sam2_hf.processing.video",
    "sam2_hf.processing.video_file",
    "sam2_hf.tracking.session",
    "sam2_hf.training",
}


def modules_of(program: str, *arguments) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_a_picture_is_segmented_without_what_videos_training_and_pipelines_need(tmp_path):
    scene_image().save(tmp_path / "a.png")
    where = ("--model", EMBEDDED_CHECKPOINT, "--offline", "-o", tmp_path / "out")
    modules = modules_of(RUN, "predict", tmp_path / "a.png", "--point", "30,20", *where)
    assert (tmp_path / "out" / "a.json").exists() and "sam2_hf.pipelines.results" in modules
    assert sorted(NOT_FOR_A_PICTURE & modules) == []


@pytest.mark.parametrize(
    "begun",
    [
        "import sam2_hf.pipelines.results, sys\nassert 'transformers.pipelines' not in sys.modules",
        "import transformers.pipelines, sam2_hf.pipelines",
        "import sam2_hf.pipelines.picture_task, sam2_hf\nsam2_hf.pipeline",
    ],
)
def test_our_tasks_are_registered_whichever_of_the_pipelines_comes_first(begun):
    check = "\nfrom transformers.pipelines import PIPELINE_REGISTRY\nknown = PIPELINE_REGISTRY.get_supported_tasks()\n"
    check += "print('promptable-segmentation' in known, 'video-object-segmentation' in known)"
    assert modules_of(begun + check) == {"True"}
