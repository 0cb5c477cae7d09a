"""Let slow steps overlap: read ahead in one thread, write behind in another, a few items apart and no more.

Decoding and encoding happen in FFmpeg, which lets go of Python's lock, and so does PyTorch: three steps of a
pipeline then run at a time, on constant memory.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

_END = object()


def ahead(items: Iterable[Item], depth: int = 8) -> Iterator[Item]:
    """The same items, made by a thread that is at most `depth` of them ahead.

    What the items raise is raised here, in its place. Closing the iterator (or leaving the loop) ends the
    thread.

    Example:
        >>> list(ahead(range(3)))
        [0, 1, 2]
    """
    waiting: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        iterator = iter(items)
        try:
            while put(next(iterator)):
                pass
        except StopIteration:
            put(_END)
        except BaseException as error:
            put(_END, error)
        finally:
            if hasattr(iterator, "close"):  # a generator's files are closed by the thread that opened them
                iterator.close()

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


class Behind:
    """Calls that are made by a thread, one after the other, with at most `depth` waiting.

    An error of a call is raised by a later one, or at the end of the `with` block, which waits for the rest.
    Where the block itself fails, calls that wait are dropped.

    Example:
        >>> with Behind() as behind:
        ...     for number in range(3):
        ...         behind.call(print, number)
        0
        1
        2
    """

    def __init__(self, depth: int = 8):
        self.depth = depth
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> Behind:
        self._pool = ThreadPoolExecutor(1)
        return self

    def call(self, function: Callable, *arguments: Any) -> None:
        """`function(*arguments)`, soon."""
        while len(self._waiting) >= self.depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *arguments))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
