"""A page with the browser's camera on the left and a portrait that follows it on the right: `fomm live`.

The page (`live.html`) and this program communicate over one WebSocket. The page sends an image of the camera,
waits for the portrait in reply, and only then sends the newest image: images never queue up, however slow the
model is. Everything stays on this computer; the server listens on 127.0.0.1 only, nothing is fetched from
other sites, and nothing is stored.

| from the page | |
|---|---|
| binary, first byte 0 | an image of the camera, JPEG; the reply is binary JPEG, or `{"frame": false}` |
| binary, first byte 1 | a file with another portrait |
| text | JSON: `strength`, `smooth` (numbers), `find_faces` (true or false), `start_over` (true) |

| to the page | |
|---|---|
| binary | the portrait, JPEG |
| text | JSON: `settings` (once), `portrait` (false if one was refused), `square`, `notes`, `error` |
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from fomm_lib.animation.animate import GENERATED_NOTICE, read_portrait
from fomm_lib.animation.animator import AnimatableModel
from fomm_lib.animation.live import LiveAnimator
from fomm_lib.errors import InputError, error_text
from fomm_lib.media.faces import has_detector
from fomm_lib.media.video import read_image

HOST = "127.0.0.1"
CAMERA, PORTRAIT = 0, 1  # first byte of binary messages

# Limits, checked before anything is decoded. The page sends 480 pixels of the camera, and asks for less than
# a hundred bytes at a time.
LARGEST_MESSAGE = 64 << 20  # bytes; photographs are smaller
LARGEST_TEXT = 1000  # characters
CAMERA_PIXELS = 1920 * 1080
PORTRAIT_PIXELS = 8192 * 8192
KEPT_PIXELS = 2048  # of the longer side of a portrait

# The browser may connect to this program only, even if the page should contain another address by mistake.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self' ws://127.0.0.1:* ws://localhost:*; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def serve(
    model: AnimatableModel,
    portrait: str | os.PathLike | np.ndarray | Image.Image,
    *,
    port: int = 7860,
    browser: bool = True,
    say: Callable[[str], None] = print,
    **settings,
) -> None:
    """Show the page until Ctrl-C.

    Args:
        model: a `FastModel` or an `ExportedModel`.
        portrait: the first one; others can be uploaded.
        port: of 127.0.0.1; 0 takes any free one.
        browser: open the page in the browser.
        say: a function that shows a line of text, such as the address.
        settings: `strength`, `smooth`, `find_faces`, `watermark` of `LiveAnimator`.
    Raises:
        InputError: the portrait cannot be read, a setting is out of range, or the port is in use.

    Example:
        >>> serve(FastModel(load_model("heads-128")), "portrait.jpg")   # doctest: +SKIP
    """
    portrait = read_portrait(portrait)
    LiveAnimator(model, portrait, **settings)  # so that errors are raised here, and not shown on the page
    sockets = listen(port)

    app = application(model, portrait, settings)

    async def run() -> None:
        server = HTTPServer(app, max_body_size=LARGEST_TEXT)
        server.add_sockets(sockets)
        address = f"http://{HOST}:{sockets[0].getsockname()[1]}"
        say(f"{address} shows the portrait; the camera's images stay on this computer. Ctrl-C ends it.")
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        await asyncio.Event().wait()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        say("\nended")
    finally:
        for executor in app.settings["executors"]:  # Python would work off what the pages wait for
            executor.shutdown(wait=False, cancel_futures=True)


def _has_screen() -> bool:
    """Whether there is a screen; without one, Linux would open a browser in the terminal."""
    return sys.platform != "linux" or any(map(os.environ.get, ["DISPLAY", "WAYLAND_DISPLAY"]))


def listen(port: int) -> list[socket.socket]:
    """Sockets that listen at a port of 127.0.0.1.

    Raises:
        InputError: another program uses the port, or it may not be used.
    """
    if not 0 <= port <= 65535:  # some systems would use it modulo 65536
        raise InputError(f"port {port}: there are ports from 1 to 65535")
    try:
        return bind_sockets(port, HOST)
    except OSError as error:
        text = f"cannot be used ({error_text(error)}); choose another, e.g. --port 7861"
        raise InputError(f"port {port}: {text}") from error


def application(model: AnimatableModel, portrait: np.ndarray, settings: dict) -> Application:
    """The page and its WebSocket. Arguments as for `serve`.

    Only requests to this computer by its own names are accepted: another name would mean that another site
    has directed the browser here.
    """
    worker = ThreadPoolExecutor(1)  # one image at a time: two would slow each other down
    reader = ThreadPoolExecutor(2)  # files take longer, and no camera waits for them
    shared = {
        "make": lambda portrait, choices: LiveAnimator(model, portrait, **choices),
        "portrait": portrait,
        "settings": settings,
        "worker": worker,
        "reader": reader,
        "first": {},
    }
    # Without pings: a page whose image is computed does not answer them in time, and would be cut off.
    options = {"websocket_max_message_size": LARGEST_MESSAGE, "websocket_ping_interval": 0}
    app = Application(**options, executors=(worker, reader))
    app.add_handlers(r"(127\.0\.0\.1|localhost)", [("/", _Page), ("/live", _Camera, shared)])
    return app


class _Page(RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self.write(Path(__file__).with_name("live.html").read_text(encoding="utf-8"))


class _Camera(WebSocketHandler):
    """One open page. Its messages are handled in order, each before the next is read; a page that does not
    read its replies is not read from.
    """

    def initialize(self, make: Callable, portrait, settings: dict, worker, reader, first: dict) -> None:
        self.make, self.portrait, self.worker, self.reader = make, portrait, worker, reader
        self.first = first  # the animators of the first portrait, by `find_faces`: all pages begin with one
        self.choices = {"strength": 1.0, "smooth": 0.0, "find_faces": has_detector(), **settings}
        self.animator: LiveAnimator | None = None
        self.told: object = None  # the square and notes that the page was last sent

    async def open(self) -> None:
        self.set_nodelay(True)
        limits = {"can_find_faces": has_detector(), "largest": LARGEST_MESSAGE - 1}
        await self._tell(settings={**self.choices, **limits})
        with_faces = self.choices["find_faces"]
        if with_faces not in self.first:
            self.first[with_faces] = await self._work(self.make, self.portrait, self.choices)
        await self._show(self.portrait, self.first[with_faces].twin())

    async def on_message(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._change(_read_settings(message))
            elif message[:1] == bytes([CAMERA]):
                await self._follow(message[1:])
            elif message[:1] == bytes([PORTRAIT]):
                await self._replace(message[1:])
            else:
                raise InputError("the page sent what this program does not know; load it anew")
        except InputError as error:
            await self._tell(error=str(error))
        except asyncio.CancelledError:  # Ctrl-C while an image is computed; tornado would log it as an error
            pass
        except Exception as error:  # the next image may work; the terminal shows the traceback
            self.log_exception(*sys.exc_info())
            await self._tell(error=f"this went wrong: {error_text(error)}")

    async def _follow(self, jpeg: bytes) -> None:
        """Reply to an image of the camera, in any case: the page waits for it."""
        try:
            image = await self._work(lambda: _to_jpeg(self.animator(_from_jpeg(jpeg))))
        except BaseException:
            await self._tell(frame=False)
            raise
        if self.told != (now := (self.animator.square, self.animator.notes)):
            self.told = now
            await self._tell(square=self.animator.square, notes=self.animator.notes)
        await self._send(image, binary=True)

    async def _replace(self, upload: bytes) -> None:
        """Reply to another portrait, in any case: the page sends it again only if it was taken."""
        try:
            loop = asyncio.get_running_loop()
            portrait = await loop.run_in_executor(self.reader, _read_upload, upload)
            await self._show(portrait, await self._work(self.make, portrait, self.choices))
        except BaseException:
            await self._tell(portrait=False)
            raise

    async def _change(self, wanted: dict) -> None:
        numbers = {name: float(wanted[name]) for name in ("strength", "smooth") if name in wanted}
        self.animator.adjust(**numbers)
        self.choices |= numbers
        if wanted.get("start_over"):
            self.animator.start_over()
        if wanted.get("find_faces", self.choices["find_faces"]) != self.choices["find_faces"]:
            choices = {**self.choices, "find_faces": wanted["find_faces"]}
            await self._show(self.portrait, await self._work(self.make, self.portrait, choices))
            self.choices = choices

    async def _show(self, portrait: np.ndarray, animator: LiveAnimator) -> None:
        """Use this portrait from now on."""
        self.portrait, self.animator, self.told = portrait, animator, None
        image = base64.b64encode(_to_jpeg(animator.still, notice=None)).decode()
        await self._tell(portrait=image, notes=animator.notes)

    async def _work(self, function: Callable, *arguments):
        """Run what needs the model in another thread, so that the server keeps answering."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)

    async def _tell(self, **content) -> None:
        await self._send(json.dumps(content))

    async def _send(self, message: str | bytes, binary: bool = False) -> None:
        with contextlib.suppress(WebSocketClosedError):  # the page was closed meanwhile
            await self.write_message(message, binary=binary)


