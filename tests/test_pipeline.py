"""The pipeline of every script: identities that must not change, and what a command opens and builds."""

from __future__ import annotations

import ast
import json
from collections import Counter
from dataclasses import dataclass

import pytest
from conftest import DIGITS, OMP, ROOT

import main_backdoor
import main_forget
import main_imp
import main_saliency
import main_synflow
import models
from trainer import checkpoints
from utils.errors import UsageError
from utils.options import identity, option
from utils.result import Result

SAVED = ["--save_dir", "nowhere", *DIGITS]
# Fingerprints under which runs were stored when the identity was still a list of exceptions.
KNOWN = [
    (main_imp, "", "df41270fa7c788ac"),
    (main_imp, "--epochs 3 --no_aug --pruning_times 3 --rate 0.2 --prune_type lt", "d053d5e97cbfc455"),
    (main_imp, "--compat reference --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2 --train_seed 4", "955f7b60da27e851"),
    (main_imp, "--dataset digits_no_val --label_smoothing 0.1 --random_prune --pruning_times 2", "cd32ae5696be1d3a"),
    (main_synflow, "", "1588de27f7ffa78c"),
    (main_synflow, "--score snip --rate 0.5 --steps 3 --split_seed 7 --no_val", "6153568e437aff64"),
    (main_forget, "--unlearn retrain --unlearn_epochs 3", "538d0b61b6604525"),
    (main_backdoor, "--trigger_size 2", "0c3ad7afec39fc0e"),
    (main_backdoor, "--trigger_size 2 --sparsities 0,0.5 --epochs 3", "57fb450f33d57d53"),
]


@pytest.mark.parametrize(("script", "words", "known"), KNOWN)
def test_a_run_is_known_by_the_same_fingerprint_as_ever(script, words, known):
    assert script.SCRIPT.identity([*SAVED, *words.split()]) == known


def test_where_it_reads_writes_and_computes_is_no_part_of_a_runs_identity():
    plain = main_imp.SCRIPT.identity(SAVED)
    assert main_imp.SCRIPT.identity([*SAVED, "--save_dir", "elsewhere", "--workers", "1", "--deterministic"]) == plain
    assert main_imp.SCRIPT.identity([*SAVED, "--lr", "0.2"]) != plain
    with pytest.raises(UsageError, match="--arch nothing"):
        main_imp.SCRIPT.identity([*SAVED, "--arch", "nothing"])


def test_identity_is_declared_at_the_flag():
    @dataclass(frozen=True)
    class Flags:
        a: int = option(1, "always")
        b: int = option(2, "never", identity=False)
        c: int = option(3, "where it is not the default", identity="changed")

    @dataclass(frozen=True)
    class Record:
        flags: Flags
        more: tuple[int, ...] = (4,)

    assert identity(Record(Flags())) == {"flags": {"a": 1}, "more": (4,)}
    assert identity(Record(Flags(a=3, b=5, c=4))) == {"flags": {"a": 3, "c": 4}, "more": (4,)}


def counted(monkeypatch) -> tuple[Counter, Counter]:
    """How often each checkpoint is read, and each architecture built, from now on."""
    read, built = Counter(), Counter()
    reads, builds = checkpoints.read, models.fitting

    def reading(path, *more, **named):
        read[path.name] += 1
        return reads(path, *more, **named)

    def building(name, *more, **named):
        built[name] += 1
        return builds(name, *more, **named)

    monkeypatch.setattr(checkpoints, "read", reading)
    monkeypatch.setattr(models, "fitting", building)
    return read, built


def test_a_checkpoint_is_opened_and_an_architecture_built_once(few, few_run, tmp_path, monkeypatch):
    small, masked = [*DIGITS, *few, "--train_seed", "11"], ["--mask", str(few_run / "1model_SA_best.pth.tar")]
    retrain = ["--unlearn", "retrain", "--unlearn_epochs", "0"]
    read, built = counted(monkeypatch)
    assert main_forget.main([*small, *masked, *retrain, "--save_dir", str(tmp_path / "retrain")]) == 0
    assert (dict(read), dict(built)) == ({"1model_SA_best.pth.tar": 1}, {"resnet20s": 1})
    reference = ["--reference_model", str(tmp_path / "retrain" / "retraincheckpoint.pth.tar")]
    read.clear()
    assert main_forget.main([*small, *masked, *reference, "--unlearn", "raw", "--save_dir", str(tmp_path / "raw")]) == 0
    assert dict(read) == {"1model_SA_best.pth.tar": 1, "retraincheckpoint.pth.tar": 1}
    read.clear()
    assert main_saliency.main([*small, *masked, "--save_dir", str(tmp_path / "saliency")]) == 0
    assert dict(read) == {"1model_SA_best.pth.tar": 1} and dict(built) == {"resnet20s": 1}


def test_a_sweep_asks_what_the_script_stores(few, few_run):
    stored = json.loads((few_run / "result.json").read_text())
    assert main_imp.SCRIPT.identity([*OMP, *few, "--save_dir", "elsewhere"]) == stored["fingerprint"]


def test_a_record_is_written_without_what_it_does_not_have():
    record = Result(label="FT", script="main_forget.py", config={"a": 1}, device="cpu", environment={}, seed=0)
    plain = {
        "label": "FT",
        "script": "main_forget.py",
        "config": {"a": 1},
        "device": "cpu",
        "environment": {},
        "seed": 0,
    }
    assert record.plain() == plain | {"status": "done"}
    assert record.failed("nan").plain() == plain | {"status": "failed", "reason": "nan"}


def test_the_front_door_is_opened_by_scripts_alone():
    found, seen = [], 0
    folders = [folder for folder in ROOT.iterdir() if folder.name not in ("tests", ".venv")]
    for path in (path for folder in folders for path in folder.glob("**/*.py")):
        seen += 1
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found += [path] if "arg_parser" in names else []
    assert seen > 80 and found == []
