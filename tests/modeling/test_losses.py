"""Losses: hand values, the literal definition, candidates, absence, ignored pixels, labels of a batch."""

import inspect

import pytest
import torch
from transformers import Trainer, TrainingArguments

from sam2_hf.modeling.losses import LossWeights, focal_loss, label_loss, object_losses, resize_to
from tests.tiny import micro_model

WEIGHTS = LossWeights()
LOGITS = torch.tensor([[[[2.0, -1.0], [0.5, -3.0]]]])
TRUTH = torch.tensor([[[True, False], [False, False]]])


def losses(logits, truth, iou=0.5, score=0.3, valid=None):
    masks = logits.shape[1]
    return object_losses(logits, torch.full((1, masks), iou), torch.tensor([[score]]), truth, WEIGHTS, valid)


def test_hand_values_of_one_object():
    one = losses(LOGITS, TRUTH)
    assert one.focal.item() == pytest.approx(0.07515, abs=1e-5)
    assert one.dice.item() == pytest.approx(0.27700, abs=1e-5)
    assert one.iou.item() == pytest.approx(0.0, abs=1e-6)  # the actual IoU is 0.5
    assert one.object_score.item() == pytest.approx(0.5544, abs=1e-4)
    assert one.total(WEIGHTS).item() == pytest.approx(20 * 0.07515 + 0.277 + 0.5544, abs=1e-3)


def test_absent_object_leaves_only_its_score():
    one = losses(LOGITS, torch.zeros_like(TRUTH))
    assert (one.focal.item(), one.dice.item(), one.iou.item()) == (0, 0, 0)
    assert one.object_score.item() == pytest.approx(0.8544, abs=1e-4)


def test_focal_of_a_hidden_mask_is_finite_and_as_computed_by_hand():
    target = torch.zeros(1, 1000)
    target[:, :50] = 1
    focal = focal_loss(torch.full((1, 1000), -1024.0), target)
    assert focal.item() == pytest.approx(12.8, abs=1e-4)
    assert torch.isfinite(focal_loss(torch.full((1, 1000), 1024.0), target)).all()


def test_focal_equals_the_definition_pixel_by_pixel():
    logits = torch.linspace(-4, 4, 12).reshape(1, 12)
    target = torch.tensor([[1.0, 0.0] * 6])
    total = 0.0
    for z, y in zip(logits[0], target[0], strict=True):
        p = torch.sigmoid(z)
        p_t, a = (p, 0.25) if y == 1 else (1 - p, 0.75)
        total += a * (1 - p_t) ** 2 * -torch.log(p_t)
    assert focal_loss(logits, target).item() == pytest.approx((total / 12).item(), rel=1e-5)


def test_only_the_best_candidate_learns_its_mask_and_all_learn_their_iou():
    logits = torch.stack([LOGITS[0, 0], -LOGITS[0, 0], torch.zeros(2, 2)])[None].requires_grad_()
    scores = torch.tensor([[0.2, 0.5, 0.9]], requires_grad=True)
    one = object_losses(logits, scores, torch.zeros(1, 1), TRUTH, WEIGHTS)
    one.total(WEIGHTS).sum().backward()
    assert logits.grad[0, 0].abs().sum() > 0
    assert not logits.grad[0, 1:].any()
    assert scores.grad[0].bool().all()
    assert one.iou.item() == pytest.approx((0.3 + 0.5 + 0.9) / 3, abs=1e-6)  # actual: 0.5, 0, 0


def test_ignored_pixels_change_nothing():
    valid = torch.tensor([[[True, True], [False, True]]])
    changed = LOGITS.clone()
    changed[0, 0, 1, 0] = 9.0
    here, there = losses(LOGITS, TRUTH, valid=valid), losses(changed, TRUTH, valid=valid)
    for name in ("focal", "dice", "iou"):
        assert torch.equal(getattr(here, name), getattr(there, name))
    assert not torch.equal(losses(LOGITS, TRUTH).dice, losses(changed, TRUTH).dice)


def test_objects_without_labels_do_not_count():
    labels = torch.stack([TRUTH[0].float(), torch.full((2, 2), -1.0)])
    pair = label_loss(LOGITS.expand(2, -1, -1, -1), torch.full((2, 1), 0.5), torch.zeros(2, 1), labels, WEIGHTS)
    alone = label_loss(LOGITS, torch.full((1, 1), 0.5), torch.zeros(1, 1), labels[:1], WEIGHTS)
    assert pair.item() == pytest.approx(alone.item())


def test_logits_come_to_the_size_of_the_truth():
    assert resize_to(LOGITS, (6, 4)).shape == (1, 1, 6, 4)


def inputs(batch=1):
    return {
        "pixel_values": torch.randn(batch, 3, 64, 64),
        "input_points": torch.full((batch, 2, 1, 2), 20.0),
        "labels": torch.ones(batch, 2, 40, 30),
    }


def test_labels_give_a_loss_that_reaches_the_encoder():
    model = micro_model(image_size=64).train()
    outputs = model(**inputs())
    outputs.loss.backward()
    assert outputs[0] is outputs.loss
    assert model.vision_encoder.backbone.patch_embed.projection.weight.grad.abs().sum() > 0
    assert model(pixel_values=inputs()["pixel_values"], input_points=inputs()["input_points"]).loss is None


def test_labels_of_another_number_of_objects_are_refused():
    wrong = {**inputs(), "labels": torch.ones(1, 3, 8, 8)}
    with pytest.raises(ValueError, match=r"\(1, 3\), the prompts for \(1, 2\)"):
        micro_model(image_size=64)(**wrong)


def test_any_trainer_of_the_library_trains_the_model(tmp_path):
    rows = [{name: value[0] for name, value in inputs().items()} for _ in range(4)]
    arguments = TrainingArguments(
        output_dir=tmp_path, max_steps=3, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
        logging_steps=1, learning_rate=1e-3, save_strategy="no", dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(micro_model(image_size=64), arguments, train_dataset=rows)
    trainer.train()
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(history) == 3
    assert history[-1] < history[0]


@pytest.mark.parametrize("prompt", ["input_points", "input_boxes"])
def test_trainer_evaluates_whatever_the_prompt_without_being_told_the_label_names(tmp_path, prompt):
    row = {name: value[0] for name, value in inputs().items()}
    if prompt == "input_boxes":
        row["input_boxes"] = torch.tensor([[4.0, 4.0, 40.0, 40.0], [10.0, 20.0, 60.0, 50.0]])
        del row["input_points"]
        row.pop("input_labels", None)
    arguments = TrainingArguments(
        output_dir=tmp_path, per_device_eval_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(micro_model(image_size=64), arguments, eval_dataset=[row] * 4)
    assert trainer.label_names == ["labels"]
    assert trainer.evaluate()["eval_loss"] > 0
    predicted = trainer.predict([row] * 2).predictions
    assert sum(part.nbytes for part in predicted) < 2**20  # the image's embeddings are not kept
    assert "input_labels" in inspect.signature(trainer.model.forward).parameters  # so their column is kept
