"""Video files are decoded again and compared with the masks."""

import av
import numpy as np
import pytest
from PIL import Image

from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.video_files import AlphaVideo, GifVideo, MatteVideo, OverlayVideo, union_of
from tests.pipelines.made_results import clip, made, moving


def written(sink, frames) -> None:
    for result in frames:
        sink.write(result)
    sink.close()


def decoded(path, layout: str, decoder: str | None = None) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return [frame.to_ndarray(format=layout) for frame in container.decode(stream)]
        context = av.CodecContext.create(decoder, "r")
        packets = list(container.demux(stream))
        return [frame.to_ndarray(format=layout) for packet in packets for frame in context.decode(packet)]


def unions(count: int = 6, size=(60, 90)) -> list[np.ndarray]:
    return [moving(frame, size)[: 1 if frame == 0 else 2].any(axis=0) for frame in range(count)]


def test_matte_in_mkv_is_exact_to_the_bit(tmp_path):
    for size in ((60, 90), (61, 91)):
        written(MatteVideo(tmp_path / "matte.mkv", 10), clip(size=size))
        frames = decoded(tmp_path / "matte.mkv", "gray")
        assert len(frames) == 6
        for frame, union in zip(frames, unions(size=size), strict=True):
            assert np.array_equal(frame, union * np.uint8(255))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_matte_in_mp4_is_right_at_half_grey(suffix, tmp_path):
    written(MatteVideo(tmp_path / f"matte{suffix}", 10), clip(size=(61, 91)))
    with av.open(str(tmp_path / f"matte{suffix}")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
    for frame, union in zip(decoded(tmp_path / f"matte{suffix}", "gray"), unions(size=(61, 91)), strict=True):
        assert np.array_equal(frame > 127, union[:60, :90])  # an odd side loses its last pixel


@pytest.mark.parametrize("size", [(60, 90), (61, 91)])
def test_alpha_webm_decoded_with_libvpx_has_the_masks_as_alpha(size, tmp_path):
    written(AlphaVideo(tmp_path / "cut.webm", 10), clip(size=size))
    with av.open(str(tmp_path / "cut.webm")) as container:
        assert container.streams.video[0].metadata["alpha_mode"] == "1"
    frames = decoded(tmp_path / "cut.webm", "rgba", "libvpx-vp9")
    assert len(frames) == 6
    for frame, union in zip(frames, unions(size=size), strict=True):
        assert np.array_equal(frame[..., 3] > 127, union)


def test_alpha_mov_is_prores_4444_with_exact_alpha_and_close_colours(tmp_path):
    results = list(clip())
    written(AlphaVideo(tmp_path / "cut.mov", 10), results)
    frames = decoded(tmp_path / "cut.mov", "rgba")
    for frame, union, result in zip(frames, unions(), results, strict=True):
        assert np.array_equal(frame[..., 3], union * np.uint8(255))
        difference = np.abs(frame[..., :3].astype(int) - result.pixels())[union]
        assert difference.mean() < 3


def test_cut_out_does_not_hold_the_rest_of_the_picture(tmp_path):
    written(AlphaVideo(tmp_path / "cut.mov", 10), clip(2))
    far = np.ones((60, 90), bool)
    far[:, :50] = False
    first = decoded(tmp_path / "cut.mov", "rgba")[0]
    assert first[far][:, :3].max() <= 2


def test_overlay_shows_the_plot_at_the_given_rate(tmp_path):
    for suffix in (".mp4", ".mov", ".mkv"):
        path = tmp_path / f"overlay{suffix}"
        written(OverlayVideo(path, 12.5), clip())
        with av.open(str(path)) as container:
            assert float(container.streams.video[0].average_rate) == 12.5
        for frame, result in zip(decoded(path, "rgb24"), clip(), strict=True):
            assert np.abs(frame.astype(int) - np.asarray(result.plot())).mean() < 12


def test_gif_plays_for_ever_with_the_right_times_and_colours(tmp_path):
    written(GifVideo(tmp_path / "a.gif", 20), clip())
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.info["loop"], gif.size) == (6, 0, (90, 60))
        for index, result in enumerate(clip()):
            gif.seek(index)
            assert gif.info["duration"] == 50
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - np.asarray(result.plot())).mean() < 6


def test_gif_is_made_smaller_and_not_faster_than_players_show(tmp_path):
    written(GifVideo(tmp_path / "a.gif", 120, longest_side=45), clip())
    with Image.open(tmp_path / "a.gif") as gif:
        gif.seek(1)
        assert (gif.size, gif.info["duration"]) == ((45, 30), 20)


def test_no_frame_makes_no_file_and_closing_twice_does_no_harm(tmp_path):
    sink = OverlayVideo(tmp_path / "a.mp4")
    sink.close()
    assert not list(tmp_path.iterdir())
    written(sink, clip(2))
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_suffix_that_cannot_hold_a_kind_is_refused(tmp_path):
    for sink, suffix, known in (
        (OverlayVideo, ".webm", r"\.mp4, \.m4v, \.mov, \.mkv"),
        (MatteVideo, ".gif", r"\.mkv"),
        (AlphaVideo, ".mp4", r"\.webm, \.mov"),
        (GifVideo, "", r"a file without suffix; use one of \.gif"),
    ):
        with pytest.raises(ValueError, match=known):
            sink(tmp_path / f"a{suffix}", 10)
    with pytest.raises(ValueError, match=r"H\.264 has no frames with a side of 1 pixel"):
        MatteVideo(tmp_path / "a.mp4").write(made(np.ones((1, 1, 90), bool), VideoFrameResult))


def test_union_of_a_frame_without_objects_is_black():
    assert union_of(next(clip())[:0]).tolist() == np.zeros((60, 90)).tolist()
