"""What a run says at its end: original, unlearned and Retrain side by side, and one line in words."""

from __future__ import annotations

import json
import shlex

import pytest
import torch
from conftest import DIGITS
from torch import nn

import main_forget
from dataset.images import ImageSet
from evaluation import run_scores
from evaluation.predict import Predictions, predict, predict_all
from report import verdict

HYPER = {"unlearn_lr": 0.01, "unlearn_epochs": 10}


def scores(ua, mia, ra, ta):
    return {"UA": ua, "MIA-Efficacy": mia, "RA": ra, "TA": ta}


def run(own, method="FT", hyper=HYPER, **more):
    return {
        "method": method,
        "paper_name": method,
        "scores": own | {"RTE": 0.5},
        "config": {"hyper": hyper},
        "split": {"forget": 200},
        **more,
    }


ORIGINAL, RETRAIN = (
    verdict.OtherModel(scores(0.0, 0.05, 1.0, 0.9)),
    verdict.OtherModel(scores(0.08, 0.2, 1.0, 0.9), 3.0, "runs/retrain"),
)


def said(own, first=ORIGINAL, exact=RETRAIN, classes=10, **more):
    return verdict.sentences(run(own, **more), first, exact, classes)


def test_the_table_sets_the_three_side_by_side():
    lines = verdict.table(run(scores(0.04, 0.1, 0.98, 0.88)), ORIGINAL, RETRAIN).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["original", "0.00", "5.00", "100.00", "90.00", "5.75", "-"],  # (8 + 15 + 0 + 0) / 4
        ["FT", "4.00", "10.00", "98.00", "88.00", "4.50", "0.500"],  # (4 + 10 + 2 + 2) / 4
        ["Retrain", "8.00", "20.00", "100.00", "90.00", "-", "3.000"],
    ]
    assert [line.split()[0] for line in verdict.table(run(scores(0, 0, 1, 1)), None, None).splitlines()] == [
        "model",
        "FT",
    ]


def test_the_way_to_retrain_in_words():
    near, far = scores(0.04, 0.1, 0.98, 0.88), scores(0.3, 0.4, 0.9, 0.8)
    where = "Retrain: runs/retrain"
    assert said(near) == [
        "average gap to Retrain 4.50 points (UA -4.00, MIA-Efficacy -10.00, RA -2.00, TA -2.00); doing nothing: 5.75",
        where,
    ]
    assert said(far)[0].endswith(
        "(UA +22.00, MIA-Efficacy +20.00, RA -10.00, TA -10.00); doing nothing: 5.75, which is nearer"
    )
    assert said(near, exact=None) == ["UA rose from 0.00 % to 4.00 %; only Retrain's can tell whether that is enough"]


def test_one_image_is_forgotten_or_not():
    lone = {**run(scores(1.0, 0.1, 1.0, 0.9)), "split": {"forget": 1}}
    assert verdict.sentences(lone, ORIGINAL, None, 10) == [
        "UA rose from 0.00 % to 100.00 %; only Retrain's can tell whether that is enough"
    ]
    kept = {**run(scores(0.0, 0.1, 1.0, 0.9)), "split": {"forget": 1}}
    assert verdict.sentences(kept, ORIGINAL, None, 10)[0].startswith(
        "forgot nothing: UA is that of the original (0.00 %)"
    )


def test_a_model_that_forgot_nothing_is_named_with_the_flags_that_help():
    idle = scores(0.005, 0.05, 1.0, 0.9)  # one image of 200
    assert said(idle)[0] == (
        "forgot nothing: UA is 0.50 %, that of the original 0.00 %, Retrain's is 8.00 %; raise "
        "--unlearn_lr (now 0.01) or --unlearn_epochs (now 10)"
    )
    assert said(scores(0.0, 0.05, 1.0, 0.9), exact=None) == [
        (
            "forgot nothing: UA is that of the original (0.00 %); raise --unlearn_lr (now 0.01) or "
            "--unlearn_epochs (now 10)"
        )
    ]
    fallen = verdict.OtherModel(scores(0.06, 0.05, 1.0, 0.9))  # fine-tuning has brought the forget set nearer
    assert said(idle, first=fallen, exact=None)[0].startswith(
        "forgot nothing: UA is 0.50 %, that of the original 6.00 %; raise "
    )
    assert said(idle, method="IU", hyper={"alpha": 2.0})[0].endswith("raise --alpha (now 2)")
    unmoved = verdict.OtherModel(scores(0.005, 0.2, 1.0, 0.9))
    assert said(idle, exact=unmoved)[0].startswith("average gap to Retrain"), (
        "where Retrain's UA is the original's there is nothing to raise"
    )


