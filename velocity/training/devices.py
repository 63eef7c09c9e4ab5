"""Where a training runs: one process or many, on CPUs or GPUs, from one setting, through Lightning Fabric.

Each process trains on its own batches: one step takes ``accumulate`` × processes × ``batch_seconds`` seconds of audio.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from velocity.config.optimisation import Optimisation


def set_determinism(threads: int) -> None:
    """Fix what the bytes of a result depend on: the number of threads and the choice of kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that it has not written; filling it first would take 4 to 15 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False


def start(settings: Optimisation) -> Fabric:
    """The Fabric of a training, with the processes that ``devices`` and ``nodes`` request.

    With several, each runs this same command from here on: Fabric starts those of this machine, unless torchrun or a
    cluster's scheduler has started them already. Only the first process (``fabric.is_global_zero``) validates, reports
    and writes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    devices, nodes, threads = settings.devices, settings.nodes, torch.get_num_threads()
    if TorchElasticEnvironment.detect():  # torchrun decides how many there are
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif devices == "auto":
        devices = max(1, torch.cuda.device_count())
    if nodes == 1:
        stay_on_this_machine()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # every process would introduce itself
    # Of the depthwise convolution; an axis of length 1 has any stride.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # The objectives of pretraining leave some weights, as the CTC head's, without a gradient.
    strategy = DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto"
    fabric = Fabric(strategy=strategy, devices=devices, num_nodes=nodes, precision=precision(settings.precision))
    fabric.launch()
    torch.set_num_threads(threads)  # the launcher sets its own
    return fabric


def stay_on_this_machine() -> None:
    """Processes of one machine talk through its loopback interface, unless the environment names another.

    By default Gloo takes the interface of the host's name: one that others reach, or that goes away with the network.
    """
    for _, name in socket.if_nameindex():
        if name in ("lo", "lo0"):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def precision(setting: str) -> str:
    """``setting``, or for "auto" bf16 where it is computed in hardware; says so where it is not."""
    if torch.cuda.is_available():
        hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        hardware = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("RANK", "0") == "0"
    if setting == "bf16-mixed" and not hardware and first:
        print("warning: precision: bf16-mixed is emulated here, many times slower than 32-true", flush=True)
    if setting != "auto":
        return setting
    if first:
        print(f"precision: {'bf16' if hardware else '32 bits'}, as the hardware computes it", flush=True)
    return "bf16-mixed" if hardware else "32-true"


def total(fabric: Fabric, value: float) -> float:
    """The sum of the values of all processes."""
    if fabric.world_size == 1:
        return value
    return fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=fabric.device), reduce_op="sum").item()


def gathered(fabric: Fabric, names: list[str]) -> list[str]:
    """The names of all processes."""
    if fabric.world_size == 1:
        return names
    of_each: list[list[str]] = [[] for _ in range(fabric.world_size)]
    torch.distributed.all_gather_object(of_each, names)
    return [name for some in of_each for name in some]
