"""`Sam2Model` for pictures: what it answers, and how it behaves as a model of the library."""

import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sam2_hf import Sam2Model, Sam2VisionModel
from sam2_hf.errors import CheckpointError, MissingWeightsError
from sam2_hf.modeling.object_head import NO_OBJECT_LOGIT
from sam2_hf.modeling.outputs import MaskPrediction, MemoryBatch, PromptBatch
from tests.numbers import alike, differ
from tests.tiny import IMAGE_SIZE, micro_config, micro_model

LOW = IMAGE_SIZE // 4


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    return micro_model()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def embeddings(model, pixels) -> list[torch.Tensor]:
    with torch.no_grad():
        return model.get_image_embeddings(pixels[:1])


def points(*objects: list[tuple[float, float]]) -> torch.Tensor:
    return torch.tensor([objects], dtype=torch.float32)


@torch.no_grad()
def ask(model, embeddings, **prompts):
    return model(image_embeddings=embeddings, **prompts)


def test_outputs_have_the_documented_shapes(model, pixels):
    with torch.no_grad():
        outputs = model(pixels, input_points=torch.rand(2, 3, 4, 2) * 200)
    assert outputs.pred_masks.shape == (2, 3, 3, LOW, LOW)
    assert outputs.iou_scores.shape == (2, 3, 3)
    assert outputs.object_score_logits.shape == (2, 3, 1)
    assert [tuple(level.shape) for level in outputs.image_embeddings] == [
        (2, 8, 64, 64),
        (2, 16, 32, 32),
        (2, 64, 16, 16),
    ]
    assert bool((outputs.iou_scores >= 0).all() and (outputs.iou_scores <= 1).all())


def test_embeddings_passed_back_give_what_the_pixels_gave(model, pixels):
    with torch.no_grad():
        first = model(pixels, input_points=torch.full((2, 1, 1, 2), 99.0))
        again = model(image_embeddings=first.image_embeddings, input_points=torch.full((2, 1, 1, 2), 99.0))
    assert alike(first.pred_masks, again.pred_masks)


def test_without_prompts_there_is_one_object_without_prompt_tokens(model, pixels):
    with torch.no_grad():
        outputs = model(pixels)
        features = model.recall(model.encode_image(pixels))
        alone = model.decode_masks(features, model.encode_prompts(PromptBatch(), rows=2))
    assert outputs.pred_masks.shape == (2, 1, 3, LOW, LOW)
    assert alike(outputs.pred_masks[:, 0], alone.mask_logits)


def test_objects_together_are_the_objects_one_by_one(model, embeddings):
    clicks = points([(30, 40)], [(200, 100)], [(128, 250)])
    together = ask(model, embeddings, input_points=clicks)
    for index in range(3):
        alone = ask(model, embeddings, input_points=clicks[:, index : index + 1])
        torch.testing.assert_close(together.pred_masks[:, index], alone.pred_masks[:, 0], atol=1e-5, rtol=0)