def test_a_ruined_model_is_named_unless_retrain_is_as_poor():
    ruined = scores(0.9, 0.5, 0.1, 0.1)
    assert said(ruined)[0] == (
        "ruined the model: TA fell from 90.00 % to 10.00 %; lower --unlearn_lr (now 0.01) or --unlearn_epochs (now 10)"
    )
    poor = verdict.OtherModel(scores(0.9, 0.5, 0.2, 0.2))
    assert said(ruined, exact=poor)[0].startswith("average gap to Retrain")


def test_a_retrained_model_is_told_to_have_learnt_less_not_to_be_ruined():
    poor = said(scores(1.0, 1.0, 0.5, 0.4), method="retrain", exact=None)
    assert poor == [
        (
            "warning: has learnt less than the original (TA 40.00 % for 90.00 %); train it as the original "
            "was, or gaps to it say little"
        )
    ]
    assert said(scores(0.0, 0.05, 1.0, 0.9), method="retrain", exact=None) == [], "a random tenth may move nothing"


def test_a_model_of_other_images_is_named():
    lost = verdict.OtherModel(scores(0.9, 0.5, 0.11, 0.1))
    assert said(scores(0.9, 0.5, 0.11, 0.1), first=lost)[0].startswith(
        "warning: the original model knows nothing of these images (RA 11.00 %)"
    )
    assert not said(scores(0.5, 0.5, 0.6, 0.6), first=verdict.OtherModel(scores(0.4, 0.5, 0.6, 0.6)), classes=2)[
        0
    ].startswith("warning")


def test_what_a_cleanse_says():
    def of(before, after):
        return verdict.backdoor_sentence(
            {"scores": {"before": {"ASR": before}, "after": {"ASR": after}}, "config": {"hyper": HYPER}}
        )

    assert (
        of(0.8, 0.7)
        == "the trigger still works (ASR 80.00 -> 70.00 %); raise --unlearn_lr (now 0.01) or --unlearn_epochs (now 10)"
    )
    assert of(0.8, 0.1) == "the trigger works on less than half as many images (ASR 80.00 -> 10.00 %)"
    assert of(0.1, 0.1).startswith("the trigger never worked (ASR 10.00 -> 10.00 %)")


def test_all_models_of_one_walk_are_predicted_as_one_by_one():
    torch.manual_seed(0)
    images = ImageSet(torch.randint(0, 256, (70, 3, 4, 4), dtype=torch.uint8), torch.randint(0, 5, (70,)))
    sets = {"retain": images.at(torch.arange(60)), "test": images.at(torch.arange(50, 70))}
    models = [nn.Sequential(nn.Flatten(), nn.Linear(48, 5)) for _ in range(3)]
    together = predict_all(models, sets)
    for model, found in zip(models, together):
        alone = predict(model, sets)
        assert list(found) == ["retain", "test"]
        assert all(torch.equal(found[name].logits, alone[name].logits) for name in sets)
    assert not torch.equal(together[0]["test"].logits, together[1]["test"].logits)


@pytest.mark.parametrize("compat", ["fixed", "reference"])
def test_the_four_scores_alone_are_those_of_the_whole(compat):
    torch.manual_seed(1)
    sizes = {"retain": 90, "forget": 30, "val": 20, "test": 40}
    outputs = {
        name: Predictions(2 * torch.randn(size, 4), torch.randint(0, 4, (size,)).sort().values)
        for name, size in sizes.items()
    }
    whole = run_scores.paper_scores(run_scores.score(outputs, compat), None)
    assert run_scores.four(outputs, compat) == {name: whole[name] for name in ("UA", "MIA-Efficacy", "RA", "TA")}


