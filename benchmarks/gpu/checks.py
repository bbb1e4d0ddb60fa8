"""Checks that a GPU computes what the CPU does: tests that need a GPU, and scores of a tiny run of every method."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.visit import Visit
from unlearn import registry

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ["--dataset", "digits", "--input_size", "8", "--arch", "resnet20s"]
FEW = {"PRMQ": ["--unlearn_epochs", "1.2"], "RNI": ["--unlearn_epochs", "3", "--fine_epochs", "1"]}
SCORES = ("UA", "RA", "TA", "MIA-Efficacy")


def check(visit: Visit) -> None:
    """Run the tests marked ``gpu``, and compare scores on the device with those on the CPU, method by method."""
    if visit.device.type == "cuda":
        visit.attempt("correctness", "tests", 60, lambda: _tests(visit.left))
    else:
        visit.note("correctness", "tests", "skipped: they need a GPU")
    model = visit.work / "checks" / "model"
    trained = ["--epochs", "3", "--batch_size", "128", "--save_dir", str(model), "--device", "cpu"]
    visit.attempt("correctness", "model", 30, lambda: run("main_imp", [*DATA, *trained]))
    methods = ["raw", "FT", "GA"] if visit.tiny else registry.names()
    for method in methods:
        visit.attempt("correctness", method, 10 if visit.tiny else 20, lambda method=method: _apart(visit, method))


def _tests(seconds: float) -> str:
    """Run the tests marked ``gpu`` for at most ``seconds``; the failures (20 at most) and pytest's last line."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=min(seconds, 180))
    lines = (done.stdout + done.stderr).strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return "; ".join([*failed[:20], lines[-1]])


def _apart(visit: Visit, method: str) -> dict[str, float]:
    """The absolute difference of every score between the device and the CPU, in [0, 1]."""
    found = {}
    for device in ("cpu", str(visit.device)):
        place = visit.work / "checks" / device.replace(":", "") / method
        fields = registry.get(method).config.__dataclass_fields__
        few = FEW.get(method, ["--unlearn_epochs", "1"] if "unlearn_epochs" in fields else [])
        model = visit.work / "checks" / "model" / "0model_SA_best.pth.tar"
        words = [*DATA, "--mask", str(model), "--unlearn", method, *few, "--forget", "random:0.1", "--device", device]
        run("main_forget", [*words, "--save_dir", str(place)])
        found[device] = scores_of(place)
    first, second = found["cpu"], found[str(visit.device)]
    return {name: round(abs(first[name] - second[name]), 6) for name in SCORES}


def scores_of(place: Path) -> dict[str, float]:
    """The scores in the ``result.json`` of the run's folder ``place``."""
    return json.loads((place / "result.json").read_text())["scores"]


def run(script: str, words: list[str]) -> str:
    """Run a script in this process, which has loaded data and initialised the GPU already.

    Args:
        script: module name of the script, "main_forget" for example.
        words: its command line.
    Raises:
        RuntimeError: its exit code is not 0; the message has its last line.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = importlib.import_module(script).main(words)
    if code:
        raise RuntimeError(f"{script}: code {code}: {said.getvalue().strip().splitlines()[-1]}")
    return "done"
