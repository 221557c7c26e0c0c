import json
import traceback

import pytest
import torch

from sam2_hf import Sam2Config, Sam2Model, load
from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.configuration import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from tests.tiny import MICRO_TRUNK, micro_config, saved_micro

PARAMETERS = {  # of the released checkpoints
    ("tiny", "2.0"): 38_945_986,
    ("tiny", "2.1"): 38_962_498,
    ("small", "2.0"): 46_043_842,
    ("small", "2.1"): 46_060_354,
    ("base_plus", "2.0"): 80_833_666,
    ("base_plus", "2.1"): 80_850_178,
    ("large", "2.0"): 224_430_130,
    ("large", "2.1"): 224_446_642,
    ("micro", "2.0"): 1_469_554,
    ("micro", "2.1"): 1_470_610,
}
TRUNK_PARAMETERS = {"tiny": 26_849_472, "small": 33_947_328, "base_plus": 68_675_712, "large": 212_149_296}


def build(size: str, version: str) -> Sam2Model:
    config = micro_config(version) if size == "micro" else getattr(Sam2Config, size)(version=version)
    with torch.device("meta"):
        return Sam2Model(config)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("size", "version"), PARAMETERS)
def test_release_has_its_number_of_parameters(size, version):
    model = build(size, version)
    assert count(model) == PARAMETERS[size, version]
    if size in TRUNK_PARAMETERS:
        assert count(model.vision_encoder.backbone) == TRUNK_PARAMETERS[size]


def test_parts_of_2_1_have_their_numbers_of_parameters():
    model = build("tiny", "2.1")
    assert count(model.mask_decoder) == 4_215_109
    assert count(model.memory_attention) == 5_922_304
    assert count(model.memory_encoder) == 1_384_608
    assert count(model.object_pointer_proj) == 197_376
    assert count(model.prompt_encoder) == 6_220


