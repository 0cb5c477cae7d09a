"""The least time that a step of training, with plain convolutions, can take here, beside the time it takes.

    python benchmarks/training_floor.py --config heads-64-adv --batch-size 8
    python benchmarks/training_floor.py --device cuda --batch-size 16
    python benchmarks/training_floor.py --device cuda --batch-size 16 --variant bfloat16

A step is a list of operations, forth, back and for the optimisers. PyTorch is watched while it works through
them once, and two numbers are written down of each: the arithmetic of products (a multiplication and an
addition are two), and the bytes of all that it reads and writes. What this device can do of either in a
second is measured too, by a product of large matrices in the precision of the step, and by a copy of a large
array. An operation takes at least the longer of the two times, and a step the sum: the floor.

Of memory a step needs at least room for weights, gradients and moments, and for what the way back will ask
for (activations), whose peak is watched as well; pictures and room to compute in come on top.

What can go beneath it: Winograd's tiles, which multiply less (`training_blocks.by_winograd` on a CPU, cuDNN
on a GPU), caches that hold what the next operation reads, and torch.compile, which makes one operation of
many. On GPUs the float32 of convolutions is TF32, and so is that of the product measured here.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.training import build, finish, options, timed


@dataclass
class Operation:
    """What one operation has to do: `flops` of products, `moved` bytes."""

    name: str
    flops: int
    moved: int


class Ledger(TorchDispatchMode):
    """Write down every operation of PyTorch while this is active.

    Example:
        >>> with Ledger() as ledger:
        ...     torch.ones(2, 3) @ torch.ones(3, 4)
        >>> ledger.operations[-1]
        Operation(name='mm', flops=48, moved=104)
    """

    def __init__(self):
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        count = flop_registry.get(packet)
        flops = count(*args, **kwargs, out_val=result) if count else 0
        name = packet.__name__
        self.operations.append(Operation(name, flops, moved_bytes(name, (args, kwargs), result)))
        return result


class Kept:
    """While active: the most bytes that autograd has held for the way back, in `peak`; weights aside, but not
    their copies in bfloat16.

    Example:
        >>> x = torch.ones(100, requires_grad=True)
        >>> with Kept([x]) as kept:
        ...     y = x.exp() * x.sin()   # backward needs exp(x), sin(x) and x, which is a weight
        >>> kept.peak
        800
    """

    def __init__(self, weights: Iterable[Tensor]):
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.holders, self.held, self.peak = Counter(), 0, 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: Hold(self, tensor), Hold.unpack)

    def __enter__(self) -> Kept:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.hooks.__exit__(*error)


class Hold:
    """A tensor held for the way back, until autograd drops it; memory that many hold counts once."""

    def __init__(self, kept: Kept, tensor: Tensor):
        self.kept, self.tensor = kept, tensor.detach()  # with its graph it would hold itself for ever
        self.place, self.bytes = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if self.place not in kept.weights:
            kept.held += 0 if kept.holders[self.place] else self.bytes
            kept.holders[self.place] += 1
            kept.peak = max(kept.peak, kept.held)

    def unpack(self) -> Tensor:
        return self.tensor

    def __del__(self):
        if self.place not in self.kept.weights:
            self.kept.holders[self.place] -= 1
            self.kept.held -= 0 if self.kept.holders[self.place] else self.bytes


def moved_bytes(name: str, given: object, result: object) -> int:
    """What an operation reads and writes; nothing where it makes a view, or room for numbers to come."""
    read, written = list(tensors_in(given)), list(tensors_in(result))
    places = {tensor.untyped_storage().data_ptr() for tensor in read}
    is_view = any(tensor.untyped_storage().data_ptr() in places for tensor in written)
    if name.removeprefix("new_").startswith("empty") or (is_view and not name.endswith("_")):
        return 0
    # What a tensor repeats (by a stride of 0) is read once.
    each = [min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in [*read, *written]]
    return sum(each)


def tensors_in(what: object) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(what, Tensor):
        yield what
    elif isinstance(what, dict):
        yield from tensors_in(list(what.values()))
    elif isinstance(what, (list, tuple)):
        for part in what:
            yield from tensors_in(part)


def rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """What the device does a second: arithmetic in products, and bytes in copies, read and written."""
    size = 8192 if device.type == "cuda" else 2048
    torch.backends.cuda.matmul.allow_tf32 = True
    first, second = torch.randn(2, size, size, device=device, dtype=dtype)
    array = torch.ones(2**28, device=device)  # a gigabyte, more than any cache
    other = torch.empty_like(array)
    product = fastest(lambda: first @ second, device)
    copy = fastest(lambda: other.copy_(array), device)
    return 2 * size**3 / product, 2 * array.nbytes / copy


def fastest(work: Callable[[], object], device: torch.device, rounds: int = 7) -> float:
    """The seconds of the fastest of some rounds, after one that is not timed."""
    seconds = []
    for _ in range(1 + rounds):
        finish(device)
        started = time.perf_counter()
        work()
        finish(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--variant", choices=("memory kept", "bfloat16", "torch.compile"), default="memory kept"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)

    dtype = torch.float32 if arguments.variant == "memory kept" else torch.bfloat16
    arithmetic, bandwidth = rates(device, dtype)
    # Counted with plain convolutions: what Winograd's tiles save is no floor.
    counted, batch = build("bfloat16" if dtype == torch.bfloat16 else "doubling at once", arguments)
    counted(*batch)  # the optimisers make room for their moments in the first step
    with Ledger() as ledger:
        counted(*batch)
    weights = [p for network in counted.trained.values() for p in network.parameters() if p.requires_grad]
    with Kept([*weights, *counted.network.parameters()]) as kept:
        counted(*batch)
    learned = sum(weight.nbytes for weight in weights)
    del counted
    step, batch = build(arguments.variant, arguments)
    timed(step, batch)
    measured = statistics.median(timed(step, batch)[0] for _ in range(arguments.rounds))

    times = Counter()
    for operation in ledger.operations:
        times[operation.name] += max(operation.flops / arithmetic, operation.moved / bandwidth)
    flops, moved = (sum(getattr(o, what) for o in ledger.operations) for what in ("flops", "moved"))
    floor = sum(times.values())
    print(
        f"{arguments.config}, {arguments.size or 'its own'} size, batch {arguments.batch_size}, {device}, "
        f"{arguments.threads} threads, {arguments.variant}, median of {arguments.rounds}\n"
        f"device: {arithmetic / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.3g} GB/s\n"
        f"step:   {flops / 1e12:.3g} TFLOP, {moved / 1e9:.3g} GB, {len(ledger.operations)} operations\n"
        f"memory: {4 * learned / 1e9:.3g} GB for weights, gradients and moments, "
        f"{kept.peak / 1e9:.3g} GB kept for the way back\n\n"
        f"{'':34} s/step  samples/s"
    )
    for label, seconds in {
        "arithmetic alone": flops / arithmetic,
        "memory alone": moved / bandwidth,
        "floor: of each operation the longer": floor,
        "measured": measured,
    }.items():
        print(f"{label:34} {seconds:7.4f} {arguments.batch_size / seconds:9.3g}")
    print(f"\nmeasured / floor: {measured / floor:.2f}\nthe floor, by operation:")
    for name, seconds in times.most_common(6):
        print(f"  {name:32} {seconds:7.4f} {seconds / floor:8.0%}")


if __name__ == "__main__":
    main()
