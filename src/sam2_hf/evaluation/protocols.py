"""Protocols by name, made from plain choices."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from sam2_hf.evaluation.folder_scores import ScoringRules
from sam2_hf.evaluation.runner import Measurement
from sam2_hf.tracking.policy import TrackingPolicy

HEADLINES = {  # what a protocol is judged by
    "semi": "JF",
    "metrics": "JF",
    "clicks": "1_click_mIoU",
    "box": "box_mIoU",
    "everything": "AR@1000",
    "interactive-offline": "JF_mean",
    "interactive-online": "JF_mean",
    "speed": "frames_per_second",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a user chooses of a protocol.

    Attributes:
        prompt: of `semi`, one of `simulated_user.PROMPTS`.
        max_clicks: of `clicks`.
        all_masks: of `semi`, every true mask is a prompt.
        upstream: track as the released numbers were made.
        fill_hole_area: None: as the policy has it.
        baselines: score what is had without a model too.
        per_frame: keep the scores of single frames.
        generator: of `everything`, options of `Sam2MaskGenerator`.
        rules: what counts in J and F.
    """

    prompt: str = "mask"
    max_clicks: int = 5
    all_masks: bool = False
    upstream: bool = False
    fill_hole_area: int | None = None
    baselines: bool = False
    per_frame: bool = False
    generator: dict = field(default_factory=dict)
    rules: ScoringRules = field(default_factory=ScoringRules)

    @property
    def policy(self) -> TrackingPolicy:
        """How to track."""
        from sam2_hf.evaluation.semi_supervised import official_policy

        policy = official_policy() if self.upstream else TrackingPolicy()
        return policy if self.fill_hole_area is None else replace(policy, fill_hole_area=self.fill_hole_area)


def make_protocol(name: str, model, processor, folder: Path, choices: Choices) -> Measurement:
    """The protocol of a name.

    Args:
        name: "semi", "clicks", "box", "everything", "interactive-offline" or "interactive-online".
        folder: where masks go.
    """
    if name in ("clicks", "box"):
        from sam2_hf.evaluation.pictures import PictureProtocol

        return PictureProtocol(
            model=model,
            processor=processor,
            kind=name,
            max_clicks=choices.max_clicks,
            baseline=choices.baselines and name == "box",
        )
    if name == "everything":
        from sam2_hf.evaluation.automatic_masks import AutomaticMasks

        return AutomaticMasks(model=model, processor=processor, options=choices.generator)
    if name.startswith("interactive"):
        from sam2_hf.evaluation.interactive_videos import Interactive

        is_online = name == "interactive-online"
        return Interactive(
            model=model, processor=processor, is_online=is_online, policy=choices.policy, rules=choices.rules
        )
    from sam2_hf.evaluation.semi_supervised import SemiSupervised

    return SemiSupervised(
        model=model,
        processor=processor,
        folder=folder,
        prompt=choices.prompt,
        all_masks=choices.all_masks,
        policy=choices.policy,
        rules=choices.rules,
        baseline=choices.baselines,
        scores_per_frame=choices.per_frame,
    )
