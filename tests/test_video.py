"""Pictures and videos, in and out. Odd files are made on the spot by `odd_files`."""

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import warnings
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from odd_files import ODD_FILES, SIZE, encode, encode_sound, ffmpeg, make, moving_frames, portrait
from PIL import Image, ImageCms

from fomm_lib.decoding import ToRgb, _conversion
from fomm_lib.encoding import SoundTrack
from fomm_lib.files import InputError
from fomm_lib.video import VideoError, VideoReader, VideoWriter, read_frames, read_picture

pytestmark = pytest.mark.quick


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("odd")


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int))


# --- every odd file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ODD_FILES, ids=lambda odd: odd.name)
def test_odd_file_gives_a_picture_or_one_line(odd, odd_folder):
    path = odd.make_in(odd_folder)
    try:
        picture = read_picture(path)
    except InputError as error:
        assert not odd.as_picture, error
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert odd.as_picture
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3


@pytest.mark.parametrize("odd", ODD_FILES, ids=lambda odd: odd.name)
def test_odd_file_gives_frames_or_one_line(odd, odd_folder):
    path = odd.make_in(odd_folder)
    try:
        video = VideoReader(path)
        frames = list(video.timed())
    except VideoError as error:
        assert error.reason == odd.as_video, error
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert len(frames) == odd.as_video
        assert {frame.shape for frame, _ in frames} == {(video.size[1], video.size[0], 3)}
        times = [seconds for _, seconds in frames]
        assert times[0] == 0 and all(b > a for a, b in pairwise(times))


GOOD = [odd.name for odd in ODD_FILES if isinstance(odd.as_video, int)]


@pytest.mark.parametrize("name", GOOD)
def test_times_need_no_decoding(name, odd_folder):
    video = VideoReader(make(name, odd_folder))
    assert len(video.times) == len(list(video))
    if name != "size_changes.ts":  # whose clock starts again in the middle
        assert video.times == [seconds for _, seconds in video.timed()]


@pytest.mark.parametrize("name", GOOD)
def test_read_frames_gives_the_frames_of_the_reader(name, odd_folder):
    path = make(name, odd_folder)
    frames = list(VideoReader(path))
    wanted = [len(frames) - 1, 0, len(frames) // 2, 0]
    assert np.array_equal(read_frames(path, wanted), np.stack([frames[i] for i in wanted]))


# --- pictures ------------------------------------------------------------------------------------------


def test_picture_modes_agree(tmp_path):
    original = portrait()
    grey = np.asarray(Image.fromarray(original).convert("L"))
    Image.fromarray(original).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "d.tiff")
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "e.tiff")
    Image.fromarray(grey.astype(np.int32) * 257).save(tmp_path / "f.tiff")
    assert np.array_equal(read_picture(tmp_path / "a.png"), original)
    for name in ("b.png", "c.png", "d.tiff", "e.tiff", "f.tiff"):
        assert np.array_equal(read_picture(tmp_path / name), np.repeat(grey[..., None], 3, 2)), name


def test_dark_sixteen_bit_picture_stays_dark(tmp_path):
    Image.fromarray(np.full((4, 4), 200, np.uint16)).save(tmp_path / "dark.png")
    assert read_picture(tmp_path / "dark.png").max() == 1  # 200 / 65535 of white


