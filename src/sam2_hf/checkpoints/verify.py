"""Proof that a written folder holds the model it was written from."""

from pathlib import Path

import torch
from torch import Tensor

from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.modeling.outputs import ImageFeatures, MaskPrediction, MemoryBatch, PromptBatch

PROBED = ("mask logits", "IoU scores", "spatial memories", "recalled features")
# Equal weights at other addresses take other kernels: outputs of two loads are up to 5e-6 apart. One per cent off in a
# weight, or in a table of positions (these are no weights, so comparing weights cannot see them), moves them by 1e-4.
TOLERANCE = 2e-5  # of the largest magnitude of an output


def verify_folder(model: Sam2Model, folder: Path, expected: dict[str, Tensor]) -> None:
    """Loads a folder back and demands the weights that were read, and the outputs of the model in every verb.

    Raises:
        CheckpointError: weights that are not bit-equal, or outputs further apart than rounding explains.
    """
    reloaded, info = Sam2Model.from_pretrained(folder, output_loading_info=True)
    wrong = {kind: names for kind, names in info.items() if names}
    if wrong:
        raise CheckpointError(f"the written folder does not load back cleanly: {wrong}")
    weights = reloaded.state_dict()
    different = [name for name, tensor in expected.items() if not torch.equal(tensor, weights[name])]
    if different:
        raise CheckpointError(f"{len(different)} tensors differ after loading back, first {different[0]}")
    compare_outputs(model, reloaded.eval())


def compare_outputs(model: Sam2Model, other: Sam2Model) -> None:
    """Demands that two models answer a fixed input alike.

    Raises:
        CheckpointError: the output that differs, and by how much.
    """
    for name, first, second in zip(PROBED, _probe(model), _probe(other), strict=False):
        difference, scale = float((first - second).abs().max()), float(first.abs().max())
        if not difference <= TOLERANCE * scale:  # also where an output is not a number
            raise CheckpointError(f"{name} differ after loading back by {difference:.3g} of {scale:.3g}")


@torch.no_grad()
def _probe(model: Sam2Model) -> list[Tensor]:
    """Outputs of all verbs on a fixed input."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    features = model.encode_image(torch.randn(1, 3, config.image_size, config.image_size, generator=generator))
    centre = torch.full((1, 1, 2), config.image_size / 2)
    prompts = model.encode_prompts(PromptBatch(points=centre, labels=torch.ones(1, 1, dtype=torch.long)), rows=1)
    prediction = model.decode_masks(model.recall(features), prompts)
    outputs = [prediction.mask_logits, prediction.iou_scores]
    return outputs if config.image_only else outputs + _probe_memory(model, features, prediction)


def _probe_memory(model: Sam2Model, features: ImageFeatures, prediction: MaskPrediction) -> list[Tensor]:
    scores = prediction.object_score_logits
    spatial = model.memorize(features, prediction.mask_logits[:, :1], scores, torch.ones(1, dtype=torch.bool))
    memory = MemoryBatch(
        spatial=spatial.unsqueeze(1),
        spatial_time=torch.zeros(1, 1, dtype=torch.long),
        pointers=model.object_pointers(prediction.mask_tokens[:, 0], scores).unsqueeze(1),
        pointer_time=torch.zeros(1, 1),
    )
    return [spatial, model.recall(features, memory).image_embedding]
