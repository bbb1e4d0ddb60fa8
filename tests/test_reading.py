"""Hundreds of damaged and hostile files: exit code 2 or 3 and one line, no wrong result, little memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil

import apart
import damage
import numpy as np
import pytest
import torch
from conftest import DIGITS

import arg_parser
import main_backdoor
import main_forget
import main_imp
import main_report
import main_saliency
import main_sweep
import main_synflow
import main_transfer
from utils import files, options
from utils.errors import UsageError

SOME = {
    "checkpoints": 340,
    "training checkpoints": 70,
    "lists": 160,
    "results": 100,
    "YAML": 60,
    "images": 180,
}  # damaged files at least
EVERY = {"checkpoints": 16, "training checkpoints": 6}  # of which only some are asked about where tests are to be short
FLIPS = 20
ONE_EPOCH = [*DIGITS, *"--epochs 1 --batch_size 512 --rewind_epoch 1".split()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training with a rewind point, and a scored model."""
    folder = tmp_path_factory.mktemp("trained")
    assert main_imp.main([*ONE_EPOCH, "--save_dir", str(folder / "imp")]) == 0
    mask = str(folder / "imp" / "0model_SA_best.pth.tar")
    assert main_forget.main([*DIGITS, "--mask", mask, "--unlearn", "raw", "--save_dir", str(folder / "raw")]) == 0
    return folder


@pytest.mark.parametrize(
    ("kind", "every"),
    [(kind, EVERY.get(kind, 1)) for kind in SOME]
    + [pytest.param(kind, 1, marks=pytest.mark.torture) for kind in EVERY],
)
def test_every_damaged_file_gets_its_answer(kind, every, tmp_path, trained):
    """In a process of its own, whose memory is measured."""
    report = tmp_path / "report.json"
    (tmp_path / "files").mkdir()

    def answers() -> int:
        damage.main_forget.main([*DIGITS, "--unlearn", "retrain", "--save_dir", "x", "--dry_run"])
        cases = damage.CASES[kind](
            tmp_path / "files", trained / "imp" / "0checkpoint.pth.tar", trained / "raw" / "result.json", FLIPS
        )
        report.write_text(json.dumps(damage.answers(cases, every)))
        return 0

    baseline = apart.run(
        lambda: int(
            damage.ask(main_forget.main, [*DIGITS, "--unlearn", "retrain", "--save_dir", "x", "--dry_run"]).code
        ),
        tmp_path,
    )
    ended = apart.run(answers, tmp_path, seconds=300)
    assert ended.code == 0, ended.err
    asked, complaints = json.loads(report.read_text())
    assert complaints == {}
    assert asked >= SOME[kind] / every
    assert ended.memory - baseline.memory < 1 << 30
    print(f"\n{kind}: {asked} damaged files, {(ended.memory - baseline.memory) >> 20} MiB more than without")


# --- hostile pickles ---


class Payload:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def hostile(trace):
    """Files by name that run code when they are read carelessly."""
    bare = pickle.dumps(Payload(trace))
    buffer = io.BytesIO()
    torch.save({"state_dict": {"fc.bias": Payload(trace)}}, buffer)
    old = io.BytesIO()
    torch.save({"state_dict": {"fc.bias": Payload(trace)}}, old, _use_new_zipfile_serialization=False)
    code = f"os.mkdir({str(trace)!r})"
    return {
        "bare.pt": bare,
        "zip.pth.tar": buffer.getvalue(),
        "old.pth.tar": old.getvalue(),
        "objects.npy": damage.npy(np.array([Payload(trace)], dtype=object), pickled=True),
        "bare.npy": bare,
        "bare.json": bare,
        "list.txt": f"__import__('os').{code}".encode(),
        "sweep.yaml": f"title: !!python/object/apply:os.mkdir [{str(trace)!r}]".encode(),
        "command.txt": f"$(mkdir {trace}) `mkdir {trace}`; mkdir {trace}".encode(),
    }


