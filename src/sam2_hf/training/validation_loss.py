"""The loss on clips that are held out, with the same prompts every time."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader

from sam2_hf.training.batches import collate
from sam2_hf.training.mixing import MixedDataset, MixedSource, epoch_batches
from sam2_hf.training.prompt_sampling import PromptOptions, draw_plan
from sam2_hf.training.step import TrainingStep

PLAN_SEED = 42  # of the plans of prompts, the same on every process


@torch.no_grad()
def mean_loss(step: TrainingStep, sources: Sequence[MixedSource], prompts: PromptOptions, seed: int) -> float:
    """The mean over batches of the loss per step; the model is left in the mode it was in.

    Args:
        step: the model and its losses.
        sources: held out; each clip is taken once.
        prompts: how the user is simulated.
        seed: of everything that is drawn.
    """
    plans = np.random.default_rng(PLAN_SEED)
    dataset = MixedDataset(sources, step.model.config.image_size, seed)
    losses = []
    for batch in DataLoader(dataset, batch_sampler=epoch_batches(sources, 0, seed), collate_fn=collate):
        batch = batch.to(step.model.device)
        plan = draw_plan(batch.num_frames, plans, prompts, batch.visible)
        losses.append(step(batch, plan, batch.num_objects)[1]["loss_per_step"])
    return sum(losses) / len(losses)
