"""Scores that look at more than the usual outputs: ZRF, TUA, distance of weights, relearn time, CKA by block."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS
from test_methods import SETS, Tiny, warmed_up
from torch import nn

import main_forget
import main_report
import pruner
from evaluation import run_scores, scoring, similarity
from evaluation.predict import Predictions, predict
from report.runs import collect
from unlearn import further_scores, incompetent
from utils import files

pytestmark = pytest.mark.numeric


def predictions(probs, labels=None):
    logits = torch.tensor(probs, dtype=torch.float32).log()
    return Predictions(logits, torch.zeros(len(logits), dtype=torch.int64) if labels is None else torch.tensor(labels))


def test_zrf_by_hand_is_the_mean_over_networks():
    ours = {"forget": predictions([[1 - 1e-12, 1e-12]])}
    same, opposite = {"forget": ours["forget"]}, {"forget": predictions([[1e-12, 1 - 1e-12]])}
    middle = {"forget": predictions([[0.5, 0.5]])}
    found = scoring.measure(scoring.Outputs(ours, random=(same, opposite, middle)))["ZRF"]
    # Against (1/2, 1/2): m is (3/4, 1/4), JS = (ln 4/3 + (ln 2/3 + ln 2) / 2) / 2.
    js = (math.log(4 / 3) + (math.log(2 / 3) + math.log(2)) / 2) / 2
    assert found["unlearned_by_network"] == pytest.approx([1, 0, 1 - js / math.log(2)], abs=1e-6)
    assert found["unlearned"] == pytest.approx(sum(found["unlearned_by_network"]) / 3) and found["images"] == "forget"
    assert "ZRF" not in scoring.measure(scoring.Outputs(ours))


def test_zrf_takes_test_images_of_what_is_forgotten_whole_and_retrains_beside():
    ours = {"forget": predictions([[0.5, 0.5]]), "forget_test": predictions([[0.9, 0.1]], [1])}
    exact = {"forget": predictions([[0.5, 0.5]]), "forget_test": predictions([[0.2, 0.8]])}
    outputs = scoring.Outputs(ours, exact, random=({"forget_test": predictions([[0.2, 0.8]])},))
    found = scoring.measure(scoring.Outputs(ours, random=outputs.random))
    assert found["ZRF"]["images"] == "forget_test" and 0 < found["ZRF"]["unlearned"] < 1
    assert found["TUA"] == 1.0, "the one test image is of class 1 and taken for class 0"
    retrained = scoring._scores.get("ZRF").run(outputs)
    assert retrained["retrained"] == pytest.approx(1) and retrained["unlearned"] == found["ZRF"]["unlearned"]


def test_random_networks_are_new_and_the_same_for_every_model():
    one, other = warmed_up(Tiny), warmed_up(Tiny)
    nn.init.ones_(other.fc.weight)
    before = copy.deepcopy(one.state_dict())
    first, second, third = (incompetent.outputs(model, SETS, seed) for model, seed in ((one, 0), (other, 0), (one, 1)))
    assert len(first) == 3 and list(first[0]) == ["forget"]
    logits = [found["forget"].logits for found in first]
    assert all(torch.equal(a, b["forget"].logits) for a, b in zip(logits, second))
    assert not any(torch.equal(a, b["forget"].logits) for a, b in zip(logits, third))
    assert not torch.equal(logits[0], logits[1])
    assert all(torch.equal(before[name], value) for name, value in one.state_dict().items())


def test_the_distance_of_weights_by_hand():
    exact = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[12.0]])}
    ours = {"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([[8.0]])}
    found = scoring.measure(scoring.Outputs({}, weights={"unlearned": ours, "retrained": exact}))["weight_distance"]
    assert found == {"l2": 5.0, "relative": 5 / 13, "layers": {"a": 3.0, "b": 4.0}}
    wider = ours | {"b": torch.zeros(2, 1)}
    assert scoring.measure(scoring.Outputs({}, weights={"unlearned": wider, "retrained": exact})) == {}
    assert scoring.measure(scoring.Outputs({}, weights={"unlearned": ours})) == {}


def test_scores_that_draw_follow_the_seed():
    random = torch.Generator().manual_seed(0)

    def part(count):
        labels = torch.arange(count) * 3 // count  # class by class, so that the attacks shuffle
        return Predictions(torch.randn(count, 3, generator=random) + 2 * F.one_hot(labels, 3), labels)

    sets = {"retain": part(90), "forget": part(30), "test": part(60)}
    plain, same, other = (run_scores.score(sets, "fixed", seed=seed) for seed in (0, 0, 1))
    assert plain == same == run_scores.score(sets, "fixed")
    assert plain["deepunlearn"] != other["deepunlearn"] and plain["accuracy"] == other["accuracy"]
    assert plain["SVC_MIA_training_privacy"] != other["SVC_MIA_training_privacy"]


# ---- relearn time ----------------------------------------------------------------------------------


def slow_relearning(model, lr, epochs):
    """Accuracy before and after each epoch of plain SGD with momentum on the forget set as one batch."""
    model, forget = copy.deepcopy(model), SETS["forget"]
    images = torch.cat([batch for batch, _ in forget.batches(999)])
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=5e-4)
    found = []
    for _ in range(epochs + 1):
        found.append(predict(copy.deepcopy(model), {"forget": forget})["forget"].accuracy)
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(images), forget.labels).backward()
        optimizer.step()
    return found


def test_relearn_time_against_a_slow_twin(monkeypatch):
    model, original, real = warmed_up(Tiny), warmed_up(Tiny), further_scores.accuracy_on
    before = copy.deepcopy(model.state_dict())
    wanted = slow_relearning(model, 0.2, 30)
    reached = next(epoch for epoch, value in enumerate(wanted) if value > wanted[0] and epoch > 1)
    known = max(wanted[: reached + 1]) / 0.95 if wanted[reached] == max(wanted[: reached + 1]) else None
    assert known is not None and reached < 30, "a case that says something"
    monkeypatch.setattr(further_scores, "accuracy_on", lambda m, *of, **named: known if m is original else real(m, *of))
    reached = next(epoch for epoch, value in enumerate(wanted) if value >= 0.95 * known)
    models = {"original": original, "unlearned": model, "retrained": model}
    how = {"at_most": 30, "lr": 0.2, "seed": 0}
    found = further_scores.relearn(models, SETS["forget"].in_order(), {}, how)
    assert found["target"] == pytest.approx(0.95 * known) and found["unlearned"]["epochs"] == reached > 0
    assert found["unlearned"]["accuracy"] == pytest.approx(wanted[: reached + 1])
    assert found["AIN"] == 1.0 and all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    short = further_scores.relearn(models, SETS["forget"].in_order(), {}, how | {"at_most": reached - 1})
    assert short["unlearned"] == {"epochs": None, "accuracy": found["unlearned"]["accuracy"][:reached]}
    assert "AIN" not in short


def test_pruned_weights_stay_pruned_while_a_model_relearns(monkeypatch):
    model, seen = warmed_up(Tiny), []
    mask = {"conv.weight": torch.rand(model.conv.weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5}
    with torch.no_grad():
        model.conv.weight *= mask["conv.weight"]
    real = further_scores.accuracy_on
    monkeypatch.setattr(further_scores, "accuracy_on", lambda m, *of, **named: seen.append(m) or real(m, *of))
    how = {"at_most": 2, "lr": 0.05, "seed": 0}
    further_scores._accuracies(model, SETS["forget"], mask, 1.1, how)
    assert len(seen) == 3 and not torch.equal(seen[-1].conv.weight, model.conv.weight)
    assert (seen[-1].conv.weight[~mask["conv.weight"]] == 0).all()


# ---- CKA -------------------------------------------------------------------------------------------


def test_cka_of_blocks_against_features_taken_by_hand():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.layer2 = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))

    torch.manual_seed(0)
    ours, first = Two().eval(), Two().eval()
    sets = SETS | {"test": SETS["val"]}
    found = further_scores.similarity({"unlearned": ours, "original": first, "retrained": ours}, sets, 0)
    same = found["retrained"]["test"]
    assert same["layers"] == pytest.approx({"layer1": 1.0, "layer2": 1.0}) and same["mean"] == pytest.approx(1)
    images = torch.cat([batch for batch, _ in sets["test"].batches(999)])
    with torch.no_grad():
        x, y = (model.layer2(model.layer1(images)).flatten(1) for model in (ours, first))
    assert found["original"]["test"]["layers"]["layer2"] == pytest.approx(similarity.cka(x, y, 999), abs=1e-4)


# ---- end to end ------------------------------------------------------------------------------------


def test_a_finished_run_adds_costly_scores_and_loses_nothing(few, few_run, tmp_path, capsys):
    mask = [*DIGITS, *few, "--mask", str(few_run / "0model_SA_best.pth.tar"), "--forget", "class:3", "--unlearn"]
    exact = tmp_path / "retrain" / "retraincheckpoint.pth.tar"
    assert main_forget.main([*mask, "retrain", "--unlearn_epochs", "1", "--save_dir", str(exact.parent)]) == 0
    words = [*mask, "GA", "--unlearn_epochs", "1", "--reference_model", str(exact), "--save_dir", str(tmp_path / "GA")]
    assert main_forget.main(words) == 0
    place = tmp_path / "GA" / "result.json"
    plain = json.loads(place.read_text())
    assert {"ZRF", "TUA", "weight_distance"} <= plain.keys() and not {"relearn", "CKA"} & plain.keys()
    assert plain["TUA"] == 1 - plain["accuracy"]["forget_test"] and plain["ZRF"]["images"] == "forget_test"
    assert main_forget.main([*words, "--relearn_epochs", "2", "--cka"]) == 0
    found = files.read_json(place, "")
    files.check_seal(found, "")
    assert {key: value for key, value in found.items() if key in plain and key != files.SEAL} == {
        key: value for key, value in plain.items() if key != files.SEAL
    }
    assert found["relearn"]["at_most"] == 2 and 1 <= len(found["relearn"]["unlearned"]["accuracy"]) <= 3
    assert found["relearn"]["unlearned"]["accuracy"][0] == pytest.approx(found["accuracy"]["forget"])
    assert found["CKA"].keys() == {"original", "retrained"} and -0.2 < found["CKA"]["retrained"]["forget"]["mean"] <= 1
    capsys.readouterr()
    stamp = place.stat().st_mtime_ns
    assert main_forget.main([*words, "--relearn_epochs", "2", "--cka"]) == 0
    assert place.stat().st_mtime_ns == stamp and "relearning" not in capsys.readouterr().out, (
        "what is there is not redone"
    )
    assert main_report.main([str(tmp_path), "--no_plots", "--scores", "ZRF,TUA,WD,CKA,relearn"]) == 0
    said = capsys.readouterr().out
    assert all(f"{name} dense" in said for name in ("ZRF", "TUA", "WD", "CKA"))
    assert len(collect([tmp_path]).of("main_forget.py")) == 2


def test_a_model_relearns_under_its_own_mask_and_one_that_is_gone_is_named(few, few_run, tmp_path, monkeypatch, capsys):
    words = [*DIGITS, *few, "--mask", str(few_run / "1model_SA_best.pth.tar"), "--save_dir", str(tmp_path)]
    words += ["--forget", "class:3", "--unlearn", "FT_prune_bi", "--unlearn_epochs", "2", "--rate", "0.5"]
    held = []
    monkeypatch.setattr(further_scores, "relearn", lambda models, forget, masks, how: held.append(masks) or {})
    assert main_forget.main([*words, "--relearn_epochs", "1"]) == 0
    model = files.read_json(tmp_path / "result.json", "")["model"]
    assert pruner.sparsity(held[0]["original"]) == model["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert pruner.sparsity(held[0]["unlearned"]) == model["sparsity_after"] == pytest.approx(0.9, abs=0.01)
    (file := tmp_path / "FT_prune_bicheckpoint.pth.tar").unlink()
    for flag in (["--cka"], ["--relearn_epochs", "2"]):
        capsys.readouterr()
        assert main_forget.main([*words, *flag]) == 2
        hint = "give the command another --save_dir to train it again"
        assert f"error: {flag[0]}: {file} is not there; {hint}\n" in capsys.readouterr().err


def test_relearning_without_an_original_is_refused(few, tmp_path, capsys):
    words = ["--unlearn", "retrain", "--relearn_epochs", "2", "--save_dir", str(tmp_path)]
    assert main_forget.main([*DIGITS, *few, *words]) == 2
    assert "--relearn_epochs: needs --mask with the original's weights" in capsys.readouterr().err
