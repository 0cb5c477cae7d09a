"""Decoding: rotation, colours, sizes, and files that are refused."""

import os
import re
import signal
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fomm_lib.errors import InputError, VideoError
from fomm_lib.media import decoding
from fomm_lib.media.decoding import ToRgb, _conversion, decoded_frames, open_video
from fomm_lib.media.formats import READ_FORMATS
from fomm_lib.media.video import VideoReader, read_frames, read_image
from tests.support.odd_files import SIZE, difference, encode, ffmpeg, make, moving_frames, portrait


@pytest.mark.parametrize(("angle", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3)])
def test_rotation_is_honoured(angle, turns, tmp_path):
    """ffmpeg's `-display_rotation` turns counter-clockwise."""
    frames = moving_frames(3, (64, 32))
    encode(tmp_path / "a.mp4", frames, options={"crf": "5"})
    ffmpeg("-display_rotation", str(angle), "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    video = VideoReader(tmp_path / "b.mp4")
    assert video.rotation == (360 - angle) % 360
    assert video.size == ((64, 32) if turns % 2 == 0 else (32, 64))
    assert difference(video.first_frame(), np.rot90(frames[0], turns)).mean() < 2
    assert np.array_equal(read_frames(tmp_path / "b.mp4", [0])[0], video.first_frame())


def test_mirroring_is_honoured(tmp_path):
    frames = moving_frames(3)
    encode(tmp_path / "a.mp4", frames, options={"crf": "5"})
    ffmpeg("-display_hflip", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    assert difference(VideoReader(tmp_path / "b.mp4").first_frame(), frames[0][:, ::-1]).mean() < 2


def test_pixels_become_square(odd_folder):
    assert VideoReader(make("anamorphic.mp4", odd_folder)).size == (128, 64)


def test_change_of_size_is_rescaled_to_the_first(odd_folder):
    frames = list(VideoReader(make("size_changes.ts", odd_folder)))
    assert difference(frames[20], moving_frames(12)[8]).mean() < 8


COLOURS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (200, 120, 90), (128, 128, 128), (255, 255, 255)],
    np.uint8,
)


UNTAGGED = 2


def encode_bars(path, height, matrix, colour_range, pix_fmt, tag):
    """Bars of `COLOURS`, converted by one matrix and range, tagged with FFmpeg's number for it, or not."""
    bars = np.repeat(np.repeat(COLOURS[None], height, 0), 16, 1)
    graph = av.filter.Graph()
    width, rgb = bars.shape[1], av.VideoFormat("rgb24")
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=rgb, time_base=Fraction(1, 25)),
        graph.add("scale", f"out_color_matrix={matrix}:out_range={colour_range}"),
        graph.add("format", pix_fmt),
        graph.add("buffersink"),
    ).configure()
    graph.push(av.VideoFrame.from_ndarray(bars, format="rgb24"))
    frame = graph.pull()
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.colorspace = tag
        stream.codec_context.color_range = {"tv": 1, "pc": 2}[colour_range]
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == tag
    return path


