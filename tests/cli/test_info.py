"""`sam2-hf info` in this process."""

import json
import subprocess
import sys
from importlib.metadata import version

import huggingface_hub.constants
import pytest
import torch

from sam2_hf.cli.main import run
from sam2_hf.modeling.configuration import Sam2Config
from sam2_hf.modeling.model import Sam2Model
from tests.tiny import IMAGE_SIZE, WIDTH, micro_model, saved_micro


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
    libraries = {"python", "torch", "transformers", "numpy", "pillow", "av"}
    assert facts.keys() == {"sam2_hf", "devices", "device", "dtype", "extras", "checkpoints"} | libraries
    assert facts["devices"][0] == "cpu"
    assert facts["checkpoints"][0] == "embedded"
    assert facts["torch"] == torch.__version__
    assert facts["transformers"] == version("transformers")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    plain = info()[1].splitlines()
    assert f"torch: {torch.__version__}" in plain
    assert f"extras: {', '.join(facts['extras'])}" in plain


@pytest.mark.parametrize("sam_version", ["2.0", "2.1"])
def test_model_is_described_by_its_folder(info, tmp_path, sam_version):
    saved_micro(tmp_path, version=sam_version)
    code, stdout, _ = info(tmp_path, "--json", "--offline")
    facts = json.loads(stdout)
    assert code == 0
    assert str(tmp_path) in facts["model"]
    assert facts["version"] == sam_version
    assert facts["parameters"] == sum(parameter.numel() for parameter in micro_model(sam_version).parameters())
    assert (facts["image_size"], facts["width"], facts["video"]) == (IMAGE_SIZE, WIDTH, True)
    assert (facts["stem"], facts["blocks"]) == (16, [1, 2, 3, 1])
    assert facts["licence"] == "not stated"
    (tmp_path / "README.md").write_text("---\nlibrary_name: sam2_hf\nlicense: bsd-3-clause\n---\n# A model\n")
    assert json.loads(info(tmp_path, "--json", "--offline")[1])["licence"] == "bsd-3-clause"


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


def test_auto_is_the_embedded_checkpoint_where_no_release_can_be_had(info, monkeypatch):
    monkeypatch.delenv("SAM2_HF_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    code, stdout, _ = info("auto", "--offline")
    assert code == 0
    assert "model: the small embedded one (facebook/sam2.1-hiera-small is not in the cache" in stdout
    assert info("embedded")[1].startswith("sam2_hf:")
    assert "image_size: 256" in info("embedded")[1]


def test_cached_repositories_that_can_be_loaded_are_listed(info, monkeypatch, tmp_path):
    for name, kind in (("me--mine", "sam2_video"), ("you--other", "bert")):
        snapshot = tmp_path / f"models--{name}" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text(json.dumps({"model_type": kind}))
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
        (snapshot.parents[1] / "blobs").mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert json.loads(info("--json")[1])["checkpoints"] == ["embedded", "me/mine"]


def test_licence_of_the_embedded_checkpoint_is_ours(info):
    assert "licence: apache-2.0" in info("embedded")[1].splitlines()


def test_short_imports_nothing_heavy():
    code = (
        "import sys\nfrom sam2_hf.cli.main import app\n"
        "try:\n    app(['info', '--short'])\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert not {"torch", "transformers", "numpy", "PIL"} & set(done.stderr.split())


def test_model_that_is_not_there_stops_with_6(info, tmp_path):
    for model in (tmp_path / "missing", tmp_path / "missing.pt"):
        code, stdout, stderr = info(model)
        assert (code, stdout) == (6, "")
        assert stderr.startswith(f"error: {model}: ")
