"""The processes that train one run together: one, or several that `accelerate launch` started.

A profile's batch is the batch of all processes together. Each takes an equal part of it, batch norms see the whole
(`ppcd.networks.layers.batch_norm`), gradients are averaged before a step. So the training is that of one process with
the same batch and accumulations but for the order of floating-point sums, and every process holds the same weights and
takes the same decisions about its masks; `check_same` makes sure of it.

Nothing is wrapped in DistributedDataParallel: two networks take turns here, and the gradient of L_PP reaches the masks
outside of any forward pass, which its hooks take for a second backward pass.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError, needs

PATIENCE = timedelta(days=2)  # others wait for the first process while it evaluates
PRECISIONS = ("no", "bf16")
Value = TypeVar("Value")


class Processes:
    """This process among those that train together; without accelerate's `Accelerator` it is alone."""

    def __init__(self, accelerator: Any = None) -> None:
        self._accelerator = accelerator
        self.index: int = 0 if accelerator is None else accelerator.process_index
        self.count: int = 1 if accelerator is None else accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.index == 0

    @property
    def share(self) -> tuple[int, int]:
        """(index, count): which part of a batch is this process's."""
        return self.index, self.count

    def part(self, batch: Tensor) -> Tensor:
        """This process's part of what was drawn for all of them: contiguous, in the order of the processes."""
        size = len(batch) // self.count
        return batch[self.index * size : (self.index + 1) * size]

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over processes, differentiable."""
        if self.count == 1:
            return tensor
        from torch.distributed.nn.functional import all_reduce

        return all_reduce(tensor) / self.count

    @torch.no_grad()
    def average(self, parameters: Iterable[Tensor], values: Iterable[Tensor] = ()) -> None:
        """Replace gradients, and these values, by their means over the processes: one exchange for all of them.

        Every process must have gradients of the same parameters.
        """
        if self.count == 1:
            return
        tensors = [parameter.grad for parameter in parameters if parameter.grad is not None] + list(values)
        mean = self._accelerator.reduce(torch.cat([tensor.flatten() for tensor in tensors]), reduction="mean")
        parts = mean.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def agree(self, value: Value) -> Value:
        """The first process's value, on all of them."""
        if self.count == 1:
            return value
        with needs("distributed"):
            from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        if self.count > 1:
            self._accelerator.wait_for_everyone()

    @torch.no_grad()
    def check_same(self, networks: Mapping[str, nn.Module]) -> None:
        """Stop, on every process, where they no longer hold the same weights and buffers."""
        if self.count == 1:
            return
        held = [[*network.parameters(), *network.buffers()] for network in networks.values()]
        sums = torch.stack([torch.stack([tensor.double().sum() for tensor in each]).sum() for each in held])
        everyones = self._accelerator.gather(sums[None])  # [process, network]
        differing = [name for name, same in zip(networks, (everyones == sums).all(0).tolist(), strict=True) if not same]
        if differing:
            raise PpcdError(
                f"the {self.count} processes no longer agree on the {' and the '.join(differing)}: start from the last "
                "checkpoint again, with the same versions and the same kind of device on every machine"
            )

    def leave(self) -> None:
        if self._accelerator is not None:
            self._accelerator.end_training()


ALONE = Processes()


def check_share(batch_size: int, count: int) -> None:
    """Refuse a batch that so many processes cannot share equally."""
    if batch_size % count:
        fitting = [each for each in range(1, batch_size + 1) if batch_size % each == 0]
        raise PpcdError(
            f"a batch of {batch_size} cannot be shared by {count} processes; "
            f"take one of: {', '.join(map(str, fitting))}"
        )


def launched() -> bool:
    """Whether `accelerate launch` (or torchrun) started this process."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ or "LOCAL_RANK" in os.environ


def launcher(count: int, precision: str = "no") -> list[str]:
    """The command, up to the module's name, that runs a Python module in so many processes of this machine.

    On a CPU as on GPUs: `--multi_gpu` starts processes, and which device they take is their own matter.
    """
    if count < 1:
        raise PpcdError(f"at least one process is needed; got {count}")
    if count == 1:
        return [sys.executable, "-m"]
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    command += ["--num_processes", str(count), "--num_machines", "1", "--main_process_port", "0"]
    return [*command, "--mixed_precision", precision, "--dynamo_backend", "no", "-m"]


def join(device: str) -> tuple[Processes, str, str]:
    """The processes that `accelerate launch` started with this one, this one's device, and the launcher's precision."""
    if not launched():
        return ALONE, device, "no"
    with needs("distributed"):
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs

    # Who waits for the others inside a library hears no signal that Python handles; the launcher tells what happened.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    precision = check_precision(os.environ.get("ACCELERATE_MIXED_PRECISION", "no"))
    if device.split(":")[0] not in ("auto", "cpu", "cuda"):
        raise PpcdError(f"several processes train on cpu or cuda; got device {device!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise PpcdError(f"device {device!r} was asked for, but torch sees none on this machine; take cpu or auto")
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    accelerator = Accelerator(
        cpu=on_cpu, mixed_precision="no", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]
    )
    return Processes(accelerator), str(accelerator.device), precision


def check_precision(name: str) -> str:
    """The precision; refuses one that there is not."""
    if name == "fp16":
        raise PpcdError(
            "fp16 needs its losses scaled, which the bound on the masks' gradients does not allow; "
            "take bf16 or no (accelerate launch --mixed_precision bf16)"
        )
    if name not in PRECISIONS:
        raise PpcdError(f"unknown precision {name!r}; expected one of: {', '.join(PRECISIONS)}")
    return name
