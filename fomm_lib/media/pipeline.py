"""Overlapping steps of a pipeline: one thread reads ahead, another writes, with a bounded number of items.

FFmpeg, which decodes and encodes, releases Python's lock, and so does PyTorch: three steps then run at the
same time, in constant memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")

Progress = bool | Callable[[int, int | None], None]
"""Whether to show a bar; or a function that shows it, given the number of items done and of all (or None)."""

_END = object()


def prefetch(items: Iterable[Item], depth: int = 8) -> Iterator[Item]:
    """The same items, made by a thread that is at most `depth` of them ahead.

    An error of the items is raised here, in its place. Closing the iterator (or leaving the loop) ends the
    thread.

    Example:
        >>> list(prefetch(range(3)))
        [0, 1, 2]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            if hasattr(iterator, "close"):  # the thread that opened a generator's files closes them
                pool.submit(iterator.close).result()


def progress_bar(
    items: Iterable[Item],
    progress: Progress,
    *,
    total: int | None = None,
    unit: str = "frame",
    description: str | None = None,
) -> Any:
    """The same items, while a bar (or a function) shows how many have come. Iterate, then call `close`.

    Example:
        >>> list(progress_bar("ab", lambda done, total: print(done, total), total=2))
        0 2
        1 2
        ['a', 'b']
    """
    if callable(progress):
        return _reported(items, total, progress)
    return tqdm(items, total=total, unit=unit, desc=description, disable=not progress)


def _reported(
    items: Iterable[Item], total: int | None, progress: Callable[[int, int | None], None]
) -> Iterator[Item]:
    for number, item in enumerate(items):
        progress(number, total)
        yield item


class BackgroundWriter:
    """A thread that makes calls, one after the other; at most `depth` of them wait.

    An error of a call is raised by a later `call`, or at the end of the `with` block, which waits for the
    remaining calls. If the block itself fails, waiting calls are dropped.

    Example:
        >>> with BackgroundWriter() as background:
        ...     for number in range(3):
        ...         background.call(print, number)
        0
        1
        2
    """

    def __init__(self, depth: int = 8):
        self.depth = depth
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> BackgroundWriter:
        self._pool = ThreadPoolExecutor(1)
        return self

    def call(self, function: Callable, *arguments: Any) -> None:
        """Let the thread call `function(*arguments)`; wait while `depth` calls are waiting."""
        while len(self._waiting) >= self.depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(function, *arguments))

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
