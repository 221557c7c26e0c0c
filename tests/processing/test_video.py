from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.pixels import to_pixels
from sam2_hf.processing.video import frames_from, natural_key, stream_from
from tests.golden.recipe import golden_scene

HEIGHT, WIDTH, NUM_FRAMES = 64, 96, 30
BAR = 3  # pixels


def picture(frame: int) -> np.ndarray:
    """A scene with a white bar whose place is the frame's number."""
    pixels = golden_scene(HEIGHT, WIDTH) // 2
    pixels[:, BAR * frame : BAR * (frame + 1)] = 255
    return pixels


def written(
    path, codec="libx264", rotation=0, times=None, num_frames=NUM_FRAMES, pix_fmt="yuv420p", muxer=None, **options
):
    """A clip whose frame number can be told from its picture."""
    with av.open(f"file:{path}", "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def is_frame(pixels: torch.Tensor, number: int) -> bool:
    """Whether a decoded picture is that of a frame: its bar is there."""
    bars = pixels.float().mean(dim=(0, 1))[: BAR * NUM_FRAMES].view(NUM_FRAMES, BAR).mean(dim=1)
    return int(bars.argmax()) == number


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return written(tmp_path_factory.mktemp("clips") / "clip.mp4", g="10", bf="2")


def test_frames_are_exact_in_any_order(clip):
    source = frames_from(clip)
    assert (len(source), source.size, source.fps) == (NUM_FRAMES, (HEIGHT, WIDTH), 25.0)
    for index in (0, 1, 2, 17, 18, 5, 29, 0, 11):
        assert is_frame(source[index], index), index


def test_reading_on_and_seeking_give_the_same_bits(clip):
    in_order = frames_from(clip)
    expected = [in_order[index] for index in range(NUM_FRAMES)]
    jumping = frames_from(clip)
    for index in (23, 3, 14, 13, 29):
        assert torch.equal(jumping[index], expected[index])


def test_variable_frame_rate_keeps_every_frame_and_its_time(tmp_path):
    times = [0, 40, 200, 240, 520, 1000, 1040, 2000]  # the encoder counts in steps of 40
    source = frames_from(written(tmp_path / "vfr.mkv", times=times, num_frames=len(times)))
    assert len(source) == len(times)
    assert [round(1000 * source.time(index)) for index in range(len(times))] == times
    assert all(is_frame(source[index], index) for index in (7, 2, 6))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_rotation_metadata_is_honoured(tmp_path, clip, rotation, turns):
    plain = frames_from(written(tmp_path / "plain.mp4", num_frames=2))[0]
    turned = frames_from(written(tmp_path / "turned.mp4", rotation=rotation, num_frames=2))
    assert torch.equal(turned[0], torch.rot90(plain, turns, dims=(1, 2)))
    assert turned.size == tuple(turned[0].shape[-2:])


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_broken_frame_in_the_middle_is_named_and_does_not_end_the_video(tmp_path, codec):
    path = written(tmp_path / "clip.mkv", codec=codec, num_frames=10, g="1")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        broken = bytes(packets[6])
    data = path.read_bytes()
    start = data.index(broken)
    middle, end = start + len(broken) // 4, start + len(broken)
    path.write_bytes(data[:middle] + bytes(end - middle) + data[end:])
    source = frames_from(path)
    assert len(source) == 10
    assert is_frame(source[5], 5)
    with pytest.raises(DecodeError, match=r"clip\.mkv: frame 6 cannot be decoded"):
        source[6]
    assert is_frame(source[8], 8)


def states(source, numbers=range(NUM_FRAMES)) -> str:
    """Of each frame: "." it is the right one, "x" it cannot be decoded, "?" it is another."""
    found = {}
    for index in numbers:
        try:
            found[index] = "." if is_frame(source[index], index) else "?"
        except DecodeError:
            found[index] = "x"
    return "".join(found[index] for index in sorted(found))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.mkv", "libx264", {"bf": "0"}),
        ("clip.mp4", "libx264", {"bf": "2"}),
        ("clip.mkv", "mpeg4", {}),
        ("clip.avi", "mpeg4", {}),
    ],
)
def test_frames_drawn_from_a_broken_one_are_not_shown_as_if_they_were_right(tmp_path, name, codec, options):
    """Decoders go on with what they have: their pictures are those of earlier frames, changed a little."""
    path = written(tmp_path / name, codec=codec, g="10", **options)
    with av.open(str(path)) as container:
        broken = bytes([packet for packet in container.demux(video=0) if packet.size][16])
    data = path.read_bytes()
    start, end = data.index(broken), data.index(broken) + len(broken)
    middle = start + len(broken) // 4
    path.write_bytes(data[:middle] + bytes(end - middle) + data[end:])
    source = frames_from(path)
    assert len(source) == NUM_FRAMES
    in_order = states(source)
    assert "?" not in in_order
    assert in_order[:13] == "." * 13 and in_order[16:20] == "xxxx" and in_order[20:] == "." * 10
    assert states(frames_from(path), reversed(range(NUM_FRAMES))) == in_order
    if options.get("bf") != "2":  # there the decoder itself misses what frame 18 is drawn from
        with pytest.raises(
            DecodeError, match=r"frame 18 cannot be decoded \(it is drawn from frame 16, which cannot be"
        ):
            frames_from(path)[18]


