"""The same command, the same bytes: at another time, in another folder and process, with other numbers of reading
processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torture
from conftest import ROOT
from PIL import Image

import arg_parser
import main_forget
import main_imp
from utils import device
from utils.errors import UsageError, script
from utils.options import identity

TRAIN = ["--epochs", "1", "--batch_size", "27", "--pruning_times", "2", "--rate", "0.8"]
ELSEWHERE = {"PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "1", "COLUMNS": "40"}


pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return torture.tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def here(one_thread, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    assert main_imp.main(torture.small(data, *TRAIN, "--save_dir", str(folder / "imp"))) == 0
    return folder


def outside(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess:
    """A script as a process of its own, in another folder, time zone, language and order of sets."""
    folder.mkdir(exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | ELSEWHERE
    return subprocess.run(
        [sys.executable, str(ROOT / name), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_another_process_and_folder(here, data, tmp_path):
    done = outside(tmp_path / "a b", "main_imp.py", *torture.small(data, *TRAIN, "--save_dir", "down/here"))
    assert done.returncode == 0, done.stderr
    assert torture.differences(here / "imp", tmp_path / "a b" / "down" / "here") == []


def test_unlearning_and_its_scores(here, data, tmp_path):
    mask = str(here / "imp" / "1model_SA_best.pth.tar")
    command = torture.small(
        data,
        "--mask",
        mask,
        "--forget",
        "random:0.2",
        "--unlearn",
        "SalUn",
        "--unlearn_epochs",
        "2",
        "--batch_size",
        "27",
    )
    assert main_forget.main([*command, "--save_dir", str(tmp_path / "one")]) == 0
    np.random.seed(5), torch.manual_seed(5)
    assert main_forget.main([*command, "--save_dir", str(tmp_path / "two")]) == 0
    done = outside(tmp_path / "x", "main_forget.py", *command, "--save_dir", "three")
    assert done.returncode == 0, done.stderr
    for other in (tmp_path / "two", tmp_path / "x" / "three"):
        assert torture.differences(tmp_path / "one", other) == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A few photographs of noise."""
    root, random = tmp_path_factory.mktemp("tree"), np.random.RandomState(0)
    for part, count in (("train", 24), ("test", 8)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(random.randint(0, 256, (20 + number, 24, 3), dtype=np.uint8)).save(
                    root / part / name / f"{number}.png"
                )
    return root


def test_any_number_of_processes_may_read(tree, tmp_path):
    command = "--dataset folder --stream --input_size 16 --arch resnet20s --device cpu --batch_size 40".split()
    command += ["--data", str(tree)]
    for workers in ("0", "1", "2"):
        assert (
            main_imp.main([*command, "--epochs", "2", "--workers", workers, "--save_dir", str(tmp_path / workers)]) == 0
        )
    assert (
        torture.differences(tmp_path / "0", tmp_path / "1") == []
        and torture.differences(tmp_path / "1", tmp_path / "2") == []
    )
    mask = str(tmp_path / "0" / "0model_SA_best.pth.tar")
    forget = [*command, "--mask", mask, "--unlearn", "FT", "--unlearn_epochs", "1", "--forget", "random:5"]
    for workers in ("1", "2"):
        assert main_forget.main([*forget, "--workers", workers, "--save_dir", str(tmp_path / f"FT{workers}")]) == 0
    assert torture.differences(tmp_path / "FT1", tmp_path / "FT2") == []


def test_arithmetic_as_torchs_is_another_run_with_other_last_digits(here, data, tmp_path, monkeypatch):
    monkeypatch.setattr(device._Arithmetic, "fast", True)  # put back afterwards
    plain, flagged = (torture.small(data, *TRAIN, *more, "--save_dir", "x") for more in ([], ["--no_fast_cpu"]))
    told = identity(arg_parser.parse_imp(flagged))
    assert told["run"].pop("no_fast_cpu") is True and told == identity(arg_parser.parse_imp(plain))
    assert main_imp.main([*flagged[:-1], str(tmp_path / "imp")]) == 0 and not device.fast_cpu()
    fast, slow = (
        torch.load(folder / "imp" / "0model_SA_best.pth.tar")["state_dict"]["conv1.weight"]
        for folder in (here, tmp_path)
    )
    assert not torch.equal(fast, slow)
    torch.testing.assert_close(fast, slow, rtol=0.01, atol=1e-3)


# --- GPUs, of which there need be none ---


def test_the_flag_decides_no_number_on_the_cpu_and_is_no_part_of_a_runs_identity(here, data, capsys):
    plain, flagged = (
        arg_parser.parse_imp(torture.small(data, *TRAIN, "--save_dir", "x", *more))
        for more in ([], ["--deterministic"])
    )
    assert flagged.run.deterministic and not plain.run.deterministic
    assert identity(plain) == identity(flagged)
    assert main_imp.main(torture.small(data, *TRAIN, "--deterministic", "--save_dir", str(here / "imp"))) == 0
    assert "done already" in capsys.readouterr().out and not torch.are_deterministic_algorithms_enabled()


def test_on_a_gpu_torch_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    told, chosen = [], []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", told.append)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert device.resolve("auto") == torch.device("cuda:0") and told == []
    assert device.resolve("auto", None, True) == device.resolve("cuda:0", None, True) == torch.device(
        "cuda:0"
    ) and told == [True, True]
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8" and chosen == [torch.device("cuda:0")] * 3


def test_a_gpu_that_is_not_there_is_refused_before_torch_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: pytest.fail("told"))
    for name, gpu in (("cuda:2", None), ("auto", 2)):
        with pytest.raises(UsageError, match="--device cuda:2: this machine has 2 CUDA devices"):
            device.resolve(name, gpu)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="--device cuda:2: this machine has 2 CUDA devices"):
        device.resolve("auto")


def test_what_a_gpu_cannot_do_deterministically_is_one_line(capsys):
    @script
    def main(argv):
        raise RuntimeError(
            "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off"
        )

    assert main(None) == 1
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "error: --deterministic: adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation"
        in said
    )
    assert said.endswith("; leave the flag out, or use --device cpu\n")
