"""The least time that a training step with plain convolutions can take here, beside the time it takes.

    python -m benchmarks.training_bound --config heads-64-adv --batch-size 8
    python -m benchmarks.training_bound --device cuda --batch-size 16
    python -m benchmarks.training_bound --device cuda --batch-size 16 --variant bfloat16

A step is a list of operations: forward pass, backward pass, optimisers. PyTorch is observed while it runs
them once, and two numbers are noted of each: the arithmetic of products (a multiplication and an addition
count as two), and the bytes that it reads and writes. How much of either this device does in a second is
measured too, by a product of large matrices in the precision of the step, and by a copy of a large array. An
operation takes at least the longer of the two times, and a step at least the sum: the lower bound (the
roofline model).

A step needs at least the memory of weights, gradients and moments, and of the tensors saved for the backward
pass (activations), whose peak is observed as well; images and workspace come on top.

A step can be faster than the bound by Winograd's tiles, which multiply less (`training.fast.by_winograd` on a
CPU, cuDNN on a GPU), by caches that hold what the next operation reads, and by torch.compile, which fuses
operations. On GPUs convolutions in float32 are computed in TF32, and so is the product measured here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.harness import fastest, timed
from benchmarks.training import build, finish, steps_of, training_parser


@dataclass
class Operation:
    """One operation of PyTorch: `flops` of its products, `moved` bytes that it reads and writes."""

    name: str
    flops: int
    moved: int


class Ledger(TorchDispatchMode):
    """Records every operation of PyTorch while it is active.

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


class SavedTensors:
    """While active: the most bytes that autograd has saved for the backward pass, in `peak`.

    Weights do not count, but their copies in bfloat16 do.

    Example:
        >>> x = torch.ones(100, requires_grad=True)
        >>> with SavedTensors([x]) as saved:
        ...     y = x.exp() * x.sin()   # backward needs exp(x), sin(x) and x, which is a weight
        >>> saved.peak
        800
    """

    def __init__(self, weights: Iterable[Tensor]):
        self.weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.holders, self.held, self.peak = Counter(), 0, 0
        self.hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: Hold(self, tensor), Hold.unpack)

    def __enter__(self) -> SavedTensors:
        self.hooks.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.hooks.__exit__(*error)


class Hold:
    """A tensor saved for the backward pass, until autograd drops it; shared memory counts once."""

    def __init__(self, kept: SavedTensors, tensor: Tensor):
        self.kept, self.tensor = kept, tensor.detach()  # with its graph it would hold itself alive
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
    """Bytes that an operation reads and writes; 0 if it makes a view or allocates memory."""
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
    """Arithmetic a second in products, and bytes a second in copies, read and written."""
    size = 8192 if device.type == "cuda" else 2048
    torch.backends.cuda.matmul.allow_tf32 = True
    first, second = torch.randn(2, size, size, device=device, dtype=dtype)
    array = torch.ones(2**28, device=device)  # a gigabyte, more than any cache
    other = torch.empty_like(array)

    def seconds(work: Callable[[], object]) -> float:
        def finished() -> None:
            work()
            finish(device)

        finished()
        return fastest(finished, 7).seconds

    product, copy = seconds(lambda: first @ second), seconds(lambda: other.copy_(array))
    return 2 * size**3 / product, 2 * array.nbytes / copy


def main() -> None:
    """Print bound and time of a step, and the operations with the largest share of the bound."""
    options = training_parser(__doc__)
    options.add_argument(
        "--variant", choices=("memory kept", "bfloat16", "torch.compile"), default="memory kept"
    )
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)

    dtype = torch.float32 if arguments.variant == "memory kept" else torch.bfloat16
    arithmetic, bandwidth = rates(device, dtype)
    # Counted with plain convolutions: Winograd's tiles would lower the count, and it would be no bound.
    counted, batch = build("bfloat16" if dtype == torch.bfloat16 else "doubling at once", arguments)
    counted(*batch)  # the optimisers allocate their moments in the first step
    with Ledger() as ledger:
        counted(*batch)
    weights = [p for network in counted.trained.values() for p in network.parameters() if p.requires_grad]
    with SavedTensors([*weights, *counted.network.parameters()]) as saved:
        counted(*batch)
    learned = sum(weight.nbytes for weight in weights)
    del counted
    step = steps_of(*build(arguments.variant, arguments))
    step()
    measured = median(timed(step).seconds for _ in range(arguments.rounds))

    times = Counter()
    for operation in ledger.operations:
        times[operation.name] += max(operation.flops / arithmetic, operation.moved / bandwidth)
    flops, moved = (sum(getattr(o, what) for o in ledger.operations) for what in ("flops", "moved"))
    bound = sum(times.values())
    print(
        f"{arguments.config}, {arguments.size or 'its own'} size, batch {arguments.batch_size}, {device}, "
        f"{arguments.threads} threads, {arguments.variant}, median of {arguments.rounds}\n"
        f"device: {arithmetic / 1e12:.3g} TFLOP/s, {bandwidth / 1e9:.3g} GB/s\n"
        f"step:   {flops / 1e12:.3g} TFLOP, {moved / 1e9:.3g} GB, {len(ledger.operations)} operations\n"
        f"memory: {4 * learned / 1e9:.3g} GB for weights, gradients and moments, "
        f"{saved.peak / 1e9:.3g} GB saved for the backward pass\n\n"
        f"{'':34} s/step  samples/s"
    )
    for label, seconds in {
        "arithmetic alone": flops / arithmetic,
        "memory alone": moved / bandwidth,
        "bound: longer of both, summed": bound,
        "measured": measured,
    }.items():
        print(f"{label:34} {seconds:7.4f} {arguments.batch_size / seconds:9.3g}")
    print(f"\nmeasured / bound: {measured / bound:.2f}\nthe bound, by operation:")
    for name, seconds in times.most_common(6):
        print(f"  {name:32} {seconds:7.4f} {seconds / bound:8.0%}")


if __name__ == "__main__":
    main()