@pytest.mark.parametrize("image_size", [256, 512, 544, 1536])
def test_everything_follows_the_image_size(image_size):
    config = Sam2Config(image_size=image_size)
    assert config.vision_config.backbone_config.image_size == [image_size, image_size]
    assert config.vision_config.backbone_feature_sizes == [[image_size // stride] * 2 for stride in (4, 8, 16)]
    assert config.prompt_encoder_config.image_size == image_size
    assert config.memory_attention_rope_feat_sizes == [image_size // 16] * 2
    assert (config.grid_size, config.low_res_mask_size) == (image_size // 16, image_size // 4)


def test_image_size_may_be_a_pair():
    assert Sam2Config(image_size=[512, 512]).image_size == 512


def test_from_pretrained_with_another_image_size_settles_all_parts(tmp_path):
    Sam2Config().save_pretrained(tmp_path)
    config = Sam2Config.from_pretrained(tmp_path, image_size=512)
    assert config.to_dict() == Sam2Config(image_size=512).to_dict()


def test_memory_widths_follow_the_model_width():
    config = Sam2Config(vision_config={"fpn_hidden_size": 64})
    assert config.memory_attention_hidden_size == config.memory_fuser_embed_dim == config.hidden_size == 64
    assert config.memory_encoder_output_channels == 16
    assert config.prompt_encoder_config.hidden_size == config.mask_decoder_config.hidden_size == 64


def test_published_file_of_the_first_layout_is_read():
    """Empty model types in the parts, the old name of the rotary base, fields of the library that mean nothing here."""
    published = Sam2Config.large(version="2.0").to_dict()
    for part in ("prompt_encoder_config", "mask_decoder_config"):
        published[part]["model_type"] = ""
    published["vision_config"]["backbone_config"]["num_attention_heads"] = 1
    del published["rope_parameters"]
    published |= {"memory_attention_rope_theta": 10000, "architectures": ["Sam2VideoModel"], "torch_dtype": "float32"}
    config = Sam2Config.from_dict(published)
    assert config.rope_parameters == {"rope_type": "axial", "rope_theta": 10000.0}
    assert config.version == "2.0"
    assert config.vision_config.backbone_config.window_size_per_stage == [8, 4, 16, 8]


def test_round_trip_through_a_file_is_exact(tmp_path):
    config = micro_config("2.0", sigmoid_scale_for_mem_enc=15.0)
    config.save_pretrained(tmp_path)
    assert Sam2Config.from_pretrained(tmp_path).to_dict() == config.to_dict()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam2_video"


def test_image_only_is_written_as_the_librarys_image_model_and_read_back(tmp_path):
    micro_config(image_only=True).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "sam2" and "image_only" not in written
    assert Sam2Config.from_pretrained(tmp_path).image_only


def test_loading_an_image_only_file_does_not_warn_of_another_model_type(tmp_path, caplog):
    micro_config(image_only=True).save_pretrained(tmp_path)
    Sam2Config.from_pretrained(tmp_path)
    assert "You are using a model of type" not in caplog.text


def test_builders_refuse_unknown_fields_and_versions():
    with pytest.raises(TypeError, match="no field 'imagesize'"):
        Sam2Config.tiny(imagesize=512)
    with pytest.raises(ValueError, match=r"'2\.0' or '2\.1', got '3\.0'"):
        Sam2Config.tiny(version="3.0")


def test_builders_share_no_lists():
    first = Sam2Config.tiny()
    first.vision_config.backbone_config.blocks_per_stage.append(1)
    assert Sam2Config.tiny().vision_config.backbone_config.blocks_per_stage == [1, 2, 7, 2]


TRUNK, VISION = Sam2HieraDetConfig, Sam2VisionConfig
PROMPTS, DECODER, WHOLE = Sam2PromptEncoderConfig, Sam2MaskDecoderConfig, Sam2Config


@pytest.mark.parametrize(
    ("config_class", "fields", "message"),
    [
        (TRUNK, {"image_size": 500}, r"`image_size` is 500, but it must be a multiple of 32"),
        (TRUNK, {"image_size": [512, 256]}, r"`image_size` is \[512, 256\], but the input of SAM 2 is square"),
        (WHOLE, {"max_cond_frame_num": 1}, r"`max_cond_frame_num` is 1, but it must be -1 for no limit, or at least 2"),
        (TRUNK, {"patch_stride": 8}, r"`patch_stride` is \[8, 8\], but it must be 4"),
        (TRUNK, {"blocks_per_stage": [1, 2, 3]}, r"`blocks_per_stage` is \[1, 2, 3\], but it needs one number"),
        (TRUNK, {"hidden_size": 64}, r"`hidden_size` is 64, but embed_dim_per_stage starts at 96"),
        (TRUNK, {"num_attention_heads_per_stage": [5, 2, 4, 8]}, r"5 does not divide 96"),
        (TRUNK, {"window_size_per_stage": [7, 4, 14, 7]}, r"must be even"),
        (TRUNK, {"global_attention_blocks": [12]}, r"`global_attention_blocks` is \[12\], but there are 12 blocks"),
        (TRUNK, {"drop_path_rate": 1.0}, r"`drop_path_rate` is 1.0"),
        (VISION, {"backbone_channel_list": [1, 2, 3, 4]}, r"`backbone_channel_list` .* deepest first"),
        (VISION, {"fpn_hidden_size": 20}, r"`fpn_hidden_size` is 20, but it must be a multiple of 8"),
        (VISION, {"fpn_top_down_levels": [1]}, r"`fpn_top_down_levels` is \[1\]"),
        (PROMPTS, {"patch_size": 8}, r"`patch_size` is 8, but it must be 16"),
        (DECODER, {"num_attention_heads": 7}, r"`num_attention_heads` is 7, but it must divide the inner width 128"),
        (DECODER, {"mlp_dim": 0}, r"`mlp_dim` is 0, but it must be positive"),
        (WHOLE, {"image_size": 1000}, r"`image_size` is 1000, but it must be a positive multiple of 32"),
        (WHOLE, {"image_size": 0}, r"`image_size` is 0"),
        (WHOLE, {"enable_occlusion_spatial_embedding": False}, r"both are true in SAM 2.1 and both false in SAM 2.0"),
        (WHOLE, {"memory_attention_hidden_size": 128}, r"`memory_attention_hidden_size` is 128, but the model width"),
        (WHOLE, {"memory_encoder_output_channels": 48}, r"`memory_encoder_output_channels` is 48"),
        (WHOLE, {"prompt_encoder_config": {"hidden_size": 64}}, r"`prompt_encoder_config.hidden_size` is 64"),
        (WHOLE, {"num_maskmem": 0}, r"`num_maskmem` is 0, but it must be positive"),
        (
            WHOLE,
            {"memory_attention_num_attention_heads": 128},
            r"is 128, but each head of width 256 / heads needs",
        ),
        (
            WHOLE,
            {"memory_fuser_padding": 2},
            r"`memory_fuser_padding` is 2, but a kernel of 7 keeps the size only with 3",
        ),
        (WHOLE, {"mask_downsampler_stride": 4}, r"they must be 3, 2, 1"),
    ],
)
def test_wrong_value_is_refused_with_field_value_and_rule(config_class, fields, message):
    with pytest.raises(ValueError, match=message):
        config_class(**fields)


def test_sizes_of_parts_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="the trunk has 512; pass `image_size`"):
        Sam2Config(
            vision_config={"backbone_config": {**MICRO_TRUNK, "image_size": 512}},
            prompt_encoder_config={"image_size": 256},
        )


def test_memory_as_wide_as_the_model_is_possible():
    config = micro_config(memory_encoder_output_channels=64)
    assert config.memory_encoder_output_channels == config.hidden_size


def test_image_only_survives_every_way_to_make_a_configuration(tmp_path):
    config = micro_config(image_only=True)
    config.save_pretrained(tmp_path)
    made = (Sam2Config(**config.to_dict()), Sam2Config.from_json_file(tmp_path / "config.json"))
    for again in made:
        assert again.image_only and again.model_type == "sam2_video" and again.to_dict()["model_type"] == "sam2"


def test_configuration_made_of_anothers_parts_leaves_the_other_alone():
    first = Sam2Config()
    Sam2Config(vision_config=first.vision_config, image_size=512)
    assert first.vision_config.backbone_config.image_size == [1024, 1024]


def put(folder, path: str, value) -> None:
    """Changes one field of the file of a configuration."""
    *parts, field = path.split(".")
    inside = values = json.loads((folder / "config.json").read_text())
    for part in parts:
        inside = inside[part]
    inside[field] = value
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("num_maskmem", "7", "must be a whole number;"),
        ("num_maskmem", None, "must be a whole number;"),
        ("image_size", {"height": 64}, "must be a whole number or a list of whole numbers or null;"),
        ("image_size", [], "must be one number or two;"),
        ("initializer_range", [0.02], "must be a number with a decimal point;"),
        ("rope_parameters", [], "must be an object in braces or null;"),
        ("rope_parameters.rope_theta", "x", "must be a positive number;"),
        ("memory_attention_dropout", "x", "must be a number;"),
        ("memory_attention_num_attention_heads", 0, "must be positive;"),
        ("enable_occlusion_spatial_embedding", "true", "must be true or false;"),
        ("vision_config", "x", "must be an object in braces or null;"),
        ("vision_config.backbone_config", [1], "must be an object in braces or null;"),
        ("vision_config.backbone_config.blocks_per_stage", ["1", "2"], "must be a list of whole numbers;"),
        ("vision_config.backbone_config.blocks_per_stage", {"a": 1}, "must be a list of whole numbers;"),
        ("vision_config.backbone_config.image_size", [64], "must be one number or two;"),
        ("vision_config.backbone_config.hidden_act", "nope", "there is no such activation;"),
        ("mask_decoder_config.num_attention_heads", "8", "must be a whole number;"),
        ("mask_decoder_config.attention_downsample_rate", 0, "must be positive;"),
        ("dtype", 7, "must be a text or an object in braces or null;"),
        ("dtype", "nope", "has no attribute"),
        ("id2label", [1], "must be an object in braces or null;"),
        ("architectures", "Sam2Model", "must be a list of texts or null;"),
    ],
)
def test_field_of_a_file_that_cannot_be_meant_is_named_from_every_door(tmp_path, path, value, expected):
    micro_config(image_size=64).save_pretrained(tmp_path)
    put(tmp_path, path, value)
    for door in (Sam2Config.from_pretrained, Sam2Model.from_pretrained, lambda name: load(str(name))):
        with pytest.raises(CheckpointError) as told:
            door(tmp_path)
        text = str(told.value)
        named = "rope_parameters['rope_theta']" if path == "rope_parameters.rope_theta" else path
        assert text.startswith(f"{tmp_path}: config.json: `{named}` is {value!r}")
        assert repr(value) in text and expected in text and "take the file of the checkpoint anew" in text


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"x"', "\0"])
def test_file_that_holds_no_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for door in (Sam2Config.from_pretrained, Sam2Model.from_pretrained, lambda name: load(str(name))):
        with pytest.raises(CheckpointError, match=r"config\.json (is not JSON|does not hold an object)"):
            door(tmp_path)


def test_single_file_is_read_with_the_same_care(tmp_path):
    micro_config(image_size=64).save_pretrained(tmp_path)
    assert Sam2Config.from_json_file(tmp_path / "config.json").image_size == 64
    put(tmp_path, "num_maskmem", "7")
    with pytest.raises(CheckpointError, match=r"config\.json: `num_maskmem` is '7', but it must be a whole number"):
        Sam2Config.from_json_file(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        Sam2Config.from_json_file(tmp_path / "config.json")


def test_overrides_are_not_taken_for_the_file(tmp_path):
    micro_config(image_size=64).save_pretrained(tmp_path)
    assert Sam2Config.from_pretrained(tmp_path, image_size=96).image_size == 96
    with pytest.raises(ValueError, match="multiple of 32") as told:
        Sam2Config.from_pretrained(tmp_path, image_size=50)
    assert "config.json" not in str(told.value)


@pytest.mark.parametrize("length", [0, 7, 5000])
def test_cut_off_weights_are_said_to_be_so(tmp_path, length):
    saved_micro(tmp_path, 64)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="the weights are damaged or cut off; download them again"):
        Sam2Model.from_pretrained(tmp_path)


class Printed:
    """Prints when it is unpickled without care."""

    def __reduce__(self):
        return print, ("was run",)


@pytest.mark.parametrize("kind", ["more than tensors", "cut off", "no weights", "empty"])
def test_pickle_that_is_refused_is_not_advised_to_be_run(tmp_path, capsys, kind):
    saved_micro(tmp_path, 64)
    (tmp_path / "model.safetensors").unlink()
    path = tmp_path / "pytorch_model.bin"
    torch.save({"x": Printed()} if kind == "more than tensors" else {"x": torch.zeros(999)}, path)
    if kind != "more than tensors":
        path.write_bytes({"cut off": path.read_bytes()[:900], "no weights": b"junk" * 99, "empty": b""}[kind])
    capsys.readouterr()
    for door in (Sam2Model.from_pretrained, lambda name: load(str(name))):
        with pytest.raises(CheckpointError) as told:
            door(tmp_path)
        if kind == "more than tensors":
            assert "ask for safetensors" in str(told.value)
            assert "set to `False`" not in "".join(traceback.format_exception(told.value))
        else:
            assert "damaged or cut off; download them again" in str(told.value)
    assert "was run" not in capsys.readouterr().out
