"""Rollouts against the original's losses, gradients and clicks; step counts; what enters the loss."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sam2_hf import Sam2Model
from sam2_hf.modeling.losses import LossWeights, object_losses
from sam2_hf.training.batches import ClipSample, collate
from sam2_hf.training.prompt_sampling import PromptOptions, PromptPlan, draw_plan
from sam2_hf.training.rollout import Rollout, RolloutOptions
from sam2_hf.training.step import TrainingStep
from sam2_hf.training.transforms import normalise
from tests.golden.recipe import golden_input, golden_scene, golden_scene_ids
from tests.parity import GOLDEN, converted
from tests.tiny import micro_model

REFERENCE = GOLDEN / "training_sam2.1_micro.safetensors"
UPSTREAM = RolloutOptions(gate_masks=True, clamp_previous=None)
PLANS = {
    "mask_prompt_train": PromptPlan(initial={0: "mask"}, corrected=(), from_truth={}),
    "centre_clicks_eval": PromptPlan(
        initial={0: "click"}, corrected=(0, 2), from_truth={0: (False,) * 3, 2: (False,) * 3}
    ),
}
TERMS = {"focal": "loss_mask", "dice": "loss_dice", "iou": "loss_iou", "object_score": "loss_class"}
GRADIENTS = {  # the original's name: ours
    "image_encoder.trunk.patch_embed.proj.weight": "vision_encoder.backbone.patch_embed.projection.weight",
    "image_encoder.trunk.blocks.4.attn.qkv.weight": "vision_encoder.backbone.blocks.4.attn.qkv.weight",
    "memory_attention.layers.0.cross_attn_image.k_proj.weight": (
        "memory_attention.layers.0.cross_attn_image.k_proj.weight"
    ),
    "memory_encoder.fuser.layers.0.dwconv.weight": "memory_encoder.memory_fuser.layers.0.depthwise_conv.weight",
    "sam_mask_decoder.output_upscaling.0.weight": "mask_decoder.upscale_conv1.weight",
    "obj_ptr_proj.layers.0.weight": "object_pointer_proj.proj_in.weight",
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "mask_downsample.weight": "mask_downsample.weight",
}


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model


def golden_batch():
    frames = np.stack([golden_scene(256, 256, frame, 0) for frame in range(4)])
    ids = np.stack([golden_scene_ids(256, 256, frame, 0) for frame in range(4)])
    masks = torch.stack([torch.from_numpy(ids == number) for number in (5, 9)])
    pixels = normalise(torch.from_numpy(frames).permute(0, 3, 1, 2))
    return collate([ClipSample(frames=pixels, masks=masks, void=None, seed=(0,), name="golden")])


@pytest.fixture(scope="module")
def model(tmp_path_factory, expected):
    bias = expected["mask_prompt_train"]["object_score_bias"]
    folder = converted("2.1", "micro", bias, tmp_path_factory.mktemp("golden"))
    return without_dropout(Sam2Model.from_pretrained(folder))


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "training.json").read_text())


@pytest.fixture(scope="module")
def rolled(model):
    @cache
    def run(scenario):
        model.train(scenario.endswith("train")).zero_grad()
        clicks = "centre" if scenario.startswith("centre") else "uniform"
        step = TrainingStep(model, RolloutOptions(gate_masks=True, clamp_previous=None, clicks=clicks), LossWeights())
        batch = golden_batch()
        steps, _ = step.rollout.run(batch, PLANS[scenario])
        loss, parts = step.losses(steps, batch, batch.num_objects)
        loss.backward()
        gradients = {
            name: 0.0 if value.grad is None else value.grad.norm().item() for name, value in model.named_parameters()
        }
        return steps, parts, gradients

    return run


@pytest.mark.parametrize("scenario", PLANS)
def test_losses_equal_the_original(rolled, expected, scenario):
    _, parts, _ = rolled(scenario)
    golden = expected[scenario]
    total = parts["loss"] + parts.get("given", 0.0)  # the original counts masks that were given
    assert total == pytest.approx(golden["core_loss"], rel=1e-4)
    if "given" not in parts:
        for ours, theirs in TERMS.items():
            assert parts[ours] == pytest.approx(golden[theirs], rel=1e-4)


@pytest.mark.parametrize("scenario", PLANS)
def test_gradient_norms_equal_the_original(rolled, expected, scenario):
    _, _, gradients = rolled(scenario)
    for theirs, norm in expected[scenario]["gradient_norms"].items():
        if theirs in GRADIENTS:
            assert gradients[GRADIENTS[theirs]] == pytest.approx(norm, rel=1e-3, abs=1e-9), theirs


@pytest.mark.parametrize("scenario", PLANS)
def test_clicks_scores_and_masks_equal_the_original(rolled, scenario):
    steps, _, _ = rolled(scenario)
    golden, counts = load_file(REFERENCE), {}
    for step in steps:
        number = counts.get(step.frame, 0)
        counts[step.frame] = number + 1
        prefix = f"{scenario}/frame_{step.frame}/step_{number}"
        torch.testing.assert_close(step.iou_scores, golden[f"{prefix}/iou_scores"], atol=1e-5, rtol=0)
        torch.testing.assert_close(step.object_score_logits, golden[f"{prefix}/object_score_logits"], atol=1e-4, rtol=0)
        if f"{prefix}/points" in golden:
            assert torch.equal(step.points, golden[f"{prefix}/points"])
            assert torch.equal(step.labels, golden[f"{prefix}/labels"].long())


def test_loss_terms_equal_the_original(expected):
    golden, weights = expected["loss_terms"], LossWeights()
    target = golden_input("loss/target", [2, 1, 64, 64])[:, 0] > 0.5
    target[1] = False
    terms = object_losses(
        3 * golden_input("loss/mask_logits", [2, 3, 64, 64]),
        golden_input("loss/iou_scores", [2, 3]).sigmoid(),
        golden_input("loss/object_score_logits", [2, 1]),
        target,
        weights,
    )
    for ours, theirs in TERMS.items():
        assert getattr(terms, ours).sum().item() / 2 == pytest.approx(golden[theirs], rel=1e-5)
    assert terms.total(weights).sum().item() / 2 == pytest.approx(golden["core_loss"], rel=1e-5)


# Logic, on a small model


def sample(num_frames=3, objects=2, size=64, seed=0):
    rng = np.random.default_rng(seed)
    frames = torch.from_numpy(rng.normal(size=(num_frames, 3, size, size)).astype(np.float32))
    masks = torch.zeros(objects, num_frames, size, size, dtype=torch.bool)
    for index in range(objects):
        masks[index, :, 8 + 4 * index : 40, 10 : 30 + 8 * index] = True
    return ClipSample(frames=frames, masks=masks, void=None, seed=(seed,), name=f"clip {seed}")


def small_model():
    return without_dropout(micro_model(image_size=64)).train()


def run(model, batch, plan, **options):
    return Rollout(model, RolloutOptions(**options)).run(batch, plan)[0]


@pytest.mark.parametrize(
    ("num_frames", "plan", "counts"),
    [
        (1, PromptPlan(initial={0: "box"}, corrected=(0,), from_truth={0: (False,) * 7}), {0: [1] + 7 * [1]}),
        (1, PromptPlan(initial={0: "click"}, corrected=(0,), from_truth={0: (False,) * 7}), {0: [3] + 7 * [1]}),
        (2, PromptPlan(initial={0: "mask"}, corrected=(), from_truth={}), {0: [1], 1: [3]}),
        (
            2,
            PromptPlan(initial={0: "click"}, corrected=(0, 1), from_truth={0: (False,) * 7, 1: (True,) * 7}),
            {0: [3] + 7 * [1], 1: [3, 3] + 6 * [1]},
        ),
    ],
)
def test_each_step_has_as_many_masks_as_the_original(num_frames, plan, counts):
    steps = run(small_model(), collate([sample(num_frames)]), plan)
    found = {frame: [step.mask_logits.shape[1] for step in steps if step.frame == frame] for frame in counts}
    assert found == counts


def test_first_frames_come_first_then_time():
    plan = PromptPlan(initial={0: "click", 3: "click"}, corrected=(), from_truth={})
    steps = run(small_model(), collate([sample(5)]), plan)
    assert [step.frame for step in steps] == [0, 3, 1, 2, 4]


def test_pictures_touch_no_memory_module(monkeypatch):
    model = small_model()
    for name in ("memorize", "object_pointers"):
        monkeypatch.setattr(model, name, lambda *_: pytest.fail("memory was used for a picture"))
    run(model, collate([sample(1)]), PromptPlan(initial={0: "click"}, corrected=(0,), from_truth={0: (False,)}))


def test_memory_holds_the_last_correction(monkeypatch):
    model, written = small_model(), []
    original = model.memorize
    monkeypatch.setattr(model, "memorize", lambda *arguments: written.append(arguments[1]) or original(*arguments))
    plan = PromptPlan(initial={0: "click"}, corrected=(0,), from_truth={0: (False, False)})
    steps = run(model, collate([sample(2)]), plan)
    last = [step for step in steps if step.frame == 0][-1]
    is_there = last.object_score_logits[:, 0] > 0
    assert torch.equal(written[0][is_there, 0], last.mask_logits[is_there, 0])
    assert (written[0][~is_there] == -1024).all()


def test_gradients_reach_the_first_frame_through_memory():
    model = small_model()
    batch = collate([sample(3)])
    steps = run(model, batch, PromptPlan(initial={0: "mask"}, corrected=(), from_truth={}))
    steps[-1].mask_logits.sum().backward()
    for name in ("memory_encoder", "memory_attention", "object_pointer_proj", "vision_encoder"):
        assert any(p.grad is not None and p.grad.any() for p in getattr(model, name).parameters()), name


def absent_everywhere(model):
    """A model whose object score says "absent" of everything."""
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(-50.0)
    return model


def test_a_visible_object_called_absent_still_learns_its_mask():
    plan = PromptPlan(initial={0: "click"}, corrected=(), from_truth={})
    batch = collate([sample(1)])
    for gate, learns in ((False, True), (True, False)):
        model = absent_everywhere(small_model())
        step = TrainingStep(model, RolloutOptions(gate_masks=gate), LossWeights(iou=0, object_score=0))
        step(batch, plan, 2.0)[0].backward()
        gradient = model.mask_decoder.upscale_conv1.weight.grad
        assert bool(gradient is not None and gradient.any()) == learns


@pytest.mark.parametrize("option", [{"checkpoint_corrections": True}, {"encode_per_frame": True}])
def test_recomputing_changes_no_gradient(option):
    plan = PromptPlan(initial={0: "click"}, corrected=(0,), from_truth={0: (False,)})
    batch, norms = collate([sample(2)]), []
    for options in ({}, option):
        model = small_model()
        TrainingStep(model, RolloutOptions(**options), LossWeights())(batch, plan, 2.0)[0].backward()
        norms.append([0.0 if p.grad is None else p.grad.norm().item() for p in model.parameters()])
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-4, atol=1e-6)


def test_videos_with_different_numbers_of_objects_give_what_they_give_alone():
    model, plan = small_model(), PromptPlan(initial={0: "click"}, corrected=(), from_truth={})
    pair = [sample(2, objects=1, seed=1), sample(2, objects=2, seed=2)]
    together = run(model, collate(pair), plan)
    first, second = (run(model, collate([one]), plan) for one in pair)
    for step, a, b in zip(together, first, second, strict=True):
        torch.testing.assert_close(step.mask_logits, torch.cat((a.mask_logits, b.mask_logits)), atol=1e-5, rtol=1e-4)


def test_void_pixels_are_ignored():
    plan = PromptPlan(initial={0: "click"}, corrected=(), from_truth={})
    plain = sample(1)
    void = torch.zeros(1, 64, 64, dtype=torch.bool)
    void[0, 45:] = True
    hidden = plain.masks.clone()
    hidden[:, :, 50:] = True
    model, losses = small_model(), []
    for masks in (plain.masks, hidden):
        batch = collate([ClipSample(frames=plain.frames, masks=masks, void=void, seed=(0,), name="")])
        steps = run(model, collate([plain]), plan)
        losses.append(TrainingStep(model, RolloutOptions(), LossWeights()).losses(steps, batch, 2.0)[1])
    assert {k: v for k, v in losses[0].items() if k != "dice"} == {k: v for k, v in losses[1].items() if k != "dice"}
    assert losses[0]["dice"] == pytest.approx(losses[1]["dice"])


def test_mean_reduction_divides_by_the_steps():
    model, batch = small_model(), collate([sample(2)])
    plan = draw_plan(2, np.random.default_rng(3), PromptOptions(points_probability=1.0, num_corrections=2))
    steps = run(model, batch, plan)
    total, parts = TrainingStep(model, RolloutOptions(), LossWeights()).losses(steps, batch, 2.0)
    mean, _ = TrainingStep(model, RolloutOptions(), LossWeights(), "mean").losses(steps, batch, 2.0)
    assert mean.item() == pytest.approx(total.item() / len(steps))
    assert parts["loss_per_step"] == pytest.approx(mean.item())


def test_clips_of_different_lengths_do_not_make_a_batch():
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        collate([sample(1), sample(2)])
