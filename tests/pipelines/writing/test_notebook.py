"""What a notebook shows of results."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.notebook import MOST_BYTES
from sam2_hf.processing.prompts import ObjectPrompt
from tests.pipelines.made_results import HEIGHT, WIDTH, blob, clip, made, shapes
from tests.tiny import scene


def picture_in(html: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", html)[1])))


def cells_of(html: str) -> list[str]:
    cells, parser = [], HTMLParser()
    parser.handle_data = cells.append
    parser.feed(html[html.index("<table>") :] if "<table>" in html else "")
    return cells


def test_objects_are_listed_with_number_label_score_area_and_box():
    dense = shapes()[:2]
    result = made(dense, image=scene(HEIGHT, WIDTH), labels=("cup", None), object_ids=(7, "left"))
    cells = cells_of(result._repr_html_())
    box = ", ".join(str(int(side)) for side in result.boxes[0])
    for told in ("7", "cup", "left", f"{result.quality[0]:.2f}", str(dense[0].sum()), box):
        assert told in cells
    assert picture_in(result._repr_html_()).size == (WIDTH, HEIGHT)
    assert Image.open(io.BytesIO(result._repr_png_())).size == (WIDTH, HEIGHT)


def test_names_are_escaped():
    bad = "<script>alert(1)</script>"
    result = made(shapes()[:1], labels=(bad,), object_ids=(bad,), source=f"{bad}.jpg")
    assert "<script" not in result._repr_html_() and bad in cells_of(result._repr_html_())


@pytest.mark.parametrize("count", [1, 30])
def test_large_pictures_are_kept_small(count):
    noise = np.random.default_rng(0).integers(0, 255, (1500, 2500, 3)).astype(np.uint8)
    dense = np.stack([np.kron(blob(index, (15, 25), 1), np.ones((100, 100))) > 0 for index in range(count)])
    prompts = (ObjectPrompt([[2000.0, 700.0]], [1], [0, 0, 2400, 1400]),) * count
    result = made(dense, image=noise, prompts=prompts)
    html, png = result._repr_html_(), result._repr_png_()
    assert len(png) <= MOST_BYTES and len(html) <= 1.4 * MOST_BYTES + 10_000
    assert max(picture_in(html).size) <= 640
    assert html.count("<tr>") - 1 == min(count, 20) and ("and 10 more" in html) == (count == 30)


def test_result_without_its_picture_is_shown_on_a_plain_ground(tmp_path):
    Image.fromarray(scene(HEIGHT, WIDTH + 1)).save(tmp_path / "other_size.png")
    for source in (None, "absent.jpg", "https://127.0.0.1:1/photo.jpg", str(tmp_path / "other_size.png")):
        shown = picture_in(made(shapes()[:1], source=source)._repr_html_())
        assert shown.size == (WIDTH, HEIGHT) and np.asarray(shown)[50, 80].max() < 80
    nothing = made(np.zeros((0, HEIGHT, WIDTH), bool), image=scene(HEIGHT, WIDTH))
    assert "0 objects" in nothing._repr_html_() and "<table>" not in nothing._repr_html_()


def test_frames_of_videos_are_shown_too():
    frame = list(clip(2))[1]
    assert isinstance(frame, VideoFrameResult)
    assert "walk.mp4" in frame._repr_html_() and "frame 1" in frame._repr_html_()
    assert picture_in(frame._repr_html_()).size == (WIDTH, HEIGHT)
