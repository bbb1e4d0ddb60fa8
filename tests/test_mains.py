"""The real scripts, end to end on digits, to their exact files."""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from conftest import DIGITS, OMP, RUN_FILES, killed_at
from torch.nn.utils import prune

import arg_parser
import main_forget
import main_imp
import main_synflow
import models
import pruner
from trainer import checkpoints, rounds
from trainer import training as pretraining
from trainer.loop import Training
from trainer.recipe import recipe
from trainer.task import Classification
from unlearn import registry
from utils import files, seeds
from utils.options import identity

ROUNDS = {
    "0checkpoint.pth.tar",
    "0model_SA_best.pth.tar",
    "0net_train.png",
    "1checkpoint.pth.tar",
    "1model_SA_best.pth.tar",
    "1net_train.png",
}
KEPT = round(0.8 * 267_696)  # convolution weights of resnet20s that a rate of 0.8 prunes
QUICK = {
    "unlearn_epochs": ["--unlearn_epochs", "1"],
    "batch_size": ["--batch_size", "64"],
    "fisher_samples": ["--fisher_samples", "100"],
}


def forget(folder: Path, mask: Path | None, method: str, *more: str, quick: bool = True) -> int:
    config = registry.get(method).config
    hyper = (
        [word for key, words in QUICK.items() if key in config.__dataclass_fields__ for word in words] if quick else []
    )
    where = [] if mask is None else ["--mask", str(mask)]
    return main_forget.main([*DIGITS, *where, "--unlearn", method, *hyper, *more, "--save_dir", str(folder)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.p*t*")) if path.suffix != ".png"}


def test_imp_leaves_exactly_its_files(omp_run):
    assert {path.name for path in omp_run.iterdir()} == RUN_FILES | ROUNDS | {"epoch_1_rewind_weight.pt"}


def test_training_checkpoints_have_the_references_keys_and_open_safely(omp_run):
    found = torch.load(omp_run / "1checkpoint.pth.tar")
    assert list(found)[:8] == [
        "state",
        "result",
        "epoch",
        "state_dict",
        "best_sa",
        "optimizer",
        "scheduler",
        "init_weight",
    ]
    assert (found["state"], found["epoch"]) == (1, 3)
    assert {key: len(values) for key, values in found["result"].items()} == {"train_ta": 3, "test_ta": 0, "val_ta": 3}
    assert found["best_sa"] == max(found["result"]["val_ta"]) and 10 < found["best_sa"] <= 100
    assert found["scheduler"]["last_epoch"] == 3 + 1  # epochs + rewind_epoch
    assert isinstance(found["init_weight"], OrderedDict) and "conv1.weight" in found["init_weight"]
    assert found["state_dict"]["conv1.weight_mask"].dtype == torch.float32
    assert "conv1.weight" not in found["state_dict"]


def test_the_sparse_round_is_as_sparse_as_asked_and_the_rewind_weights_are_those_of_epoch_1(omp_run):
    dense, sparse = (checkpoints.read(omp_run / f"{s}model_SA_best.pth.tar", "") for s in (0, 1))
    assert dense.mask == {}
    assert sum(int((~kept).sum()) for kept in sparse.mask.values()) == KEPT
    assert all(torch.count_nonzero(sparse.weights[name][~kept]) == 0 for name, kept in sparse.mask.items())
    rewind = torch.load(omp_run / "epoch_1_rewind_weight.pt")
    target = torch.load(omp_run / "1checkpoint.pth.tar")["init_weight"]
    assert all(torch.equal(rewind[key], target[key]) for key in rewind)
    # pruned by the magnitude that training ended with, not by that of the weights gone back to
    last = checkpoints.read(omp_run / "0checkpoint.pth.tar", "").weights
    model = models.build("resnet20s", 10)
    model.load_state_dict(last)
    expected = pruner.prune(model, "magnitude", 0.8, pruner.Sample(0))
    assert all(torch.equal(expected[name], sparse.mask[name]) for name in expected)


def test_result_of_imp(omp_run):
    result = json.loads((omp_run / "result.json").read_text())
    assert [found["round"] for found in result["rounds"]] == [0, 1]
    assert [found["density"] for found in result["rounds"]] == [1.0, (267_696 - KEPT) / 267_696]
    assert 0.2 < result["rounds"][0]["test_of_last"] <= 1
    assert result["split"]["train"] == 1298 and result["split"]["val"] == 140 and result["split"]["test"] == 359


def test_the_same_command_again_does_nothing(omp_run, capsys):
    before = {path: path.stat().st_mtime_ns for path in omp_run.iterdir()}
    assert main_imp.main([*OMP, "--save_dir", str(omp_run)]) == 0
    assert "done already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in omp_run.iterdir()} == before


@pytest.mark.parametrize("write", [5, *(pytest.param(write, marks=pytest.mark.torture) for write in (1, 8, 11))])
def test_a_killed_imp_run_ends_in_the_same_bytes(few, few_run, tmp_path, write):
    with killed_at(write):
        main_imp.main([*OMP, *few, "--save_dir", str(tmp_path)])
    assert main_imp.main([*OMP, *few, "--save_dir", str(tmp_path)]) == 0
    assert contents(tmp_path) == contents(few_run)
    rounds = [json.loads((folder / "result.json").read_text())["rounds"] for folder in (tmp_path, few_run)]
    assert rounds[0] == rounds[1]


@pytest.mark.torture
def test_checkpoints_every_other_epoch_are_the_same_and_fewer(few, few_run, tmp_path, monkeypatch):
    """Three epochs a round: the best one may be one that has no checkpoint of its own."""
    written, original = [], files.write_bytes
    monkeypatch.setattr(
        files, "write_bytes", lambda path, content: written.append(path.name) or original(path, content)
    )
    command = [*OMP, *few, "--checkpoint_every", "2", "--save_dir"]
    assert main_imp.main([*command, str(tmp_path / "whole")]) == 0
    assert contents(tmp_path / "whole") == contents(few_run)
    assert written.count("0checkpoint.pth.tar") == written.count("1checkpoint.pth.tar") == 2
    tensors = [name for name in written if name.endswith((".tar", ".pt"))]
    for write in (len(tensors) // 2, len(tensors)):
        cut = tmp_path / f"cut{write}"
        with killed_at(write):
            main_imp.main([*command, str(cut)])
        assert main_imp.main([*command, str(cut)]) == 0
        assert contents(cut) == contents(few_run)


def test_the_best_epoch_without_a_checkpoint_of_its_own_is_kept(few, tmp_path, monkeypatch):
    """Of five epochs the second is the best; only the third and the fifth, the last, are written."""
    reached = {1: 0.2, 2: 0.9, 3: 0.5, 4: 0.6, 5: 0.7}
    monkeypatch.setattr(rounds.Rounds, "_validate", lambda self, done: reached[done.epoch])
    words = [*DIGITS, *few, "--epochs", "5", "--batch_size", "256"]
    for every in ("1", "3"):
        assert main_imp.main([*words, "--checkpoint_every", every, "--save_dir", str(tmp_path / every)]) == 0
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    assert torch.load(tmp_path / "3" / "0model_SA_best.pth.tar")["epoch"] == 2


def test_another_configuration_in_the_same_folder_keeps_the_first(few, few_run, tmp_path):
    command = [*DIGITS, *few, "--epochs", "1", "--batch_size", "256", "--save_dir", str(tmp_path)]
    assert main_imp.main(command) == 0
    first = contents(tmp_path)
    assert main_imp.main([*command, "--lr", "0.05"]) == 0
    [shelf] = (tmp_path / "earlier").iterdir()
    assert contents(shelf) == first and (shelf / "result.json").exists()
    assert contents(tmp_path).keys() == first.keys() and contents(tmp_path) != first


@pytest.mark.parametrize("prune_type", ["lt", "pt", "rewind_lt"])
def test_where_pruning_goes_back_to(few, tmp_path, prune_type):
    command = [
        *DIGITS,
        *few,
        "--epochs",
        "1",
        "--batch_size",
        "256",
        "--pruning_times",
        "3",
        "--rate",
        "0.5",
        "--prune_type",
        prune_type,
    ]
    # no training after round 0 would show the target itself, so compare what round 2 rewound to
    assert main_imp.main([*command, "--save_dir", str(tmp_path)]) == 0
    last = torch.load(tmp_path / "2checkpoint.pth.tar")
    torch.manual_seed(1)
    fresh = models.build("resnet20s", 10)
    if prune_type == "pt":
        assert last["init_weight"] is None
    else:  # rewind_lt with rewind_epoch 0 is the start
        assert torch.equal(last["init_weight"]["conv1.weight"], fresh.conv1.weight)
    kept = checkpoints.read(tmp_path / "2checkpoint.pth.tar", "").mask
    assert sum(int(m.sum()) for m in kept.values()) == 267_696 // 4
    before = checkpoints.read(tmp_path / "1checkpoint.pth.tar", "").mask
    assert all(not bool((kept[name] & ~before[name]).any()) for name in kept)


def test_whose_flag_no_aug_is(tmp_path):
    common = [*DIGITS, "--save_dir", str(tmp_path)]
    told, silent = arg_parser.parse_imp([*common, "--no_aug"]), arg_parser.parse_imp(common)
    assert told.train.no_aug and not silent.train.no_aug and not told.unread
    # Models from before there was the flag stay known.
    assert identity(told)["train"]["no_aug"] and "no_aug" not in identity(silent)["train"]
    cleansed = arg_parser.parse_backdoor([*common, "--unlearn", "NG+", "--no_aug", "false"])
    assert cleansed.hyper.no_aug is False and not hasattr(cleansed.train, "no_aug")


def test_training_without_crop_and_flip_sees_the_images_as_they_are(few, tmp_path):
    command = [*DIGITS, *few, "--epochs", "1", "--batch_size", "64", "--seed", "1", "--save_dir"]

    def trained(name: str, *flags: str) -> dict[str, torch.Tensor]:
        assert main_imp.main([*command, str(tmp_path / name), *flags]) == 0
        return checkpoints.read(tmp_path / name / "0checkpoint.pth.tar", "").weights

    arguments = arg_parser.parse_imp([*command, str(tmp_path)])
    problem = pretraining.read(pretraining.set_up(arguments))
    images = problem.sets["train"]
    assert images.augment is not None
    training = Training(problem.model, recipe(arguments.train, 1, arguments.train.lr), {})
    list(training.run(images.at(images.indices), seeds.derive(1, "round", 0), Classification().mean))
    plain, moved = trained("plain", "--no_aug"), trained("moved")
    assert all(torch.equal(weight, plain[name]) for name, weight in problem.model.state_dict().items())
    assert not torch.equal(plain["conv1.weight"], moved["conv1.weight"])


def test_resume_from_a_given_checkpoint(omp_run, tmp_path):
    more = [*OMP, "--resume", "--checkpoint", str(omp_run / "1checkpoint.pth.tar"), "--save_dir", str(tmp_path)]
    longer = [word if word != "3" else "4" for word in more]  # one epoch more than that run had
    assert main_imp.main(longer) == 0
    found = torch.load(tmp_path / "1checkpoint.pth.tar")
    assert found["epoch"] == 4 and len(found["result"]["train_ta"]) == 4 and found["state"] == 1
    assert not (tmp_path / "0checkpoint.pth.tar").exists()


# --- main_forget.py ---


def kinds(method: str) -> list:
    """What a method is asked to forget."""
    alone = registry.get(method).whole_classes
    return [(method, "class:0"), *([] if alone else [pytest.param(method, "random:0.1", marks=pytest.mark.torture)])]


@pytest.mark.parametrize(("method", "what"), [case for name in registry.names() for case in kinds(name)])
def test_every_method_on_the_sparse_model(few, few_run, tmp_path, method, what, capsys):
    assert forget(tmp_path, few_run / "1model_SA_best.pth.tar", method, *few, "--forget", what) == 0
    assert {path.name for path in tmp_path.iterdir()} == RUN_FILES | {
        f"{method}checkpoint.pth.tar",
        f"{method}eval_result.pth.tar",
    }
    stored = torch.load(tmp_path / f"{method}checkpoint.pth.tar")
    assert list(stored)[:2] == ["state_dict", "evaluation_result"]
    evaluation = stored["evaluation_result"]
    assert list(evaluation) == ["accuracy", "SVC_MIA_forget_efficacy", "SVC_MIA_training_privacy"]
    whole = ["forget_test"] if what.startswith("class") else []
    assert list(evaluation["accuracy"]) == ["retain", "forget", "val", "test", *whole]
    assert list(evaluation["SVC_MIA_forget_efficacy"]) == ["correctness", "confidence", "entropy", "m_entropy", "prob"]
    assert all(type(value) is float for part in evaluation.values() for value in part.values())
    assert torch.load(tmp_path / f"{method}eval_result.pth.tar") == evaluation
    model = checkpoints.read(tmp_path / f"{method}checkpoint.pth.tar", "")
    assert sum(int((value == 0).sum()) for name, value in model.weights.items() if name in model.mask) >= KEPT
    assert all(torch.count_nonzero(model.weights[name][~kept]) == 0 for name, kept in model.mask.items())

    result = json.loads((tmp_path / "result.json").read_text())
    assert result["scores"]["UA"] == 1 - result["accuracy"]["forget"]
    assert result["scores"]["MIA-Efficacy"] == result["SVC_MIA_forget_efficacy"]["confidence"]
    assert result["scores"]["RTE"] == result["seconds"]["unlearning"] / 60
    assert evaluation["accuracy"]["test"] == 100 * result["accuracy"]["test"]
    assert result["scenario"]["kind"] == what.split(":")[0]
    assert result["split"]["forget"] + result["split"]["retain"] == 288
    assert result["split"]["test"] == (90 - 6 if what == "class:0" else 90)
    shown = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(f"{result['paper_name']} ")
    ][-1]
    assert float(shown[len(result["paper_name"].split())]) == pytest.approx(100 * result["scores"]["UA"], abs=0.006)


def test_same_seed_same_bytes_other_seed_other_bytes(omp_run, tmp_path):
    mask = omp_run / "1model_SA_best.pth.tar"
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        more = ("--forget", "random:0.1", "--seed", seed, "--split_seed", "2", "--no-aug")
        assert forget(tmp_path / name, mask, "FT", *more) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    scores = [json.loads((tmp_path / name / "result.json").read_text()) for name in "abc"]
    assert (
        scores[0]["accuracy"] == scores[1]["accuracy"] and scores[0]["split"]["digest"] != scores[2]["split"]["digest"]
    )


@pytest.fixture(scope="module")
def three_epochs(few, few_run, tmp_path_factory) -> tuple[list[str], Path]:
    """Words of a run of unlearning, and its folder when nothing stops it."""
    words = [*few, "--forget", "random:0.1", "--unlearn_epochs", "3", "--batch_size", "64"]
    whole = tmp_path_factory.mktemp("three")
    assert forget(whole, few_run / "1model_SA_best.pth.tar", "FT", *words, quick=False) == 0
    return words, whole


@pytest.mark.parametrize("write", [2, 4, 5])
def test_a_killed_unlearning_ends_in_the_same_bytes(three_epochs, few_run, tmp_path, write):
    mask, (more, whole) = few_run / "1model_SA_best.pth.tar", three_epochs
    # 1 to 3: progress after an epoch, 4: the unlearned model, 5: its empty evaluation
    with killed_at(write, (".tar",)):
        forget(tmp_path, mask, "FT", *more, quick=False)
    assert forget(tmp_path, mask, "FT", *more, quick=False) == 0
    assert contents(tmp_path) == contents(whole)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    epochs = [line["epoch"] for line in lines if line["kind"] == "epoch"]
    assert epochs == {2: [1, 2, 2, 3], 4: [1, 2, 3], 5: [1, 2, 3]}[write]


def test_unlearning_with_fewer_checkpoints_ends_in_the_same_bytes(three_epochs, few_run, tmp_path):
    mask, (more, whole) = few_run / "1model_SA_best.pth.tar", three_epochs
    words = [*more, "--checkpoint_every", "2"]
    with killed_at(2, (".tar",)):  # that of the third epoch, behind that of the second
        forget(tmp_path, mask, "FT", *words, quick=False)
    assert forget(tmp_path, mask, "FT", *words, quick=False) == 0
    assert contents(tmp_path) == contents(whole)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3, 3]


def test_methods_may_share_a_folder_and_none_is_lost(few, few_run, tmp_path, capsys):
    mask = few_run / "1model_SA_best.pth.tar"
    for method in ("raw", "GA"):
        assert forget(tmp_path, mask, method, *few) == 0
    assert {path.name for path in tmp_path.glob("*checkpoint.pth.tar")} == {
        "rawcheckpoint.pth.tar",
        "GAcheckpoint.pth.tar",
    }
    [shelf] = (tmp_path / "earlier").iterdir()
    assert json.loads((shelf / "result.json").read_text())["method"] == "raw"
    capsys.readouterr()
    assert forget(tmp_path, mask, "raw", *few) == 0  # found on the shelf, not run again
    assert "done already" in capsys.readouterr().out
    assert json.loads((tmp_path / "result.json").read_text())["method"] == "GA"


def test_resume_scores_a_stored_model(few, few_run, tmp_path):
    """As with the reference's files: METHODcheckpoint.pth.tar without a word about how it came to be."""
    mask = few_run / "1model_SA_best.pth.tar"
    state = torch.load(mask)["state_dict"]
    torch.save({"state_dict": state, "evaluation_result": None}, tmp_path / "GAcheckpoint.pth.tar")
    assert forget(tmp_path, mask, "GA", *few, "--resume") == 0
    assert forget(tmp_path / "raw", mask, "raw", *few) == 0
    stored, raw = (json.loads((folder / "result.json").read_text()) for folder in (tmp_path, tmp_path / "raw"))
    assert stored["accuracy"] == raw["accuracy"] and stored["scores"]["RTE"] is None


def test_resume_refuses_a_model_that_forgot_other_images(few, few_run, tmp_path, capsys):
    told = (tmp_path, few_run / "1model_SA_best.pth.tar", "GA", *few, "--forget")
    assert forget(*told, "class:1") == 0
    made = json.loads((tmp_path / "result.json").read_text())["split"]["digest"]
    capsys.readouterr()
    assert forget(*told, "class:2", "--resume") == 2
    error, file = capsys.readouterr().err, tmp_path / "GAcheckpoint.pth.tar"
    assert f"--resume {file}: was unlearned with retain and forget sets of digest {made}, this run's are of " in error
    assert error.count("\n") == 1 and "--allow_split_mismatch" in error
    assert forget(*told, "class:2", "--resume", "--allow_split_mismatch") == 0
    assert "class 2" in json.loads((tmp_path / "result.json").read_text())["scenario"]["words"]


def test_retrain_takes_the_mask_but_no_weights(few, few_run, tmp_path):
    source = torch.load(few_run / "1model_SA_best.pth.tar")["state_dict"]
    only_masks = OrderedDict((key, value) for key, value in source.items() if key.endswith("weight_mask"))
    torch.save(only_masks, tmp_path / "mask.pt")
    for name, mask in (("masks", tmp_path / "mask.pt"), ("model", few_run / "1model_SA_best.pth.tar")):
        assert forget(tmp_path / name, mask, "retrain", *few, "--forget", "class:1") == 0
    states = [torch.load(tmp_path / name / "retraincheckpoint.pth.tar")["state_dict"] for name in ("masks", "model")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    moved = [key for key in source if key.endswith("weight_orig") and not torch.equal(states[0][key], source[key])]
    assert len(moved) == 19  # every convolution of resnet20s


def test_start_from_rewind_weights(few, few_run, tmp_path):
    more = ("--rewind_pth", str(few_run / "epoch_1_rewind_weight.pt"), "--rewind_epoch", "1", "--unlearn_epochs", "0")
    assert forget(tmp_path, few_run / "1model_SA_best.pth.tar", "FT", *few, *more, quick=False) == 0
    after = checkpoints.read(tmp_path / "FTcheckpoint.pth.tar", "")
    rewind = torch.load(few_run / "epoch_1_rewind_weight.pt")
    assert torch.equal(after.weights["fc.weight"], rewind["fc.weight"])
    kept = after.mask["layer1.0.conv1.weight"]
    assert torch.equal(after.weights["layer1.0.conv1.weight"], rewind["layer1.0.conv1.weight"] * kept)


def test_reference_mode_forgets_from_another_split(omp_run, tmp_path):
    base = [*DIGITS, "--epochs", "1", "--compat", "reference", "--save_dir", str(tmp_path / "model")]
    assert main_imp.main(base) == 0
    assert torch.load(tmp_path / "model" / "0checkpoint.pth.tar")["split_seed"] == 1
    mask = tmp_path / "model" / "0model_SA_best.pth.tar"
    for compat in ("reference", "fixed"):
        assert forget(tmp_path / compat, mask, "raw", "--compat", compat) == 0
    assert forget(tmp_path / "typed", mask, "raw", "--split_seed", "2") == 2
    reference, fixed = (
        json.loads((tmp_path / compat / "result.json").read_text())["split"] for compat in ("reference", "fixed")
    )
    assert reference["base_digest"] == fixed["base_digest"] and reference["digest"] != fixed["digest"]


def test_a_model_of_another_split_is_refused_unless_told_otherwise(omp_run, tmp_path, capsys):
    mask = omp_run / "1model_SA_best.pth.tar"
    assert forget(tmp_path, mask, "raw", "--split_seed", "3") == 2
    assert re.search(
        (
            r"trained on split [0-9a-f]{16} \(seed 2\).* [0-9a-f]{16} \(seed 3\); give --split_seed 2, or "
            r"--allow_split_mismatch\n$"
        ),
        capsys.readouterr().err,
    )
    assert forget(tmp_path, mask, "raw", "--seed", "3", "--split_seed", "2") == 0
    assert forget(tmp_path / "b", mask, "raw", "--split_seed", "3", "--allow_split_mismatch") == 0


# --- the reference's files, made with torch's own pruning ---


def as_the_reference_holds_it(arch: str, kept: pruner.Mask) -> torch.nn.Module:
    model = models.build(arch, 10)
    modules = dict(model.named_modules())
    for name, mask in kept.items():
        prune.custom_from_mask(modules[name.removesuffix(".weight")], "weight", mask.float())
    return model


@pytest.mark.parametrize("arch", ["resnet20s", "vgg16_bn_lth"])
def test_sparse_checkpoints_go_both_ways(arch, tmp_path):
    torch.manual_seed(3)
    ours = models.build(arch, 10)
    mask = pruner.prune(ours, "magnitude", 0.7, pruner.Sample(0))
    theirs = as_the_reference_holds_it(arch, mask)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "theirs.pth.tar")
    loaded = checkpoints.read(tmp_path / "theirs.pth.tar", "--mask")
    checkpoints.check_fits(loaded, ours, arch, "--mask")
    checkpoints.load_weights(ours, loaded)
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), atol=1e-5)
    packed = checkpoints.pack(ours, loaded.mask)
    assert list(packed) == list(theirs.state_dict())  # a pruned weight stands behind its layer's bias
    other = as_the_reference_holds_it(arch, {name: torch.ones_like(kept) for name, kept in mask.items()})
    other.load_state_dict(copy.deepcopy(packed), strict=True)
    assert torch.allclose(other.eval()(images), theirs(images), atol=1e-5)


