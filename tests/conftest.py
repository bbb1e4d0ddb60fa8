"""Shared by all tests: the project root is importable, no connection leaves this machine, and one small pruned model
is trained once.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import nn

    from dataset.images import ImageSet
    from trainer.recipe import Recipe

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


RUN_FILES = {"command.txt", "environment.json", "log.jsonl", "result.json", "split.npz"}  # what every run leaves
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


def before_step(step: int, monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something before a step of training, once.

    Args:
        step: counted from 1 over all trainings from now on.
    """
    from trainer.loop import Training

    original, count = Training.advance, 0

    def counted(self, *arguments):
        nonlocal count
        count += 1
        if count == step:
            action()
        return original(self, *arguments)

    monkeypatch.setattr(Training, "advance", counted)


def step_sizes(recipe: Recipe, model: nn.Module, images: ImageSet) -> list[float]:
    """The step size of every step of a training on these images."""
    from trainer.loop import Training
    from trainer.task import Classification

    sizes = []

    def objective(model, batch):
        sizes.append(training.optimizer.param_groups[0]["lr"])
        return Classification().mean(model, batch)

    training = Training(model, recipe, {})
    list(training.run(images, 1, objective))
    return sizes


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


@pytest.fixture(scope="session")
def scored_runs(tmp_path_factory) -> Path:
    """A folder of runs of ``main_generate.py`` on digits, each with its ``scores``: ``base``, ``retrain``, ``GA``."""
    import main_generate

    folder = tmp_path_factory.mktemp("scored")
    data = ["--dataset", "digits", "--input_size", "8", "--device", "cpu"]
    network = "--width 8 --multipliers 1,2 --blocks 1 --attention 4 --norm_groups 4".split()
    quick, gone = "--steps 20 --batch_size 64 --lr 1e-3 --ema_decay 0.8".split(), ["--forget", "class:3"]
    model = ["--model", str(folder / "base" / "generator.pt")]
    works: dict[str, list[str]] = {
        "base": ["train", *network, *quick],
        "retrain": ["train", *network, *quick, *gone],
        "GA": ["forget", *model, "--unlearn", "GA", "--iterations", "3", "--batch_size", "64", *gone],
    }
    judge = ["--judge_epochs", "2"]
    draw = "--timesteps 4 --eta 0 --cond_scale 0.5 --n_samples_per_class 25".split()
    draw += ["--retrained", str(folder / "retrain" / "generator.pt"), *gone]
    for name, (work, *words) in works.items():
        assert main_generate.main([work, *data, *words, "--save_dir", str(folder / name)]) == 0
    for name in works:
        words = ["--model", str(folder / name / "generator.pt"), *draw, *judge]
        assert main_generate.main(["score", *data, *words, "--save_dir", str(folder / name / "scores")]) == 0
        judge = ["--judge_epochs", "2", "--judge", str(folder / "base" / "scores" / "judge.pt")]
    return folder


@pytest.fixture(scope="session")
def scored_page(scored_runs) -> Path:
    """The page of ``scored_runs``."""
    import main_compare

    assert main_compare.main([str(scored_runs / name) for name in ("base", "GA", "retrain")]) == 0
    return scored_runs / "compare.html"


@pytest.fixture(scope="module")
def short_ways() -> Iterator[None]:
    """Pictures that show a generator's result take two steps."""
    from generation import drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "GLANCE", 2)
        yield


@pytest.fixture(scope="module")
def one_thread():
    """One thread, as in processes that are started or forked off: sums depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
