"""Training speed of the reference configuration: seconds of audio a second, forward, backward and optimiser.

    python benchmarks/training_speed.py [--precision 32-true|bf16-mixed] [--seconds 10] [--batch 16] [--qat] [--profile]
    python benchmarks/training_speed.py --accelerator cuda --batch 80 --seconds 8 --profile

Random features stand for utterances of equal length; computing features is not part of the measurement. ``--profile``
says which share of the time the processor's operators or the GPU's kernels spend in matrix products.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from velocity.stages import keep_memory

PRODUCTS = ("gemm", "nvjet", "cutlass", "wgmma", "addmm", "aten::bmm", "aten::mm")  # names of kernels and operators


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="bf16-mixed")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an utterance")
    parser.add_argument("--batch", type=int, default=16, help="utterances a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accelerator", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--profile", action="store_true", help="three more steps, under PyTorch's profiler")
    parser.add_argument("--steps", type=int, default=8, help="measured, after two that are not")
    parser.add_argument("--stride", type=int, choices=[2, 4], default=2)
    parser.add_argument("--qat", action="store_true", help="with INT8 fake quantisation")
    options = parser.parse_args()

    keep_memory()
    import torch
    from lightning_fabric import Fabric

    from velocity.config.model import ModelConfig
    from velocity.config.optimisation import Optimisation
    from velocity.config.reader import default_section, read_params
    from velocity.data.batches import Batch
    from velocity.model.asr import VelocityModel
    from velocity.quantization.linear import quantize_linears, set_mode
    from velocity.training.devices import set_determinism
    from velocity.training.objectives.ctc import CTC
    from velocity.training.optimiser import optimisers

    set_determinism(options.threads)
    torch.manual_seed(0)
    reference = read_params("profiles/reference.yaml")["model"]
    config = default_section("model", ModelConfig, **reference, vocabulary=256, stride=options.stride)
    model = VelocityModel(config).train()
    if options.qat:
        quantize_linears(model)
    frames, labels = int(options.seconds * 100), int(options.seconds * 6)
    batch = Batch(
        ids=[],
        features=torch.randn(options.batch, frames, 80),
        lengths=torch.full((options.batch,), frames),
        targets=torch.randint(1, model.config.vocabulary, (options.batch, labels)),
        target_lengths=torch.full((options.batch,), labels),
    )
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=options.precision)
    objective, *optimizers = fabric.setup(
        CTC(model), *optimisers(model, default_section("finetune.optimisation", Optimisation))
    )

    def take_step() -> None:
        loss = objective(batch.to(fabric.device))
        fabric.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the GPU's forward pass, as a training does; the next step's waits for the rest

    times = []
    for step in range(options.steps + 2):
        if step == 2 and options.qat:
            set_mode(model, "fake")
        started = time.perf_counter()
        take_step()
        times.append(time.perf_counter() - started)
    times = sorted(times[2:])
    audio = options.batch * options.seconds
    print(
        f"{model.parameter_count():,} parameters, {options.precision}, {options.threads} threads, "
        f"{options.batch} × {options.seconds:g} s, stride {options.stride}{', QAT' if options.qat else ''}: "
        f"median {times[len(times) // 2]:.2f} s a step = {audio / times[len(times) // 2]:.0f} s of audio a second "
        f"(slowest {audio / times[-1]:.0f}, fastest {audio / times[0]:.0f})"
    )
    if options.profile:
        activities = [torch.profiler.ProfilerActivity.CPU]
        activities += [torch.profiler.ProfilerActivity.CUDA] if options.accelerator == "cuda" else []
        with torch.profiler.profile(activities=activities) as profile:
            for _ in range(3):
                take_step()
        print(f"{100 * product_share(profile, options.accelerator):.0f} % of the time is in matrix products")


def product_share(profile: Any, accelerator: str) -> float:
    """Of the time of all operators on the CPU, or of all kernels on the GPU, without what they wait for."""
    import torch

    spent: dict[str, float] = {}
    if accelerator == "cuda":
        for event in profile.events():
            if event.device_type == torch.autograd.DeviceType.CUDA and "#" not in event.name:  # those are annotations
                spent[event.name] = spent.get(event.name, 0.0) + event.time_range.elapsed_us()
    else:
        spent = {row.key: row.self_cpu_time_total for row in profile.key_averages()}
    products = sum(time for name, time in spent.items() if any(part in name.lower() for part in PRODUCTS))
    return products / sum(spent.values())


if __name__ == "__main__":
    main()