def _read_settings(message: str) -> dict:
    """The settings that a page asks for; those with a name that is not known are left out.

    Raises:
        InputError: it is no JSON object, or a value is of the wrong kind.
    """
    try:
        content = json.loads(message) if len(message) <= LARGEST_TEXT else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError("the page sent settings that cannot be read; load it anew")
    wanted = {}
    for name, value in content.items():
        if name in ("strength", "smooth"):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and abs(value) < 1e6):
                raise InputError(f"{name}: should be a number")
        elif name in ("find_faces", "start_over"):
            if not isinstance(value, bool):
                raise InputError(f"{name}: should be true or false")
        else:
            continue
        wanted[name] = value
    return wanted


def _from_jpeg(data: bytes) -> np.ndarray:
    """An image of the camera: JPEG in one pass, as browsers write it. The passes of others may be endless."""
    try:
        with JpegImageFile(io.BytesIO(data)) as image:  # `Image.open` would warn of a large one
            if image.width * image.height > CAMERA_PIXELS or image.info.get("progressive"):
                raise InputError("the camera's image is too large, or written in several passes")
            return np.array(image.convert("RGB"))
    except InputError:
        raise
    except Exception as error:  # Pillow raises a dozen kinds of error on broken files
        raise InputError("the camera's image cannot be read") from error


def _to_jpeg(image: np.ndarray, notice: str | None = GENERATED_NOTICE) -> bytes:
    """A JPEG with a notice inside, for images that are saved from the page."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, **({"comment": notice} if notice else {}))
    return file.getvalue()


def _read_upload(data: bytes) -> np.ndarray:
    """A portrait from a file, at most `KEPT_PIXELS` on its longer side."""
    with tempfile.TemporaryDirectory(prefix="fomm-live-") as folder:
        path = Path(folder, "portrait")
        path.write_bytes(data)
        try:
            image = Image.fromarray(read_image(path, PORTRAIT_PIXELS))
        except InputError as error:
            raise InputError(str(error).replace(str(path), "this file")) from error
    image.thumbnail((KEPT_PIXELS, KEPT_PIXELS), Image.Resampling.BICUBIC)
    return np.array(image)