def test_pictures_of_a_batch_with_several_objects_are_the_pictures_alone(model, pixels):
    clicks = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(2)) * IMAGE_SIZE
    with torch.no_grad():
        together = model(pixels, input_points=clicks)
        for index in range(2):
            alone = model(pixels[index : index + 1], input_points=clicks[index : index + 1])
            torch.testing.assert_close(together.pred_masks[index], alone.pred_masks[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pad_first", [False, True])
def test_padding_changes_no_result(model, embeddings, pad_first):
    """The library's own model lets padding points take part in attention."""
    click, pad = [(30.0, 40.0)], [(-10.0, -10.0)]
    padded_points = points(pad + click if pad_first else click + pad, [(200.0, 100.0), (60.0, 70.0)])
    padded_labels = torch.tensor([[[-10, 1] if pad_first else [1, -10], [1, 0]]])
    together = ask(model, embeddings, input_points=padded_points, input_labels=padded_labels)
    alone = ask(model, embeddings, input_points=points(click), input_labels=torch.ones(1, 1, 1, dtype=torch.long))
    other = ask(model, embeddings, input_points=padded_points[:, 1:], input_labels=padded_labels[:, 1:])
    assert alike(together.pred_masks[:, 0], alone.pred_masks[:, 0])
    assert alike(together.iou_scores[:, 0], alone.iou_scores[:, 0])
    assert alike(together.pred_masks[:, 1], other.pred_masks[:, 0])


def test_padding_changes_no_result_in_a_batch_of_pictures(model, pixels):
    ragged_points = torch.rand(2, 2, 3, 2, generator=torch.Generator().manual_seed(3)) * IMAGE_SIZE
    labels = torch.tensor([[[1, -10, -10], [1, 1, 0]], [[1, 0, -10], [-10, -10, 1]]])
    with torch.no_grad():
        together = model(pixels, input_points=ragged_points, input_labels=labels)
        for image in range(2):
            for index in range(2):
                real = labels[image, index] != -10
                alone = model(
                    pixels[image : image + 1],
                    input_points=ragged_points[None, None, image, index, real],
                    input_labels=labels[None, None, image, index, real],
                )
                torch.testing.assert_close(together.pred_masks[image, index], alone.pred_masks[0, 0], atol=1e-5, rtol=0)


def test_object_that_is_all_padding_is_absent(model, embeddings):
    labels = torch.tensor([[[1], [-10]]])
    outputs = ask(model, embeddings, input_points=points([(9, 9)], [(-10, -10)]), input_labels=labels)
    assert bool((outputs.pred_masks[:, 1] == NO_OBJECT_LOGIT).all())
    assert bool((outputs.iou_scores[:, 1] == 0).all())


def test_box_is_two_corner_points_before_the_clicks(model, embeddings):
    box, click = torch.tensor([[[10.0, 20.0, 90.0, 120.0]]]), points([(50, 60)])
    boxed = ask(model, embeddings, input_boxes=box, input_points=click)
    corners = points([(10, 20), (90, 120), (50, 60)])
    spelled = ask(model, embeddings, input_points=corners, input_labels=torch.tensor([[[2, 3, 1]]]))
    assert alike(boxed.pred_masks, spelled.pred_masks)


def test_object_without_a_box_beside_one_with_a_box(model, embeddings):
    boxes = torch.tensor([[[10.0, 20.0, 90.0, 120.0], [-10.0] * 4]])
    clicks = points([(50, 60)], [(200, 100)])
    outputs = ask(model, embeddings, input_boxes=boxes, input_points=clicks)
    alone = ask(model, embeddings, input_points=clicks[:, 1:])
    assert alike(outputs.pred_masks[:, 1], alone.pred_masks[:, 0])


def test_every_object_may_have_its_own_mask_prompt(model, embeddings):
    """The library's own model takes one mask for all objects only."""
    masks = torch.randn(1, 2, LOW, LOW, generator=torch.Generator().manual_seed(4)) * 5
    clicks = points([(30, 40)], [(200, 100)])
    together = ask(model, embeddings, input_points=clicks, input_masks=masks)
    for index in range(2):
        one = slice(index, index + 1)
        alone = ask(model, embeddings, input_points=clicks[:, one], input_masks=masks[:, one])
        torch.testing.assert_close(together.pred_masks[:, index], alone.pred_masks[:, 0], atol=1e-5, rtol=0)
    shared = ask(model, embeddings, input_points=clicks, input_masks=masks[:, :1])
    assert alike(shared.pred_masks[:, 0], together.pred_masks[:, 0])


def test_mask_prompts_without_points_work(model, embeddings):
    masks = torch.randn(1, 2, 1, LOW, LOW, generator=torch.Generator().manual_seed(4))
    assert ask(model, embeddings, input_masks=masks).pred_masks.shape == (1, 2, 3, LOW, LOW)


def test_mask_prompts_are_clamped_on_the_way_in(model, embeddings):
    masks = torch.full((1, 1, LOW, LOW), 57.3)
    assert alike(
        ask(model, embeddings, input_masks=masks).pred_masks,
        ask(model, embeddings, input_masks=masks.clamp(max=32)).pred_masks,
    )


def test_only_an_unstable_single_mask_falls_back_to_the_best_candidate(model):
    logits = torch.zeros(2, 4, 8, 8)
    logits[:, 0, :4], logits[:, 0, 4:] = 9.0, -9.0
    logits[1, 0, 2] = 0.01  # row 1: between the two thresholds of stability
    logits[:, 1:] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    scores = torch.tensor([[0.1, 0.2, 0.9, 0.3]] * 2)
    drawn = MaskPrediction(
        mask_logits=logits, iou_scores=scores, object_score_logits=torch.ones(2, 1), mask_tokens=torch.zeros(2, 4, 64)
    )
    chosen = model.mask_decoder._stable_single_mask(drawn)
    assert torch.equal(chosen.mask_logits[0], logits[0, :1]) and chosen.iou_scores[0, 0] == scores[0, 0]
    assert torch.equal(chosen.mask_logits[1], logits[1, 2:3]) and chosen.iou_scores[1, 0] == scores[1, 2]
    assert torch.equal(chosen.mask_tokens, drawn.mask_tokens[:, :1])


def test_high_resolution_maps_are_not_copied_for_each_object(model, embeddings, monkeypatch):
    """64 objects share the maps of their picture: what reaches the decoder keeps the storage of the picture's maps."""
    seen = []
    original = model.mask_decoder.forward

    def spy(features, *args, **kwargs):
        seen.append(features)
        return original(features, *args, **kwargs)

    monkeypatch.setattr(model.mask_decoder, "forward", spy)
    clicks = torch.rand(1, 64, 1, 2) * IMAGE_SIZE
    ask(model, embeddings, input_points=clicks)
    maps = (seen[0].high_res_0, seen[0].high_res_1, seen[0].image_embedding)
    assert [level.data_ptr() for level in maps] == [level.data_ptr() for level in embeddings]


def test_training_mode_works_and_uses_no_fallback(pixels):
    model = micro_model().train()
    outputs = model(pixels[:1], input_points=points([(30, 40)]), multimask_output=False)
    outputs.pred_masks.square().mean().backward()
    assert model.vision_encoder.backbone.patch_embed.projection.weight.grad.abs().sum() > 0


def test_save_and_load_give_equal_bits(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded, info = Sam2Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert torch.equal(loaded.memory_attention.rotary_emb.table, model.memory_attention.rotary_emb.table)


@pytest.mark.parametrize("missing", ["shared_image_embedding.", "prompt_encoder.shared_embedding."])
def test_one_copy_of_the_fourier_matrix_is_enough(model, missing):
    weights = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(missing)}
    loaded, info = Sam2Model.from_pretrained(None, config=model.config, state_dict=weights, output_loading_info=True)
    assert not info["missing_keys"]
    assert loaded.shared_image_embedding is loaded.prompt_encoder.shared_embedding
    assert torch.equal(
        loaded.shared_image_embedding.positional_embedding, model.shared_image_embedding.positional_embedding
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_dtype_and_comes_close(model, pixels, dtype, tmp_path):
    model.save_pretrained(tmp_path)
    half = Sam2Model.from_pretrained(tmp_path, dtype=dtype)
    masks = torch.randn(1, 1, LOW, LOW)  # float32 prompts to a half model
    with torch.no_grad():
        outputs = half(pixels[:1], input_points=points([(30, 40)]), input_masks=masks)
        exact = model(pixels[:1], input_points=points([(30, 40)]), input_masks=masks)
    assert outputs.pred_masks.dtype == dtype
    assert half.shared_image_embedding.positional_embedding.dtype == torch.float32
    error = (outputs.pred_masks.float() - exact.pred_masks).abs().mean() / exact.pred_masks.abs().mean()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_device_map_places_the_model(model, tmp_path):
    pytest.importorskip("accelerate")
    model.save_pretrained(tmp_path)
    loaded = Sam2Model.from_pretrained(tmp_path, device_map="cpu")
    assert loaded.device.type == "cpu"
    assert loaded(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)).pred_masks.isfinite().all()


def test_attention_implementation_can_be_changed_and_changes_nothing(model, pixels):
    other = Sam2Model.from_pretrained(None, config=micro_config(), state_dict=model.state_dict())
    with torch.no_grad():
        fused = other(pixels[:1], input_points=points([(30, 40)]))
        other.set_attn_implementation("eager")
        plain = other(pixels[:1], input_points=points([(30, 40)]))
    parts = (other.config, other.vision_encoder.config, other.vision_encoder.backbone.config, other.mask_decoder.config)
    assert {part._attn_implementation for part in parts} == {"eager"}
    torch.testing.assert_close(fused.pred_masks, plain.pred_masks, atol=1e-4, rtol=0)


def test_attentions_are_softmax_weights(pixels):
    """The library's own model returns attention outputs under this name."""
    model = Sam2Model._from_config(micro_config(), attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = model(pixels[:1], input_points=points([(30, 40)]), output_attentions=True, output_hidden_states=True)
    grid = IMAGE_SIZE // 4
    shapes = [tuple(weights.shape) for weights in outputs.vision_attentions]
    assert shapes[0] == ((grid // 8) ** 2, 1, 64, 64)
    assert shapes[1] == ((grid // 8) ** 2, 2, 16, 64)  # queries are pooled
    assert shapes[4] == (1, 4, 256, 256)  # the whole map
    assert len(shapes) == 7
    assert [tuple(weights.shape) for weights in outputs.mask_decoder_attentions] == [
        *[(1, 8, 8, 8), (1, 8, 8, 256), (1, 8, 256, 8)] * 2,
        (1, 8, 8, 256),
    ]
    for weights in (*outputs.vision_attentions, *outputs.mask_decoder_attentions):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    assert len(outputs.vision_hidden_states) == 8
    assert tuple(outputs.vision_hidden_states[0].shape) == (1, grid, grid, 16)


def test_gradient_checkpointing_gives_equal_gradients(pixels):
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        model = micro_model().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        outputs = model(pixels[:1], input_points=points([(30, 40), (50, 60)]))
        (outputs.pred_masks.square().mean() + outputs.iou_scores.sum()).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys() and len(plain) > 200
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)


def test_initialisation_on_the_meta_device_reaches_every_tensor():
    with torch.device("meta"):
        model = Sam2Model(micro_config())
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(float("nan"))
    model.init_weights()
    bad = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.isnan().any()]
    assert not bad


def test_training_from_scratch_starts_as_the_original_does():
    torch.manual_seed(0)
    model = Sam2Model(micro_config())
    assert bool((model.vision_encoder.backbone.pos_embed == 0).all())
    assert model.memory_temporal_positional_encoding.detach().std() == pytest.approx(0.02, rel=0.3)
    assert model.mask_decoder.mask_tokens.weight.detach().std() == pytest.approx(1.0, rel=0.2)
    assert bool((model.memory_encoder.memory_fuser.layers[0].scale == 1e-6).all())
    weight = model.mask_decoder.transformer.layers[0].mlp.proj_in.weight
    assert weight.abs().max() <= 1 / WIDTH_ROOT + 1e-6


WIDTH_ROOT = 8.0  # of the micro model's 64 channels: the bound of PyTorch's default for linear layers


def test_fourier_matrix_exists_once_and_is_never_trained(model):
    assert model.shared_image_embedding is model.prompt_encoder.shared_embedding
    assert not any("positional_embedding" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("size", [64, 512])
def test_other_input_sizes_work(size):
    model = micro_model(image_size=size)
    with torch.no_grad():
        outputs = model(torch.randn(1, 3, size, size), input_points=points([(3, 4)]))
    assert outputs.pred_masks.shape == (1, 1, 3, size // 4, size // 4)


def test_model_keeps_no_state_between_calls(model, pixels):
    before = {name: id(value) for name, value in vars(model).items()}
    with torch.no_grad():
        first = model(pixels[:1], input_points=points([(30, 40)])).pred_masks
        model(pixels[1:], input_points=points([(99, 99)]))
        again = model(pixels[:1], input_points=points([(30, 40)])).pred_masks
    assert alike(first, again)
    assert {name: id(value) for name, value in vars(model).items()} == before


def test_inputs_are_not_changed(model, pixels):
    clicks, masks = points([(30, 40)]), torch.full((1, 1, LOW, LOW), 50.0)
    copies = pixels.clone(), clicks.clone(), masks.clone()
    with torch.no_grad():
        model(pixels[:1], input_points=clicks, input_masks=masks)
    assert all(torch.equal(now, before) for now, before in zip((pixels, clicks, masks), copies, strict=True))


def test_image_only_model_says_that_memory_weights_are_absent():
    model = micro_model(image_only=True)
    features = model.encode_image(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    with pytest.raises(MissingWeightsError, match="no memory weights"):
        model.memorize(features, torch.zeros(1, 1, LOW, LOW), torch.ones(1, 1), torch.ones(1, dtype=torch.bool))


def memory_of(model: Sam2Model, features, rows: int, frames: int, num_pointers: int) -> MemoryBatch:
    grid, width = model.config.grid_size, model.config.memory_encoder_output_channels
    generator = torch.Generator().manual_seed(5)
    return MemoryBatch(
        spatial=torch.randn(rows, frames, width, grid, grid, generator=generator),
        spatial_time=torch.arange(frames).expand(rows, -1),
        pointers=torch.randn(rows, num_pointers, model.config.hidden_size, generator=generator),
        pointer_time=torch.linspace(0, 1, num_pointers).expand(rows, -1) if num_pointers else torch.zeros(rows, 0),
    )


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("num_pointers", [0, 2])
def test_recall_of_objects_together_is_one_by_one(version, num_pointers, pixels):
    model = micro_model(version)
    with torch.no_grad():
        features = model.encode_image(pixels[:1])
        memory = memory_of(model, features, rows=2, frames=3, num_pointers=num_pointers)
        together = model.recall(features, memory).image_embedding
        fields = ("spatial", "spatial_time", "pointers", "pointer_time")
        for row in range(2):
            alone = MemoryBatch(**{field: getattr(memory, field)[row : row + 1] for field in fields})
            expected = model.recall(features, alone).image_embedding
            torch.testing.assert_close(together[row : row + 1], expected, atol=1e-5, rtol=0)


def test_recall_works_where_memory_is_as_wide_as_the_model(pixels):
    model = micro_model(memory_encoder_output_channels=64)
    with torch.no_grad():
        features = model.encode_image(pixels[:1])
        memory = memory_of(model, features, rows=1, frames=1, num_pointers=2)
        assert model.recall(features, memory).image_embedding.shape == (1, 64, 16, 16)


def test_memory_binarises_prompted_rows_only(model, pixels):
    with torch.no_grad():
        features = model.encode_image(pixels[:1])
        logits = torch.randn(2, 1, LOW, LOW, generator=torch.Generator().manual_seed(6))
        scores = torch.ones(2, 1)
        both = model.memorize(features, logits, scores, torch.tensor([True, False]))
        for row, is_prompted in enumerate((True, False)):
            one = model.memorize(features, logits[row : row + 1], scores[:1], torch.tensor([is_prompted]))
            torch.testing.assert_close(both[row : row + 1], one, atol=1e-5, rtol=0)
        other = model.memorize(features, logits[1:], scores[:1], torch.tensor([True]))
    assert (both[1:] - other).abs().max() > 1e-3


def test_memory_of_training_is_never_binarised(pixels):
    model = micro_model()
    with torch.no_grad():
        features = model.encode_image(pixels[:1])
        logits = torch.randn(1, 1, LOW, LOW, generator=torch.Generator().manual_seed(6))
        drawn = model.memorize(features, logits, torch.ones(1, 1), torch.tensor([False]))
        given = model.train().memorize(features, logits, torch.ones(1, 1), torch.tensor([True]))
    torch.testing.assert_close(given, drawn, atol=1e-5, rtol=0)


def test_fresh_weights_and_biases_lie_within_one_over_the_root_of_their_inputs():
    model = micro_model()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer.bias is not None:
            bound = layer.in_features**-0.5
            assert layer.bias.abs().max() <= bound and layer.weight.abs().max() <= bound


def test_hidden_objects_are_marked_in_memory_of_2_1_only(pixels):
    for version, differs in (("2.1", True), ("2.0", False)):
        model = micro_model(version)
        with torch.no_grad():
            features = model.encode_image(pixels[:1])
            logits, prompted = torch.zeros(1, 1, LOW, LOW), torch.zeros(1, dtype=torch.bool)
            seen = model.memorize(features, logits, torch.ones(1, 1), prompted)
            hidden = model.memorize(features, logits, -torch.ones(1, 1), prompted)
        assert differ(seen, hidden, by=1e-4) if differs else alike(seen, hidden)


def test_pointer_of_a_hidden_object_is_the_learned_one(model):
    tokens = torch.randn(2, 64)
    with torch.no_grad():
        pointers = model.object_pointers(tokens, torch.tensor([[1.0], [-1.0]]))
    assert torch.equal(pointers[1], model.no_object_pointer[0])
    assert differ(pointers[0], pointers[1])


def test_unknown_arguments_are_refused(model, embeddings):
    """The library's own model swallows them."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'target_embedding'"):
        model(image_embeddings=embeddings, target_embedding=torch.zeros(1))


def test_prompt_embeddings_are_those_of_the_verbs(model):
    clicks = points([(30, 40)], [(50, 60)])
    with torch.no_grad():
        sparse, dense = model.get_prompt_embeddings(input_points=clicks)
    assert sparse.shape == (1, 2, 2, 64) and dense.shape == (1, 64, 16, 16)


@pytest.mark.parametrize(
    "overrides",
    [
        {"enable_occlusion_spatial_embedding": False, "enable_temporal_pos_encoding_for_object_pointers": False},
        {"memory_attention_num_layers": 1},
    ],
)
def test_memory_weights_that_do_not_fit_are_reported(model, tmp_path, overrides):
    model.save_pretrained(tmp_path)
    _, info = Sam2Model.from_pretrained(tmp_path, output_loading_info=True, **overrides)
    assert info["unexpected_keys"]


def test_half_precision_model_takes_float32_embeddings_and_memory(model, pixels, tmp_path):
    model.save_pretrained(tmp_path)
    half = Sam2Model.from_pretrained(tmp_path, dtype=torch.bfloat16)
    with torch.no_grad():
        embeddings = model.get_image_embeddings(pixels[:1])
        assert half(image_embeddings=embeddings).pred_masks.dtype == torch.bfloat16
        memory = memory_of(half, None, rows=1, frames=2, num_pointers=1)
        assert half.recall(half.encode_image(pixels[:1]), memory).image_embedding.dtype == torch.bfloat16


def test_maps_of_a_picture_are_views_in_a_ragged_batch_too(model, pixels, monkeypatch):
    with torch.no_grad():
        embeddings = model.get_image_embeddings(pixels)
    seen = []
    original = model.mask_decoder.forward
    monkeypatch.setattr(model.mask_decoder, "forward", lambda f, *a, **k: seen.append(f) or original(f, *a, **k))
    labels = torch.tensor([[[1, 1], [1, -10]], [[1, -10], [-10, -10]]])
    ask(model, embeddings, input_points=torch.rand(2, 2, 2, 2) * 200, input_labels=labels)
    storages = {features.high_res_0.untyped_storage().data_ptr() for features in seen}
    assert storages == {embeddings[0].untyped_storage().data_ptr()}


@pytest.mark.filterwarnings("ignore:The following device_map keys")  # accelerate does not know single parameters
def test_offloaded_embeddings_are_brought_in(model, pixels, tmp_path):
    pytest.importorskip("accelerate")
    model.save_pretrained(tmp_path / "model", max_shard_size="1MB")
    loaded = Sam2Model.from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": "2MB"}, offload_folder=tmp_path / "offload"
    )
    with torch.no_grad():
        found = loaded(pixels[:1], input_points=points([(30, 40)])).pred_masks
        expected = model(pixels[:1], input_points=points([(30, 40)])).pred_masks
    torch.testing.assert_close(found, expected)


def test_every_way_to_save_writes_the_fourier_matrix_under_both_names(model, tmp_path):
    """It is one in memory, and safetensors refuses tensors that share it."""
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    names = {f"{part}.positional_embedding" for part in ("shared_image_embedding", "prompt_encoder.shared_embedding")}
    assert names <= load_file(tmp_path / "plain.safetensors").keys()
    accelerate = pytest.importorskip("accelerate")
    accelerate.Accelerator(cpu=True).save_model(model, tmp_path / "accelerate")
    assert names <= load_file(tmp_path / "accelerate" / "model.safetensors").keys()
    model.save_pretrained(tmp_path / "ours")
    loaded = Sam2Model.from_pretrained(tmp_path / "ours")
    assert loaded.shared_image_embedding is loaded.prompt_encoder.shared_embedding


def test_image_encoder_loads_from_a_whole_checkpoint_and_from_its_own(model, pixels, tmp_path):
    model.save_pretrained(tmp_path / "whole")
    for folder, name in (("whole", "alone"), ("alone", "again")):
        encoder, info = Sam2VisionModel.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert not info["missing_keys"]
        assert not any(name.startswith(("vision_encoder.", "backbone.", "neck.")) for name in info["unexpected_keys"])
        with torch.no_grad():
            assert alike(encoder(pixels).last_hidden_state, model.vision_encoder(pixels).last_hidden_state)
        encoder.save_pretrained(tmp_path / name)


def test_configuration_of_the_librarys_classes_is_converted(model):
    native = transformers.Sam2VideoConfig(**micro_config().to_dict())
    assert type(native) is not type(model.config)
    built = Sam2Model(native)
    assert type(built.config) is type(model.config) and built.config.memory_attention_rope_theta == 10000.0
    assert {name: tensor.shape for name, tensor in built.state_dict().items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    with pytest.raises(TypeError, match="a SAM 2 model needs a Sam2Config, got BertConfig"):
        Sam2Model(transformers.BertConfig())


def test_session_in_the_place_of_pictures_is_named(model):
    with pytest.raises(TypeError, match="pass a session as `inference_session=`"):
        model(object())


def test_dense_prompt_embeddings_are_one_per_picture_unless_objects_have_masks_of_their_own(model):
    clicks, masks = points([(30, 40)], [(50, 60)]), torch.randn(1, 2, LOW, LOW)
    with torch.no_grad():
        assert model.get_prompt_embeddings(input_points=clicks)[1].shape == (1, 64, 16, 16)
        assert model.get_prompt_embeddings(input_points=clicks, input_masks=masks[:, :1])[1].shape == (1, 64, 16, 16)
        assert model.get_prompt_embeddings(input_points=clicks, input_masks=masks)[1].shape == (1, 2, 64, 16, 16)


@pytest.mark.slow  # it is compiled
@pytest.mark.skipif(shutil.which("g++") is None, reason="flex attention on a CPU is compiled with g++")
@pytest.mark.filterwarnings("ignore:::torch.*")
def test_flex_attention_gives_the_same(model, pixels):
    other = Sam2Model.from_pretrained(None, config=micro_config(), state_dict=model.state_dict())
    with torch.no_grad():
        expected = other(pixels[:1], input_points=points([(30, 40)])).pred_masks
        other.set_attn_implementation("flex_attention")
        found = other(pixels[:1], input_points=points([(30, 40)])).pred_masks
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["embedded", "auto", "sam2.1_hiera_tiny.pt", "weights.safetensors"])
def test_names_of_load_are_told_apart_from_repositories_at_once(name):
    with pytest.raises(CheckpointError, match=rf"use sam2_hf\.load\('{name}'\)"):
        Sam2Model.from_pretrained(name)