def test_files_that_need_pickle(few, tmp_path, few_run, capsys):
    class Custom:
        pass

    torch.save(
        {"state_dict": torch.load(few_run / "0checkpoint.pth.tar")["state_dict"], "note": Path("x")},
        tmp_path / "old.pth.tar",
    )
    assert forget(tmp_path / "a", tmp_path / "old.pth.tar", "raw", *few) == 2
    assert "if you trust where it comes from, add --allow_pickle" in capsys.readouterr().err
    assert forget(tmp_path / "a", tmp_path / "old.pth.tar", "raw", *few, "--allow_pickle") == 0


# --- pruning before training ---

SYNFLOW = [*DIGITS, "--epochs", "2", "--batch_size", "64", "--rate", "0.9"]


@pytest.fixture(scope="module")
def synflow_run(few, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synflow") / "run"
    assert main_synflow.main([*SYNFLOW, *few, "--save_dir", str(folder)]) == 0
    return folder


def test_synflow_prunes_first_and_leaves_exactly_its_files(few, synflow_run, tmp_path):
    assert {path.name for path in synflow_run.iterdir()} == RUN_FILES | {
        "0checkpoint.pth.tar",
        "0model_SA_best.pth.tar",
        "0net_train.png",
    }
    found = checkpoints.read(synflow_run / "0model_SA_best.pth.tar", "")
    assert sum(int((~kept).sum()) for kept in found.mask.values()) == round(0.9 * 267_696)
    start = models.build("resnet20s", 10)
    start.load_state_dict(torch.load(synflow_run / "0checkpoint.pth.tar")["init_weight"])
    expected = pruner.prune(start, "synflow", 0.9, pruner.Sample(1, torch.zeros(1, 3, 8, 8)))
    assert all(torch.equal(expected[name], found.mask[name]) for name in expected), (
        "the mask is that of the new network"
    )
    [only] = json.loads((synflow_run / "result.json").read_text())["rounds"]
    assert only["density"] == pytest.approx(0.1, abs=1e-5) and 0 <= only["test_of_last"] <= 1
    assert forget(tmp_path / "FT", synflow_run / "0model_SA_best.pth.tar", "FT", *few) == 0
    after = checkpoints.read(tmp_path / "FT" / "FTcheckpoint.pth.tar", "")
    assert all(torch.equal(after.mask[name], found.mask[name]) for name in expected)


@pytest.mark.parametrize("score", ["snip", "grasp", "random", "magnitude"])
def test_other_scores_at_the_start(score, few, tmp_path):
    assert main_synflow.main([*SYNFLOW, *few, "--score", score, "--epochs", "1", "--save_dir", str(tmp_path)]) == 0
    found = checkpoints.read(tmp_path / "0checkpoint.pth.tar", "")
    assert sum(int((~kept).sum()) for kept in found.mask.values()) == round(0.9 * 267_696)


def test_a_layer_that_loses_everything_is_named(few, tmp_path, capsys):
    assert (
        main_synflow.main(
            [*SYNFLOW, *few, "--score", "magnitude", "--rate", "0.9999", "--epochs", "0", "--save_dir", str(tmp_path)]
        )
        == 0
    )
    [line] = re.findall("warning: .*", capsys.readouterr().out)  # 27 weights are left
    mask = checkpoints.read(tmp_path / "0checkpoint.pth.tar", "").mask
    lost = [name.removesuffix(".weight") for name, kept in mask.items() if not kept.any()]
    passed = "nothing passes them, but the signal passes by their shortcuts; prune less (a smaller --rate) to keep them"
    assert (
        len(lost) > 1
        and line == f"warning: no weight is left in {', '.join(lost)} ({len(lost)} of 19 layers): {passed}"
    )


def test_every_round_names_the_layers_that_it_emptied(few, tmp_path, capsys):
    more = ["--pruning_times", "3", "--rate", "0.995", "--epochs", "0", "--random_prune", "--prune_type", "lt"]
    assert main_imp.main([*DIGITS, *few, *more, "--batch_size", "64", "--save_dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    dense, first, second = said.split("remain weight ratio")[:3]
    assert "warning" not in dense, dense
    [line] = re.findall("warning: .*", first + second)
    lost = [
        name for name, kept in checkpoints.read(tmp_path / "2checkpoint.pth.tar", "").mask.items() if not kept.any()
    ]
    assert len(lost) > 1 and f"({len(lost)} of 19 layers)" in line and "\nround 2:" in said.split(line)[1]


def test_pruning_within_unlearning_names_the_layers_that_it_emptied(few, few_run, tmp_path, capsys):
    more = ["--unlearn_epochs", "1", "--batch_size", "512", "--rate", "0.9999"]
    assert forget(tmp_path, few_run / "1model_SA_best.pth.tar", "FT_prune_bi", *few, *more, quick=False) == 0
    [line] = re.findall("warning: no weight is left in .*", capsys.readouterr().out)
    lost = [
        name
        for name, kept in checkpoints.read(tmp_path / "FT_prune_bicheckpoint.pth.tar", "").mask.items()
        if not kept.any()
    ]
    assert len(lost) > 1 and f"({len(lost)} of 19 layers)" in line


@pytest.mark.parametrize("write", [1, pytest.param(3, marks=pytest.mark.torture)])
def test_a_killed_synflow_run_goes_on_to_the_same_bytes(synflow_run, few, tmp_path, write):
    """Once the first epoch is done, and when all are."""
    with killed_at(write):
        main_synflow.main([*SYNFLOW, *few, "--save_dir", str(tmp_path)])
    assert main_synflow.main([*SYNFLOW, *few, "--save_dir", str(tmp_path)]) == 0
    assert contents(tmp_path) == contents(synflow_run)


def test_prune_alternately_is_saved_with_its_own_mask(few, few_run, tmp_path):
    more = ["--unlearn_epochs", "2", "--batch_size", "64", "--rate", "0.75"]
    assert forget(tmp_path, few_run / "1model_SA_best.pth.tar", "FT_prune_bi", *few, *more, quick=False) == 0
    found = checkpoints.read(tmp_path / "FT_prune_bicheckpoint.pth.tar", "")
    left = 267_696 - KEPT
    assert sum(int(kept.sum()) for kept in found.mask.values()) == left - round(0.75 * left)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["model"]["sparsity"] == pytest.approx(0.8, abs=1e-5) and result["model"][
        "sparsity_after"
    ] == pytest.approx(0.95, abs=1e-5)
