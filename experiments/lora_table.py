#!/usr/bin/env python3
"""What FT costs and reaches with and without LoRA, from the runs of ``lora_small.sh``: JSON and a Markdown table of each.

    python experiments/lora_table.py runs/lora-small results/lora
"""
from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.tables import percent  # noqa: E402
from utils import files  # noqa: E402

SCORES = ("UA", "RA", "TA", "MIA-Efficacy")
WAYS = {None: "", "masked": " + LoRA", "held": " + LoRA, held", "none": " + LoRA, apart"}


def row(path: Path) -> dict[str, Any]:
    """One run: parameters as counts, seconds, bytes, scores in [0, 1] and RTE in minutes."""
    result = json.loads(path.read_text())
    adapters, parameters = result.get("adapters"), result["model"]["parameters"]
    epochs = {}
    for line in (path.parent / "log.jsonl").read_text().splitlines():
        logged = json.loads(line)
        if logged["kind"] == "epoch":
            epochs[logged["epoch"]] = logged["seconds"]
    return {
        "arch": "ViT (width 128, depth 6)" if result["model"]["arch"].startswith("hf:") else result["model"]["arch"],
        "sparsity": round(result["model"]["sparsity"], 3), "method": result["paper_name"].removesuffix(" + LoRA") + WAYS[adapters and adapters["merge"]],
        "trainable": adapters["trainable"] if adapters else parameters if epochs else 0, "parameters": adapters["total"] if adapters else parameters,
        "epoch_seconds": statistics.median(list(epochs.values())[1:] or epochs.values()) if epochs else None,
        "memory_bytes": result["memory"]["unlearning"], **{key: result["scores"][key] for key in (*SCORES, "RTE")},
    }


def table(rows: list[dict[str, Any]], scores: bool) -> str:
    """Markdown; sizes in thousands of parameters and MB of 10^6 bytes."""
    head = ["model", "method", "trainable (thousands)", "of all", "seconds per epoch", "peak memory (MB)", *(SCORES if scores else ())]
    lines = [f"| {' | '.join(head)} |", f"| --- | --- |{' ---: |' * (len(head) - 2)}"]
    for each in rows:
        model = f"{each['arch']}, {percent(each['sparsity'])} % sparse" if each["sparsity"] else f"{each['arch']}, dense"
        seconds = "-" if each["epoch_seconds"] is None else f"{each['epoch_seconds']:.2f}"
        share = f"{100 * each['trainable'] / each['parameters']:.1f} %"
        cells = [model, each["method"], f"{each['trainable'] / 1000:,.1f}", share, seconds, f"{each['memory_bytes'] / 1e6:,.0f}"]
        lines.append(f"| {' | '.join([*cells, *(percent(each[key]) for key in (SCORES if scores else ()))])} |")
    return "\n".join(lines) + "\n"


def order(each: dict[str, Any]) -> tuple:
    """Original and Retrain first."""
    first = ("Original", "Retrain")
    return each["arch"], each["sparsity"], first.index(each["method"]) if each["method"] in first else 2, each["method"]


def main() -> None:
    """Read all runs below the first folder and write to the second."""
    runs, out = map(Path, sys.argv[1:3])
    for name, scores, paths in (("scores", True, runs.glob("*/seed*/*/*/*/result.json")), ("cost", False, runs.glob("cost/*/[01]-*/result.json"))):
        rows = sorted(map(row, paths), key=order)
        files.write_json(out / f"{name}.json", rows)
        files.write_text(out / f"{name}.md", table(rows, scores))
        print(table(rows, scores))


if __name__ == "__main__":
    main()