FILE_FLAGS = {  # every flag that names a file, by script, and what it is asked with
    main_imp: {
        "--split": [],
        "--superclasses": [],
        "--checkpoint": ["--resume"],
        "--data": ["--dataset", "cifar10"],
        "--save_dir": [],
    },
    main_synflow: {
        "--split": [],
        "--superclasses": [],
        "--checkpoint": ["--resume"],
        "--data": ["--dataset", "svhn"],
        "--save_dir": [],
    },
    main_forget: {
        "--split": [],
        "--superclasses": [],
        "--mask": ["--unlearn", "FT"],
        "--model_path": ["--unlearn", "FT"],
        "--rewind_pth": [],
        "--reference_model": [],
        "--saliency_mask": ["--unlearn", "RL", "--mask", "M"],
        "--importances": ["--unlearn", "SSD", "--mask", "M"],
        "--fisher_dir": ["--unlearn", "SFRon", "--mask", "M"],
        "--mask_path": ["--unlearn", "RL", "--mask", "M"],
        "--indexes_to_replace": [],
        "--forget": [],
        "--data": ["--dataset", "cifar100"],
        "--save_dir": [],
    },
    main_saliency: {
        "--split": ["--mask", "M"],
        "--superclasses": ["--mask", "M"],
        "--mask": [],
        "--model_path": [],
        "--indexes_to_replace": ["--mask", "M"],
        "--forget": ["--mask", "M"],
        "--data": ["--dataset", "cifar10", "--mask", "M"],
        "--save_dir": [],
    },
    main_backdoor: {
        "--split": [],
        "--superclasses": [],
        "--mask": [],
        "--reference_model": [],
        "--rewind_pth": [],
        "--saliency_mask": ["--unlearn", "RL"],
        "--importances": ["--unlearn", "SSD"],
        "--fisher_dir": ["--unlearn", "SFRon"],
        "--mask_path": ["--unlearn", "RL"],
        "--data": ["--dataset", "cifar10"],
        "--save_dir": [],
    },
    main_transfer: {
        "--split": ["--target_dataset", "digits", "--mask", "M"],
        "--superclasses": ["--target_dataset", "digits", "--mask", "M"],
        "--mask": ["--target_dataset", "digits"],
        "--rewind_pth": ["--target_dataset", "digits", "--mask", "M"],
        "--removal_order": ["--target_dataset", "digits", "--mask", "M"],
        "--saliency_mask": ["--unlearn", "RL", "--target_dataset", "digits", "--mask", "M"],
        "--importances": ["--unlearn", "SSD", "--target_dataset", "digits", "--mask", "M"],
        "--fisher_dir": ["--unlearn", "SFRon", "--target_dataset", "digits", "--mask", "M"],
        "--mask_path": ["--unlearn", "RL", "--target_dataset", "digits", "--mask", "M"],
        "--target": ["--mask", "M"],
        "--data": ["--dataset", "cifar10", "--target_dataset", "digits", "--mask", "M"],
        "--save_dir": [],
    },
}


def flags_that_name_files(main):
    seen = []

    class Seen(options.Parser):
        def read(self, argv):
            seen.extend(self._actions)
            raise UsageError("seen")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arg_parser, "Parser", Seen)
        main.main(["--save_dir", "x"])
    named = [
        action
        for action in seen
        if action.metavar and any(word in str(action.metavar) for word in ("FILE", "DIR", "WHAT"))
    ]
    return {flag for action in named for flag in action.option_strings}


