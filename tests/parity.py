"""Differences between this package and the original implementation, on the golden outputs.

Shared by the parity tests and by `scripts/measure_parity.py`. Every function loads weights the way a user does: an
original `.pt` through our own conversion, then the public API.
"""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from sam2_hf import Sam2Config, Sam2Model, Sam2Processor
from sam2_hf.checkpoints.conversion import convert
from sam2_hf.modeling.outputs import ImageFeatures, PromptBatch
from sam2_hf.modeling.position_embedding import sine_encoding_1d
from tests.golden.recipe import golden_input, golden_scene, golden_state_dict
from tests.tiny import micro_config

GOLDEN = Path(__file__).parent / "golden"
TAGS = {"2.0": "sam2", "2.1": "sam2.1"}
SIZES = ("micro", "tiny", "small", "base_plus", "large")
Differences = dict[str, float]


def golden_file(kind: str, version: str, size: str) -> Path:
    return GOLDEN / f"{kind}_{TAGS[version]}_{size}.safetensors"


def golden_checkpoint(version: str, size: str, reference: Path | float, folder: Path) -> Path:
    """Writes the stand-in weights of a reference file, or of an object score bias, as an original `.pt`."""
    bias = reference
    if isinstance(reference, Path):
        with safe_open(reference, "pt") as file:
            bias = float(file.metadata()["object_score_bias"])
    layout = json.loads((GOLDEN / "layouts" / f"{TAGS[version]}_hiera_{size}.json").read_text())
    path = folder / f"{TAGS[version]}_hiera_{size}.pt"
    torch.save({"model": golden_state_dict(layout, bias)}, path)
    return path


def converted(version: str, size: str, reference: Path | float, folder: Path) -> Path:
    """That checkpoint, converted to a folder for `from_pretrained`."""
    checkpoint = golden_checkpoint(version, size, reference, folder)
    config = micro_config(version) if size == "micro" else None
    return convert(checkpoint, folder / "converted", config=config, verify=False)


@torch.no_grad()
def component_differences(version: str, folder: Path) -> Differences:
    """Largest absolute difference of every component entry, micro size."""
    reference = golden_file("components", version, "micro")
    golden = load_file(reference)
    model = Sam2Model.from_pretrained(converted(version, "micro", reference, folder))
    found = {
        **_image_encoder(model),
        **_prompt_encoder(model, golden),
        **_mask_decoder(model, golden),
        **_memory_encoder(model),
        **_memory_attention(model),
        "sine_1d/output_64": sine_encoding_1d(golden["sine_1d/positions"], 64),
    }
    inputs = {"prompt_encoder/points", "prompt_encoder/labels", "sine_1d/positions"}
    assert set(found) == set(golden) - inputs, set(found) ^ (set(golden) - inputs)
    return {name: _difference(found[name], golden[name]) for name in sorted(found)}


def _image_encoder(model: Sam2Model) -> dict[str, Tensor]:
    pixels = golden_input("image_encoder/pixel_values", [1, 3, 256, 256])
    levels = model.vision_encoder(pixels).fpn_hidden_states
    found = {f"image_encoder/fpn_{i}": level[:, ::4, ::2, ::2] for i, level in enumerate(levels)}
    for i, encoding in enumerate(model.get_image_features(pixels).fpn_position_encoding):
        grid = encoding.permute(1, 2, 0).unflatten(2, levels[i].shape[-2:])
        found[f"image_encoder/position_{i}"] = grid[:, ::4, ::2, ::2]
    return found


def _points(golden: dict[str, Tensor], **more) -> PromptBatch:
    return PromptBatch(points=golden["prompt_encoder/points"], labels=golden["prompt_encoder/labels"], **more)


def _prompt_encoder(model: Sam2Model, golden: dict[str, Tensor]) -> dict[str, Tensor]:
    mask_logits = golden_input("prompt_encoder/mask_logits", [2, 1, 64, 64])
    plain = model.encode_prompts(_points(golden), 2)
    masked = model.encode_prompts(_points(golden, mask_logits=mask_logits), 2)
    return {
        "prompt_encoder/points_only/sparse": plain.sparse,
        "prompt_encoder/points_only/dense": plain.dense.expand(2, -1, -1, -1),
        "prompt_encoder/with_mask/sparse": masked.sparse,
        "prompt_encoder/with_mask/dense": masked.dense,
        "prompt_encoder/dense_positional_encoding": model.get_image_wide_positional_embeddings(),
    }


def _mask_decoder(model: Sam2Model, golden: dict[str, Tensor]) -> dict[str, Tensor]:
    features = ImageFeatures(
        image_embedding=golden_input("mask_decoder/image_embeddings", [2, 64, 16, 16]),
        high_res_0=golden_input("mask_decoder/high_res_0", [2, 8, 64, 64]),
        high_res_1=golden_input("mask_decoder/high_res_1", [2, 16, 32, 32]),
        dense_position=model.get_image_wide_positional_embeddings(),
    )
    prompts = model.encode_prompts(_points(golden), 2)
    found = {}
    for name, multimask in (("one_mask", False), ("three_masks", True)):
        prediction = model.decode_masks(features, prompts, multimask)
        found[f"mask_decoder/{name}/masks"] = prediction.mask_logits
        for field in ("iou_scores", "mask_tokens", "object_score_logits"):
            found[f"mask_decoder/{name}/{field}"] = getattr(prediction, field)
    return found


