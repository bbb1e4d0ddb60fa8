"""One process that runs many cells: the bytes of single processes, nothing left from cell to cell, crashes alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from conftest import DIGITS, ROOT

from report.runs import read
from sweep import serve
from sweep.worker import Worker
from utils import cache
from utils.errors import RunError
from utils.preempt import RESUMABLE

forks = pytest.mark.skipif(not serve.FORKS, reason="cells are started anew on this system")

CELL = """
    import os, random, signal, sys, time, warnings
    from pathlib import Path

    REGISTERED = []

    def main(words):
        what, *more = words
        if what == "spoil":
            import torch
            from dataset import catalog
            torch.manual_seed(3), random.seed(3), torch.set_default_dtype(torch.float64), torch.set_num_threads(3)
            torch.use_deterministic_algorithms(True), torch.set_float32_matmul_precision("medium")
            torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True
            from utils import device
            device._Arithmetic.fast = False
            catalog.register(catalog.Source("spoilt", None, embedded=True))
            warnings.simplefilter("error"), os.chdir("/"), os.umask(0o77), sys.path.insert(0, "/nowhere")
            os.environ["SPOILT"] = "yes"
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            REGISTERED.append("spoilt")
        if what == "state":
            import torch
            from dataset import catalog
            from utils import device
            mask = os.umask(0); os.umask(mask)
            backends = torch.backends
            print(torch.initial_seed() == 3, random.random() == random.Random(3).random(), torch.get_default_dtype())
            print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
            print(torch.get_float32_matmul_precision(), backends.cudnn.benchmark, backends.cuda.matmul.allow_tf32)
            print(device._Arithmetic.fast, catalog.is_known("spoilt"), REGISTERED, os.getcwd(), oct(mask))
            print(("error", None, Warning, None, 0) in warnings.filters, "/nowhere" in sys.path)
            print(os.environ.get("SPOILT"), sys.argv, __name__)
            print(signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGTERM), sys.stdin.read() == "")
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "segfault":
            import ctypes
            ctypes.string_at(0)
        if what == "raise":
            raise ValueError("trouble")
        if what == "exit":
            sys.exit(7)
        if what == "sleep":
            Path(more[0]).write_text(str(os.getpid()))
            time.sleep(60)
        if what == "data":
            import numpy as np
            from dataset import catalog, sources
            def read(root, size):
                with open(more[0], "a") as log:
                    log.write("read ")
                part = np.full((4, 8, 8, 3), 7, np.uint8), np.arange(4)
                return part, part, tuple("abcd")
            source = catalog.Source("mine", read, official=(1,) * 4, classes=tuple("abcd"), size=8, embedded=True)
            print(sources.load(source, Path(), 8).train_images.sum())
        return int(more[0]) if what == "return" else 0

    if __name__ == "__main__":
        sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def work(tmp_path):
    """Runs cells of a script of ours by one worker; returns exit code and output of each."""
    (tmp_path / "main_cell.py").write_text(textwrap.dedent(CELL))
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]), "OMP_NUM_THREADS": "1"}
    made = []

    def begin(most=100):
        made.append(Worker(paths, tmp_path / "log.txt", most))
        return made[-1]

    yield begin
    for worker in made:
        worker.stop()
        if worker.busy:
            worker.answer()
        worker.close()


def task(folder, *words, script="main_cell.py"):
    return {"script": script, "argv": list(words), "folder": str(folder), "inputs": []}


def ran(worker, folder, *words):
    """The exit code of a cell, and what it printed."""
    shutil.rmtree(folder, ignore_errors=True)
    worker.start(task(folder, *words))
    return worker.answer(), (folder / "output.txt").read_text()


