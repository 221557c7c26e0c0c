"""From scores of frames to scores of objects and of a whole data set, as plain records.

The global J and F are means over all objects of all videos, not over videos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sam2_hf.evaluation.metrics import contour_accuracy, region_similarity

NO_VISIBLE_TRUTH = "no visible truth"
TOO_FEW_FRAMES = "no frame to evaluate"


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """One object of one video, over its evaluated frames.

    Attributes:
        j, f: means over frames, 0 to 100.
        dice: mean over frames, 0 to 100.
        volume_dice: Dice of all frames as one volume, 0 to 100.
        frames: how many were evaluated.
        visible_frames: how many of them show the object in the truth.
        worst_frame: name of the frame with the lowest J among those that show it.
        worst_j: J there, 0 to 100.
    """

    object_id: int
    j: float
    f: float
    dice: float
    volume_dice: float
    frames: int
    visible_frames: int
    worst_frame: str
    worst_j: float

    @property
    def jf(self) -> float:
        """J&F."""
        return (self.j + self.f) / 2

    def to_dict(self) -> dict:
        """As written to `results.json`."""
        return {
            "id": self.object_id,
            "J": self.j,
            "F": self.f,
            "JF": self.jf,
            "Dice": self.dice,
            "volume_Dice": self.volume_dice,
            "frames": self.frames,
            "visible_frames": self.visible_frames,
            "worst_frame": self.worst_frame,
            "worst_J": self.worst_j,
        }


@dataclass(slots=True)
class ObjectTally:
    """Gathers the frames of one object."""

    object_id: int
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)
    areas: list[tuple[int, int, int]] = field(default_factory=list)  # intersection, predicted, truth
    names: list[str] = field(default_factory=list)

    def add(self, name: str, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Scores one frame: bool masks (height, width)."""
        self.names.append(name)
        self.j.append(region_similarity(predicted, truth))
        self.f.append(contour_accuracy(predicted, truth))
        counts = (np.count_nonzero(mask) for mask in (predicted & truth, predicted, truth))
        self.areas.append(tuple(map(int, counts)))  # plain numbers, which records are made of

    @property
    def is_seen(self) -> bool:
        """Whether the truth shows the object on a frame that was added."""
        return any(truth for _, _, truth in self.areas)

    @property
    def false_positive_frames(self) -> int:
        """Frames with a prediction and no truth."""
        return sum(predicted > 0 and truth == 0 for _, predicted, truth in self.areas)

    def score(self) -> ObjectScore:
        """The object's score; it must have been seen."""
        overlap, predicted, truth = np.sum(self.areas, axis=0)
        dices = [2 * both / (one + other) if one + other else 1.0 for both, one, other in self.areas]
        visible = [index for index, (_, _, area) in enumerate(self.areas) if area]
        worst = min(visible, key=lambda index: self.j[index])
        return ObjectScore(
            object_id=self.object_id,
            j=100 * float(np.mean(self.j)),
            f=100 * float(np.mean(self.f)),
            dice=100 * float(np.mean(dices)),
            volume_dice=100 * float(2 * overlap / (predicted + truth)),
            frames=len(self.j),
            visible_frames=len(visible),
            worst_frame=self.names[worst],
            worst_j=100 * self.j[worst],
        )

    def curve(self) -> list[dict]:
        """Frame by frame, 0 to 100, for those who want to see more than the mean."""
        return [
            {"frame": name, "J": 100 * j, "F": 100 * f, "visible": bool(truth)}
            for name, j, f, (_, _, truth) in zip(self.names, self.j, self.f, self.areas, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class VideoScore:
    """All objects of one video.

    Attributes:
        excluded: objects without a score: {"id", "reason", "false_positive_frames"}.
        unknown_ids: ids that only the prediction has -> number of frames.
        curves: per object its frames, if they were asked for.
    """

    name: str
    objects: tuple[ObjectScore, ...]
    frames: int
    excluded: tuple[dict, ...] = ()
    unknown_ids: dict[int, int] = field(default_factory=dict)
    curves: dict[int, list[dict]] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """As written to `results.json`."""
        record = {"name": self.name, "frames": self.frames, "objects": [score.to_dict() for score in self.objects]}
        record |= {"excluded": list(self.excluded)}
        record["unknown_ids"] = {str(key): count for key, count in self.unknown_ids.items()}
        if self.curves:
            record["curves"] = {str(key): curve for key, curve in self.curves.items()}
        return record


def video_score(name: str, tallies: Sequence[ObjectTally], frames: int, **more) -> VideoScore:
    """The score of a video from its objects' frames; objects that the truth never shows are listed as excluded."""
    return VideoScore(
        name=name,
        objects=tuple(tally.score() for tally in tallies if tally.is_seen),
        frames=frames,
        excluded=tuple(_excluded(tally) for tally in tallies if not tally.is_seen),
        **more,
    )


def _excluded(tally: ObjectTally) -> dict:
    reason = NO_VISIBLE_TRUTH if tally.names else TOO_FEW_FRAMES
    return {"id": tally.object_id, "reason": reason, "false_positive_frames": tally.false_positive_frames}


def video_results(videos: Sequence[dict], missing: Sequence[dict] = ()) -> dict:
    """`results.json` of a data set, from the records of its videos.

    Args:
        videos: as `VideoScore.to_dict` gives them.
        missing: what could not be scored: {"name", "reason"}.

    Returns:
        {"global", "videos", "excluded", "missing"}; the global values are None when nothing was scored.
    """
    objects = [score for video in videos for score in video["objects"]]

    def mean(key: str) -> float | None:
        return float(np.mean([score[key] for score in objects])) if objects else None

    overall = {key: mean(key) for key in ("J", "F", "Dice", "volume_Dice")}
    overall["JF"] = (overall["J"] + overall["F"]) / 2 if objects else None
    overall |= {"objects": len(objects), "videos": len(videos), "frames": sum(video["frames"] for video in videos)}
    excluded = [{"video": video["name"], **entry} for video in videos for entry in video["excluded"]]
    return {"global": overall, "videos": list(videos), "excluded": excluded, "missing": list(missing)}


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is written as CSV, and in short as Markdown: names of columns, then rows of text and numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple, ...]


def score_table(results: dict) -> Table:
    """Objects of videos with J&F, J and F at one decimal, the global line first."""
    overall = results["global"]
    rows = [("Global score", "", *_one_decimal(overall))]
    rows += [
        (video["name"], score["id"], *_one_decimal(score)) for video in results["videos"] for score in video["objects"]
    ]
    return Table(columns=("sequence", "obj", "J&F", "J", "F"), rows=tuple(rows))


def _one_decimal(score: dict) -> tuple:
    return tuple("" if score[key] is None else round(score[key], 1) for key in ("JF", "J", "F"))
