"""Live: the portrait follows images as videos do, the page gets its answers, and in Chromium it moves.

With `--screenshots DIR` an image of the page is kept, to look at.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fomm_lib.animation import live
from fomm_lib.animation.animate import GENERATED_NOTICE, animate_frames
from fomm_lib.animation.animator import Animator
from fomm_lib.animation.fast import FastModel
from fomm_lib.animation.live import LiveAnimator, steadied
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.keypoints import Keypoints
from fomm_lib.media.squares import clamp_square, head_square
from fomm_lib.media.tensors import to_tensor
from fomm_lib.media.video import VideoReader, read_image
from fomm_lib.model import load_model
from tests.project.test_jupyterlab import chromium, wait_for  # noqa: F401
from tests.support.command_line import run
from tests.support.odd_files import encode, make

MARGIN = 32  # pixels left and right of the square


@pytest.fixture(scope="module")
def model():
    return FastModel(load_model("heads-64", device="cpu"))


@pytest.fixture(scope="module")
def portrait():
    return read_image(data_path("portrait.jpg"))


@pytest.fixture(scope="module")
def frames():
    """Five images of a head that turns, wider than high, as cameras give them."""
    square = np.stack(list(VideoReader(data_path("driving.mp4")))[::8][:5])
    return np.pad(square, [(0, 0), (0, 0), (MARGIN, MARGIN), (0, 0)], mode="edge")


@pytest.fixture
def follower(model, portrait):
    """Makes a `LiveAnimator` of that portrait."""
    plain = {"find_faces": False, "watermark": False}
    return lambda **settings: LiveAnimator(model, portrait, **plain | settings)


def changes(a: np.ndarray, b: np.ndarray) -> float:
    """The mean absolute difference of two images, in grey levels."""
    return float(np.abs(a.astype(int) - b).mean())


def enlarged(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC))


# --- the portrait --------------------------------------------------------------------------------------


def test_the_first_image_leaves_the_portrait_at_rest(model, follower, frames):
    follow = follower()
    animator = Animator(model, to_tensor(follow.still, model.size)[None])
    rest = (
        animator.generate(animator.kp_source).prediction[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    )
    for frame in frames[[0, 3]]:
        assert changes(follow(frame), enlarged(rest)) < 0.1
        follow.start_over()


@pytest.mark.parametrize("strength", [1.0, 1.5])
def test_it_moves_as_a_video_of_the_same_images_would(model, portrait, follower, frames, strength):
    follow = follower(strength=strength)
    video = animate_frames(model, portrait, frames, strength=strength, batch_size=1)
    results = [follow(frame) for frame in frames]
    for result, expected in zip(results, video, strict=True):
        np.testing.assert_array_equal(result, enlarged(expected))
    assert changes(results[-1], results[0]) > 2, "nothing moves, so nothing was tested"


def test_start_over_makes_the_next_image_the_reference(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    assert changes(moved, rest) > 2
    follow.start_over()
    assert follow.square is None
    assert changes(follow(frames[4]), rest) < 0.1


def test_strength_is_changed_on_the_way(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    follow.adjust(strength=0.0)
    assert changes(follow(frames[4]), rest) < 0.1
    with pytest.raises(InputError, match="strength = 9: should be a number from 0 to 5"):
        follow.adjust(strength=9.0)
    follow.adjust(strength=1.0, smooth=0.0)
    np.testing.assert_array_equal(follow(frames[4]), moved)


def test_smoothing_comes_late_and_arrives(follower, frames):
    follow = follower()
    rest, moved = follow(frames[0]), follow(frames[4])
    follow.start_over()
    follow.adjust(smooth=1.5)
    follow(frames[0])
    left = [changes(follow(frames[4]), moved) for _ in range(12)]
    assert changes(rest, moved) > left[0] > left[2] > left[11]
    assert left[11] < 0.5


def test_an_image_of_another_shape_is_a_new_beginning(follower, frames):
    follow = follower()
    rest = follow(frames[0])
    assert follow.square == (MARGIN, 0, 256)
    assert changes(follow(np.rot90(frames[4]).copy()), rest) < 0.1
    assert follow.square == (0, MARGIN, 256)


def test_the_square_is_that_around_the_face_and_stays(follower, frames, monkeypatch):
    points = np.stack([np.linspace(90, 150, 68), np.linspace(100, 160, 68)], axis=1)
    monkeypatch.setattr("fomm_lib.media.squares.landmarks68", lambda image: points)
    follow = follower(find_faces=True)
    assert follow.still.shape == (144, 144, 3)  # SQUARE_PER_FACE * 60
    follow(frames[0])
    around = clamp_square(head_square(points), frames.shape[2:0:-1])
    assert follow.square == around
    monkeypatch.setattr("fomm_lib.media.squares.landmarks68", lambda image: points + 20)
    follow(frames[1])
    assert follow.square == around and follow.notes == []
    monkeypatch.setattr("fomm_lib.media.squares.landmarks68", lambda image: None)
    follow.start_over()
    follow(frames[1])
    assert follow.square == (MARGIN, 0, 256)
    assert follow.notes == ["no face is found in the camera's image; the square in its middle is used"]


def test_a_mark_is_written_into_the_corner(model, portrait, follower, frames):
    plain, marked = (follower(watermark=mark)(frames[0]).astype(int) for mark in (False, True))
    rows, columns = np.nonzero(np.abs(plain - marked).sum(axis=2))
    assert rows.min() > 200 and columns.max() < 200
    followed = LiveAnimator(model, portrait, find_faces=False)(frames[0])
    np.testing.assert_array_equal(followed, marked)  # unless told otherwise


def test_a_plain_model_will_do(model, portrait, frames):
    plain = LiveAnimator(load_model("heads-64", device="cpu"), portrait)
    np.testing.assert_array_equal(plain(frames[0]), LiveAnimator(model, portrait)(frames[0]))


def test_what_cannot_be_used(model, follower, portrait, tmp_path):
    with pytest.raises(InputError, match=r"the portrait is float64 \(2, 2\); it must be uint8"):
        LiveAnimator(model, np.zeros((2, 2)))
    with pytest.raises(InputError, match="the camera's image is uint8"):
        follower()(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(InputError, match="no such file"):
        LiveAnimator(model, tmp_path / "none.png")
    with pytest.raises(InputError, match="smooth = 99"):
        follower(smooth=99)
    with pytest.raises(InputError, match="training mode"):
        LiveAnimator(load_model("heads-64", device="cpu").train(), portrait)


# --- smoothing -----------------------------------------------------------------------------------------


def numbers(kps: list[Keypoints]) -> torch.Tensor:
    return torch.stack([kp.value for kp in kps])


def run_through(values: torch.Tensor, frames: float) -> list[Keypoints]:
    kp, out = None, []
    for value in values:
        kp = steadied(kp, Keypoints(value, None), frames)
        out.append(kp)
    return out


def test_steadied_leaves_alone_what_stands_still_and_what_need_not_be_smoothed():
    values = torch.rand(1, 1, 10, 2).expand(5, -1, -1, -1)
    torch.testing.assert_close(numbers(run_through(values, 2.0)), values)
    values = torch.rand(5, 1, 10, 2)
    torch.testing.assert_close(numbers(run_through(values, 0.0)), values)


@pytest.mark.parametrize("frames", [1.0, 2.0])
def test_steadied_damps_noise_and_lags_as_it_says(frames):
    damping = 2 * math.sqrt(math.pi) * frames
    noise = torch.randn(4000, 1, 10, 2)
    assert 1 / numbers(run_through(noise, frames))[50:].std() == pytest.approx(math.sqrt(damping), rel=0.05)
    ramp = torch.arange(200.0)[:, None, None, None].expand(-1, 1, 10, 2)
    lag = (ramp - numbers(run_through(ramp, frames)))[-1]
    torch.testing.assert_close(lag, torch.full_like(lag, (damping - 1) / 2))


def test_steadied_treats_jacobians_alike():
    a, b = (Keypoints(torch.rand(1, 2, 2), torch.rand(1, 2, 2, 2)) for _ in range(2))
    mean = steadied(a, b, 1 / math.sqrt(math.pi))  # damping 2, so a third is old
    torch.testing.assert_close(mean.value, (a.value + 2 * b.value) / 3)
    torch.testing.assert_close(mean.jacobian, (a.jacobian + 2 * b.jacobian) / 3)


# --- the server ----------------------------------------------------------------------------------------

live_server = pytest.importorskip(
    "fomm_lib.animation.live_server", reason="needs the extra: pip install 'fomm-lib[live]'"
)


def jpeg(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return file.getvalue()


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def talk(model, portrait):
    """Runs `conversation(port, connection, next_message)` against a server in this process."""
    return lambda conversation, **settings: _talk(model, portrait, conversation, settings)


def _talk(model, portrait, conversation, settings):
    from tornado.httpserver import HTTPServer
    from tornado.websocket import websocket_connect

    async def run():
        sockets = live_server.listen(0)
        port = sockets[0].getsockname()[1]
        server = HTTPServer(live_server.application(model, portrait, {"find_faces": False, **settings}))
        server.add_sockets(sockets)
        connection = await websocket_connect(f"ws://127.0.0.1:{port}/live")

        async def said():
            message = await asyncio.wait_for(connection.read_message(), 60)
            return json.loads(message) if isinstance(message, str) else message

        try:
            return await conversation(port, connection, said)
        finally:
            connection.close()
            server.stop()

    return asyncio.run(run())


def test_a_page_is_told_the_settings_and_the_portrait(talk):
    async def conversation(port, connection, said):
        settings = (await said())["settings"]
        assert (settings["strength"], settings["smooth"], settings["find_faces"]) == (1.5, 0.0, False)
        image = Image.open(io.BytesIO(base64.b64decode((await said())["portrait"])))
        assert image.size == (256, 256)

    talk(conversation, strength=1.5)


def test_every_image_of_the_camera_is_answered(talk, frames):
    async def conversation(port, connection, said):
        await said(), await said()
        images = []
        for number, frame in enumerate(frames[[0, 4]]):
            connection.write_message(b"\0" + jpeg(frame), binary=True)
            if number == 0:  # told once
                assert await said() == {"square": [MARGIN, 0, 256], "notes": []}
            images.append(Image.open(io.BytesIO(await said())))
            assert images[-1].size == (256, 256)
            assert images[-1].info["comment"] == GENERATED_NOTICE.encode()
        assert changes(*map(np.asarray, images)) > 2
        connection.write_message(b"\0no image", binary=True)
        assert await said() == {"frame": False}
        assert await said() == {"error": "the camera's image cannot be read"}
        for image in (Image.new("L", (4000, 3000)), Image.fromarray(frames[0])):
            connection.write_message(
                b"\0" + encoded(image, "JPEG", progressive=image.width < 4000), binary=True
            )
            assert await said() == {"frame": False}
            words = "the camera's image is too large, or written in several passes"
            assert await said() == {"error": words}
        connection.write_message(b"\0" + jpeg(frames[2]), binary=True)
        assert isinstance(await said(), bytes)

    talk(conversation)


def test_a_page_changes_portrait_and_settings(talk, frames, tmp_path):
    async def conversation(port, connection, said):
        await said(), await said()
        Image.new("RGB", (60, 40), "teal").save(tmp_path / "another.png")
        connection.write_message(b"\1" + (tmp_path / "another.png").read_bytes(), binary=True)
        told = await said()
        assert Image.open(io.BytesIO(base64.b64decode(told["portrait"]))).size == (40, 40)
        connection.write_message(b"\1" + make("truncated.jpg", tmp_path).read_bytes(), binary=True)
        assert await said() == {"portrait": False}
        error = (await said())["error"]
        assert error.startswith("this file: is damaged") and str(tmp_path) not in error
        connection.write_message(json.dumps({"strength": 9}))
        assert (await said())["error"].startswith("strength = 9: should be")
        connection.write_message(json.dumps({"strength": 0, "smooth": 1, "start_over": True}))
        images = []
        for frame in frames[[0, 4]]:
            connection.write_message(b"\0" + jpeg(frame), binary=True)
            while isinstance(image := await said(), dict):
                pass
            images.append(image)
        assert images[0] == images[1]  # no strength, no movement

    talk(conversation)


def test_ctrl_c_with_an_image_under_way_is_no_fault(talk, frames, monkeypatch, caplog):
    """The server's end cancels what it waits for."""

    async def cancelled(*_):
        raise asyncio.CancelledError

    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr(live_server._Camera, "_work", cancelled)
        connection.write_message(b"\0" + jpeg(frames[0]), binary=True)
        assert await said() == {"frame": False}

    talk(conversation)
    assert "Uncaught" not in caplog.text