def test_transparency_is_laid_on_white(odd_folder):
    picture = read_picture(make("transparent.png", odd_folder))
    assert (picture[:, : SIZE // 2] == 255).all()
    assert np.array_equal(picture[:, SIZE // 2 :], portrait()[:, SIZE // 2 :])


def test_exif_orientation_is_applied(odd_folder):
    assert difference(read_picture(make("sideways.jpg", odd_folder)), portrait()).mean() < 3


def test_colour_profile_is_converted(tmp_path):
    """A profile that swaps nothing (sRGB) leaves the numbers; one of another white point moves them."""
    grey = Image.new("RGB", (8, 8), (100, 150, 200))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey.save(tmp_path / "srgb.png", icc_profile=srgb)
    grey.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert difference(read_picture(tmp_path / "srgb.png"), np.asarray(grey)).max() <= 1
    assert np.array_equal(read_picture(tmp_path / "broken.png"), np.asarray(grey))
    lab = ImageCms.profileToProfile(
        grey, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    lab.save(
        tmp_path / "lab.tiff", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    )
    assert difference(read_picture(tmp_path / "lab.tiff"), np.asarray(grey)).max() <= 3


def test_picture_of_a_video_is_its_first_frame(odd_folder):
    path = make("good.mp4", odd_folder)
    assert np.array_equal(read_picture(path), next(iter(VideoReader(path))))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sound.m4a", "is no picture that can be read; give a JPEG or PNG"),
        ("encrypted.mp4", "encrypted (DRM); give one that is not"),
        ("truncated.png", "is damaged"),
        ("bomb.png", "too large (at most 89 million pixels); make it smaller"),
        ("empty.mp4", "is empty (0 bytes)"),
    ],
)
def test_picture_errors(name, words, odd_folder):
    with pytest.raises(InputError) as caught:
        read_picture(make(name, odd_folder))
    assert words in str(caught.value)


# --- where there is no file ----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other names and no such files")
@pytest.mark.parametrize("read", [read_picture, VideoReader])
def test_paths_that_are_no_files(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is not a regular file"),
        ("http://127.0.0.1:9/x.mp4", "no such file"),
        ("/dev/zero", "is not a regular file"),
        ("a\0b", "no such file|cannot be read"),
        ("x" * 5000, "no such file|cannot be read"),
    ]:
        with pytest.raises(InputError, match=words):
            read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other names and no such files")
def test_names_with_odd_characters(tmp_path):
    for name in ("ü ñ 漢.mp4", "a:b.mp4", "frame%03d.mp4", "-i.mp4", "a|b.mp4"):
        path = encode(tmp_path / "plain.mp4", moving_frames(3)).rename(tmp_path / name)
        assert len(list(VideoReader(path))) == 3
        assert len(read_frames(path, [2])) == 1


# --- videos --------------------------------------------------------------------------------------------


def test_attributes(odd_folder):
    video = VideoReader(make("good.mp4", odd_folder))
    assert (video.size, video.fps, video.frames, video.duration) == ((64, 64), 25, 25, 1.0)
    assert (video.rotation, video.has_audio, video.codec) == (0, True, "h264")
    list(video)
    assert video.end == 1


def test_every_loop_starts_again(odd_folder):
    video = VideoReader(make("good.mp4", odd_folder))
    first, second = iter(video), iter(video)
    next(first)
    assert np.array_equal(next(first), [*second][1])
    assert np.array_equal(video.first_frame(), next(iter(video)))


def test_variable_frame_times_are_kept(odd_folder):
    video = VideoReader(make("variable.mp4", odd_folder))
    assert [round(seconds * 1000) for _, seconds in video.timed()] == [0, 40, 80, 200, 240, 600, 601, 900]


def test_late_start_is_time_zero(odd_folder):
    video = VideoReader(make("late_start.mkv", odd_folder))
    assert [seconds for _, seconds in video.timed()][:2] == [0, Fraction(1, 25)]
    assert video.frames in range(25, 29)


def test_durations_that_are_no_milliseconds(tmp_path):
    """30 frames a second from an APNG: 33 ms each would be a second too early after 3000 frames."""
    path = tmp_path / "thirty.apng"
    with VideoWriter(path, 30, (16, 16)) as writer:
        for frame in moving_frames(7, (16, 16)):
            writer.write(frame)
    video = VideoReader(path)
    assert [seconds for _, seconds in video.timed()] == [Fraction(i, 30) for i in range(7)]
    assert (video.fps, video.end) == (30, Fraction(7, 30))
    assert all((seconds / video.time_base).denominator == 1 for _, seconds in video.timed())


def test_durations_of_an_animation(odd_folder):
    for name in ("moving.gif", "moving.png", "moving.webp"):
        video = VideoReader(make(name, odd_folder))
        assert [round(seconds * 1000) for _, seconds in video.timed()] == [
            0,
            40,
            120,
            160,
            240,
            280,
            360,
            400,
        ]
        assert (video.fps, video.duration, video.end) == (
            Fraction(8, 1) / Fraction(48, 100),
            0.48,
            Fraction(48, 100),
        )


def test_animation_is_laid_on_white(odd_folder):
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames = list(VideoReader(make(name, odd_folder)))
        assert all((frame[:8] == 255).all() for frame in frames)
        assert difference(frames[3][8:-8, 8:-8], moving_frames(8)[3][8:-8, 8:-8]).mean() < 6


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


def test_damage_tells_the_good_frames(odd_folder):
    path = make("cut_between_frames.mp4", odd_folder)
    with pytest.raises(
        VideoError, match=r"is damaged after 12 good frames, 0\.44 s \(the file ends \d+ bytes"
    ) as caught:
        list(VideoReader(path))
    assert caught.value.frames == 12


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sound.mp4", "there is only sound in this file; give a video"),
        ("cover_art.m4a", "there is only cover art in this file; give a video"),
        ("colour.jpg", "is a still picture; give a video"),
        ("encrypted.mp4", "this video is encrypted (DRM); give one that is not"),
        ("notes.txt", "is a text file; give a video"),
        ("noise.mp4", "is not a video that can be read (Invalid data found when processing input)"),
        ("truncated.png", "is a still picture"),
    ],
)
def test_video_errors(name, words, odd_folder):
    with pytest.raises(VideoError) as caught:
        VideoReader(make(name, odd_folder))
    assert words in str(caught.value)


def test_too_large_frames_are_refused(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(2))
    monkeypatch.setattr("fomm_lib.decoding.MAX_FRAME_PIXELS", 64 * 63)
    with pytest.raises(VideoError, match="a video frame of 64 x 64 pixels is too large") as caught:
        VideoReader(path)
    assert caught.value.reason == "too_large"


def test_decoder_that_gives_nothing_is_given_up(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", moving_frames(20))
    monkeypatch.setattr("fomm_lib.decoding.STALL_SECONDS", -1)
    with av.open(str(path)) as container:
        from fomm_lib.decoding import decoded_frames

        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "ALL"
        with pytest.raises(VideoError, match="gave no frame"):
            list(decoded_frames(path, container, stream))


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


def test_errors_survive_a_worker_process(odd_folder):
    with pytest.raises(VideoError) as caught:
        list(VideoReader(make("cut_short.mp4", odd_folder)))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason, copy.frames) == (str(caught.value), "corrupt", caught.value.frames)


# --- random access -------------------------------------------------------------------------------------


def test_read_frames_decodes_only_what_it_must(tmp_path, monkeypatch):
    path = encode(tmp_path / "long.mp4", moving_frames(200, (32, 32)), options={"g": "10"})
    frames = list(VideoReader(path))
    decoded = []
    convert = av.packet.Packet.decode
    from fomm_lib import video

    def counting(*arguments):
        for frame in original(*arguments):
            decoded.append(frame.pts)
            yield frame

    original = video.decoded_frames
    monkeypatch.setattr(video, "decoded_frames", counting)
    rng = np.random.default_rng(0)
    for _ in range(5):
        wanted = rng.integers(0, 200, 2)
        assert np.array_equal(read_frames(path, wanted), np.stack([frames[i] for i in wanted]))
    assert len(decoded) <= 5 * 2 * 10
    assert convert is av.packet.Packet.decode


def test_read_frames_of_a_changed_file(tmp_path):
    path = encode(tmp_path / "a.mp4", moving_frames(5))
    read_frames(path, [4])
    encode(path, moving_frames(3))
    with pytest.raises(InputError, match="frame 4 was asked for, but it has frames 0 to 2"):
        read_frames(path, [4])


def test_read_frames_errors(odd_folder):
    for name in ("good.mp4", "mpeg4.avi"):
        path = make(name, odd_folder)
        with pytest.raises(InputError, match="no frame was asked for"):
            read_frames(path, [])
        with pytest.raises(InputError, match="frame -1 was asked for"):
            read_frames(path, [-1])
        with pytest.raises(InputError, match="frame 25 was asked for, but it has frames 0 to 24"):
            read_frames(path, [3, 25])
    with pytest.raises(VideoError, match="is damaged after"):
        read_frames(make("flipped_bits.mp4", odd_folder), [24])


# --- writing -------------------------------------------------------------------------------------------


def test_written_frames_come_back(tmp_path):
    frames = moving_frames(10)
    with VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE), crf=5) as writer:
        for frame in frames:
            writer.write(frame)
    back = np.stack(list(VideoReader(tmp_path / "a.mp4")))
    assert back.shape == frames.shape
    assert difference(back, frames).mean() < 1.5
    assert (back.astype(float).mean((0, 1, 2)) - frames.mean((0, 1, 2))) == pytest.approx([0, 0, 0], abs=0.5)


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), Fraction(174400, 7093), Fraction(1, 2), 1000])
def test_frame_rates_are_exact(fps, tmp_path):
    count = 25
    with VideoWriter(tmp_path / "a.mp4", fps, (16, 16)) as writer:
        for frame in moving_frames(count, (16, 16)):
            writer.write(frame)
    video = VideoReader(tmp_path / "a.mp4")
    assert video.times == [i / Fraction(fps) for i in range(count)]
    assert video.duration == pytest.approx(float(count / Fraction(fps)), rel=1e-6)


