#!/usr/bin/env python3
"""What a step of fine-tuning costs with and without LoRA: processor time per image and memory, each case in a process of its own.

    python experiments/lora_cost.py runs/lora-small results/lora

Models are new and images noise, since neither changes the cost. Processor time on one thread, because it is the same on a
busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "image_size": 32,
    "patch_size": 8,
}
# By name: architecture (None for a ViT of Hugging Face with this configuration), side of the images, batch, steps, rank.
CASES: dict[str, tuple[Any, int, int, int, int]] = {
    "resnet20s": ("resnet20s", 32, 64, 6, 4),
    "ViT, width 128, depth 6": (SMALL, 32, 64, 6, 4),
    "resnet18": ("resnet18", 32, 64, 3, 8),
    "ViT-B/16": ({}, 224, 4, 3, 8),
}
NO_DROPOUT = "FT + LoRA, no dropout"
WAYS = {"FT": None, "FT + LoRA": "masked", NO_DROPOUT: "masked", "FT + LoRA, held": "held"}


def main() -> None:
    """Measure all cases and write JSON and a Markdown table."""
    from utils import files

    place, out, rows = Path(sys.argv[1]), Path(sys.argv[2]), []
    for name in CASES:
        for rate in (0.0, 0.9):
            for way in WAYS if rate else list(WAYS)[:3]:
                done = subprocess.run(
                    [sys.executable, __file__, str(place), "one", name, str(rate), way],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    files.write_json(out / "cost.json", rows)
    files.write_text(out / "cost.md", table(rows))


def one(place: Path, name: str, rate: float, way: str) -> dict[str, Any]:
    """One case: parameters as counts, processor seconds per image of the fastest step after the first, bytes."""
    import torch

    import models
    import pruner
    from dataset.images import ImageSet
    from trainer.loop import Recipe, Training
    from unlearn import lora
    from unlearn.flags import Lora
    from utils.device import PeakMemory

    arch, side, batch, steps, rank = CASES[name]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    named = arch if isinstance(arch, str) else folder(place / "vits" / name.replace("/", "-"), arch)
    images = ImageSet(torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8), torch.arange(batch) % 10)
    model = models.build(named, 10, size=side)
    mask = pruner.prune(model, "random", rate, pruner.Sample(0)) if rate else {}
    pruner.MaskEnforcer(model, mask)
    total = trainable = sum(p.numel() for p in model.parameters())
    flags = Lora(
        lora=True, lora_rank=rank, lora_merge=WAYS[way] or "masked", lora_dropout=0.0 if way == NO_DROPOUT else 0.1
    )
    plan = lora.plan(flags, models.blank(named, 10, side))
    peak = PeakMemory(torch.device("cpu"))
    if WAYS[way] is not None:
        total, trainable = plan.total, plan.trainable
        model, mask = lora.attach(model, plan, mask, 0), {}
    optimizer = "sgd" if name.startswith("resnet") else "adamw"
    training = Training(model, Recipe(steps, 1e-5, optimizer, batch_size=batch, milestones=()), mask)
    times = [time.process_time()]
    for _ in training.run(images, 0):
        times.append(time.process_time())
    fastest = min(after - before for before, after in zip(times[1:], times[2:]))
    return {
        "model": name,
        "sparsity": rate,
        "method": way,
        "trainable": trainable,
        "parameters": total,
        "seconds_per_image": fastest / batch,
        "memory_bytes": peak.bytes,
        "batch": batch,
        "side": side,
        "rank": rank if WAYS[way] else None,
    }


def folder(path: Path, config: dict[str, int]) -> str:
    """The name of a new ViT of this configuration."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"model_type": "vit", **config}))
    return f"hf:{path}"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; memory in MB of 10^6 bytes."""
    head = ["model", "method", "trainable", "of all (%)", "seconds per 1,000 images", "peak memory (MB)"]
    lines = [f"| {' | '.join(head)} |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        model = f"{row['model']}, " + (f"{100 * row['sparsity']:g} % sparse" if row["sparsity"] else "dense")
        share, memory = (
            100 * row["trainable"] / row["parameters"],
            "-" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:,.0f}",
        )
        lines.append(
            f"| {model} | {row['method']} | {row['trainable']:,} | {share:.1f} | {1000 * row['seconds_per_image']:.2f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[2] == "one":
        print(json.dumps(one(Path(sys.argv[1]), sys.argv[3], float(sys.argv[4]), sys.argv[5])))
    else:
        main()