def test_a_fault_is_told_and_is_not_the_end(talk, frames, monkeypatch, caplog):
    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr(FastModel, "detect", lambda *_: 1 / 0)
        connection.write_message(b"\0" + jpeg(frames[0]), binary=True)
        assert await said() == {"frame": False}
        assert await said() == {"error": "this went wrong: division by zero"}
        monkeypatch.undo()
        connection.write_message(b"\0" + jpeg(frames[0]), binary=True)
        assert "square" in await said()

    talk(conversation)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "message",
    [
        *("", "{", "nonsense", "[]", "3", "null", '"strength"', "[" * 5000, "{" * 900),
        *(
            '{"strength": "2"}',
            '{"strength": true}',
            '{"strength": null}',
            '{"smooth": []}',
            '{"smooth": {}}',
        ),
        *(
            '{"strength": NaN}',
            '{"strength": -Infinity}',
            '{"strength": 1e400}',
            f'{{"smooth": {"9" * 500}}}',
        ),
        *(
            '{"find_faces": 1}',
            '{"find_faces": "no"}',
            '{"start_over": []}',
            '{"strength": 1, "smooth": "a"}',
        ),
        *(f'{{"strength": 1, "note": "{"a" * 2000}"}}', b"", b"\2", b"\xff" * 100),
    ],
    ids=lambda message: str(message)[:30],
)
def test_noise_is_one_line_to_the_page(message, talk, frames, caplog):
    """And no traceback in the terminal; nothing is changed by it, and the next image is answered."""

    async def conversation(port, connection, said):
        await said(), await said()
        connection.write_message(message, binary=isinstance(message, bytes))
        told = await said()
        assert (
            told.keys() == {"error"} and len(told["error"]) < 100 and "this went wrong" not in told["error"]
        )
        connection.write_message(b"\0" + jpeg(frames[0]), binary=True)
        assert "square" in await said()

    talk(conversation)
    assert caplog.text == ""