def test_broken_frame_of_a_stream_is_named(tmp_path):
    path = written(tmp_path / "clip.mkv", num_frames=10, g="1")
    with av.open(str(path)) as container:
        broken = bytes([packet for packet in container.demux(video=0) if packet.size][6])
    data = path.read_bytes()
    path.write_bytes(data.replace(broken, broken[:40] + bytes(len(broken) - 40)))
    with pytest.raises(DecodeError, match=r"frame \d of the stream cannot be decoded"):
        for number, frame in enumerate(stream_from(f"file://{path}")):
            assert number < 6 and is_frame(frame, number)


def test_video_whose_first_frame_is_broken_can_be_opened(tmp_path):
    path = written(tmp_path / "clip.mkv", num_frames=4, g="1")
    with av.open(str(path)) as container:
        broken = bytes(next(container.demux(video=0)))
    data = path.read_bytes()
    path.write_bytes(data.replace(broken, broken[:40] + bytes(len(broken) - 40)))
    source = frames_from(path)
    assert source.size == (HEIGHT, WIDTH)
    assert states(source, range(4)) == "x..."


def clusters(path: Path) -> list[int]:
    """Where the clusters of a Matroska file begin."""
    data, at, found = path.read_bytes(), 0, []
    while (at := data.find(b"\x1f\x43\xb6\x75", at + 1)) >= 0:
        found.append(at)
    return found


def without_bytes(path: Path, start: int, end: int) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    return path


@pytest.mark.parametrize(("name", "codec"), [("clip.mkv", "libx264"), ("clip.webm", "libvpx")])
def test_frames_that_damage_took_out_keep_their_numbers(tmp_path, name, codec):
    path = written(tmp_path / name, codec=codec, g="5", muxer={"cluster_time_limit": "200", "live": "1"})
    second, third = clusters(path)[1:3]
    source = frames_from(without_bytes(path, second + 30, third - 20))
    assert len(source) == NUM_FRAMES
    found = states(source)
    assert "?" not in found and "x" in found
    assert found[:5] == "....." and found[15:] == "." * 15
    lost = found.index("x")
    with pytest.raises(DecodeError, match=rf"frame {lost} cannot be decoded \(it .*damaged bytes \d+\.\.\d+"):
        source[lost]


