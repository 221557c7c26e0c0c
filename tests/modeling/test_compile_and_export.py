"""The image encoder and the decoder compile without a graph break, and all of a picture's model exports."""

import pytest
import torch

from tests.tiny import IMAGE_SIZE, micro_model

pytestmark = pytest.mark.filterwarnings("ignore:::torch.*")  # the compiler warns of itself
BACKEND = "aot_eager"  # captures graphs as the default backend does, without minutes of compiling C++


class Decoder(torch.nn.Module):
    """Prompts and features to masks, as tensors in and tensors out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, high_res_0, high_res_1, embedding, points, labels):
        features = self.model._features_from([high_res_0, high_res_1, embedding])
        from sam2_hf.modeling.outputs import PromptBatch

        prompts = self.model.encode_prompts(PromptBatch(points=points, labels=labels), points.shape[0])
        prediction = self.model.decode_masks(features, prompts, multimask_output=False)
        return prediction.mask_logits, prediction.iou_scores


class Encoder(torch.nn.Module):
    """Pixels to the three maps."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return tuple(self.model.get_image_embeddings(pixel_values))


@pytest.fixture(scope="module")
def parts():
    model = micro_model()
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = model.get_image_embeddings(pixels)
    clicks = (torch.tensor([[[30.0, 40.0]], [[99.0, 9.0]]]), torch.ones(2, 1, dtype=torch.long))
    return {"encoder": (Encoder(model), (pixels,)), "decoder": (Decoder(model), (*maps, *clicks))}


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_part_compiles_as_one_graph(parts, part):
    module, inputs = parts[part]
    torch.compiler.reset()
    with torch.no_grad():
        expected = module(*inputs)
        found = torch.compile(module, fullgraph=True, backend=BACKEND)(*inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_part_exports(parts, part):
    module, inputs = parts[part]
    with torch.no_grad():
        expected = module(*inputs)
        found = torch.export.export(module, inputs).module()(*inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


PROMPTS = {
    "clicks": {"input_points": [[[[30.0, 40.0], [60.0, 70.0]], [[99.0, 9.0], [5.0, 5.0]]]]},
    "labelled clicks": {"input_points": [[[[30.0, 40.0]]]], "input_labels": [[[1]]]},
    "boxes": {"input_boxes": [[[10.0, 20.0, 90.0, 120.0], [30.0, 5.0, 70.0, 60.0]]]},
    "boxes and clicks": {"input_boxes": [[[10.0, 20.0, 90.0, 120.0]]], "input_points": [[[[50.0, 60.0]]]]},
    "masks": {"input_masks": torch.randn(1, 2, IMAGE_SIZE // 4, IMAGE_SIZE // 4).tolist()},
    "nothing": {},
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_whole_forward_exports_with_every_kind_of_prompt(parts, kind):
    """Its checks of values, which a graph cannot hold, are left out of the graph."""
    model, (pixels,) = parts["encoder"][0].model, parts["encoder"][1]
    inputs = {"pixel_values": pixels, **{name: torch.tensor(value) for name, value in PROMPTS[kind].items()}}
    with torch.no_grad():
        expected = model(**inputs)
        found = torch.export.export(model, (), inputs).module()(**inputs)
    for name in ("pred_masks", "iou_scores", "object_score_logits"):
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)
