"""An original checkpoint to a Hub and back from it, through the real client and a real server."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sam2_hf.checkpoints.key_map import to_hub
from sam2_hf.pipelines.results import ImageResult
from tests.golden.recipe import golden_state_dict
from tests.hub_server import HubServer, run
from tests.numbers import same_masks
from tests.tiny import IMAGE_SIZE, micro_config, scene_image

ROOT = Path(__file__).parents[2]
LAYOUT = ROOT / "tests" / "golden" / "layouts" / "sam2.1_hiera_micro.json"
pytestmark = pytest.mark.slow  # four processes, each with its imports
REPOSITORY = "me/sam2-micro"
LOAD = """
import json, sys
from safetensors.torch import save_file
from sam2_hf import Sam2Model, Sam2Processor

model, info = Sam2Model.from_pretrained(sys.argv[1], output_loading_info=True)
processor = Sam2Processor.from_pretrained(sys.argv[1])
save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, sys.argv[2])
problems = {kind: sorted(map(str, names)) for kind, names in info.items() if names}
print(json.dumps({"problems": problems, "size": dict(processor.image_processor.size)}))
"""


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    return golden_state_dict(json.loads(LAYOUT.read_text()), object_score_bias=-0.155)


@pytest.fixture(scope="module")
def hub():
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def converted(hub, original, tmp_path_factory) -> Path:
    """The folder that the script wrote and uploaded."""
    folder = tmp_path_factory.mktemp("convert")
    torch.save({"model": original}, folder / "micro.pt")
    micro_config("2.1").save_pretrained(folder / "config")
    script = [ROOT / "conversion" / "convert_checkpoint.py", folder / "micro.pt", "--output", folder / "converted"]
    options = ["--config", folder / "config" / "config.json", "--push-to-hub", REPOSITORY]
    output = run([sys.executable, *script, *options], hub, folder / "home")
    assert output.split() == [str(folder / "converted"), f"{hub.url}/{REPOSITORY}"]
    return folder / "converted"


def test_uploaded_files_are_those_of_the_converted_folder(hub, converted):
    files = {file.name: file.read_bytes() for file in converted.iterdir()}
    assert {"config.json", "model.safetensors", "README.md"} <= files.keys()
    assert hub.repositories == {REPOSITORY: files}


def test_model_and_processor_load_from_the_hub_bit_equal_to_the_original(hub, converted, original, tmp_path):
    output = run([sys.executable, "-c", LOAD, REPOSITORY, tmp_path / "loaded.safetensors"], hub, tmp_path / "home")
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    assert json.loads(output) == {"problems": {}, "size": side}
    loaded, expected = load_file(tmp_path / "loaded.safetensors"), to_hub(original)
    assert loaded.keys() == expected.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(loaded[name], tensor)] == []


def test_predict_takes_a_model_from_the_hub_and_offline_from_the_cache(hub, converted, tmp_path):
    scene_image().save(tmp_path / "scene.png")
    command = [Path(sys.executable).with_name("sam2-hf"), "predict", tmp_path / "scene.png", "--point", "40,30"]
    command += ["--model", REPOSITORY, "--json"]
    run([*command, "--output", tmp_path / "online"], hub, tmp_path / "home")
    asked = list(hub.requests)
    run([*command, "--output", tmp_path / "offline", "--offline"], hub, tmp_path / "home")
    assert hub.requests == asked
    online, offline = (read(tmp_path / name / "scene.json") for name in ("online", "offline"))
    assert online.size == (60, 90)
    assert same_masks(online.masks, offline.masks)


def read(file: Path) -> ImageResult:
    return ImageResult.from_json(file.read_text())
