"""Shared by all tests: the project root is importable, and one small pruned model is trained once."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DIGITS = ["--dataset", "digits", "--input_size", "8", "--arch", "resnet20s", "--device", "cpu"]
OMP = [*DIGITS, "--epochs", "3", "--batch_size", "64", "--pruning_times", "2", "--rate", "0.8", "--rewind_epoch", "1", "--decreasing_lr", "2"]


@pytest.fixture(scope="session")
def omp_run(tmp_path_factory) -> Path:
    """Folder of a finished ``main_imp.py`` run on digits: a dense round and one pruned by 80 %."""
    import main_imp

    folder = tmp_path_factory.mktemp("omp") / "model"
    assert main_imp.main([*OMP, "--save_dir", str(folder)]) == 0
    return folder