def test_runs_beside_each_other_are_compared_and_the_original_is_scored_once(omp_run, tmp_path, capsys, monkeypatch):
    walks = []
    monkeypatch.setattr(
        "unlearn.forgetting.predict_all", lambda models, sets: walks.append(len(models)) or predict_all(models, sets)
    )
    common = [*DIGITS, "--mask", str(omp_run / "1model_SA_best.pth.tar"), "--forget", "class:1", "--batch_size", "64"]
    ascent = [*common, "--unlearn", "GA", "--unlearn_epochs", "1", "--unlearn_lr", "1e-6", "--eval_mode"]
    assert main_forget.main([*ascent, "--save_dir", str(tmp_path / "GA")]) == 0
    printed = capsys.readouterr().out
    assert "forgot nothing: UA is that of the original" in printed and "attacks, right in %" not in printed
    command = shlex.split(printed.strip().splitlines()[-1].removeprefix("no Retrain to compare with: "))
    assert command[:2] == ["python", "main_forget.py"] and command[-2:] == ["--save_dir", str(tmp_path / "retrain")]
    assert main_forget.main([*command[2:], "--unlearn_epochs", "2"]) == 0
    shown = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith(("original ", "Retrain"))
    ]
    assert shown == ["original", "Retrain"], "not beside itself"
    retrained = json.loads((tmp_path / "retrain" / "result.json").read_text())
    assert retrained["config"]["hyper"]["decreasing_lr"] == [2], "as the original was trained"
    first = json.loads((tmp_path / "GA" / "result.json").read_text())
    assert set(first["original"]) == {"UA", "MIA-Efficacy", "RA", "TA"} and retrained["original"] == first["original"]
    assert main_forget.main([*common, "--unlearn", "raw", "--save_dir", str(tmp_path / "raw")]) == 0
    assert "average gap to Retrain" in capsys.readouterr().out
    raw = json.loads((tmp_path / "raw" / "result.json").read_text())["scores"]
    assert {name: raw[name] for name in first["original"]} == first["original"]
    assert main_forget.main([*ascent, "--save_dir", str(tmp_path / "GA"), "--verbose"]) == 0
    last = capsys.readouterr().out
    assert "done already" in last and "attacks, right in %" in last
    rows = [
        line.split()[0]
        for line in last.splitlines()
        if line.split()[:1] and line.split()[0] in ("original", "GA", "Retrain")
    ]
    assert walks == [2, 1, 1], "the first run scores the original too, the others find its scores"
    assert rows == ["original", "GA", "Retrain"] and last.strip().endswith(f"Retrain: {tmp_path / 'retrain'}")


def test_trials_of_a_search_share_the_scores_of_the_original(omp_run, tmp_path):
    words = [*DIGITS, "--mask", str(omp_run / "1model_SA_best.pth.tar"), "--unlearn", "GA", "--unlearn_epochs", "0"]
    assert main_forget.main([*words, "--save_dir", str(tmp_path / "trial000" / "seed2")]) == 0
    stored = json.loads((tmp_path / "trial000" / "seed2" / "result.json").read_text())
    begun = {key: stored[key] for key in ("method", "split", "compat", "model", "config")}
    found = verdict.original(begun, tmp_path / "trial001" / "seed2")
    assert found == verdict.OtherModel(stored["original"], source=str(tmp_path / "trial000" / "seed2"))
    assert verdict.original(begun, tmp_path / "trial001" / "seed3") is None
    assert verdict.original(begun, tmp_path / "apart" / "seed2") is None


def test_a_retrained_model_of_other_images_is_not_compared_with(few, few_run, tmp_path, capsys):
    common = [
        *DIGITS,
        *few,
        "--mask",
        str(few_run / "1model_SA_best.pth.tar"),
        "--batch_size",
        "64",
        "--unlearn_epochs",
        "1",
    ]
    assert (
        main_forget.main(
            [*common, "--unlearn", "retrain", "--forget", "class:2", "--save_dir", str(tmp_path / "retrain")]
        )
        == 0
    )
    capsys.readouterr()
    assert (
        main_forget.main([*common, "--unlearn", "FT", "--forget", "class:1", "--save_dir", str(tmp_path / "FT")]) == 0
    )
    assert "no Retrain to compare with" in capsys.readouterr().out
