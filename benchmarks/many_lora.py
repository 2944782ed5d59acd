"""Adapters per hour: K at once against one after another by PEFT, the faster of one two-thread and two one-thread processes.

python benchmarks/many_lora.py                             # the tiny base, K = 1 ... 64
python benchmarks/many_lora.py --json many_lora.json       # and write the figures there
python benchmarks/many_lora.py --precision bf16            # both sides under autocast
python benchmarks/many_lora.py --sd15 --batch 1 --prior-batch 0 --precision bf16 --k 1 4 16   # SD 1.5's shapes: for a GPU

What is trained is what the study of shared weights trains: five pictures and one of the class in a step, UNet and text encoder.
Rounds are interleaved, so that a busy machine slows every side; figures are medians over rounds, each of a few steps after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sfumato._version import __version__
from sfumato.adapters.dreambooth import FinetuneConfig, Task
from sfumato.adapters.lora import LoraSettings
from sfumato.adapters.train_many import train_many
from sfumato.adapters.train_one import train_one
from sfumato.core.device import choose_device
from sfumato.core.randomness import generator
from sfumato.diffusion.base import Base, load_base
from sfumato.diffusion.quiet import quiet_libraries
from sfumato.diffusion.shapes import sd15_base

WARM_UP = 2


def base_of(options: dict[str, Any]) -> Base:
    """The base that is asked for: one by its name, or SD 1.5's shapes with random weights."""
    return (
        sd15_base(side=options["side"], device=choose_device()) if options["sd15"] else load_base(options["base"], device=choose_device())
    )


def tasks_of(base: Base, count: int, *, prior: bool) -> list[Task]:
    """Five pictures each, and some of the class; what is on them takes no time."""
    latents = [torch.randn((5, *base.latent_shape), generator=generator(k)) for k in range(count)]
    beside = {"class_latents": latents[0], "class_prompt": "a photo of peep"} if prior else {}
    return [Task(latents=latents[k], prompts=("a photo of sks peep",) * 5, seed=k, **beside) for k in range(count)]  # type: ignore[arg-type]


def seconds_a_step(base: Base, k: int, steps: int, options: dict[str, Any], *, stacked: bool) -> float:
    """Of one step of K adapters, stacked or (K = 1) by PEFT, from the end of the warm-up to the end."""
    beside = options["prior_batch"]
    config = FinetuneConfig(
        steps=WARM_UP + steps, batch=options["batch"], prior_batch=max(1, beside), precision=options["precision"]
    )  # fmt: skip
    settings = LoraSettings(rank=options["rank"], text_targets=("q_proj", "v_proj") if options["text_encoder"] else ())
    marks: list[float] = []

    def mark(*_: Any) -> None:
        if base.unet.device.type == "cuda":
            torch.cuda.synchronize()
        marks.append(time.perf_counter())

    if stacked:
        train_many(base, tasks_of(base, k, prior=beside > 0), settings, config, on_step=mark)
    else:
        train_one(base, tasks_of(base, 1, prior=beside > 0)[0], settings, config, on_step=mark)
    return (marks[-1] - marks[WARM_UP - 1]) / steps


def work(asked: Any, answers: Any, together: Any, options: dict[str, Any]) -> None:
    """A process of the second baseline: one thread, waits for the other one before it starts."""
    quiet_libraries()
    torch.set_num_threads(1)
    base = base_of(options)
    while (steps := asked.get()) is not None:
        together.wait()
        answers.put(seconds_a_step(base, 1, steps, options, stacked=False))


def measure(options: dict[str, Any]) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    asked, answers, together = context.Queue(), context.Queue(), context.Barrier(2)
    pair = [context.Process(target=work, args=(asked, answers, together, options), daemon=True) for _ in range(2)]
    for process in pair:
        process.start()
    torch.set_num_threads(options["threads"])
    base = base_of(options)
    alone: list[float] = []
    beside: list[float] = []
    many: dict[int, list[float]] = {k: [] for k in options["k"]}
    for number in range(options["rounds"]):
        print(f"round {number + 1} of {options['rounds']}", file=sys.stderr, flush=True)
        alone.append(seconds_a_step(base, 1, options["steps"], options, stacked=False))
        for _ in pair:
            asked.put(options["steps"])
        beside.append(max(answers.get() for _ in pair) / len(pair))
        for k in many:
            steps = max(2, -(-options["steps"] // k))  # K adapters' steps each
            many[k].append(seconds_a_step(base, k, steps, options, stacked=True) / k)
    for _ in pair:
        asked.put(None)
    for process in pair:
        process.join()

    def hourly(seconds: list[float]) -> float:
        return 3600 / (statistics.median(seconds) * options["full_steps"])

    baselines = {"one_process": hourly(alone), "two_one_thread_processes": hourly(beside)}
    best = max(baselines.values())
    return {
        "peak_bytes": torch.cuda.max_memory_allocated() if base.unet.device.type == "cuda" else None,
        "adapters_per_hour": {"sequential": baselines, "stacked": {str(k): hourly(seconds) for k, seconds in many.items()}},
        "speedup": {str(k): hourly(seconds) / best for k, seconds in many.items()},
        "seconds_per_adapter_step": {"one_process": alone, "two_one_thread_processes": beside, **{str(k): s for k, s in many.items()}},
        "device": choose_device(),
        "torch": torch.__version__,
        "options": options,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--sd15", action="store_true", help="SD 1.5's shapes with random weights, in place of a base")
    parser.add_argument("--side", type=int, default=32, help="of SD 1.5's latents")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="adapter steps that are timed in a round, at least")
    parser.add_argument("--full-steps", type=int, default=200, help="steps of an adapter, for adapters per hour")
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--prior-batch", type=int, default=1, help="pictures of the class beside them; 0: no prior preservation")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="of the stacked process and of the first baseline")
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--text-encoder", action=argparse.BooleanOptionalAction, default=True, help="train the text encoder's, too")
    parser.add_argument("--json", type=Path, nargs="?", const=Path("-"), help="print JSON only, or write it to a file, too")
    args = parser.parse_args()
    quiet_libraries()
    figures = measure({key: value for key, value in vars(args).items() if key != "json"})
    figures["version"] = __version__
    figures["command"] = " ".join(["python benchmarks/many_lora.py", *sys.argv[1:]])
    if args.json and args.json != Path("-"):
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    if args.json:
        print(json.dumps(figures, indent=1))
        return
    for name, rate in figures["adapters_per_hour"]["sequential"].items():
        print(f"{name:<26} {rate:8.1f} adapters an hour")
    for k, rate in figures["adapters_per_hour"]["stacked"].items():
        print(f"stacked, K = {k:<13} {rate:8.1f} adapters an hour, {figures['speedup'][k]:.2f} x")


if __name__ == "__main__":
    main()
