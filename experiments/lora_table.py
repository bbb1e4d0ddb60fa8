#!/usr/bin/env python3
"""What FT reaches with and without LoRA, from the runs of ``lora-small.yaml``: JSON and a Markdown table.

python experiments/lora_table.py runs/lora-small results/lora
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.results import METRICS  # noqa: E402
from evaluation.rows import ADAPTED  # noqa: E402
from evaluation.tables import minutes, percent  # noqa: E402
from utils import files  # noqa: E402

WAYS = {None: "", "masked": " + LoRA", "none": " + LoRA, apart"}


def row(path: Path) -> dict[str, Any]:
    """One run: parameters as counts, scores in [0, 1] and RTE in minutes."""
    result = json.loads(path.read_text())
    adapters, parameters = result.get("adapters"), result["model"]["parameters"]
    trains = result["method"] != "raw"
    return {
        "arch": "ViT" if result["model"]["arch"].startswith("hf:") else result["model"]["arch"],
        "sparsity": round(result["model"]["sparsity"], 3),
        "method": result["paper_name"].removesuffix(ADAPTED) + WAYS[adapters and adapters["merge"]],
        "trainable": adapters["trainable"] if adapters else parameters if trains else 0,
        "parameters": adapters["total"] if adapters else parameters,
        **{name: result["scores"][name] for name in (*METRICS, "RTE")},
        "seed": result["seed"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, scores in per cent."""
    lines = [
        f"| {' | '.join(['model', 'method', 'trainable', *METRICS, 'RTE (min)'])} |",
        f"| --- | --- |{' ---: |' * (len(METRICS) + 2)}",
    ]
    for each in rows:
        model = (
            f"{each['arch']}, {percent(each['sparsity'])} % sparse" if each["sparsity"] else f"{each['arch']}, dense"
        )
        cells = [
            model,
            each["method"],
            f"{each['trainable']:,}",
            *(percent(each[name]) for name in METRICS),
            minutes(each["RTE"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def order(each: dict[str, Any]) -> tuple:
    """Original and Retrain first."""
    first = ("Original", "Retrain")
    return each["arch"], each["sparsity"], first.index(each["method"]) if each["method"] in first else 2, each["method"]


def main() -> None:
    """Read all runs below the first folder and write to the second."""
    runs, out = map(Path, sys.argv[1:3])
    rows = sorted(map(row, runs.glob("*/seed*/*/*/*/result.json")), key=order)
    files.write_json(out / "scores.json", rows)
    files.write_text(out / "scores.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
