import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from sam2_hf import Sam2Model, Sam2Processor
from sam2_hf.checkpoints.conversion import convert, reverse
from sam2_hf.checkpoints.from_weights import load_checkpoint
from sam2_hf.checkpoints.key_map import to_hub
from sam2_hf.checkpoints.recognise import recognise
from sam2_hf.errors import CheckpointError, CheckpointMismatchError, OutputExistsError
from tests.golden.recipe import golden_state_dict
from tests.numbers import alike
from tests.parity import GOLDEN, TAGS
from tests.tiny import micro_config

CONFIG = micro_config()


def weights(version: str = "2.1", size: str = "micro") -> dict[str, torch.Tensor]:
    shapes = json.loads((GOLDEN / "layouts" / f"{TAGS[version]}_hiera_{size}.json").read_text())
    return golden_state_dict(shapes, -0.155)


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    return weights()


def saved(content, folder, name: str = "checkpoint.pt"):
    path = folder / name
    torch.save(content, path)
    return path


def same(model: Sam2Model, expected: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_converted_folder_loads_as_model_and_processor(original, tmp_path):
    lines: list[str] = []
    folder = convert(saved({"model": original}, tmp_path), tmp_path / "out", config=CONFIG, report=lines.append)
    assert same(Sam2Model.from_pretrained(folder), to_hub(original))
    assert Sam2Processor.from_pretrained(folder).image_processor.size["height"] == 256
    assert any("SAM 2.1 of no released size, original layout" in line for line in lines)
    assert any("weights bit-equal, outputs alike" in line for line in lines)
    assert "license: apache-2.0" in (folder / "README.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "out"}  # nothing left behind


@pytest.mark.parametrize("version", TAGS)
def test_release_is_recognised_without_a_configuration(version, tmp_path):
    path = saved({"model": weights(version, "tiny")}, tmp_path, "no_hint_in_the_name.pt")
    model, recognised = load_checkpoint(path)
    assert (recognised.version, recognised.size) == (version, "tiny")
    assert model.config.version == version


def test_original_file_and_converted_folder_answer_the_same(original, tmp_path):
    path = saved({"model": original}, tmp_path)
    direct, _ = load_checkpoint(path, config=CONFIG)
    folder = convert(path, tmp_path / "out", config=CONFIG, verify=False)
    pixels = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        first = direct(pixels, input_points=torch.full((1, 1, 1, 2), 80.0))
        second = Sam2Model.from_pretrained(folder)(pixels, input_points=torch.full((1, 1, 1, 2), 80.0))
    assert alike(first.pred_masks, second.pred_masks)


def test_reverse_writes_what_was_converted(original, tmp_path):
    folder = convert(saved({"model": original}, tmp_path), tmp_path / "out", config=CONFIG, verify=False)
    written = torch.load(reverse(folder, tmp_path / "back.pt"), weights_only=True)
    assert list(written) == ["model"] and list(written["model"]) == list(original)
    assert all(torch.equal(written["model"][name], original[name]) for name in original)


def wrapped(original, kind: str):
    return {
        "bare": original,
        "state_dict": {"state_dict": original},
        "trainer": {"model": original, "optimizer": {"state": {}}, "epoch": 3, "scaler": None},
        "prefix": {"model": {f"module.{name}": tensor for name, tensor in original.items()}},
        "ema beside model": {"model": original, "ema": {name: tensor + 1 for name, tensor in original.items()}},
        "float16": {"model": {name: tensor.half() for name, tensor in original.items()}},
    }[kind]


@pytest.mark.parametrize("kind", ["bare", "state_dict", "trainer", "prefix", "ema beside model"])
def test_every_accepted_wrapping_gives_the_same_model(original, tmp_path, kind):
    model, _ = load_checkpoint(saved(wrapped(original, kind), tmp_path), config=CONFIG)
    assert same(model, to_hub(original))


def test_averaged_weights_are_taken_when_named(original, tmp_path):
    path = saved(wrapped(original, "ema beside model"), tmp_path)
    notes: list[str] = []
    model, _ = load_checkpoint(path, config=CONFIG, weights_key="ema", report=notes.append)
    assert torch.equal(model.no_memory_embedding, original["no_mem_embed"] + 1)


def test_half_precision_is_cast_and_said(original, tmp_path):
    notes: list[str] = []
    model, _ = load_checkpoint(saved(wrapped(original, "float16"), tmp_path), config=CONFIG, report=notes.append)
    assert model.dtype == torch.float32
    assert any("cast from float16 to float32" in note for note in notes)


def test_safetensors_of_both_layouts_and_shards_are_read(original, tmp_path):
    hub = to_hub(original)
    save_file(original, tmp_path / "original.safetensors")
    save_file(hub, tmp_path / "hub.safetensors")
    del hub["prompt_encoder.shared_embedding.positional_embedding"]  # shared tensors may be saved once
    save_file(hub, tmp_path / "one_copy.safetensors")
    shards = tmp_path / "sharded"
    Sam2Model.from_pretrained(None, config=CONFIG, state_dict=to_hub(original)).save_pretrained(
        shards, max_shard_size="2MB"
    )
    assert (shards / "model.safetensors.index.json").exists()
    for source in ("original.safetensors", "hub.safetensors", "one_copy.safetensors", "sharded"):
        model, _ = load_checkpoint(tmp_path / source, config=CONFIG)
        assert same(model, to_hub(original)), source


def test_image_only_weights_need_a_word(original, tmp_path):
    image_only = micro_config(image_only=True)
    with torch.device("meta"):
        names = set(Sam2Model(image_only).state_dict())
    save_file({name: tensor for name, tensor in to_hub(original).items() if name in names}, tmp_path / "i.safetensors")
    with pytest.raises(CheckpointMismatchError, match="image-only weights"):
        load_checkpoint(tmp_path / "i.safetensors", config=image_only)
    model, recognised = load_checkpoint(tmp_path / "i.safetensors", config=image_only, allow_image_only=True)
    assert recognised.image_only and model.config.image_only


def without(original, *names: str):
    return {name: tensor for name, tensor in original.items() if name not in names}


def changed(original, name: str, tensor) -> dict:
    return {**original, name: tensor}


WRONG = {
    "missing name": (
        lambda o: without(o, "no_mem_embed"),
        r"1 missing keys \(first no_memory_embedding\), 0 unexpected",
    ),
    "unexpected name": (
        lambda o: changed(o, "new.weight", torch.ones(1)),
        r"'new\.weight' is not a parameter of SAM 2",
    ),
    "half of 2.1": (lambda o: without(o, "no_obj_embed_spatial"), r"a damaged file or an unknown variant"),
    "2.0 weights": (
        lambda o: weights("2.0"),
        r"the weights are SAM 2\.0, the configuration is 2\.1.*obj_ptr_tpos_proj",
    ),
    "shape": (lambda o: changed(o, "no_mem_embed", torch.ones(1, 1, 8)), r"is \(1, 1, 8\), but .* needs \(1, 1, 64\)"),
    "NaN": (lambda o: changed(o, "no_mem_embed", torch.full((1, 1, 64), torch.nan)), r"'no_mem_embed' has NaN"),
    "integers": (lambda o: changed(o, "no_mem_embed", torch.ones(1, 1, 64).long()), r"has dtype torch\.int64"),
    "both layouts": (lambda o: o | to_hub(o), r"two layouts are mixed"),
    "SAM 1": (lambda o: {"image_encoder.blocks.0.norm1.weight": torch.ones(1)}, r"a checkpoint of SAM 1"),
    "SAM 3": (lambda o: {"detector.backbone.weight": torch.ones(1)}, r"a checkpoint of SAM 3"),
    "Hiera": (lambda o: {"blocks.0.attn.qkv.weight": torch.ones(1)}, r"a bare Hiera"),
    "something else": (lambda o: {"fc.weight": torch.ones(1)}, r"not a SAM 2 checkpoint"),
    "not tensors": (lambda o: {"epoch": 3}, r"'epoch' is a int, not a tensor"),
    "empty": (lambda o: {"model": {}}, r"holds no tensors"),
    "a tensor": (lambda o: torch.ones(3), r"holds a Tensor, expected a dictionary"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_file_is_refused_in_one_line_and_leaves_nothing(original, tmp_path, kind):
    make, message = WRONG[kind]
    path = saved(make(original), tmp_path)
    with pytest.raises(CheckpointError, match=message) as refused:
        convert(path, tmp_path / "out", config=CONFIG)
    assert "\n" not in str(refused.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"checkpoint.pt"}


class Anything:
    """Stands for an object that a pickle would have to construct."""


def test_pickles_that_need_more_than_tensors_are_not_opened(tmp_path):
    (tmp_path / "object.pt").write_bytes(pickle.dumps(Anything(), protocol=2))
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "module.pt")
    for name in ("object.pt", "module.pt"):
        with pytest.raises(CheckpointError, match="ask for safetensors"):
            load_checkpoint(tmp_path / name)


def test_cut_off_and_foreign_files_are_refused(original, tmp_path):
    whole = saved({"model": original}, tmp_path).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    save_file(original, tmp_path / "whole.safetensors")
    cut = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "picture.png").write_bytes(b"png")
    (tmp_path / "folder").mkdir()
    for name in ("cut.pt", "text.pt", "empty.pt", "cut.safetensors", "picture.png", "folder", "absent.pt"):
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            load_checkpoint(tmp_path / name)


def test_size_that_only_resembles_a_release_needs_its_configuration():
    state_dict = weights("2.1", "tiny")
    state_dict["image_encoder.trunk.pos_embed"] = torch.zeros(1, 96, 14, 14)
    assert recognise(state_dict).size is None


def test_configuration_is_asked_for_where_the_weights_do_not_tell(original, tmp_path):
    with pytest.raises(CheckpointMismatchError, match="convert it with the configuration it was trained with"):
        load_checkpoint(saved({"model": original}, tmp_path))


def test_existing_output_is_never_touched(original, tmp_path):
    path = saved({"model": original}, tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        convert(path, tmp_path / "out", config=CONFIG)
    with pytest.raises(OutputExistsError, match="exists already"):
        reverse(path, path)
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_weights_stay_float32_whatever_the_configuration_says(original, tmp_path):
    config = micro_config()
    config.dtype = torch.bfloat16
    folder = convert(saved({"model": original}, tmp_path), tmp_path / "out", config=config)
    assert same(Sam2Model.from_pretrained(folder, dtype=torch.float32), to_hub(original))


def test_reverse_refuses_incomplete_weights(original, tmp_path):
    hub = to_hub(original)
    del hub["no_memory_embedding"], hub["mask_decoder.iou_token.weight"]
    save_file(hub, tmp_path / "part.safetensors")
    with pytest.raises(CheckpointMismatchError, match="2 missing keys"):
        reverse(tmp_path / "part.safetensors", tmp_path / "back.pt", config=CONFIG)
    assert not (tmp_path / "back.pt").exists()


def test_reverse_takes_the_weights_that_are_named(original, tmp_path):
    path = saved(wrapped(original, "ema beside model"), tmp_path)
    written = torch.load(reverse(path, tmp_path / "back.pt", config=CONFIG, weights_key="ema"), weights_only=True)
    assert torch.equal(written["model"]["no_mem_embed"], original["no_mem_embed"] + 1)


def test_key_that_holds_no_weights_is_refused(original, tmp_path):
    path = saved(wrapped(original, "trainer"), tmp_path)
    with pytest.raises(CheckpointError, match="'epoch' is a int, not a dictionary of tensors"):
        load_checkpoint(path, config=CONFIG, weights_key="epoch")
    save_file(original, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="has a meaning for"):
        load_checkpoint(tmp_path / "a.safetensors", config=CONFIG, weights_key="ema")


def test_image_only_weights_have_no_version_and_fit_their_own_configuration(original, tmp_path):
    image_only = micro_config(image_only=True)
    with torch.device("meta"):
        names = set(Sam2Model(image_only).state_dict())
    save_file({name: tensor for name, tensor in to_hub(original).items() if name in names}, tmp_path / "i.safetensors")
    image_only.save_pretrained(tmp_path / "config")
    config = type(image_only).from_json_file(tmp_path / "config" / "config.json")
    folder = convert(tmp_path / "i.safetensors", tmp_path / "out", config=config, allow_image_only=True)
    assert "SAM 2 custom size" in (folder / "README.md").read_text()
