"""Wrong input: exit code 2 and one line that names flag, value and what is allowed, before anything is read or
written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS, ROOT

import main_forget
import main_imp
import main_report
import main_saliency
import main_synflow
import models
import pruner
from dataset import sources
from trainer import checkpoints
from unlearn import registry

FORGET_METHODS = ", ".join(registry.names())
RETRAIN = [*DIGITS, "--unlearn", "retrain"]

FLAGS = [
    (main_forget, ["--unlearn", "FTT"], f"--unlearn FTT: unknown (did you mean FT?); known: {FORGET_METHODS}"),
    (main_forget, ["--unlearn", "retrian"], "--unlearn retrian: unknown (did you mean retrain?)"),
    (main_forget, ["--unlearn", "FT"], "--mask FILE is needed: the checkpoint that FT starts from"),
    (
        main_forget,
        [*RETRAIN, "--arch", "resnet19"],
        "--arch resnet19: unknown (did you mean resnet18?); known: resnet110s, resnet18",
    ),
    (
        main_forget,
        [*RETRAIN, "--dataset", "cifar11"],
        "--dataset cifar11: unknown (did you mean cifar10?); known: cifar10, cifar100",
    ),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "10"],
        "--class_to_replace 10: the classes are 0 to 9 (-1 draws from all)",
    ),
    (main_forget, [*RETRAIN, "--class_to_replace", "-2"], "--class_to_replace -2: must be at least -1"),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "-1"],
        "--class_to_replace -1 draws from all classes and needs --num_indexes_to_replace N",
    ),
    (
        main_forget,
        [*RETRAIN, "--num_indexes_to_replace", "137"],
        "--num_indexes_to_replace 137: class 0 has 136 training images",
    ),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "-1", "--num_indexes_to_replace", "1299"],
        "--num_indexes_to_replace 1299: the training set has 1298 training images",
    ),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "-1", "--num_indexes_to_replace", "1298"],
        "--num_indexes_to_replace 1298: would leave none of the 1298 training images to retain",
    ),
    (main_forget, [*RETRAIN, "--num_indexes_to_replace", "0"], "--num_indexes_to_replace 0: must be at least 1"),
    (main_forget, [*RETRAIN, "--forget", "class:99"], "--forget class:99: the classes are 0 to 9"),
    (main_forget, [*RETRAIN, "--forget", "class:1:999"], "--forget class:1:999: class 1 has"),
    (
        main_forget,
        [*RETRAIN, "--forget", "klass:1"],
        "--forget klass:1: must be class:C, class:C,C, class:C:N, subclass:C (and so on), random:N, random:0.1 or ",
    ),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "1,1"],
        "--class_to_replace 1,1: must be different classes, or -1 alone",
    ),
    (
        main_forget,
        [*RETRAIN, "--class_to_replace", "1,-1"],
        "--class_to_replace 1,-1: must be different classes, or -1 alone",
    ),
    (main_forget, [*RETRAIN, "--class_to_replace", "1,x"], "--class_to_replace x: unknown; known: 0, 1, 2"),
    (main_forget, [*RETRAIN, "--class_to_replace", "1,12"], "--class_to_replace 1,12: the classes are 0 to 9"),
    (main_forget, [*RETRAIN, "--forget", "class:2,2"], "--forget class:2,2: must be"),
    (
        main_forget,
        [*RETRAIN, "--optimizer", "adma"],
        "--optimizer adma: unknown (did you mean adam?); known: sgd, adam, adamw",
    ),
    (
        main_synflow,
        [*DIGITS, "--score", "synflo"],
        "--score synflo: unknown (did you mean synflow?); known: synflow, snip, grasp, magnitude, random",
    ),
    (main_synflow, [*DIGITS, "--rate", "1"], "--rate 1: must be at least 0 and less than 1"),
    (main_synflow, [*DIGITS, "--steps", "0"], "--steps 0: must be at least 1"),
    (main_synflow, [*DIGITS, "--resume"], "--resume needs --checkpoint FILE"),
    (main_synflow, [*DIGITS, "--arch", "resnet19"], "--arch resnet19: unknown (did you mean resnet18?)"),
    (main_forget, [*RETRAIN, "--forget", "random:1.5"], "--forget random:1.5: must be"),
    (
        main_forget,
        [*RETRAIN, "--forget", "class:1", "--class_to_replace", "2"],
        "--forget and --class_to_replace or --num_indexes_to_replace both say what to forget",
    ),
    (main_forget, [*RETRAIN, "--indexes_to_replace", "1,2,x"], "--indexes_to_replace 1,2,x: must be whole numbers"),
    (
        main_forget,
        [*RETRAIN, "--indexes_to_replace", "nowhere.npy"],
        "--indexes_to_replace nowhere.npy: must be whole numbers",
    ),
    (main_forget, [*RETRAIN, "--unlearn_lr", "nan"], "--unlearn_lr nan: must be more than 0"),
    (main_forget, [*RETRAIN, "--unlearn_lr", "inf"], "--unlearn_lr inf: must be more than 0"),
    (main_forget, [*RETRAIN, "--unlearn_lr", "0"], "--unlearn_lr 0: must be more than 0"),
    (main_forget, [*RETRAIN, "--unlearn_epochs", "-1"], "--unlearn_epochs -1: must be at least 0"),
    (main_forget, [*RETRAIN, "--unlearn_epochs", "2.5"], "--unlearn_epochs 2.5: must be a whole number"),
    (main_forget, [*RETRAIN, "--momentum", "1"], "--momentum 1: must be at least 0 and less than 1"),
    (main_forget, [*RETRAIN, "--batch_size", "0"], "--batch_size 0: must be at least 1"),
    (
        main_forget,
        [*RETRAIN, "--compat", "refrence"],
        "--compat refrence: unknown (did you mean reference?); known: fixed, reference",
    ),
    (main_forget, [*RETRAIN, "--unlern_epochs", "3"], "--unlern_epochs: unknown flag (did you mean --unlearn_epochs?)"),
    (main_forget, [*RETRAIN, "--seed"], "--seed: expected one argument"),
    (main_forget, [*RETRAIN, "--seed", "-1"], "--seed -1: must be at least 0"),
    (main_forget, [*RETRAIN, "--device", "gpu"], "--device gpu: unknown; known: auto, cpu, cuda, cuda:N, mps"),
    (main_forget, [*RETRAIN, "--rewind_pth", "nowhere.pt"], "--rewind_pth nowhere.pt: no such file"),
    (main_forget, [*RETRAIN, "--reference_model", "nowhere.pt"], "--reference_model nowhere.pt: no such file"),
    (
        main_forget,
        [*DIGITS, "--mask", "x", "--unlearn", "FT", "--saliency_threshold", "0"],
        "--saliency_threshold 0: must be more than 0 and at most 1",
    ),
    (
        main_forget,
        [*DIGITS, "--mask", "x", "--unlearn", "FT", "--saliency_outside", "free"],
        "--saliency_outside free: unknown; known: held, drift",
    ),
    (
        main_forget,
        [*DIGITS, "--mask", "x", "--unlearn", "SFRon", "--slow_rate", "1.5"],
        "--slow_rate 1.5: must be at least 0 and at most 1",
    ),
    (main_saliency, DIGITS, "--mask FILE is needed: the checkpoint whose weights are judged"),
    (main_saliency, [*DIGITS, "--mask", "nowhere.pt"], "--mask nowhere.pt: no such file"),
    (
        main_saliency,
        [*DIGITS, "--mask", "x", "--saliency", "fischer"],
        "--saliency fischer: unknown (did you mean fisher?); known: gradient, fisher",
    ),
    (main_imp, [*DIGITS, "--rate", "1"], "--rate 1: must be at least 0 and less than 1"),
    (main_imp, [*DIGITS, "--rate", "-0.1"], "--rate -0.1: must be at least 0 and less than 1"),
    (main_imp, [*DIGITS, "--rate", "1.5"], "--rate 1.5: must be at least 0 and less than 1"),
    (main_imp, [*DIGITS, "--rate", "nan"], "--rate nan: must be at least 0 and less than 1"),
    (main_imp, [*DIGITS, "--epochs", "-5"], "--epochs -5: must be at least 0"),
    (main_imp, [*DIGITS, "--lr", "nan"], "--lr nan: must be more than 0"),
    (main_imp, [*DIGITS, "--pruning_times", "0"], "--pruning_times 0: must be at least 1"),
    (
        main_imp,
        [*DIGITS, "--prune_type", "rewind"],
        "--prune_type rewind: unknown (did you mean rewind_lt?); known: rewind_lt, lt, pt",
    ),
    (
        main_imp,
        [*DIGITS, "--decreasing_lr", "91;136"],
        "--decreasing_lr 91;136: must be whole numbers with commas between",
    ),
    (
        main_imp,
        [*DIGITS, "--epochs", "4", "--pruning_times", "2", "--rewind_epoch", "8"],
        "--rewind_epoch 8: must be at most --epochs 4",
    ),
    (main_imp, [*DIGITS, "--resume"], "--resume needs --checkpoint FILE"),
    (main_imp, [*DIGITS, "--checkpoint", "x"], "--checkpoint is read with --resume only"),
    (
        main_imp,
        [*DIGITS, "--arch", "vgg16_bn_lth", "--imagenet_arch"],
        "--imagenet_arch: vgg16_bn_lth has no ImageNet stem",
    ),
    (
        main_imp,
        ["--dataset", "folder", "--data", "nowhere"],
        "--data nowhere: no folder tree there; expected train/<class>/*.jpg",
    ),
    (main_imp, [*DIGITS, "stray"], "stray: belongs to no flag"),
]


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    def read(*_):
        raise AssertionError("data were read before the flags were checked")

    monkeypatch.setattr(sources, "load", read)


def refused(script, argv, capsys) -> str:
    assert script.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith(f"{script.__name__}.py: error: ")
    return captured.err.removeprefix(f"{script.__name__}.py: error: ")


@pytest.mark.parametrize(
    ("script", "argv", "message"), FLAGS, ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else ""
)
def test_flags(script, argv, message, tmp_path, capsys):
    target = tmp_path / "run"
    assert refused(script, ["--save_dir", str(target), *argv], capsys).startswith(message)
    assert not target.exists()


def test_save_dir(tmp_path, capsys):
    assert refused(main_imp, DIGITS, capsys).startswith("--save_dir DIR is needed")
    (tmp_path / "file").write_text("x")
    assert refused(main_imp, [*DIGITS, "--save_dir", str(tmp_path / "file")], capsys).endswith(
        "is a file, not a folder\n"
    )


def checkpoint(path, arch="resnet20s", classes=10, change=None):
    model = models.build(arch, classes)
    state = checkpoints.pack(model, pruner.prune(model, "magnitude", 0.5, pruner.Sample(0)))
    if change:
        change(state)
    torch.save({"state_dict": state}, path)
    return path


def garbage(path):
    path.write_bytes(b"not a checkpoint" * 10)


def truncated(path):
    content = checkpoint(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


FILES = {
    "missing": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not a checkpoint"),
    "truncated": (truncated, "is damaged or not a checkpoint"),
    "text": (garbage, "is "),
    "no state dict": (lambda path: torch.save({"state_dict": [1, 2]}, path), "holds no state dict"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), "holds no state dict"),
    "another architecture": (lambda path: checkpoint(path, "resnet44s"), "its masks do not fit --arch resnet20s"),
    "another architecture, named": (lambda path: checkpoint(path, "resnet44s"), "it looks like resnet44s"),
    "other classes": (
        lambda path: checkpoint(path, classes=100),
        (
            "fc.weight is [100, 64], expected [10, 64]: the head has 100 classes, --dataset digits has 10; "
            "give the data set that it was trained on"
        ),
    ),
    "a missing entry": (
        lambda path: checkpoint(path, change=lambda s: s.pop("fc.bias")),
        "is no resnet20s (1 entries missing, 0 unknown; fc.bias is missing)",
    ),
    "a missing mask": (
        lambda path: checkpoint(path, change=lambda s: s.pop("conv1.weight_mask")),
        "conv1.weight_orig has no mask beside it",
    ),
    "NaN": (
        lambda path: checkpoint(path, change=lambda s: s["fc.bias"].fill_(torch.nan)),
        "fc.bias holds NaN or infinite values",
    ),
    "masks alone": (
        lambda path: checkpoint(path, change=lambda s: [s.pop(k) for k in list(s) if not k.endswith("_mask")]),
        "holds masks but no weights",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_checkpoints(kind, tmp_path, capsys):
    make, message = FILES[kind]
    path = tmp_path / "model.pth.tar"
    make(path)
    error = refused(
        main_forget, [*DIGITS, "--mask", str(path), "--unlearn", "FT", "--save_dir", str(tmp_path / "run")], capsys
    )
    assert error.startswith(f"--mask {path}: ") and message in error
    assert not (tmp_path / "run").exists()


def test_a_file_that_would_run_code_runs_none(tmp_path, capsys):
    trace = tmp_path / "trace"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    torch.save({"state_dict": Payload()}, tmp_path / "evil.pth.tar")
    error = refused(
        main_forget,
        [*DIGITS, "--mask", str(tmp_path / "evil.pth.tar"), "--unlearn", "FT", "--save_dir", str(tmp_path / "run")],
        capsys,
    )
    assert "--allow_pickle" in error and not trace.exists()


def test_reports(tmp_path, capsys):
    assert refused(main_report, [str(tmp_path / "nowhere")], capsys).endswith("no such folder\n")
    assert refused(main_report, [str(tmp_path)], capsys).endswith(
        "no finished result of main_forget.py, main_backdoor.py or main_transfer.py below it\n"
    )


# --- what is accepted ---

REFERENCE_COMMANDS = [  # of the reference's README, with its placeholders filled in
    (
        "main_imp.py --data ./data --dataset cifar10 --arch resnet18 --prune_type rewind_lt --rewind_epoch 8 "
        "--save_dir S --rate 0.95 --pruning_times 2 --num_workers 8"
    ),
    (
        "main_imp.py --data ./data --dataset cifar10 --arch resnet18 --prune_type rewind_lt --rewind_epoch 8 "
        "--save_dir S --rate 0.2 --pruning_times 15 --num_workers 8"
    ),
    (
        "main_forget.py --save_dir S --mask M --unlearn retrain --num_indexes_to_replace 4500 --unlearn_epochs "
        "160 --unlearn_lr 0.1"
    ),
    (
        "main_forget.py --save_dir S --mask M --unlearn FT --num_indexes_to_replace 4500 --unlearn_lr 0.01 "
        "--unlearn_epochs 10"
    ),
    (
        "main_forget.py --save_dir S --mask M --unlearn GA --num_indexes_to_replace 4500 --unlearn_lr 0.0001 "
        "--unlearn_epochs 5"
    ),
    "main_forget.py --save_dir S --mask M --unlearn fisher_new --num_indexes_to_replace 4500 --alpha 0.00000003",
    "main_forget.py --save_dir S --mask M --unlearn wfisher --num_indexes_to_replace 4500 --alpha 1",
    (
        "main_forget.py --save_dir S --mask M --unlearn FT_prune --num_indexes_to_replace 4500 --alpha 0.0001 "
        "--unlearn_lr 0.01 --unlearn_epochs 10"
    ),
    # SalUn's, whose masks and models have flags of other names
    "main_saliency.py --save_dir S --model_path M --num_indexes_to_replace 4500 --unlearn_epochs 1",
    (
        "main_forget.py --save_dir S --model_path M --unlearn RL --num_indexes_to_replace 4500 "
        "--unlearn_epochs 10 --unlearn_lr 0.013 --mask_path X"
    ),
]


@pytest.fixture(scope="module")
def reference_files(tmp_path_factory) -> tuple[Path, Path]:
    """A model and a saliency mask for it, as the commands name them."""
    folder = tmp_path_factory.mktemp("reference")
    mask = {
        name: torch.ones(value.shape, dtype=torch.int64)
        for name, value in models.build("resnet18", 10).named_parameters()
    }
    torch.save(mask, folder / "with_0.5.pt")
    return checkpoint(folder / "mask.pth.tar", "resnet18"), folder / "with_0.5.pt"


@pytest.mark.parametrize("command", REFERENCE_COMMANDS)
def test_the_references_commands_are_understood(command, reference_files, tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")  # no ./data or ../data that happens to hold fewer images
    mask, saliency = reference_files
    script, *words = (
        command.replace(" S ", f" {tmp_path / 'run'} ")
        .replace(" M ", f" {mask} ")
        .replace(" X", f" {saliency}")
        .split()
    )
    main = {"main_imp.py": main_imp, "main_forget.py": main_forget, "main_saliency.py": main_saliency}[script].main
    assert main([*words, "--dry_run", "json"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["data"]["dataset"] == "cifar10" and config["model"]["arch"] == "resnet18"
    if script != "main_imp.py":
        assert config["scenario"] == {"class": 0, "count": 4500}
    assert not (tmp_path / "run").exists()


def test_hyphens_and_a_file_of_arguments(tmp_path, capsys):
    (tmp_path / "command.txt").write_text(
        "python main_forget.py --unlearn retrain --no-aug --unlearn-epochs 3 --save_dir 'a b'\n"
    )
    assert main_forget.main([f"@{tmp_path / 'command.txt'}", *DIGITS, "--dry-run", "json"]) == 0
    hyper = json.loads(capsys.readouterr().out)["hyper"]
    assert hyper["no_aug"] is True and hyper["unlearn_epochs"] == 3


@pytest.mark.parametrize("form", ["5,6,7", "list.txt", "list.npy", "list.json"])
def test_listed_images(form, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("5\n6\n7\n")
    (tmp_path / "list.json").write_text("[7, 6, 5]")
    np.save(tmp_path / "list.npy", np.array([5, 6, 7]))
    for more in (["--indexes_to_replace", form], ["--forget", f"indices:{form}"]):
        assert main_forget.main([*RETRAIN, *more, "--save_dir", "run", "--dry_run", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["scenario"]["indices"] == 3


def test_a_list_longer_than_any_file_name(capsys):
    listed = ",".join(map(str, range(200)))
    assert main_forget.main([*RETRAIN, "--indexes_to_replace", listed, "--save_dir", "run", "--dry_run", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["scenario"]["indices"] == 200


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (main_report, [LONG]),
        (main_report, [".", "--out", LONG]),
        (main_imp, [*DIGITS, "--save_dir", LONG]),
        (main_imp, ["--dataset", "folder", "--data", LONG, "--save_dir", "run"]),
    ],
)
def test_a_name_longer_than_any_file_may_have_is_one_short_line(script, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert script.main(words) == 2
    said = capsys.readouterr().err
    assert said == f"{script.__name__}.py: error: {'x' * 200}...: File name too long\n"
    assert not list(tmp_path.iterdir())


def test_defaults_of_alpha_differ_by_method(tmp_path, capsys):
    mask = checkpoint(tmp_path / "mask.pth.tar")
    found = {}
    for method in ("fisher_new", "wfisher", "FT_prune"):
        assert (
            main_forget.main(
                [*DIGITS, "--mask", str(mask), "--unlearn", method, "--save_dir", "run", "--dry_run", "json"]
            )
            == 0
        )
        found[method] = json.loads(capsys.readouterr().out)["hyper"]["alpha"]
    assert found == {"fisher_new": 3e-8, "wfisher": 1.0, "FT_prune": 1e-4}


@pytest.mark.parametrize(
    "script", ["main_imp", "main_forget", "main_saliency", "main_transfer", "main_report", "main_attack"]
)
def test_help_is_fast_because_it_needs_no_torch(script):
    code = (
        f"import sys; sys.argv = ['{script}.py', '--help', 'all']\nimport {script}\ntry:\n    "
        f"{script}.main()\nfinally:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {script}.py")
    if script == "main_forget":
        text = " ".join(done.stdout.split())
        assert (
            "FT_prune (l1-sparse, also l1_sparse): the same as FT_l1" in text
            and "scale of the noise variance (3e-08)" in text
            and "(160)" in text
        )
