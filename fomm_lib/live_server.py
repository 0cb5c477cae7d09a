"""A page with the browser's camera on the left and a portrait that follows it on the right: `fomm live`.

The page (`live.html`) and this program talk over one WebSocket. The page sends a picture of the camera, waits
for the portrait that answers it, and only then takes the next, whichever is the newest: however slow the
model is, pictures never queue up. All of it stays on this computer; the server answers 127.0.0.1 alone,
nothing is fetched from elsewhere, and nothing is kept.

| from the page | |
|---|---|
| binary, first byte 0 | a picture of the camera, JPEG; answered by binary JPEG, or by `{"frame": false}` |
| binary, first byte 1 | a file with another portrait |
| text | JSON: `strength`, `smooth` (numbers), `find_faces` (true or false), `start_over` (true) |

| to the page | |
|---|---|
| binary | the portrait, JPEG |
| text | JSON: `settings` (once), `portrait`, `square`, `notes`, `error` |
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
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from fomm_lib.animation import GENERATED_NOTICE
from fomm_lib.faces import has_detector
from fomm_lib.files import InputError
from fomm_lib.live import LiveAnimator
from fomm_lib.video import read_picture

HOST = "127.0.0.1"
LARGEST_MESSAGE = 64 << 20  # bytes; photographs are smaller
CAMERA, PORTRAIT = 0, 1  # first byte of binary messages

# Whatever a page should contain by mistake: the browser asks nobody but this program.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
    "media-src blob:; connect-src 'self' ws://127.0.0.1:* ws://localhost:*; form-action 'none'; "
    "base-uri 'none'"
)


def serve(
    model,
    portrait: str | Path | np.ndarray,
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
        port: of 127.0.0.1; 0 takes any that is free.
        browser: open the page in the browser.
        say: told the address.
        settings: `strength`, `smooth`, `find_faces`, `watermark` of `LiveAnimator`.
    Raises:
        InputError: the portrait cannot be read, a setting is out of range, or the port is taken.

    Example:
        >>> serve(FastModel(load_model("heads-128")), "portrait.jpg")   # doctest: +SKIP
    """
    if not isinstance(portrait, np.ndarray):
        portrait = read_picture(portrait)
    LiveAnimator(model, portrait, **settings)  # so that what is wrong is said here, and not on the page
    sockets = listen(port)

    async def run() -> None:
        server = HTTPServer(application(model, portrait, settings))
        server.add_sockets(sockets)
        address = f"http://{HOST}:{sockets[0].getsockname()[1]}"
        say(f"{address} shows the portrait; the camera's pictures stay on this computer. Ctrl-C ends it.")
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        await asyncio.Event().wait()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        say("\nended")


def _has_screen() -> bool:
    """Whether there is one to open a browser on; without it, Linux would open one in the terminal."""
    return sys.platform != "linux" or any(map(os.environ.get, ["DISPLAY", "WAYLAND_DISPLAY"]))


def listen(port: int) -> list[socket.socket]:
    """Sockets that listen at a port of 127.0.0.1.

    Raises:
        InputError: another program does, or it may not be used.
    """
    if not 0 <= port <= 65535:  # some systems would take it modulo 65536
        raise InputError(f"port {port}: there are ports from 1 to 65535")
    try:
        return bind_sockets(port, HOST)
    except OSError as error:
        cause = error.strerror or error
        raise InputError(
            f"port {port}: cannot be used ({cause}); choose another, e.g. --port 7861"
        ) from error


def application(model, portrait: np.ndarray, settings: dict) -> Application:
    """The page and its WebSocket, for requests to this computer by its own names only (another name would be
    another site's, which has led the browser here). Arguments as for `serve`.
    """
    # One picture at a time: two would only slow each other down.
    shared = {"model": model, "portrait": portrait, "settings": settings, "worker": ThreadPoolExecutor(1)}
    app = Application(websocket_max_message_size=LARGEST_MESSAGE, websocket_ping_interval=30)
    app.add_handlers(r"(127\.0\.0\.1|localhost)", [("/", _Page), ("/live", _Camera, shared)])
    return app


