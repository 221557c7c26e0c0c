"""`sam2-hf info` in this process."""

import json
import sys
from importlib.metadata import version

import pytest
import torch

from sam2_hf.cli.main import run
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model
from tests.tiny import IMAGE_SIZE, WIDTH, micro_model, micro_processor


@pytest.fixture
def info(monkeypatch, capsys):
    """Calls the command as the console script does; returns exit code, stdout and stderr."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sam2-hf", "info", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run()
        return int(stop.value.code or 0), *capsys.readouterr()

    return call


def test_short_prints_the_version_alone(info):
    assert info("--short") == (0, f"sam2_hf: {version('sam2-hf')}\n", "")
    assert info("--short", "--json") == (0, f'{{"sam2_hf": "{version("sam2-hf")}"}}\n', "")


def test_json_describes_the_machine(info):
    code, stdout, stderr = info("--json")
    facts = json.loads(stdout)
    assert (code, stderr) == (0, "")
    assert facts.keys() == {"sam2_hf", "python", "torch", "transformers", "device", "dtype", "extras"}
    assert facts["torch"] == torch.__version__
    assert facts["transformers"] == version("transformers")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    plain = info()[1].splitlines()
    assert f"torch: {torch.__version__}" in plain
    assert f"extras: {', '.join(facts['extras'])}" in plain


@pytest.mark.parametrize("sam_version", ["2.0", "2.1"])
def test_model_is_described_by_its_folder(info, tmp_path, sam_version):
    model = micro_model(sam_version)
    model.save_pretrained(tmp_path)
    micro_processor().save_pretrained(tmp_path)
    code, stdout, _ = info(tmp_path, "--json", "--offline")
    facts = json.loads(stdout)
    assert code == 0
    assert str(tmp_path) in facts["model"]
    assert facts["version"] == sam_version
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (facts["image_size"], facts["width"], facts["video"]) == (IMAGE_SIZE, WIDTH, True)
    assert (facts["stem"], facts["blocks"]) == (16, [1, 2, 3, 1])


def test_weight_file_of_a_released_size_is_described_without_a_config(info, tmp_path):
    with torch.device("meta"):
        model = Sam2Model(Sam2Config.tiny(version="2.0"))
    model.to_empty(device="cpu")
    weights = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "weights.pt")
    code, stdout, _ = info(tmp_path / "weights.pt")
    assert code == 0
    assert "version: 2.0" in stdout.splitlines()
    assert f"parameters: {sum(parameter.numel() for parameter in model.parameters())}" in stdout.splitlines()
    assert "tiny" in stdout


def test_stand_in_says_that_it_is_not_trained(info):
    code, stdout, _ = info("stand-in")
    assert code == 0
    assert "not trained" in stdout


def test_auto_is_the_embedded_checkpoint_where_no_release_can_be_had(info, monkeypatch):
    monkeypatch.delenv("SAM2_HF_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    code, stdout, _ = info("auto", "--offline")
    assert code == 0
    assert "model: the small embedded one (facebook/sam2.1-hiera-small is not in the cache" in stdout
    assert info("embedded")[1].startswith("sam2_hf:")
    assert "image_size: 256" in info("embedded")[1]


def test_model_that_is_not_there_stops_with_6(info, tmp_path):
    for model in (tmp_path / "missing", tmp_path / "missing.pt"):
        code, stdout, stderr = info(model)
        assert (code, stdout) == (6, "")
        assert stderr.startswith(f"error: {model}: ")
