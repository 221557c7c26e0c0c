"""The interactive protocols on the clips of a data set: J&F after 1 to 8 corrected frames, object by object."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from sam2_hf.evaluation.folder_scores import ScoringRules
from sam2_hf.evaluation.interactive import (
    ROUNDS,
    Course,
    SessionFollower,
    annotation_seconds,
    offline,
    online,
)
from sam2_hf.evaluation.scores import NO_VISIBLE_TRUTH, TOO_FEW_FRAMES, ObjectTally, Table
from sam2_hf.evaluation.simulated_user import first_appearances, frames_of
from sam2_hf.processing.rle import Masks
from sam2_hf.tracking.policy import TrackingPolicy
from sam2_hf.tracking.session import Sam2InferenceSession


@dataclass(frozen=True, kw_only=True)
class Interactive:
    """Measures how good masks get with a user's corrections.

    Attributes:
        is_online: one pass with stops, instead of a whole pass after every round.
        policy: how to track; corrections are always kept.
        rules: frames that count in J and F.
        rounds: frames that are corrected at most.
    """

    model: object
    processor: object
    is_online: bool
    policy: TrackingPolicy = field(default_factory=TrackingPolicy)
    rules: ScoringRules = field(default_factory=ScoringRules)
    rounds: int = ROUNDS

    def measure(self, clip) -> dict:
        """The record of one video."""
        started = time.perf_counter()
        policy = replace(self.policy, keep_corrections=True, keep="all", include_before_first_prompt=False)
        session = Sam2InferenceSession(self.model, self.processor, frames_of(clip), policy=policy)
        voids = {index: clip.void(index) for index in clip.labelled_frames}
        voids = {index: void for index, void in voids.items() if void is not None}
        appearances = first_appearances(clip)
        entries = [self._object(session, clip, key, first, voids) for key, (first, _) in appearances.items()]
        never = set(clip.object_ids) - set(appearances)
        excluded = [_excluded(key, NO_VISIBLE_TRUTH) for key in sorted(never)]
        return {
            "name": clip.name,
            "frames": clip.num_frames,
            "seconds": round(time.perf_counter() - started, 3),
            "objects": [entry for entry in entries if "JF" in entry],
            "excluded": excluded + [entry for entry in entries if "JF" not in entry],
        }

    def results(self, records: list[dict], missing: list[dict]) -> dict:
        """`results.json`: J&F after 1 to 8 corrected frames as means over objects, and the mean of these."""
        objects = [entry for record in records for entry in record["objects"]]
        overall: dict = {}
        for key in ("JF", "annotation_seconds"):
            curve = np.mean([entry[key] for entry in objects], axis=0).tolist() if objects else [None] * self.rounds
            overall |= {f"{key}@{number}": value for number, value in enumerate(curve, 1)}
        overall["JF_mean"] = float(np.mean([entry["JF"] for entry in objects])) if objects else None
        overall |= {"objects": len(objects), "videos": len(records)}
        excluded = [{"video": record["name"], **entry} for record in records for entry in record["excluded"]]
        return {"global": overall, "videos": records, "excluded": excluded, "missing": missing}

    def table(self, results: dict) -> Table:
        """Objects with J&F after each round, the means first."""
        rows = [("Global score", "", *(results["global"][f"JF@{n}"] for n in range(1, self.rounds + 1)))]
        rows += [(record["name"], one["id"], *one["JF"]) for record in results["videos"] for one in record["objects"]]
        rounded = [(*row[:2], *("" if value is None else round(value, 1) for value in row[2:])) for row in rows]
        columns = ("sequence", "obj", *(f"J&F@{number}" for number in range(1, self.rounds + 1)))
        return Table(columns=columns, rows=tuple(rounded))

    def shown(self, clip, entry: dict) -> tuple[str, np.ndarray, np.ndarray]:
        """The worst frame of an object after the last round."""
        index = next(index for index in clip.labelled_frames if clip.frame_name(index) == entry["worst_frame"])
        truth = clip.masks(index)[entry["id"]]
        return entry["worst_frame"], truth, Masks([entry["rle"]], truth.shape)[0]

    # Steps

    def _object(self, session, clip, object_id: int, first: int, voids: dict) -> dict:
        """The record of one object; without "JF" if there is nothing to score."""
        labelled = [index for index in clip.labelled_frames if index >= first]
        truths = {index: _without(clip.masks(index)[object_id], voids.get(index)) for index in labelled}
        evaluated = self.rules.evaluated(list(clip.labelled_frames))
        evaluated = [index for index in evaluated if index in truths]
        if not any(truths[index].any() for index in evaluated):
            return _excluded(object_id, NO_VISIBLE_TRUTH if evaluated else TOO_FEW_FRAMES)

        def score(masks: dict[int, np.ndarray]) -> ObjectTally:
            tally = ObjectTally(object_id)
            for index in evaluated:
                tally.add(clip.frame_name(index), masks[index], truths[index])
            return tally

        def follower() -> SessionFollower:
            return SessionFollower(session, object_id, first, voids)

        if self.is_online:
            course = online(follower, truths, score, self.rounds)
        else:
            course = offline(follower(), truths, score, self.rounds)
        return self._record(clip, object_id, course, clip.num_frames - first)

    def _record(self, clip, object_id: int, course: Course, num_frames: int) -> dict:
        scores = [tally.score() for tally in course.tallies]
        last = scores[-1]
        names = {clip.frame_name(index): index for index in course.masks}
        worst = course.masks[names[last.worst_frame]]
        counts = [min(number, len(course.frames)) for number in range(1, len(scores) + 1)]
        return {
            "id": object_id,
            "JF": [score.jf for score in scores],
            "J": [score.j for score in scores],
            "F": [score.f for score in scores],
            "corrected_frames": [clip.frame_name(index) for index in course.frames],
            "passes": course.passes,
            "annotation_seconds": [
                annotation_seconds(count, num_frames, 1 if self.is_online else count) for count in counts
            ],
            "worst_frame": last.worst_frame,
            "worst_J": last.worst_j,
            "rle": Masks.from_dense(worst[None], worst.shape).rle[0],
        }


def _without(mask: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    return mask if void is None else mask & ~void


def _excluded(object_id: int, reason: str) -> dict:
    return {"id": object_id, "reason": reason, "false_positive_frames": 0}