def test_settings_that_fail_leave_those_before(talk, monkeypatch):
    """Faces are asked for where nothing finds them; another portrait is then still taken."""

    def no_detector(*arguments):
        raise InputError("needs the extra 'faces'")

    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr("fomm_lib.media.squares.landmarks68", no_detector)
        connection.write_message(json.dumps({"find_faces": True}))
        assert await said() == {"error": "needs the extra 'faces'"}
        connection.write_message(b"\1" + encoded(Image.new("RGB", (60, 40)), "PNG"), binary=True)
        assert "portrait" in await said()

    talk(conversation)


def test_a_portrait_with_too_many_pixels_is_not_decoded(talk, monkeypatch):
    content = encoded(Image.new("1", (4000, 3000)), "PNG")

    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: 1 / 0)
        connection.write_message(b"\1" + content, binary=True)
        assert await said() == {"portrait": False}
        words = "this file: an image of 4000 x 3000 pixels is too large (at most 10 million pixels)"
        assert (await said())["error"].startswith(words)

    monkeypatch.setattr(live_server, "PORTRAIT_PIXELS", 10_000_000)
    talk(conversation)


def test_a_large_portrait_is_made_smaller(talk):
    async def conversation(port, connection, said):
        await said(), await said()
        connection.write_message(b"\1" + encoded(Image.new("RGB", (5000, 3000)), "PNG"), binary=True)
        image = Image.open(io.BytesIO(base64.b64decode((await said())["portrait"])))
        assert image.size == (1229, 1229)  # of 2048 x 1229

    talk(conversation)


