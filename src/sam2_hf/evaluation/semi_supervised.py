"""Semi-supervised video object segmentation: objects are shown once, masks of all later frames are written and scored.

Objects that appear later are prompted where they first appear, all in one pass of one session: objects of a session do
not know each other.
"""

import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sam2_hf.datasets.clips import IdMapClip, ObjectFoldersClip
from sam2_hf.datasets.mask_folders import is_palette_folder, read_masks
from sam2_hf.datasets.mask_writers import ObjectWriter, PaletteWriter
from sam2_hf.errors import SourceError
from sam2_hf.evaluation.baselines import FirstMaskRepeated
from sam2_hf.evaluation.calibration import calibration
from sam2_hf.evaluation.folder_scores import ScoringRules, score_video
from sam2_hf.evaluation.scores import Table, score_table, video_results
from sam2_hf.evaluation.simulated_user import first_appearances, frames_of, give_prompt, to_mask
from sam2_hf.processing.id_pictures import davis_palette
from sam2_hf.processing.pixels import open_picture
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.records import FrameMasks
from sam2_hf.tracking.session import Sam2InferenceSession

MASKS = "masks"


def official_policy() -> TrackingPolicy:
    """What the released numbers were made with: the original's defaults without any post-processing."""
    return replace(TrackingPolicy.upstream(), dynamic_multimask=False, binarize_prompted_masks=False, fill_hole_area=0)


@dataclass(frozen=True, kw_only=True)
class SemiSupervised:
    """Tracks the objects of a video from one prompt each.

    Attributes:
        folder: where masks go, as `masks/<video>`, in the layout of the truth.
        prompt: "mask", "box", "1-click", "3-click" or "5-click".
        later_objects: prompt objects that appear later where they first appear; False: they are an error.
        all_masks: every true mask is a prompt on its frame.
        threshold: a pixel is inside above this logit.
        policy: how to track.
        rules: how to score.
        baseline: score the first mask, repeated, too.
        scores_per_frame: keep the model's scores of every frame, for calibration.
    """

    model: object
    processor: object
    folder: Path
    prompt: str = "mask"
    later_objects: bool = True
    all_masks: bool = False
    threshold: float = 0.0
    policy: TrackingPolicy = field(default_factory=TrackingPolicy)
    rules: ScoringRules = field(default_factory=ScoringRules)
    baseline: bool = False
    scores_per_frame: bool = False

    def measure(self, clip) -> dict:
        """Tracks one video, writes its masks and scores them: the video's record."""
        if not clip.object_ids:
            raise SourceError(f"{clip.name}: no object in its masks; value 255 of DAVIS files means no truth")
        truth, target = truth_folder(clip), self.folder / MASKS / clip.name
        started = time.perf_counter()
        scores = self._track(clip, target, truth)
        seconds = round(time.perf_counter() - started, 3)
        record = score_video(clip.name, truth, target, self.rules).to_dict()
        record |= {"seconds": seconds, "tracked_frames": clip.num_frames}
        if self.scores_per_frame:
            record["model_scores"] = scores
        if self.baseline:
            repeated = score_video(clip.name, truth, None, self.rules, baseline=FirstMaskRepeated)
            record["first_mask_repeated"] = repeated.to_dict()
        return record

    def results(self, records: list[dict], missing: list[dict]) -> dict:
        """`results.json` of all videos."""
        results = video_results(records, missing)
        seconds, frames = (sum(record[key] for record in records) for key in ("seconds", "tracked_frames"))
        results["global"]["frames_per_second"] = frames / seconds if seconds else None
        if records and all("model_scores" in record and "curves" in record for record in records):
            results["calibration"] = calibration(records)
        if records and all("first_mask_repeated" in record for record in records):
            repeated = video_results([record["first_mask_repeated"] for record in records])
            results["baselines"] = {"first_mask_repeated": repeated["global"]}
        return results

    def table(self, results: dict) -> Table:
        """Objects with J&F, J and F, the global line first."""
        return score_table(results)

    def shown(self, clip, entry: dict) -> tuple[str, np.ndarray, np.ndarray]:
        """The worst frame of an object, as `Measurement.shown`."""
        frame, object_id = entry["worst_frame"], entry["id"]
        truth = read_masks(truth_folder(clip)).mask(frame, object_id)
        return frame, truth, read_masks(self.folder / MASKS / clip.name).mask(frame, object_id)

    # Steps

    def _track(self, clip, target: Path, truth: Path) -> list[dict]:
        """Writes the masks of every frame; returns the model's scores."""
        is_palette, size = is_palette_folder(truth), tuple(clip.size)
        if target.exists():
            shutil.rmtree(target)  # of a run that was stopped in the middle of this video
        writer = PaletteWriter(target, size, _palette_of(truth)) if is_palette else None
        writer = writer or ObjectWriter(target, size, clip.object_names)
        policy = replace(self.policy, keep="window", non_overlap=is_palette, include_before_first_prompt=False)
        session = Sam2InferenceSession(self.model, self.processor, frames_of(clip), policy=policy)
        passed = session.propagate() if self._prompt(session, clip) else iter(())
        scores, written = [], set()
        for frame in passed:
            name = clip.frame_name(frame.frame_index)
            rows = zip(frame.object_ids, frame.mask_logits, strict=True)
            writer.write(name, {key: to_mask(logits, self.threshold) for key, logits in rows})
            scores += _scores(name, frame, clip)
            written.add(frame.frame_index)
        for index in sorted(set(range(clip.num_frames)) - written):  # before the first prompt
            writer.write(clip.frame_name(index), {})
        return scores

    def _prompt(self, session, clip) -> bool:
        """Gives all prompts; False: no object is ever visible."""
        appearances = first_appearances(clip)
        first = clip.labelled_frames[0] if clip.labelled_frames else 0
        late = [key for key, (frame, _) in appearances.items() if frame > first]
        if late and not self.later_objects:
            raise SourceError(
                f"{clip.name}: objects {late} are not on the first frame; evaluate with later objects allowed"
            )
        for object_id, (frame, mask) in appearances.items():
            give_prompt(session, frame, object_id, mask, self.prompt, clip.void(frame))
        if self.all_masks:
            for index in clip.labelled_frames:
                for object_id, mask in clip.masks(index).items():
                    if object_id in appearances and index > appearances[object_id][0]:
                        session.add_prompt(frame_index=index, object_id=object_id, mask=mask)
        return bool(appearances)