@pytest.mark.parametrize("script", FILE_FLAGS, ids=lambda script: script.__name__)
def test_no_flag_that_names_a_file_runs_code_from_it(script, tmp_path, trained, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert flags_that_name_files(script) == FILE_FLAGS[script].keys(), "a flag that no hostile file was tried with"
    trace, mask = tmp_path / "trace", str(trained / "imp" / "0model_SA_best.pth.tar")
    capsys.readouterr()
    for name, content in hostile(trace).items():
        (tmp_path / name).write_bytes(content)
        for flag, more in FILE_FLAGS[script].items():
            if flag in ("--data", "--target", "--save_dir"):
                continue
            more = [mask if word == "M" else word for word in more]
            value = f"indices:{tmp_path / name}" if flag == "--forget" else str(tmp_path / name)
            assert script.main([*DIGITS, *more, "--save_dir", str(tmp_path / "run"), flag, value]) == 2, (flag, name)
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and not trace.exists(), (flag, name, said)
        (tmp_path / name).unlink()
    assert not (tmp_path / "run").exists()


def test_a_file_is_unpickled_where_it_is_trusted(tmp_path, capsys):
    """That the payloads of the tests would leave a trace."""
    for name in ("bare.pt", "zip.pth.tar", "old.pth.tar"):
        trace = tmp_path / f"trace of {name}"
        (tmp_path / name).write_bytes(hostile(trace)[name])
        assert (
            main_forget.main(
                [
                    *DIGITS,
                    "--unlearn",
                    "FT",
                    "--mask",
                    str(tmp_path / name),
                    "--save_dir",
                    str(tmp_path / "run"),
                    "--allow_pickle",
                ]
            )
            == 2
        )
        assert trace.exists()


@pytest.mark.parametrize("dataset", ["cifar10", "cifar20", "cifar100", "svhn"])
def test_a_data_sets_own_pickles_are_opened_by_their_checksums_only(dataset, tmp_path, capsys):
    trace, root = tmp_path / "trace", tmp_path / "data"
    names = {
        "cifar10": [f"cifar-10-batches-py/{name}" for name in ("data_batch_1", "test_batch", "batches.meta")],
        "cifar100": [f"cifar-100-python/{name}" for name in ("train", "test", "meta")],
        "svhn": ["train_32x32.mat", "test_32x32.mat"],
    }[{"cifar20": "cifar100"}.get(dataset, dataset)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(hostile(trace)["bare.pt"])
    data = ["--dataset", dataset, "--data", str(root), "--arch", "resnet20s", "--device", "cpu"]
    assert main_imp.main([*data, "--save_dir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not trace.exists()


def test_what_lies_in_the_folder_of_a_run_is_not_trusted_either(tmp_path, trained, capsys):
    """Files by the names that a run goes on from."""
    trace = tmp_path / "trace"
    evil, mask = hostile(trace)["zip.pth.tar"], str(trained / "raw" / "rawcheckpoint.pth.tar")
    command = [*ONE_EPOCH, "--save_dir", str(tmp_path / "imp")]
    shutil.copytree(trained / "imp", tmp_path / "imp")
    (tmp_path / "imp" / "result.json").unlink()
    (tmp_path / "imp" / "0checkpoint.pth.tar").write_bytes(evil)
    assert main_imp.main(command) == 2 and not trace.exists()
    assert "is not a file of plain tensors" in capsys.readouterr().err
    for name in ("FTprogress.pth.tar", "FTcheckpoint.pth.tar"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(evil)
        code = main_forget.main(
            [*DIGITS, "--mask", mask, "--unlearn", "FT", "--unlearn_epochs", "0", "--resume", "--save_dir", str(folder)]
        )
        assert code == (2 if "check" in name else 0) and not trace.exists()


def test_a_sweeps_file_runs_no_code(tmp_path, capsys):
    trace = tmp_path / "trace"
    for name, content in hostile(trace).items():
        (tmp_path / name).write_bytes(content)
        assert main_sweep.main([str(tmp_path / name)]) == 2 and not trace.exists()


def test_a_result_cannot_name_files_elsewhere(tmp_path, trained, capsys):
    """Table names come from results, moved files from labels."""
    good = json.loads((trained / "raw" / "result.json").read_text())
    del good[files.SEAL]
    (tmp_path / "runs" / "a" / "b").mkdir(parents=True)
    good["model"]["dataset"] = "../../../escaped"
    (tmp_path / "runs" / "a" / "b" / "result.json").write_text(json.dumps(good))
    assert main_report.main([str(tmp_path / "runs"), "--no_plots"]) == 0
    assert not list(tmp_path.glob("*escaped*")) and list((tmp_path / "runs").glob("*escaped*.md"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text(json.dumps({"label": "../../escaped", "fingerprint": "../../../x"}))
    (run / "environment.json").write_text(json.dumps({"runs": {"imp": "../../../x"}}))
    (run / "0checkpoint.pth.tar").write_text("x")
    assert main_imp.main([*DIGITS, "--epochs", "0", "--save_dir", str(run)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "run"}
    assert (
        all(path.resolve().is_relative_to(run / "earlier") for path in (run / "earlier").rglob("*"))
        and len(list((run / "earlier").rglob("*.*"))) >= 2
    )


def test_images_are_never_handed_to_programs(tmp_path, monkeypatch, capsys):
    """An image by name that is PostScript, for which Pillow would start Ghostscript."""
    trace = tmp_path / "trace"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nmkdir {trace}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for _ in damage.trees(tmp_path):
        break
    for suffix in ("png", "jpg", "ppm"):
        (tmp_path / "tree" / "train" / "a" / f"1.{suffix}").write_bytes(damage.POSTSCRIPT)
        assert damage.load([str(tmp_path / "tree")]) == 2 and not trace.exists()


# --- nothing that was found is lost ---


def test_a_damaged_result_of_ones_own_is_made_again(tmp_path, trained, capsys):
    """The same command repairs it from the checkpoint that the result was made from."""
    shutil.copytree(trained / "imp", tmp_path / "imp")
    path = tmp_path / "imp" / "result.json"
    good, weights = json.loads(path.read_text()), (tmp_path / "imp" / "0checkpoint.pth.tar").read_bytes()
    command = [*ONE_EPOCH, "--save_dir", str(tmp_path / "imp")]
    for damaged in (
        b"",
        path.read_bytes()[:-100],
        path.read_bytes().replace(b'"best_val": 0.', b'"best_val": 0.9'),
        json.dumps({"fingerprint": good["fingerprint"]}).encode(),
    ):
        path.write_bytes(damaged)
        assert main_imp.main(command) == 0
        assert (
            json.loads(path.read_text())["rounds"] == good["rounds"]
            and (tmp_path / "imp" / "0checkpoint.pth.tar").read_bytes() == weights
        )
    assert not (tmp_path / "imp" / "earlier").exists()


def test_files_of_unknown_origin_never_replace_each_other(tmp_path, trained, capsys):
    run, command = tmp_path / "run", [*DIGITS, "--epochs", "0", "--save_dir", str(tmp_path / "run")]
    for number in range(3):
        run.mkdir(exist_ok=True)
        (run / "environment.json").write_text("{ damaged")
        (run / "0checkpoint.pth.tar").write_text(f"number {number}")
        assert main_imp.main(command) == 0
    kept = [path.read_text() for path in (run / "earlier").rglob("0checkpoint.pth.tar") if path.stat().st_size < 100]
    assert sorted(kept) == ["number 0", "number 1", "number 2"]
