"""Memory that is at its end is one line with what takes less; what is finished is kept, scoring takes fewer images."""

from __future__ import annotations

import resource
from pathlib import Path

import apart
import numpy as np
import pytest
import torch
from conftest import DIGITS
from torch import nn

import main_forget
import main_imp
from dataset.images import ImageSet
from evaluation.predict import accuracy_on, predict
from trainer.loop import Training
from utils import memory
from utils.errors import RunError, exhausted, script

GPU, MACHINE = "the GPU's memory", "the memory of this machine"
FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.79 GiB."
OTHERS = "--arch or --input_size"
KEPT = "(finished epochs are kept: with more memory the same command goes on)"


def raised(action) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: B017
        action()
    return caught.value


def test_whose_memory_an_error_says_is_at_its_end():
    assert exhausted(raised(lambda: torch.empty(2**60, dtype=torch.uint8))) == MACHINE
    assert exhausted(raised(lambda: np.empty(2**55))) == MACHINE
    assert exhausted(raised(lambda: bytearray(2**60))) == MACHINE
    assert exhausted(torch.OutOfMemoryError(FULL)) == GPU
    assert exhausted(RuntimeError("CUDA error: out of memory")) == GPU
    assert exhausted(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")) == GPU
    assert exhausted(RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)")) == GPU
    assert exhausted(raised(lambda: torch.ones(2, 3) @ torch.ones(2, 3))) is None


@pytest.mark.parametrize(
    "size, flag, line",
    [
        (256, "--batch_size", f"does not suffice for --batch_size 256; try --batch_size 128 {KEPT}"),
        (33, "--fisher_batch_size", f"does not suffice for --fisher_batch_size 33; try --fisher_batch_size 16 {KEPT}"),
        (1, "--batch_size", f"does not suffice for --batch_size 1; try a smaller {OTHERS}, or --device cpu {KEPT}"),
    ],
)
def test_the_line_names_half(size, flag, line):
    with pytest.raises(RunError) as caught, memory.steps(size, flag):
        raise torch.OutOfMemoryError(FULL)
    assert str(caught.value) == f"{GPU} {line}"


def test_other_errors_pass_and_one_that_no_flag_helps_ends_in_a_line(capsys):
    with pytest.raises(RuntimeError, match="shapes"), memory.steps(2):
        torch.ones(2, 3) @ torch.ones(2, 3)

    @script
    def main(argv):
        with memory.steps(None):
            torch.empty(2**60, dtype=torch.uint8)

    assert main(None) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"error: {MACHINE} does not suffice; try a smaller {OTHERS}, or more memory\n")
    assert said.count("\n") == 1


IMP = [*DIGITS, "--epochs", "2", "--batch_size", "400"]


def test_training_that_ran_out_of_memory_goes_on(tmp_path, capsys, monkeypatch):
    assert main_imp.main([*IMP, "--save_dir", str(tmp_path / "whole")]) == 0
    whole = (tmp_path / "whole" / "0checkpoint.pth.tar").read_bytes()
    step = Training.advance
    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", lambda self, schedule: full() if self.epoch == 1 else step(self, schedule))
        capsys.readouterr()
        assert main_imp.main([*IMP, "--save_dir", str(tmp_path / "cut")]) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"error: {GPU} does not suffice for --batch_size 400; try --batch_size 200 {KEPT}\n")
    assert said.count("\n") == 1
    assert main_imp.main([*IMP, "--save_dir", str(tmp_path / "cut")]) == 0
    assert "going on from" in capsys.readouterr().out
    assert (tmp_path / "cut" / "0checkpoint.pth.tar").read_bytes() == whole


def full():
    raise torch.OutOfMemoryError(FULL)


METHODS = {
    "FT": "--batch_size 256; try --batch_size 128",
    "SFRon": "--batch_size 128; try --batch_size 64",
    "SCRUB": "--forget_batch_size 64; try --forget_batch_size 32",
    "IU": "--batch_size 256; try --batch_size 128",
    "FF": "--fisher_batch_size 32; try --fisher_batch_size 16",
    "fisher": "try a smaller --arch or --input_size",
}


@pytest.mark.parametrize("name, way", METHODS.items(), ids=METHODS)
def test_every_kind_of_method_says_what_takes_less(name, way, few, few_run, tmp_path, capsys, monkeypatch):
    convolve = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: full() if torch.is_grad_enabled() else convolve(self, x))
    monkeypatch.setattr("trainer.cpu_arithmetic.convolutions._forward", lambda layer, tiles, x: full())
    mask = str(few_run / "0model_SA_best.pth.tar")
    code = main_forget.main([*DIGITS, *few, "--mask", mask, "--unlearn", name, "--save_dir", str(tmp_path)])
    said = capsys.readouterr().err.splitlines()
    assert code == 1 and said[-1].startswith(f"main_forget.py: error: {GPU} does not suffice") and way in said[-1], said
    assert not (tmp_path / "result.json").exists()


def test_a_process_that_may_not_have_more_memory(tmp_path):
    def limited() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        used = int(next(line for line in lines if line.startswith("VmSize")).split()[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (used + 800 * 2**20, -1))
        # which takes 5 GB: more than the limit and whatever earlier tests left free together
        more = ["--arch", "resnet50", "--epochs", "1", "--batch_size", "1400"]
        return main_imp.main([*DIGITS, *more, "--save_dir", str(tmp_path / "run")])

    ended = apart.run(limited, tmp_path)
    assert ended.code == 1, ended
    line = f"error: {MACHINE} does not suffice for --batch_size 1400; try --batch_size 700 {KEPT}\n"
    assert ended.err.endswith(line), ended.err
    assert ended.err.count("\n") == 1


def test_scoring_goes_on_with_as_many_images_as_fit():
    class Small(nn.Module):
        """Has room for 10 images."""

        def __init__(self):
            super().__init__()
            self.fc, self.seen = nn.Linear(12, 3), []

        def forward(self, x):
            self.seen.append(len(x))
            if len(x) > 10:
                raise torch.OutOfMemoryError(FULL)
            return self.fc(x.flatten(1))

    images = torch.randint(0, 256, (50, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data, model = ImageSet(images, torch.arange(50) % 3), Small()
    found = predict(model, {"all": data})["all"]
    assert torch.allclose(found.logits, model.fc(images.flatten(1) / 255), atol=1e-6)
    model.seen.clear()
    assert accuracy_on(model, data) == pytest.approx(found.accuracy)
    assert model.seen == [*[50] * 5, 32, 16, *[8] * 6, 2]  # 1024, 512, 256, 128 and 64 at once are all 50
    with pytest.raises(torch.OutOfMemoryError):
        memory.as_many_as_fit(lambda size: full(), 4)