def truth_folder(clip) -> Path:
    """The folder that holds a clip's true masks.

    Raises:
        SourceError: the clip's truth is in another kind of file.
    """
    if isinstance(clip, ObjectFoldersClip):
        return clip.folder
    if isinstance(clip, IdMapClip):
        return next(iter(clip.truth.values())).parent
    raise SourceError(f"{clip.name}: has no folder of masks; this protocol needs a data set of kind davis or sav")


def _scores(name: str, frame: FrameMasks, clip) -> list[dict]:
    """The model's scores of one frame, prompted objects left out; ids are those of the files of masks."""
    names = clip.object_names if isinstance(clip, ObjectFoldersClip) else {}
    rows = zip(frame.object_ids, frame.iou_scores.tolist(), frame.object_score_logits.tolist(), strict=True)
    entries = [
        {"frame": name, "id": int(names.get(key, key)), "iou_score": iou, "object_score": score}
        for key, iou, score in rows
    ]
    return [one for one, is_given in zip(entries, frame.is_prompted.tolist(), strict=True) if not is_given]


def _palette_of(truth: Path) -> list[int] | None:
    """The palette of the first true mask, if it has one, with the colours that it lacks from that of DAVIS."""
    first = next(iter(sorted(truth.glob("*.png"))), None)
    palette = None if first is None else open_picture(first).getpalette()
    return None if palette is None else palette + davis_palette()[len(palette) :]