def test_frame_times_are_kept(odd_folder, tmp_path):
    for name in ("variable.mp4", "long_gap.mp4", "moving.gif", "late_start.mkv", "mpeg2.ts"):
        source = VideoReader(make(name, odd_folder))
        with VideoWriter(
            tmp_path / f"{name}.mp4", source.fps, source.size, time_base=source.time_base
        ) as writer:
            for frame, seconds in source.timed():
                writer.write(frame, seconds)
            writer.end = source.end
        copy = VideoReader(tmp_path / f"{name}.mp4")
        assert copy.times == source.times
        list(copy)
        assert copy.end == source.end


@pytest.mark.parametrize("size", [(61, 47), (64, 47), (1, 1), (2, 2)])
def test_odd_sizes_are_padded_to_even(size, tmp_path):
    frames = moving_frames(3, size)
    with VideoWriter(tmp_path / "a.mp4", 25, size, crf=1) as writer:
        for frame in frames:
            writer.write(frame)
    frame = VideoReader(tmp_path / "a.mp4").first_frame()
    assert frame.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    if min(size) > 2:  # below, four pixels share one colour
        assert difference(frame[: size[1], : size[0]], frames[0]).mean() < 4


def test_key_frames_as_asked(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE), keyframe_every=5) as writer:
        for frame in moving_frames(20):
            writer.write(frame)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
    assert len(keys) == 4