@pytest.mark.parametrize("frames_between", ["0", "2"])
def test_frames_that_a_damaged_transport_stream_has_lost_keep_their_numbers(tmp_path, frames_between):
    path = written(tmp_path / "clip.ts", g="5", bf=frames_between)
    size = path.stat().st_size
    source = frames_from(without_bytes(path, size * 4 // 10, size * 55 // 100))
    found = states(source)
    assert len(source) == NUM_FRAMES and "?" not in found
    assert found.count("x") < 12 and found[:5] == "....." and found[-8:] == "........"


def test_damage_where_the_frame_rate_varies_is_refused(tmp_path):
    times = [0, 40, 200, 240, 520, 1000, 1040, 2000, 2400, 2440]
    path = written(tmp_path / "vfr.mkv", times=times, num_frames=10, g="2", muxer={"cluster_time_limit": "100"})
    second, third = clusters(path)[1:3]
    without_bytes(path, second + 8, third - 2)
    with pytest.raises(DecodeError, match=r"vfr\.mkv: bytes \d+\.\.\d+ are damaged; how many frames .* cannot be told"):
        frames_from(path)


def test_gaps_of_a_sound_file_are_no_damage(tmp_path):
    """Recordings of screens and telephones leave frames out in which nothing changes."""
    times = [40 * index for index in range(30) if index not in (7, 8, 9, 20)]
    for name, codec in (("screen.mkv", "libx264"), ("screen.webm", "libvpx")):
        path = written(tmp_path / name, codec=codec, times=times, num_frames=len(times), muxer={"live": "1"})
        source = frames_from(path)
        assert len(source) == len(times) and states(source, range(len(times))) == "." * len(times)


def test_damaged_end_of_a_file_without_a_length_is_told_of(tmp_path):
    path = written(tmp_path / "live.webm", codec="libvpx", g="5", muxer={"cluster_time_limit": "200", "live": "1"})
    without_bytes(path, clusters(path)[-1] + 20, path.stat().st_size)
    with pytest.warns(UserWarning, match=r"live\.webm: its end, bytes \d+\.\., is damaged or cut off"):
        source = frames_from(path)
    assert 20 <= len(source) < NUM_FRAMES and "?" not in states(source, range(len(source)))


def test_cut_off_and_foreign_files_are_refused(tmp_path, clip):
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:1000])
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("cut.mp4", "text.mp4"):
        with pytest.raises(SourceError, match=name.replace(".", r"\.")):
            frames_from(tmp_path / name)
    with pytest.raises(SourceError, match="no such video file or folder"):
        frames_from(tmp_path / "absent.mp4")
    with pytest.raises(IndexError, match="frame 30 is not in"):
        frames_from(clip)[30]


def test_folder_of_any_names_is_in_natural_order(tmp_path):
    for index, name in enumerate(["b2.png", "b10.jpg", "b1.webp", ".hidden.png", "notes.txt"]):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            Image.fromarray(picture(index)).save(tmp_path / name)
    source = frames_from(tmp_path)
    assert len(source) == 3
    assert torch.equal(source[1], torch.from_numpy(picture(0)).permute(2, 0, 1))
    assert sorted(["img10", "img9", "Img1"], key=natural_key) == ["Img1", "img9", "img10"]


def test_arrays_tensors_and_lists_are_videos():
    stack = np.stack([picture(index) for index in range(3)])
    tensor = torch.from_numpy(stack).permute(0, 3, 1, 2)
    for video in (stack, tensor, list(stack), [Image.fromarray(frame) for frame in stack]):
        source = frames_from(video)
        assert len(source) == 3 and torch.equal(source[2], tensor[2])


@pytest.mark.parametrize(
    ("video", "message"),
    [
        ([], "the video has no frames"),
        (np.zeros((4, 5, 3), np.uint8), r"a video is an array \(frames, height, width, 3\), got shape \(4, 5, 3\)"),
        ({"a": 1}, "a video cannot be a dict"),
    ],
)
def test_what_is_no_video_is_refused(video, message):
    with pytest.raises(SourceError, match=message):
        frames_from(video)


def test_frames_of_other_sizes_are_named():
    source = frames_from([picture(0), picture(1)[:, :50]])
    with pytest.raises(SourceError, match=r"frame 1 is \(height, width\) \(64, 50\), the first is \(64, 96\)"):
        source[1]


def test_iterators_addresses_and_cameras_are_streams(clip):
    assert next(stream_from(iter([1]))) == 1
    assert is_frame(next(stream_from(f"file://{clip}")), 0)
    assert stream_from([picture(0)]) is None and stream_from(str(clip)) is None
    with pytest.raises(SourceError, match=r"/dev/video93: cannot be opened|video=93|93"):
        next(stream_from(93))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("clip.ts", "libx264", {}),
        ("clip.mpg", "mpeg1video", {}),
        ("clip.avi", "libx264", {}),
        ("clip.avi", "mpeg4", {"bf": "2"}),
        ("open_gop.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:keyint=10"}),
        ("clip.webm", "libvpx-vp9", {"deadline": "realtime"}),
        ("clip.mov", "mjpeg", {}),
        ("open_gop.ts", "libx264", {"x264-params": "open-gop=1:bframes=3:keyint=10:scenecut=0"}),
        ("open_gop.ts", "libx265", {"x265-params": "open-gop=1:bframes=3:keyint=10:log-level=none"}),  # seeks land late
        ("refreshed.ts", "libx264", {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}),
    ],
)
def test_frames_of_other_containers_are_exact_too(tmp_path, name, codec, options):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    source = frames_from(written(tmp_path / name, codec=codec, pix_fmt=pix_fmt, **options))
    assert len(source) == NUM_FRAMES
    for index in (0, 1, 12, 29, 7, 6, 20):
        assert is_frame(source[index], index), index