def test_nobody_waits_for_the_file_of_another(talk, frames, monkeypatch):
    """While one page's portrait is being read, another page gets its answers."""
    from tornado.websocket import websocket_connect

    released, original = threading.Event(), live_server._read_upload

    def slow(data):
        assert released.wait(60)
        return original(data)

    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr(live_server, "_read_upload", slow)
        for _ in range(3):
            other = await websocket_connect(f"ws://127.0.0.1:{port}/live")
            await other.read_message(), await other.read_message()
            other.write_message(b"\1" + encoded(Image.new("RGB", (60, 40)), "PNG"), binary=True)
        await asyncio.sleep(0.2)
        connection.write_message(b"\0" + jpeg(frames[0]), binary=True)
        assert "square" in await said() and isinstance(await said(), bytes)
        released.set()
        assert "portrait" in json.loads(await other.read_message())

    try:
        talk(conversation)
    finally:
        released.set()


def test_a_page_that_does_not_read_is_not_read_from(talk, frames, monkeypatch):
    """Its replies do not pile up in memory: no more is computed than fits between the two programs."""
    answered, original = [], live_server._to_jpeg

    def large(image, **options):
        answered.append(1)
        return original(image, **options) + bytes(1 << 20)

    async def conversation(port, connection, said):
        await said(), await said()
        monkeypatch.setattr(live_server, "_to_jpeg", large)
        _, writer = await asyncio.open_connection("127.0.0.1", port)  # it holds 128 kB, and nobody reads it
        key = base64.b64encode(bytes(16)).decode()
        head = ["GET /live HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        head += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        writer.write("\r\n".join(head).encode())
        image = b"\0" + jpeg(frames[0])
        for _ in range(60):  # binary, masked by zeros
            writer.write(b"\x82\xfe" + len(image).to_bytes(2, "big") + bytes(4) + image)
        before = -1
        while before < len(answered):
            before = len(answered)
            await asyncio.sleep(2)
        assert 1 <= len(answered) < 40, "sixty replies of a megabyte wait for a page that reads none"
        connection.write_message(image, binary=True)
        assert "square" in await said()
        writer.close()

    talk(conversation)


def test_many_pages_share_the_first_portrait(talk, monkeypatch):
    """A hundred pages are not a hundred searches for a face; but each has its own movement."""
    from tornado.websocket import websocket_connect

    made, original = [], live_server.LiveAnimator

    def counted(*arguments, **options):
        made.append(1)
        return original(*arguments, **options)

    async def conversation(port, connection, said):
        await said(), await said()
        for _ in range(10):
            other = await websocket_connect(f"ws://127.0.0.1:{port}/live")
            assert "settings" in json.loads(await other.read_message())
            assert "portrait" in json.loads(await other.read_message())
        assert len(made) == 1

    monkeypatch.setattr(live_server, "LiveAnimator", counted)
    talk(conversation)


def test_twins_do_not_disturb_one_another(follower, frames):
    follow, alone = follower(), follower()
    twin = follow.twin()
    expected = [alone(frame) for frame in frames]
    for frame, image in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(follow(frame), image)
        twin(frames[4])
        twin.start_over()


def test_other_sites_get_nothing(talk):
    async def conversation(port, connection, said):
        from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
        from tornado.websocket import websocket_connect

        page = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Frame-Options"] == "DENY"
        assert b"Use it responsibly" in page.body
        for request, code in [
            (HTTPRequest(f"http://127.0.0.1:{port}/", headers={"Host": "elsewhere.example"}), 404),
            (HTTPRequest(f"ws://127.0.0.1:{port}/live", headers={"Origin": "http://elsewhere.example"}), 403),
        ]:
            with pytest.raises(HTTPClientError) as refused:
                await (
                    websocket_connect(request) if "live" in request.url else AsyncHTTPClient().fetch(request)
                )
            assert refused.value.code == code

    talk(conversation)


def test_the_page_names_no_other_site():
    text = Path(live.__file__).with_name("live.html").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^\s\"'`]+", text)) == {
        "ws://${location.host}/live",
        "http://127.0.0.1:${location.port}",
    }
    assert set(re.findall(r"""(?:src|href)=["']([^"']*)""", text)) == {"data:,"}


