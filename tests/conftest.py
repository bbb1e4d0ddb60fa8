"""Shared by all tests: the project root is importable, no connection leaves this machine, and one small pruned model
is trained once.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: several workers with a thread per core each wait for one another's threads ten times
    # longer than they work.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
OURSELVES = ("localhost", "127.0.0.1", "::1", "", None, socket.gethostname())


def _keep_in(event: str, arguments: tuple) -> None:
    """Python tells this of everything that it does; connections to other machines are refused."""
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in OURSELVES:
        raise PermissionError(f"no test may use the network ({arguments[1][0]})")
    if event == "socket.getaddrinfo" and arguments[0] not in OURSELVES and os.fsdecode(arguments[0]) not in OURSELVES:
        raise PermissionError(f"no test may use the network ({arguments[0]})")


sys.addaudithook(_keep_in)

LONG = ("test_study", "test_worker", "test_supply", "test_first_steps")  # modules of tests that take seconds each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those begin first, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONG)


DIGITS = ["--dataset", "digits", "--input_size", "8", "--arch", "resnet20s", "--device", "cpu"]


def omp(epochs: int, batch_size: int, milestone: int) -> list[str]:
    """Words of ``main_imp.py`` on digits: a dense round and one pruned by 80 %, from the weights after epoch 1."""
    flags = {"epochs": epochs, "batch_size": batch_size, "decreasing_lr": milestone, "rewind_epoch": 1}
    flags |= {"pruning_times": 2, "rate": 0.8}
    return [*DIGITS, *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


QUICK = ["--batch_size", "64", "--unlearn_epochs", "1", "--device", "cpu"]  # of an unlearning
OMP = omp(epochs=3, batch_size=64, milestone=2)


class Killed(BaseException):
    """As abrupt as a signal: no handler of the project sees it."""


@contextmanager
def killed_at(write: int, suffixes: tuple[str, ...] = (".tar", ".pt")) -> Iterator[None]:
    """What runs inside is cut off where it would write its ``write``-th file of tensors."""
    from utils import files

    original, count = files.write_bytes, 0

    def dies(path, content):
        nonlocal count
        count += path.name.endswith(suffixes)
        if count == write:
            raise Killed
        original(path, content)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "write_bytes", dies)
        yield


def recorded(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list:
    """What a function or method returns from now on, in order: what was drawn, without knowing how it was drawn."""
    original, results = getattr(owner, name), []

    def recording(*arguments, **named):
        results.append(original(*arguments, **named))
        return results[-1]

    monkeypatch.setattr(owner, name, recording)
    return results


@pytest.fixture(autouse=True)
def compiles_no_later_test() -> Iterator[None]:
    """``--compile`` holds for a process, and to compile a model takes longer than most tests."""
    yield
    device = sys.modules.get("utils.device")
    assert device is None or not device.compiling()


@pytest.fixture(scope="session")
def omp_run(tmp_path_factory) -> Path:
    """Folder of a finished ``main_imp.py`` run on digits: a dense round and one pruned by 80 %."""
    import main_imp

    folder = tmp_path_factory.mktemp("omp") / "model"
    assert main_imp.main([*OMP, "--save_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory) -> list[str]:
    """Words by which a script takes every fifth digit: 288 train, 29 validate and 90 test."""
    import numpy as np

    file = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(file, train=np.arange(0, 1438, 5), val=np.arange(1, 1438, 50), test=np.arange(0, 359, 4))
    return ["--split", str(file)]


@pytest.fixture(scope="session")
def few_run(few, tmp_path_factory) -> Path:
    """Folder of a run as ``omp_run`` on a few digits, where it does not matter how well a model reads them."""
    import main_imp

    folder = tmp_path_factory.mktemp("few") / "model"
    assert main_imp.main([*OMP, *few, "--save_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def compared_runs(few, few_run, tmp_path_factory) -> Path:
    """A folder of runs on a few digits: ``model``, the training, and ``retrain``, ``FT`` and ``GA``."""
    import main_forget

    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(few_run, folder / "model")
    words = ["--mask", str(folder / "model" / "1model_SA_best.pth.tar"), *few, *QUICK]
    exact = folder / "retrain" / "retraincheckpoint.pth.tar"
    further = {"retrain": [], "FT": ["--reference_model", str(exact)], "GA": ["--unlearn_lr", "0.02"]}
    for method, more in further.items():
        assert main_forget.main(["--unlearn", method, *words, *more, "--save_dir", str(folder / method)]) == 0
    return folder


@pytest.fixture(scope="session")
def compare_page(compared_runs) -> Path:
    """The page of ``compared_runs``."""
    import main_compare

    names = ("model/1model_SA_best.pth.tar", "FT", "GA", "retrain")
    assert main_compare.main([*(str(compared_runs / name) for name in names), "--device", "cpu"]) == 0
    return compared_runs / "compare.html"


@pytest.fixture(scope="module")
def short_ways() -> Iterator[None]:
    """Pictures that show a generator's result take two steps."""
    from generation import drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(drawing.GLANCE, "times", 2)
        yield


@pytest.fixture(scope="module")
def one_thread():
    """One thread, as in processes that are started or forked off: sums depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