def test_pictures_of_a_clip_are_opened_once_for_the_model_and_for_drawing(tmp_path, monkeypatch):
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    opened, original = [], to_pixels
    monkeypatch.setattr("sam2_hf.processing.video.to_pixels", lambda path: opened.append(path.name) or original(path))
    frames = frames_from(tmp_path)
    for index in range(4):
        assert torch.equal(frames[index], frames[index])
    assert opened == [f"{index}.png" for index in range(4)]


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4", "clip.mkv", "clip.mov"])
def test_frames_between_others_keep_their_order_in_every_container(tmp_path, name):
    """AVI has no presentation times: packets and frames of H.264 with B-frames count them in different orders."""
    source = frames_from(written(tmp_path / name, g="10", bf="2"))
    assert len(source) == NUM_FRAMES
    for index in (*range(12), 29, 4, 20):
        assert is_frame(source[index], index), index


def test_equal_time_stamps_are_counted(tmp_path):
    path = written(tmp_path / "fast.mkv", times=[index // 5 for index in range(20)], num_frames=20)
    source = frames_from(path)
    assert len(source) == 20 and all(is_frame(source[index], index) for index in (0, 7, 3, 19))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.avi"])
def test_cut_file_whose_header_knows_better_is_told_of(tmp_path, name):
    codec = {"clip.webm": "libvpx", "clip.avi": "mjpeg"}.get(name, "libx264")
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = written(tmp_path / name, codec=codec, pix_fmt=pix_fmt, g="5")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.warns(UserWarning, match=f"{name}: the header says .*; is the file complete"):
        source = frames_from(path)
    assert 0 < len(source) < NUM_FRAMES and is_frame(source[2], 2)


def test_whole_files_are_not_told_of(tmp_path):
    for name, codec in (("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.mp4", "libx264")):
        assert len(frames_from(written(tmp_path / name, codec=codec, bf="0"))) == NUM_FRAMES  # warnings are errors


def test_change_of_size_within_a_video_is_named(tmp_path):
    path = tmp_path / "joined.h264"
    with path.open("wb") as whole:
        for size in ((64, 96), (32, 48)):
            part = tmp_path / f"{size[0]}.h264"
            with av.open(str(part), "w") as container:
                stream = container.add_stream("libx264", rate=25)
                (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
                for _ in range(4):
                    frame = av.VideoFrame.from_ndarray(np.zeros((*size, 3), np.uint8), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
            whole.write(part.read_bytes())
    source = frames_from(path)
    assert source[3].shape == (3, 64, 96)
    with pytest.raises(SourceError, match=r"frame 4 is \(height, width\) \(32, 48\), the first is \(64, 96\)"):
        source[4]


@pytest.mark.parametrize("name", ["stack.tif", "stack.tiff", "moving.webp"])
def test_picture_file_with_several_pages_is_a_video(tmp_path, name):
    pages = [Image.fromarray(picture(index)) for index in range(6)]
    pages[0].save(
        tmp_path / name, save_all=True, append_images=pages[1:], **({"lossless": True} if "webp" in name else {})
    )
    source = frames_from(tmp_path / name)
    assert (len(source), source.size) == (6, (HEIGHT, WIDTH))
    for index in (5, 0, 3):
        assert torch.equal(source[index], torch.from_numpy(picture(index)).permute(2, 0, 1))
    with pytest.raises(IndexError, match="frame 6 is not in"):
        source[6]


def test_names_with_colons_and_raised_digits_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(Path("10:30.mp4"), num_frames=3)
    assert len(frames_from("10:30.mp4")) == 3
    for name in ("²3.png", "b10.png", "b9.png"):
        Image.fromarray(picture(0)).save(tmp_path / name)
    assert sorted(["b10", "²3", "b9"], key=natural_key) == ["b9", "b10", "²3"]