# --- the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--crop", "1,2,3"], "--crop 1,2,3: should be auto or middle"),
        (["--weights", "none"], "none: no such file of weights"),
        (["--source", "none.png"], "none.png: no such file"),
        (["--port", "99999"], "port 99999: there are ports from 1 to 65535"),
        (["--strength", "9"], "strength = 9: should be"),
    ],
)
def test_bad_options_are_one_line(options, words, capsys):
    assert run("live", "--no-browser", "--weights", "heads-64", "--port", "0", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fomm: ") and words in line


def test_a_port_that_is_taken(capsys):
    (taken, *_) = live_server.listen(0)
    with contextlib.closing(taken):
        port = taken.getsockname()[1]
        assert run("live", "--no-browser", "--weights", "heads-64", "--port", port) == 2
    line = capsys.readouterr().err
    assert f"fomm: port {port}: cannot be used (Address already in use); choose another" in line


def test_without_tornado(monkeypatch, capsys):
    monkeypatch.setattr("fomm_lib.cli.animating.find_spec", lambda name: None)
    assert run("live") == 2
    assert "pip install tornado" in capsys.readouterr().err


class Program:
    """`fomm live` in a process of its own."""

    def __init__(self, *options: str):
        command = [sys.executable, "-u", "-m", "fomm_lib", "live", "--no-browser", "--port", "0", *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        late = threading.Timer(180, self.process.kill)
        late.start()
        line = self.process.stdout.readline()
        late.cancel()
        assert line, self.process.stderr.read()
        self.address = line.split()[0]

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        said, errors = self.process.communicate(timeout=60)
        return self.process.returncode, said, errors


@pytest.mark.skipif(sys.platform == "win32", reason="signals work otherwise there")
def test_ctrl_c_ends_it_cleanly():
    program = Program("--weights", "heads-64", "--crop", "middle")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", program.address)
    code, said, errors = program.end()
    assert (code, errors) == (0, "") and said.split() == ["ended"]


# --- in the browser ------------------------------------------------------------------------------------


def camera_video(path: Path) -> Path:
    """The course's driving video as what Chromium takes for a camera: it shows it again and again."""
    frames = np.stack(list(VideoReader(data_path("driving.mp4")))[::2])
    frames = frames.repeat(3, axis=1).repeat(3, axis=2)  # as large as small cameras are
    return encode(path, frames, fps=12, codec="mjpeg", pix_fmt="yuvj420p")


@pytest.fixture
def page(chromium, tmp_path):  # noqa: F811
    """A browser with a camera that sees the driving video, and may not use it yet."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--use-fake-device-for-media-stream"]
    flags += [f"--use-file-for-fake-video-capture={camera_video(tmp_path / 'camera.mjpeg')}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.requests, page.faults = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        yield page
        browser.close()


def shown(page) -> np.ndarray:
    """The portrait as it is on the page now."""
    address = page.evaluate("document.getElementById('result').toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"), int)


def movement(page, images: int) -> float:
    """Mean difference of the portrait from what it was at first, over its next images."""
    seen = [shown(page)]
    end = time.monotonic() + 60
    while len(seen) < images and time.monotonic() < end:
        page.wait_for_timeout(150)
        seen.append(shown(page))
    return float(np.mean([np.abs(image - seen[0]).mean() for image in seen[1:]]))


COUNT_SENT = """() => {
    window.portraits = []
    const original = offer
    offer = file => { window.portraits.push(file.name); original(file) }
}"""


@pytest.mark.needs_system
def test_the_portrait_follows_the_camera_of_a_browser(page, request, tmp_path):
    program = Program("--weights", "heads-64", "--crop", "middle")
    try:
        page.goto(program.address)
        page.wait_for_selector("#start:enabled", timeout=60_000)
        wait_for(lambda: shown(page).std() > 10, 60)  # the portrait, at rest

        page.click("#start")
        wait_for(lambda: "not allowed to use the camera" in page.inner_text("#says"), 30)
        page.context.grant_permissions(["camera"], origin=program.address)
        page.click("#start")
        wait_for(lambda: "frames a second" in page.inner_text("#speed"), 60)
        assert page.is_visible("#square") and page.inner_text("#says") == ""
        moved = movement(page, 12)
        folder = request.config.getoption("--screenshots")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / "live.png", full_page=True)

        page.evaluate("() => { strength.value = 0; strength.dispatchEvent(new Event('input')) }")
        page.wait_for_timeout(1500)
        still = movement(page, 6)
        assert moved > 2 and moved > 5 * still, f"moved {moved:.2f}, without strength {still:.2f}"

        Image.new("RGB", (80, 80), "teal").save(tmp_path / "teal.png")
        page.set_input_files("#portrait", tmp_path / "teal.png")
        wait_for(lambda: shown(page)[20:100, 20:230].mean(axis=(0, 1)) @ [-1, 0.5, 0.5] > 60, 60)
        (tmp_path / "note.jpg").write_text("no image")
        page.set_input_files("#portrait", tmp_path / "note.jpg")
        wait_for(lambda: "this file: is no image" in page.inner_text("#says"), 60)

        # What is too large is not sent, and what was refused is not sent again after the connection broke.
        page.evaluate(COUNT_SENT)
        with (tmp_path / "large.jpg").open("wb") as file:
            file.truncate(live_server.LARGEST_MESSAGE)
        page.set_input_files("#portrait", tmp_path / "large.jpg")
        words = "large.jpg has 67.1 MB; a portrait may have 67.1 MB. Make it smaller."
        wait_for(lambda: page.inner_text("#says") == words, 30)
        page.evaluate("() => { largest = Infinity }")
        page.set_input_files("#portrait", tmp_path / "large.jpg")
        wait_for(lambda: "while large.jpg was sent; it is not sent again" in page.inner_text("#says"), 60)
        page.wait_for_selector("#start:enabled", timeout=30_000)
        page.wait_for_timeout(3000)
        assert page.evaluate("() => window.portraits") == ["large.jpg", "teal.png"]
        assert shown(page)[20:100, 20:230].mean(axis=(0, 1)) @ [-1, 0.5, 0.5] > 60  # the last that was taken

        page.click("#start")
        wait_for(lambda: page.inner_text("#start") == "Stop the camera", 60)
        page.click("#start")
        assert page.inner_text("#start") == "Start the camera" and not page.is_visible("#square")
        assert {re.match(r"\w+:(//[\d.:]+/)?", url)[0] for url in page.requests} <= {
            f"{program.address}/",
            "data:",
            "blob:",
        }
        assert page.faults == []
    finally:
        code, _, errors = program.end()
    assert (code, errors) == (0, "")
    wait_for(lambda: "The program has ended" in page.inner_text("#says"), 30)