class _Page(RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")
        self.write(Path(__file__).with_name("live.html").read_text(encoding="utf-8"))


class _Camera(WebSocketHandler):
    """One open page. Its messages are worked off one after the other, each before the next is read."""

    def initialize(self, model, portrait, settings: dict, worker: ThreadPoolExecutor) -> None:
        self.model, self.portrait, self.worker = model, portrait, worker
        self.choices = {"strength": 1.0, "smooth": 0.0, "find_faces": has_detector(), **settings}
        self.animator: LiveAnimator | None = None
        self.told: object = None  # the square and notes that the page knows of

    async def open(self) -> None:
        self.set_nodelay(True)
        self._tell(settings={**self.choices, "can_find_faces": has_detector()})
        await self._show(self.portrait)

    async def on_message(self, message: str | bytes) -> None:
        try:
            if isinstance(message, str):
                await self._change(message)
            elif message[:1] == bytes([CAMERA]):
                await self._follow(message[1:])
            elif message[:1] == bytes([PORTRAIT]):
                await self._show(await self._work(_read_upload, message[1:]))
        except InputError as error:
            self._tell(error=str(error))
        except asyncio.CancelledError:  # Ctrl-C, with a picture under way; tornado would log it as a fault
            pass
        except Exception as error:  # the next picture may do; the terminal gets the whole of it
            self.log_exception(*sys.exc_info())
            self._tell(error=f"this went wrong: {' '.join(str(error).split()) or type(error).__name__}")

    async def _follow(self, jpeg: bytes) -> None:
        """Answer a picture of the camera, whatever happens: the page waits for it."""
        try:
            picture = await self._work(lambda: _to_jpeg(self.animator(_from_jpeg(jpeg))))
        except BaseException:
            self._tell(frame=False)
            raise
        if self.told != (now := (self.animator.square, self.animator.notes)):
            self.told = now
            self._tell(square=self.animator.square, notes=self.animator.notes)
        self._send(picture, binary=True)

    async def _change(self, message: str) -> None:
        wanted = json.loads(message)
        numbers = {name: float(wanted[name]) for name in ("strength", "smooth") if name in wanted}
        self.animator.adjust(**numbers)
        self.choices |= numbers
        if wanted.get("start_over"):
            self.animator.start_over()
        if wanted.get("find_faces") not in (None, self.choices["find_faces"]):
            self.choices["find_faces"] = bool(wanted["find_faces"])
            await self._show(self.portrait)

    async def _show(self, portrait: np.ndarray) -> None:
        """Take this portrait from now on."""
        self.animator = await self._work(lambda: LiveAnimator(self.model, portrait, **self.choices))
        self.portrait, self.told = portrait, None
        picture = base64.b64encode(_to_jpeg(self.animator.still, notice=None)).decode()
        self._tell(portrait=picture, notes=self.animator.notes)

    async def _work(self, function: Callable, *arguments):
        """What takes its time is done beside the server, which goes on to answer."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, function, *arguments)

    def _tell(self, **content) -> None:
        self._send(json.dumps(content))

    def _send(self, message: str | bytes, binary: bool = False) -> None:
        with contextlib.suppress(WebSocketClosedError):  # the page was closed meanwhile
            self.write_message(message, binary=binary)


def _from_jpeg(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            return np.array(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("the camera's picture cannot be read") from error


def _to_jpeg(picture: np.ndarray, notice: str | None = GENERATED_NOTICE) -> bytes:
    """With a notice inside, for pictures that are kept by a right click."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90, **({"comment": notice} if notice else {}))
    return file.getvalue()


def _read_upload(data: bytes) -> np.ndarray:
    with tempfile.TemporaryDirectory(prefix="fomm-live-") as folder:
        path = Path(folder, "portrait")
        path.write_bytes(data)
        try:
            return read_picture(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), "this file")) from error