@forks
def test_nothing_of_a_cell_is_left_for_the_next(work, tmp_path):
    """State that a cell changes is, in the next one, that of a process of its own."""
    worker = work()
    assert ran(worker, tmp_path / "cell", "spoil") == (0, "")
    code, said = ran(worker, tmp_path / "cell", "state")
    alone = subprocess.run(
        [sys.executable, "-u", tmp_path / "main_cell.py", "state"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert alone.returncode == code == 0, alone.stderr
    in_project = f"{[str(ROOT / 'main_cell.py'), 'state']} main_cell"
    by_path = f"{[str(tmp_path / 'main_cell.py'), 'state']} __main__"
    assert said.replace(in_project, by_path) == alone.stdout and "[]" in said and "float32" in said


@forks
@pytest.mark.parametrize(
    "words, code, status",
    [
        (["return", "3"], 3, "failed"),
        (["exit"], 7, "failed"),
        (["raise"], 1, "failed"),
        (["kill"], -signal.SIGKILL, "killed"),
        (["segfault"], -signal.SIGSEGV, "killed"),
    ],
)
def test_a_crash_of_a_cell_costs_that_cell_alone(work, tmp_path, words, code, status):
    worker = work()
    assert ran(worker, tmp_path / "cell", *words)[0] == code
    assert read(tmp_path / "cell" / "status.json")["status"] == status
    assert ran(worker, tmp_path / "next", "return", "0")[0] == 0
    assert read(tmp_path / "cell" / "status.json")["job"] == read(tmp_path / "next" / "status.json")["job"]
    if words == ["raise"]:
        assert (tmp_path / "cell" / "output.txt").read_text().endswith("ValueError: trouble\n")


@forks
def test_a_worker_that_is_killed_costs_its_cell_and_leaves_no_process(work, tmp_path):
    worker, started = work(), tmp_path / "started"
    worker.start(task(tmp_path / "cell", "sleep", str(started)))
    wait(started.exists)
    cell, owner = int(started.read_text()), int(read(tmp_path / "cell" / "status.json")["job"])
    os.kill(owner, signal.SIGKILL)
    assert worker.answer() is None
    wait(lambda: not os.path.exists(f"/proc/{cell}"))
    assert ran(worker, tmp_path / "next", "return", "0")[0] == 0


@forks
def test_a_worker_that_is_told_to_stop_stops_its_cell(work, tmp_path):
    worker, started = work(), tmp_path / "started"
    worker.start(task(tmp_path / "cell", "sleep", str(started)))
    wait(started.exists)
    assert not worker.over
    worker.stop()
    assert worker.answer() == RESUMABLE and worker.over
    assert read(tmp_path / "cell" / "status.json")["status"] == "interrupted"
    assert ran(worker, tmp_path / "next", "return", "0")[0] == 0, "another takes its place"


def wait(ready, seconds=20):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@forks
def test_a_process_is_replaced_after_its_last_cell(work, tmp_path):
    worker = work(2)
    codes = [ran(worker, tmp_path / f"cell{number}", "return", "0")[0] for number in range(4)]
    owners = [read(tmp_path / f"cell{number}" / "status.json")["job"] for number in range(4)]
    assert codes == [0] * 4 and owners[0] == owners[1] != owners[2] == owners[3]


@forks
def test_a_data_set_is_read_once_for_all_cells_of_a_process(work, tmp_path):
    worker, log = work(2), tmp_path / "reads"
    assert [ran(worker, tmp_path / "cell", "data", str(log)) for _ in range(4)] == [(0, f"{4 * 8 * 8 * 3 * 7}\n")] * 4
    assert log.read_text() == "read read ", "by the first cell of each of two processes"


def test_what_is_kept_is_little_and_the_latest(monkeypatch):
    class Value:
        def __init__(self, size):
            self.array = np.zeros(size, np.uint8)

    monkeypatch.setattr(cache, "MOST", 10)
    for name, value in (("kept", None), ("fresh", {}), ("began", 0)):
        monkeypatch.setattr(cache._Cache, name, value)
    assert cache.get_or_make("a", lambda: 1) == 1 and cache.get_or_make("a", lambda: 2) == 2, "nothing is kept"
    cache.begin()
    small, large = Value(10), Value(11)
    assert cache.get_or_make("a", lambda: small) is small and cache.get_or_make("b", lambda: large) is large
    assert cache.get_or_make("a", lambda: None) is small and cache.new() == {"a": small}
    cache.keep({"c": small, "d": small})
    assert list(cache._Cache.kept) == ["c", "d"]
    assert not cache.grown()
    monkeypatch.setattr(cache, "GROWTH", -(10**15))
    assert cache.grown()


def test_a_worker_that_cannot_run_says_why(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "__init__.py").write_text("raise ImportError('broken installation')")
    worker = Worker({"PYTHONPATH": str(tmp_path)}, tmp_path / "log.txt", 3)
    worker.start(task(tmp_path / "cell"))
    with pytest.raises(RunError, match="a process that runs cells ended with code 1: ImportError: broken installation"):
        worker.answer()


# real cells

FORGET = ["--device", "cpu", "--mask", "MODEL/0model_SA_best.pth.tar", "--batch_size", "256"]
TWO = ["--unlearn_epochs", "2"]
CELLS = {  # of different scripts, methods, seeds, arithmetic and endings
    "MODEL": ("main_imp.py", [*DIGITS, "--epochs", "1", "--batch_size", "256", "--rewind_epoch", "1"]),
    "plain": ("main_forget.py", [*FORGET, *TWO, "--unlearn", "FT", "--no_fast_cpu"]),
    "FT": ("main_forget.py", [*FORGET, *TWO, "--unlearn", "FT", "--forget", "random:0.1", "--seed", "3"]),
    "wrong": ("main_forget.py", [*FORGET, "--unlearn", "FT", "--forget", "class:0:999"]),
    "retrain": ("main_forget.py", [*FORGET, *TWO, "--unlearn", "retrain", "--train_seed", "5"]),
    "reference": (
        "main_forget.py",
        [*FORGET, *TWO, "--unlearn", "RL", "--compat", "reference", "--allow_split_mismatch"],
    ),
    "masked": ("main_forget.py", [*FORGET, *TWO, "--unlearn", "SalUn", "--saliency_threshold", "0.5"]),
    "influence": ("main_forget.py", [*FORGET, "--unlearn", "wfisher", "--alpha", "1", "--deterministic"]),
    "pruned": ("main_synflow.py", [*DIGITS, "--epochs", "1", "--batch_size", "256", "--rate", "0.5", "--steps", "3"]),
    "adam": ("main_forget.py", [*FORGET, *TWO, "--unlearn", "CT", "--optimizer", "adam"]),
}
TIMES = re.compile(r"\d+\.\d+ s\b|\b0\.\d{3}$|\d+(\.\d+)? (min|s) ", re.MULTILINE)
VOLATILE = {"finished", "seconds", "memory", "seal", "RTE", "job", "last_line"}


def timeless(content):
    """JSON without what is never twice the same."""
    if isinstance(content, dict):
        return {key: timeless(value) for key, value in content.items() if key not in VOLATILE}
    return [timeless(value) for value in content] if isinstance(content, list) else content


def comparable(path):
    """What must be equal of a file."""
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return TIMES.sub("T", path.read_text()) if path.name == "output.txt" else path.read_bytes()


def files_of(home, most, names):
    """What the cells leave, by file, and how they ended, when a process runs ``most`` of them."""
    folder, codes = home / "runs", {}
    worker = Worker({"OMP_NUM_THREADS": "1"}, home / "log.txt", most)
    for name in names:
        script, words = CELLS[name]
        typed = [word.replace("MODEL", str(folder / "MODEL")) for word in words]
        worker.start(task(folder / name, *typed, "--save_dir", str(folder / name), script=script))
        codes[name] = worker.answer()
    worker.close()
    paths = [path for path in folder.rglob("*") if path.is_file()]
    found = {path.relative_to(folder).as_posix(): comparable(path) for path in paths}
    shutil.move(folder, home / f"runs{most}")
    return codes, found


@forks
@pytest.mark.parametrize("names", [["MODEL", "FT"], pytest.param([*CELLS], marks=pytest.mark.torture)], ids=len)
def test_cells_of_one_process_leave_the_bytes_of_processes_of_their_own(tmp_path, names):
    together = files_of(tmp_path, 100, names)
    # The first cell of a process is the only one that it has run.
    shutil.copytree(tmp_path / "runs100" / names[0], tmp_path / "runs" / names[0])
    alone = files_of(tmp_path, 1, names[1:])
    assert together[0] == {names[0]: 0} | alone[0] == {name: 2 if name == "wrong" else 0 for name in names}
    assert together[1].keys() == alone[1].keys()
    assert [name for name in alone[1] if alone[1][name] != together[1][name]] == []
    kinds = {name.rpartition("/")[2] for name in alone[1]}
    assert {"result.json", "log.jsonl", "output.txt", "environment.json", "command.txt", "split.npz"} <= kinds