def test_metadata_is_readable(tmp_path):
    notice = {"comment": "AI-generated video", "description": "made with ä portrait", "title": "Test"}
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), metadata=notice) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert notice.items() <= container.metadata.items()


@pytest.mark.needs_system
def test_metadata_is_readable_with_ffprobe(tmp_path):
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed")
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), metadata={"comment": "AI-generated"}) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    command = ["ffprobe", "-v", "error", "-show_entries", "format_tags=comment", str(tmp_path / "a.mp4")]
    assert "AI-generated" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loudness(path, start=0.0, end=1e9):
    """Root mean square of the sound whose time, measured from the first frame, lies between start and end."""
    with av.open(str(path)) as container:
        film = container.streams.video[0]
        zero = film.start_time * film.time_base
        total, count = 0.0, 0
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().astype(np.float64)
            samples /= 32768 if frame.format.name.startswith("s16") else 1
            if not frame.format.is_planar:
                samples = samples.reshape(-1, len(frame.layout.channels)).T
            times = float(frame.time - zero) + np.arange(samples.shape[1]) / frame.sample_rate
            part = samples[0, (times >= start) & (times < end)]
            total, count = total + (part**2).sum(), count + len(part)
    return np.sqrt(total / max(count, 1)), count


@pytest.mark.parametrize(
    ("suffix", "codec", "film", "expected"),
    [
        ("mp4", "aac", "libx264", "aac"),
        ("mkv", "flac", "libx264", "flac"),
        ("mkv", "libmp3lame", "libx264", "mp3"),
        ("webm", "libopus", "libvpx-vp9", "opus"),
        ("mkv", "pcm_f32le", "libx264", "aac"),
        ("avi", "pcm_s16le", "mpeg4", "aac"),
        ("ts", "mp2", "mpeg2video", "aac"),
        ("ts", "aac", "libx264", "aac"),
    ],
)
def test_sound_is_kept(suffix, codec, film, expected, tmp_path):
    """Copied where MP4 can hold it, encoded anew where not; as long and as loud as it was."""
    source = encode(tmp_path / f"in.{suffix}", moving_frames(50), codec=film, sound=codec)
    with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
        for frame in moving_frames(50):
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.09)
    (loud, samples), (loud_in, samples_in) = loudness(tmp_path / "out.mp4", 0, 2), loudness(source, 0, 2)
    assert loud == pytest.approx(loud_in, rel=0.1)
    with av.open(str(source)) as a, av.open(str(tmp_path / "out.mp4")) as b:
        ratio = b.streams.audio[0].rate / a.streams.audio[0].rate
    assert samples == pytest.approx(samples_in * ratio, rel=0.05)


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "mkv"), ("pcm_s16le", "mkv")])
def test_sound_stays_with_its_frames(codec, suffix, tmp_path):
    """A tone that starts with the film at 3600 s is heard from 0 on, and not before or after."""
    source = encode(tmp_path / f"in.{suffix}", moving_frames(50), sound=codec, start=3600)
    video = VideoReader(source)
    with VideoWriter(tmp_path / "out.mp4", video.fps, video.size, audio_from=source) as writer:
        for frame in video:
            writer.write(frame)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.09)
    assert loudness(tmp_path / "out.mp4", 0.05, 0.3)[0] == pytest.approx(8000 / 32768 / np.sqrt(2), rel=0.1)


