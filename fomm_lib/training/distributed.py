"""Several processes that train one model together: who they are, and batch norm over all of them."""

from __future__ import annotations

import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from fomm_lib.errors import InputError
from fomm_lib.losses import RandomTransform
from fomm_lib.model import choose_device
from fomm_lib.training.fast import replace_modules


class Processes:
    """This process among those that train together; it may be the only one.

    Args:
        device: by default the GPU if there is one. With several processes, each has its own.

    Attributes:
        accelerator: of the library accelerate, through which the processes exchange numbers.
        main: whether this is the process that writes files.
        rank, count: the number of this process, from 0, and how many there are.
        suffix: of the names of files that every process writes; empty if there is only one.
        device: what this process computes on.

    Raises:
        InputError: the device cannot be used; or the processes were launched for another kind of device, or
            for fp16 without a GPU.
    """

    def __init__(self, device: str | None = None):
        try:
            # Buffers of networks are equal in all processes, so none are sent.
            self.accelerator = Accelerator(
                device_placement=False,
                kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
            )
        except ValueError as error:  # the launcher asks for fp16, and there is no GPU
            raise InputError(" ".join(str(error).split())) from error
        self.main, self.rank = self.accelerator.is_main_process, self.accelerator.process_index
        self.count = self.accelerator.num_processes
        self.suffix = f"-process{self.rank}" if self.count > 1 else ""
        if self.count == 1:
            self.device = choose_device(device)
            return
        self.device = self.accelerator.device
        if device and choose_device(device).type != self.device.type:
            raise InputError(
                f"device = {device}: the processes were launched for {self.device.type}; "
                "leave it away, or set ACCELERATE_USE_CPU=true for them"
            )

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process: all must stop after the same step."""
        if self.count == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), "sum"))

    def share(self, transform: RandomTransform) -> RandomTransform:
        """The part of this process in the transforms of a whole batch, which all processes draw alike."""
        return transform.chunk(self.count)[self.rank]


class _SumOverProcesses(torch.autograd.Function):
    """The sum of x over all processes. In the backward pass gradients are summed in the same way.

    PyTorch's own function for this is deprecated, and what is recommended instead is private.
    """

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class SynchronizedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the mean and variance of the batches of all processes, which have the same size.

    PyTorch's own works on GPUs only; this one works on any device.

    Args:
        norm: its parameters and running statistics are taken over.
    """

    def __init__(self, norm: nn.BatchNorm2d):
        self.__dict__.update(norm.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        processes = torch.distributed.get_world_size()
        wide = x.float()
        mean = _SumOverProcesses.apply(wide.mean((0, 2, 3))) / processes
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().mean((0, 2, 3))) / processes
        with torch.no_grad():
            count = processes * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        out = centred * (self.weight * torch.rsqrt(variance + self.eps))[:, None, None]
        return (out + self.bias[:, None, None]).to(x.dtype)


def synchronize_batch_norm(network: nn.Module) -> nn.Module:
    """The same network with the same parameters, whose batch norms use the batches of all processes."""
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)

    def synchronized(module: nn.Module) -> nn.Module | None:
        return SynchronizedBatchNorm2d(module) if type(module) is nn.BatchNorm2d else None

    return replace_modules(network, synchronized)