@pytest.mark.parametrize(
    ("height", "matrix", "colour_range", "pix_fmt", "tag"),
    [
        (32, "bt709", "tv", "yuv444p", 1),
        (32, "bt601", "tv", "yuv444p", 6),
        (32, "bt709", "pc", "yuv444p", 1),
        (32, "bt2020", "tv", "yuv444p10le", 9),
        (32, "bt709", "tv", "yuv420p", 1),
        (720, "bt709", "tv", "yuv444p", UNTAGGED),  # players guess by the height
        (576, "bt601", "tv", "yuv444p", UNTAGGED),
    ],
)
def test_colours_follow_the_tags(height, matrix, colour_range, pix_fmt, tag, tmp_path):
    path = encode_bars(tmp_path / "bars.mp4", height, matrix, colour_range, pix_fmt, tag)
    seen = VideoReader(path).first_frame()[height // 2, 8::16]
    assert difference(seen, COLOURS).max() <= 2


def test_hdr_is_mapped_and_its_tables_are_kept(odd_folder):
    """PQ of 58 % is the white of a page, 203 cd/m2: naively shown it is a dull grey."""
    path = make("hdr.mp4", odd_folder)
    mapped = list(VideoReader(path))
    misses = _conversion.cache_info().misses
    list(VideoReader(path))
    assert _conversion.cache_info().misses == misses
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        naive = frame.to_ndarray(format="rgb24")
    assert mapped[0].mean() != pytest.approx(naive.mean(), abs=5)


def test_transparent_video_is_laid_on_white(tmp_path):
    rgba = np.dstack([portrait(), np.zeros((SIZE, SIZE), np.uint8)])
    rgba[:, SIZE // 2 :, 3] = 255
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "argb"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frame = VideoReader(tmp_path / "a.mov").first_frame()
    assert (frame[:, : SIZE // 2] == 255).all()
    assert np.array_equal(frame[:, SIZE // 2 :], portrait()[:, SIZE // 2 :])


def test_too_large_frames_are_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(2))
    monkeypatch.setattr("fomm_lib.media.decoding.MAX_FRAME_PIXELS", 64 * 63)
    with pytest.raises(VideoError, match="a video frame of 64 x 64 pixels is too large") as caught:
        VideoReader(path)
    assert caught.value.reason == "too_large"


def test_decoder_that_gives_nothing_is_given_up(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(20))
    monkeypatch.setattr("fomm_lib.media.decoding.STALL_SECONDS", -1)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "ALL"
        with pytest.raises(VideoError, match="gave no frame"):
            list(decoded_frames(stream))


def test_ffmpeg_does_not_wait_for_the_interpreter(odd_folder):
    """torchvision 0.19 asks for FFmpeg's messages when imported; with PyAV 17.0 these tests then hung."""
    av.logging.set_level(av.logging.ERROR)
    try:
        VideoReader(make("good.mp4", odd_folder))
        assert av.logging.get_level() is None
    finally:
        av.logging.set_level(None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_reads_on(odd_folder):
    """Other libraries fork: what this process has set up must work in the child too, not wait."""
    path = make("good.mp4", odd_folder)
    read_frames(path, [0])
    child = os.fork()
    if child == 0:
        read_frames(path, [3])
        _conversion.cache_clear()
        os._exit(0)
    deadline = time.monotonic() + 60
    done = 0
    while not done and time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert done and status == 0


def test_rotation_of_any_matrix():
    """The closed form: a display matrix of angle t, clockwise, has a = cos t and b = sin t."""
    to_rgb = ToRgb(stream=None)
    for angle in (0, 90, 180, 270):
        t = np.radians(angle)
        to_rgb.matrix = tuple(
            np.round(65536 * np.array([np.cos(t), np.sin(t), -np.sin(t), np.cos(t)])).astype(int)
        )
        assert to_rgb.rotation == angle


def test_faults_can_be_noted_instead_of_raised(odd_folder):
    path = make("flipped_bits.mp4", odd_folder)
    faults = []
    with open_video(path) as stream, pytest.raises(av.error.FFmpegError):
        list(decoded_frames(stream))
    with open_video(path) as stream:
        stream.codec_context.thread_count = 1
        frames = list(decoded_frames(stream, on_fault=faults.append))
    assert faults and all(fault is None or isinstance(fault, av.error.FFmpegError) for fault in faults)
    with pytest.raises(VideoError) as caught:
        list(VideoReader(path))
    assert len(frames) > caught.value.frames, "decoding goes on after a fault"


def test_images_are_left_to_pillow(odd_folder):
    for name in ("moving.gif", "moving.png", "moving.webp", "colour.jpg"):
        with open_video(make(name, odd_folder)) as stream:
            assert stream is None


# --- transparency of VP8 and VP9 -----------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("suffix", ["webm", "mkv"])
def test_transparent_vp8_and_vp9_are_laid_on_white(codec, suffix, tmp_path):
    rgba = np.dstack(
        [np.full((SIZE, SIZE, 3), (200, 40, 40), np.uint8), np.full((SIZE, SIZE), 255, np.uint8)]
    )
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "4", "b": "2M", "auto-alt-ref": "0"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuva420p"
        for number in range(20):
            rgba[..., 3] = 255
            rgba[:, : 8 + 2 * number, 3] = 0
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = list(VideoReader(path))
    assert len(frames) == 20
    for number in (0, 7, 19):
        edge = 8 + 2 * number
        assert (frames[number][:, : edge - 4] > 250).all()
        assert difference(frames[number][:, edge + 4 :], rgba[:, edge + 4 :, :3]).max() < 12
    assert np.array_equal(read_frames(path, [13, 2]), np.stack([frames[13], frames[2]]))


def test_a_transparent_frame_that_is_too_large_is_not_decoded_by_libvpx(tmp_path, monkeypatch):
    """FFmpeg's own decoder is asked first: it knows the limit."""
    path = encode(tmp_path / "a.webm", moving_frames(3), codec="libvpx-vp9", pix_fmt="yuva420p")
    with open_video(path) as stream:
        assert stream.metadata["alpha_mode"] == "1"
        stream.codec_context.options = {"max_pixels": "1000"}
        with pytest.raises(av.error.FFmpegError):
            list(decoded_frames(stream))


# --- files that name other files -----------------------------------------------------------------------

LISTS = {
    "concat.mp4": "ffconcat version 1.0\nfile 'good.mp4'\n",
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ngood.ts\n#EXT-X-ENDLIST\n",
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ngood.ts\n#EXT-X-ENDLIST\n",
    "itself.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\nitself.m3u8\n",
    "dash.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    '<Period><AdaptationSet><Representation id="1"><BaseURL>good.mp4</BaseURL><SegmentBase/></Representation>'
    "</AdaptationSet></Period></MPD>\n",
    "sdp.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "list.pls": "[playlist]\nFile1=good.mp4\n",
}


@pytest.fixture(scope="module")
def playlists(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    encode(folder / "good.mp4")
    encode(folder / "good.ts")
    for name, text in LISTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("read", [VideoReader, read_image, lambda path: read_frames(path, [0])])
def test_a_list_of_files_opens_none_of_them(playlists, name, read, monkeypatch):
    monkeypatch.chdir(playlists)  # some FFmpeg follow only names without a folder
    with pytest.raises(InputError) as caught:
        read(name)
    assert str(caught.value).startswith(f"{name}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_files_is_named_so(playlists, name):
    with pytest.raises(
        VideoError, match="is a list of other files, which are not opened; give the video itself"
    ):
        VideoReader(playlists / name)


@pytest.mark.parametrize("name", ["frame%03d.png", "frame%d.jpg", "frame*.bmp", "frame%02d.tga"])
def test_a_name_with_a_pattern_is_one_image(name, tmp_path):
    """FFmpeg would open all images that fit the pattern."""
    image = portrait()
    for number in (1, 2):
        Image.fromarray(255 - image).save(tmp_path / f"frame{number:03}{Path(name).suffix}")
    Image.fromarray(image).save(tmp_path / name)
    assert difference(read_image(tmp_path / name), image).max() < 40
    with pytest.raises(VideoError, match="is a still image") as caught:
        VideoReader(tmp_path / name)
    assert caught.value.reason == "still"


def test_the_formats_that_open_other_files_are_not_read():
    others = "concat hls dash imf sdp rtsp rtp image2 image2pipe vobsub mlv svg_pipe webm_dash_manifest lavfi"
    assert not set(others.split()) & set(READ_FORMATS.split())
    assert len(READ_FORMATS.split()) == len(set(READ_FORMATS.split()))


def test_nothing_else_in_the_library_opens_a_file_with_ffmpeg_to_read():
    package = Path(decoding.__file__).parents[1]
    calls = re.compile(
        r"\bav\.open\((?!.*[\"']w[\"'])|\bimageio\b.*\b(open|read|get_reader)\(|cv2\.VideoCapture"
    )
    found = [path.name for path in package.rglob("*.py") if calls.search(path.read_text(encoding="utf-8"))]
    assert found == ["decoding.py"]
