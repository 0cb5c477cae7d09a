"""The server of `fomm live`: the page gets its answers, nobody waits for others, and in Chromium it moves.

With `--screenshots DIR` an image of the page is kept, to look at.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fomm_lib.animation import live
from fomm_lib.animation.animate import GENERATED_NOTICE
from fomm_lib.animation.fast import FastModel
from fomm_lib.errors import InputError
from fomm_lib.files import data_path
from fomm_lib.media.video import VideoReader
from tests.animation.conftest import MARGIN
from tests.animation.test_live import changes
from tests.project.test_jupyterlab import chromium, wait_for  # noqa: F401
from tests.support.command_line import run
from tests.support.odd_files import encode, make

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
        monkeypatch.setattr("fomm_lib.media.squares.follow_person", no_detector)
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
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("live") == 2
    assert "fomm live needs tornado; install it: pip install 'fomm-lib[live]'" in capsys.readouterr().err


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


def test_what_pages_wait_for_does_not_delay_the_end(model, portrait, monkeypatch):
    """Python ends its threads only after they have worked off all that was handed to them."""
    executors, futures = [], []

    class Recorded(ThreadPoolExecutor):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            executors.append(self)

    def say(text: str) -> None:
        if text.startswith("http"):
            for executor in executors:
                futures.extend(executor.submit(time.sleep, 0.3) for _ in range(100))
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(live_server, "ThreadPoolExecutor", Recorded)
    live_server.serve(model, portrait, port=0, browser=False, say=say, find_faces=False)
    assert len(executors) == 2 and sum(future.cancelled() for future in futures) >= 190


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