def test_sound_only_and_silent_sources(tmp_path, odd_folder):
    sound = encode_sound(tmp_path / "tone.m4a", seconds=1)
    for source, tracks in ((sound, 1), (make("frozen.mp4", odd_folder), 0)):
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source, overwrite=True) as writer:
            for frame in moving_frames(25):
                writer.write(frame)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert len(container.streams.audio) == tracks
            assert container.duration / av.time_base == pytest.approx(1.0, abs=0.07)


def test_damaged_sound_does_not_spoil_the_film(tmp_path):
    source = encode(tmp_path / "in.mkv", moving_frames(50), sound="mp2")
    data = bytearray(source.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 3, len(data) - 300, 200):
        data[place] ^= 0xFF
    source.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
            for frame in moving_frames(50):
                writer.write(frame)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 50


@pytest.mark.parametrize("fault", ["header", "trailer"])
def test_sound_that_cannot_be_copied(fault, tmp_path):
    """A header that MP4 refuses, at its beginning or only at its end, costs the sound at most."""
    if fault == "header":  # a broadcast cut before any sound: there is a track, but nobody knows its rate
        source = encode(tmp_path / "in.ts", moving_frames(25), sound="aac")
        source.write_bytes(source.read_bytes()[:1200])
    else:  # the header of Opus, of which MP4 makes a part of its index, has lost its name
        source = encode(tmp_path / "in.webm", moving_frames(25), codec="libvpx", sound="libopus")
        data = source.read_bytes()
        assert data.count(b"\x63\xa2") == 1  # the label of what a codec wants to be told
        source.write_bytes(data.replace(b"\x63\xa2", b"\x63\xa3"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with VideoWriter(tmp_path / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer:
            for frame in moving_frames(5):
                writer.write(frame)
    assert len(list(VideoReader(tmp_path / "out.mp4"))) == 5


def test_a_full_disk_is_not_blamed_on_the_sound(tmp_path, monkeypatch):
    source = encode(tmp_path / "in.mp4", moving_frames(25), sound="aac")

    def full(*arguments):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(SoundTrack, "_copy", full)
    with (
        pytest.raises(OSError, match="No space left"),
        VideoWriter(folder / "out.mp4", 25, (SIZE, SIZE), audio_from=source) as writer,
    ):
        for frame in moving_frames(5):
            writer.write(frame)
    assert left_in(folder) == []


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_overwritten_unasked(tmp_path):
    (tmp_path / "a.mp4").write_text("precious")
    with pytest.raises(InputError, match="exists already"), VideoWriter(tmp_path / "a.mp4", 25, (16, 16)):
        pass
    assert (tmp_path / "a.mp4").read_text() == "precious" and left_in(tmp_path) == ["a.mp4"]
    with VideoWriter(tmp_path / "a.mp4", 25, (16, 16), overwrite=True) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_an_unfinished_video(error, tmp_path):
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 25, (SIZE, SIZE)) as writer:
        for frame in moving_frames(60):
            writer.write(frame)
        raise error
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "a.xyz"}, "videos are written as .mp4, .m4v, .mov, .webm, .gif, .apng, .png; give"),
        ({"path": "a"}, "videos are written as"),
        ({"fps": 0}, "cannot be written with 0 frames a second"),
        ({"fps": float("nan")}, "cannot be written with nan frames a second"),
        ({"size": (0, 16)}, "frames of 0 x 16 pixels cannot be written"),
        ({"path": "none/a.mp4"}, "does not exist; make it first"),
        ({"audio_from": "none.mp3"}, "none.mp3: no such file"),
    ],
)
def test_writer_errors(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(InputError) as caught,
        VideoWriter(**{"path": "a.mp4", "fps": 25, "size": (16, 16)} | arguments),
    ):
        pass
    assert words in str(caught.value)
    assert left_in(tmp_path) == []


def test_wrong_frames_are_refused(tmp_path):
    for frame in (
        np.zeros((16, 8, 3), np.uint8),
        np.zeros((16, 16, 3), np.float32),
        np.zeros((16, 16), np.uint8),
    ):
        with (
            pytest.raises(InputError, match=r"announced was uint8 \(16, 16, 3\)"),
            VideoWriter(tmp_path / "a.mp4", 25, (16, 16)) as writer,
        ):
            writer.write(frame)
    with (
        pytest.raises(InputError, match="no frame was written"),
        VideoWriter(tmp_path / "a.mp4", 25, (16, 16)),
    ):
        pass
    assert left_in(tmp_path) == []


def test_rotation_of_any_matrix():
    """The closed form: a display matrix of angle t, clockwise, has a = cos t and b = sin t."""
    to_rgb = ToRgb(stream=None)
    for angle in (0, 90, 180, 270):
        t = np.radians(angle)
        to_rgb.matrix = tuple(
            np.round(65536 * np.array([np.cos(t), np.sin(t), -np.sin(t), np.cos(t)])).astype(int)
        )
        assert to_rgb.rotation == angle