def _memory_encoder(model: Sam2Model) -> dict[str, Tensor]:
    features = golden_input("memory_encoder/pixel_features", [2, 64, 16, 16])
    masks = 20 * torch.sigmoid(3 * golden_input("memory_encoder/mask_logits", [2, 1, 256, 256])) - 10
    position = model.memory_position.table.expand(2, -1, -1, -1)
    return {"memory_encoder/features": model.memory_encoder(features, masks), "memory_encoder/position": position}


def _memory_attention(model: Sam2Model) -> dict[str, Tensor]:
    found = {}
    for frames, pointers in ((1, 4), (3, 8)):
        name = f"memory_attention/{frames}_frames"
        tokens = 256 * frames + pointers
        shapes = {"current": [256, 2, 64], "current_position": [256, 2, 64]}
        shapes |= {"memory": [tokens, 2, 16], "memory_position": [tokens, 2, 16]}
        inputs = [golden_input(f"{name}/{key}", shape).transpose(0, 1) for key, shape in shapes.items()]
        found[f"{name}/output"] = model.memory_attention(*inputs, num_pointer_tokens=pointers).transpose(0, 1)
    return found


@torch.no_grad()
def image_differences(version: str, size: str, folder: Path) -> Differences:
    """Largest differences of the image predictor over all cases: features, logits, IoU scores, relative area."""
    reference = golden_file("image", version, size)
    golden = load_file(reference)
    path = converted(version, size, reference, folder)
    model, processor = Sam2Model.from_pretrained(path), Sam2Processor.from_pretrained(path)
    worst: Differences = {"features": 0.0, "low-res logits": 0.0, "mask logits": 0.0, "IoU": 0.0, "area": 0.0}
    embeddings: dict[str, list[Tensor]] = {}
    previous = None
    for case in image_cases():
        scene, picture = case["name"].split("/")[0], case_picture(**case["scene"])
        if scene not in embeddings:
            pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
            embeddings[scene] = model.get_image_embeddings(pixels)
            _keep_worst(worst, _feature_differences(embeddings[scene], golden, scene))
        inputs = processor(original_sizes=[picture.shape[:2]], return_tensors="pt", **case_prompts(case))
        if case.get("mask_input") == "previous_best":
            inputs["input_masks"] = previous
        outputs = model(**inputs, image_embeddings=embeddings[scene], multimask_output=case["multimask"])
        previous = outputs.pred_masks[:, :, outputs.iou_scores[0, 0].argmax()]
        _keep_worst(worst, _case_differences(outputs, processor, inputs, golden, case["name"]))
    return worst


@cache
def image_cases() -> list[dict]:
    return json.loads((GOLDEN / "image_cases.json").read_text())


def case_picture(height: int, width: int, seed: int):
    return golden_scene(height, width, 0, seed)


def case_prompts(case: dict) -> dict:
    """The prompts of a golden case, nested as the processor takes them."""
    prompts = {}
    if "points" in case:
        several = isinstance(case["points"][0][0], list)
        prompts["input_points"] = [case["points"]] if several else [[case["points"]]]
        prompts["input_labels"] = [case["labels"]] if several else [[case["labels"]]]
    if "box" in case:
        prompts["input_boxes"] = [case["box"]] if isinstance(case["box"][0], list) else [[case["box"]]]
    return prompts


def _feature_differences(embeddings: list[Tensor], golden: dict[str, Tensor], scene: str) -> Differences:
    high_res_0, high_res_1, embedding = (level[0] for level in embeddings)
    found = {
        f"{scene}/high_res_0": high_res_0[::8, ::8, ::8],
        f"{scene}/high_res_1": high_res_1[::8, ::8, ::8],
        f"{scene}/image_embed": embedding[::8, ::4, ::4],
    }
    return {"features": max(_difference(value, golden[name]) for name, value in found.items())}


def _case_differences(outputs, processor, inputs, golden: dict[str, Tensor], name: str) -> Differences:
    low = outputs.pred_masks[0].clamp(-32, 32)[..., ::4, ::4]
    full = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"], binarize=False)[0]
    areas, expected = (full > 0).sum(dim=(-1, -2)).flatten(), golden[f"{name}/mask_area"].flatten()
    return {
        "low-res logits": _difference(low, golden[f"{name}/low_res_logits"]),
        "mask logits": _difference(full[..., ::24, ::24], golden[f"{name}/mask_logits"]),
        "IoU": _difference(outputs.iou_scores[0], golden[f"{name}/iou_scores"]),
        "area": float(((areas - expected).abs() / expected.clamp(min=1)).max()),
    }


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; the original leaves out the axis of a single object."""
    assert found.numel() == expected.numel(), f"{tuple(found.shape)} instead of {tuple(expected.shape)}"
    return float((found.reshape(expected.shape) - expected).abs().max())


def _keep_worst(worst: Differences, found: Differences) -> None:
    for name, value in found.items():
        worst[name] = max(worst[name], value)


def release_config(version: str, size: str) -> Sam2Config:
    """The configuration of a golden layout."""
    return micro_config(version) if size == "micro" else getattr(Sam2Config, size)(version=version)
