"""What a repository says so that `trust_remote_code=True` gives the classes of this package, where it is installed.

Without that word transformers' own classes load the same files.
"""

import json
from pathlib import Path

from sam2_hf.disk.whole import write_json, write_whole

MODULE = "sam2_hf_classes"
CODE = '''"""The classes of the package sam2_hf, for `trust_remote_code=True`: pip install sam2-hf"""

from sam2_hf import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor
from sam2_hf.pipelines.picture_task import PromptableSegmentationPipeline
from sam2_hf.pipelines.video_task import VideoObjectSegmentationPipeline

__all__ = [
    "PromptableSegmentationPipeline",
    "Sam2Config",
    "Sam2ImageProcessor",
    "Sam2Model",
    "Sam2Processor",
    "VideoObjectSegmentationPipeline",
]
'''
OF_MODEL = {"AutoConfig": "Sam2Config", "AutoModel": "Sam2Model", "AutoModelForMaskGeneration": "Sam2Model"}
OF_PROCESSOR = {"AutoImageProcessor": "Sam2ImageProcessor", "AutoProcessor": "Sam2Processor"}
PIPELINES = {
    "promptable-segmentation": "PromptableSegmentationPipeline",
    "video-object-segmentation": "VideoObjectSegmentationPipeline",
}


def add_remote_code(folder: Path) -> None:
    """Adds the module and its names to a converted folder."""
    tasks = {name: {"impl": f"{MODULE}.{found}", "pt": ["AutoModel"]} for name, found in PIPELINES.items()}
    _extend(folder / "config.json", {"auto_map": _named(OF_MODEL), "custom_pipelines": tasks})
    _extend(folder / "processor_config.json", {"auto_map": _named(OF_PROCESSOR)})
    write_whole(folder / f"{MODULE}.py", CODE.encode(), overwrite=True)


def _named(classes: dict[str, str]) -> dict[str, str]:
    return {auto: f"{MODULE}.{name}" for auto, name in classes.items()}


def _extend(path: Path, fields: dict) -> None:
    write_json(path, {**json.loads(path.read_text()), **fields})
