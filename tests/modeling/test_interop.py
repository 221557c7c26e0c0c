"""The classes of transformers load what we save and we load what they save, with the same outputs."""

import logging

import pytest
import torch
import transformers

from sam2_hf import Sam2Config, Sam2Model
from tests.parity import SIZES, TAGS, release_config
from tests.tiny import IMAGE_SIZE, MICRO_TRUNK, micro_model

NativeVideoModel = pytest.importorskip("transformers").Sam2VideoModel
NativeImageModel = transformers.Sam2Model
NativeVideoConfig = transformers.Sam2VideoConfig

POINTS = torch.tensor([[[[30.0, 40.0]], [[200.0, 90.0]]]])
LABELS = torch.ones(1, 2, 1, dtype=torch.long)
LOGIT_TOLERANCE = 1e-5


@pytest.fixture
def messages(caplog):
    """Everything that the library logs at warning level or above."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


# The library's memory attention takes memory of 64 channels only, and not of the model's own width.
NATIVE_WIDTHS = {
    "vision_config": {"fpn_hidden_size": 128, "backbone_config": MICRO_TRUNK},
    "memory_encoder_output_channels": 64,
}


@pytest.fixture(params=TAGS)
def ours(request) -> Sam2Model:
    return micro_model(request.param, **NATIVE_WIDTHS)


@torch.no_grad()
def answers(model, pixels) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    outputs = model.eval()(pixel_values=pixels, input_points=POINTS, input_labels=LABELS)
    return outputs.pred_masks, outputs.iou_scores, outputs.object_score_logits


def assert_equal_answers(first, second) -> None:
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    for one, other in zip(answers(first, pixels), answers(second, pixels), strict=True):
        torch.testing.assert_close(one, other, atol=LOGIT_TOLERANCE, rtol=0)


def image_features(model, pixels):
    with torch.no_grad():
        return model.eval().get_image_features(pixels)


@pytest.mark.parametrize("size", [size for size in SIZES if size != "micro"])
@pytest.mark.parametrize("version", TAGS)
def test_names_and_shapes_are_those_of_the_library(version, size):
    config = release_config(version, size)
    with torch.device("meta"):
        ours, native = Sam2Model(config), NativeVideoModel(NativeVideoConfig.from_dict(config.to_dict()))
    shapes = [{name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in (ours, native)]
    assert shapes[0] == shapes[1]


def test_librarys_video_model_loads_what_we_save(ours, tmp_path, messages):
    ours.save_pretrained(tmp_path)
    native, info = NativeVideoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert not messages.records
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    found, expected = image_features(native, pixels), image_features(ours, pixels)
    for one, other in zip(found.fpn_hidden_states, expected.fpn_hidden_states, strict=True):
        torch.testing.assert_close(one, other, atol=LOGIT_TOLERANCE, rtol=0)
    for one, other in zip(found.fpn_position_encoding, expected.fpn_position_encoding, strict=True):
        torch.testing.assert_close(one, other, atol=LOGIT_TOLERANCE, rtol=0)


def test_we_load_what_the_librarys_video_model_saves(ours, tmp_path, messages):
    native = NativeVideoModel(NativeVideoConfig.from_dict(ours.config.to_dict()))
    matrix = native.shared_image_embedding.positional_embedding  # two copies there, equal in every checkpoint
    native.prompt_encoder.shared_embedding.positional_embedding.copy_(matrix)
    native.save_pretrained(tmp_path)
    loaded, info = Sam2Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert not messages.records
    assert not loaded.config.image_only
    assert_equal_answers(NativeImageModel.from_pretrained(tmp_path), loaded)


def test_librarys_image_model_loads_what_we_save_with_the_same_answers(ours, tmp_path):
    """It warns of the model type `sam2_video`, as it does for every published checkpoint."""
    ours.save_pretrained(tmp_path)
    native, info = NativeImageModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert_equal_answers(native, ours)


def test_image_only_models_pass_both_ways_without_a_message(tmp_path, messages):
    image_only = micro_model(image_only=True)
    image_only.save_pretrained(tmp_path / "ours")
    native, info = NativeImageModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    native.save_pretrained(tmp_path / "native")
    back, info = Sam2Model.from_pretrained(tmp_path / "native", output_loading_info=True)
    assert not any(info.values())
    assert not messages.records
    assert back.config.image_only
    assert_equal_answers(image_only, back)


def test_image_part_of_a_video_checkpoint_can_be_taken_alone(ours, tmp_path):
    ours.save_pretrained(tmp_path)
    part, info = Sam2Model.from_pretrained(tmp_path, image_only=True, output_loading_info=True)
    assert not any(info.values())
    assert_equal_answers(ours, part)


def test_configuration_objects_of_the_library_are_taken():
    native = transformers.Sam2Config(vision_config=transformers.Sam2VisionConfig())
    config = Sam2Config(vision_config=native.vision_config, mask_decoder_config=native.mask_decoder_config)
    assert config.to_dict() == Sam2Config().to_dict()


def test_defaults_are_the_librarys_defaults():
    native = NativeVideoConfig().to_dict()
    ours = Sam2Config().to_dict()
    shared = {key for key in ours if key in native} - {"vision_config", "prompt_encoder_config", "mask_decoder_config"}
    assert {key: ours[key] for key in shared} == {key: native[key] for key in shared}
    missing = set(native) - set(ours)
    assert not missing, missing
