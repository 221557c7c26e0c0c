"""The parts compute what the verbs compute; a bank with empty slots is a memory with fewer entries, exactly."""

import pytest
import torch

from sam2_hf.export.parts import PARTS, BankSize
from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT
from sam2_hf.modeling.outputs import ImageFeatures, MemoryBatch, PromptBatch
from tests.numbers import alike, differ
from tests.tiny import micro_model

BANK = BankSize(memory_frames=7, max_prompted=2, pointer_span=15)


@pytest.fixture(scope="module", params=["2.0", "2.1"])
def model(request):
    """With weights where a new model has zeros, so that nothing is left out unseen."""
    made, generator = micro_model(request.param), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        yield made


def part_of(model, name):
    return PARTS[name](model, BANK).eval()


def features(embedding, high_res_0=None, high_res_1=None, model=None) -> ImageFeatures:
    nothing = embedding.new_zeros(1)
    return ImageFeatures(
        image_embedding=embedding,
        high_res_0=nothing if high_res_0 is None else high_res_0,
        high_res_1=nothing if high_res_1 is None else high_res_1,
        dense_position=nothing if model is None else model.get_image_wide_positional_embeddings(),
    )


def test_empty_slots_are_as_if_they_were_not_there(model):
    part = part_of(model, "memory-attention")
    image, memory, time, has_memory, pointers, pointer_time, has_pointer = part.sample(3, 0)
    found = part(image, memory, time, has_memory, pointers, pointer_time, has_pointer)
    for row in range(3):
        filled, held = has_memory[row], has_pointer[row]
        assert filled.sum() == row + 1 < part.bank.maps
        batch = MemoryBatch(
            spatial=memory[row : row + 1, filled],
            spatial_time=time[row : row + 1, filled],
            pointers=pointers[row : row + 1, held],
            pointer_time=pointer_time[row : row + 1, held],
        )
        assert alike(found[row], model.recall(features(image), batch).image_embedding[0], 1e-4)
    rubbish = torch.where(has_memory[..., None, None, None], memory, 100 * memory)
    held = torch.where(has_pointer[..., None], pointers, 100 * pointers)
    assert alike(part(image, rubbish, time, has_memory, held, pointer_time, has_pointer), found, 1e-4)
    assert differ(found[0], found[1])


def test_decoder_gives_the_single_mask_and_the_candidates(model):
    part = part_of(model, "decoder")
    embedding, high_res_0, high_res_1, points, labels, mask, has_mask = part.sample(2, 3)
    masks, scores, object_scores, pointers = part(embedding, high_res_0, high_res_1, points, labels, mask, has_mask)
    for row, given in enumerate((None, mask[1:2])):
        one = slice(row, row + 1)
        prompts = model.encode_prompts(PromptBatch(points=points[one], labels=labels[one], mask_logits=given), 1)
        maps = features(embedding[one], high_res_0, high_res_1, model)
        single, several = (model.decode_masks(maps, prompts, multimask) for multimask in (False, True))
        assert alike(masks[one, :1], single.mask_logits, 1e-4) and alike(masks[one, 1:], several.mask_logits, 1e-4)
        assert alike(scores[one, :1], single.iou_scores, 1e-4) and alike(scores[one, 1:], several.iou_scores, 1e-4)
        assert alike(object_scores[one], single.object_score_logits, 1e-4)
        tokens = torch.cat((single.mask_tokens, several.mask_tokens), dim=1)[0]
        known = model.object_pointers(tokens, object_scores[one].expand(4, 1))
        assert alike(pointers[row], known, 1e-4)


def test_memory_of_an_absent_object_is_that_of_an_empty_mask(model):
    part = part_of(model, "memory-encoder")
    image, masks, _, _ = part.sample(2, 0)
    scores, prompted = torch.tensor([[3.0], [-3.0]]), torch.tensor([False, False])
    empty = torch.full_like(masks[1:], NO_OBJECT_LOGIT)
    known = model.memorize(features(image), torch.cat((masks[:1], empty)), scores, prompted)
    assert alike(part(image, masks, scores, prompted), known, 1e-4)


def test_encoder_gives_the_raw_map_and_that_of_a_picture(model):
    part = part_of(model, "image-encoder")
    (pixels,) = part.sample(1, 0)
    raw = model.encode_image(pixels)
    found = part(pixels)
    expected = (raw.image_embedding, model.recall(raw).image_embedding, raw.high_res_0, raw.high_res_1)
    assert all(alike(one, other, 1e-4) for one, other in zip(found, expected, strict=True))
