"""Seeds of training, forget set, unlearning and scoring told apart: what each decides, and what reports make of it."""

from __future__ import annotations

import csv
import json
import math
import statistics

import numpy as np
import pytest
from conftest import DIGITS
from test_report import SIZES, made, result

import main_forget
import main_report
import main_sweep
from report import comparison, deviations, nearer, paired, paper_table, paper_values, ranking

NONE = paper_values.Published([], exact=False)


def key(train=1, forget=1, unlearn=1, scoring=0):
    """Seeds in the order of ``comparison.SEED``."""
    return forget, train, train, unlearn, scoring, ""


def run(method, ua, train=1, forget=1, unlearn=1, scoring=0):
    """A result whose gap to a Retrain of UA 1 is a quarter of 1 - ``ua``."""
    told = {"split": 1, "train": train, "forget": forget, "unlearn": unlearn, "eval": scoring}
    config = {"run": {"train_seed": train, "split_seed": 1}}
    paper = {"retrain": "Retrain", "raw": "Original"}.get(method, method)
    return result(method, 0, forget, (ua, 1.0, 1.0, 1.0, 1.0), paper, seeds=told, config=config)


# ---- where a deviation comes from ------------------------------------------------------------------


def test_shares_of_two_levels_by_hand():
    values = {key(1, unlearn=1): 1.0, key(1, unlearn=2): 3.0, key(2, unlearn=1): 5.0, key(2, unlearn=2): 9.0}
    assert deviations.varying(list(values)) == ["training", "unlearning"]
    own, tops = deviations.shares(values, ["training", "unlearning"])
    # Within: variances 2 and 8, pooled 5. Means 2 and 7: variance 12.5, of which 5 / 2 is the unlearnings'.
    assert own == pytest.approx({"training": math.sqrt(10), "unlearning": math.sqrt(5)}) and sorted(tops) == [2, 7]


def test_shares_of_unequal_groups_take_the_harmonic_mean():
    values = {key(1, unlearn=u): v for u, v in ((1, 0.0), (2, 2.0), (3, 4.0))} | {key(2, unlearn=1): 8.0}
    own, tops = deviations.shares(values, ["training", "unlearning"])
    # Within: variance 4 of one group. Means 2 and 8: variance 18; harmonic mean of 3 and 1 is 1.5.
    assert own == pytest.approx({"training": math.sqrt(18 - 4 / 1.5), "unlearning": 2.0}) and sorted(tops) == [2, 8]


def test_a_level_that_the_ones_below_explain_has_no_share_of_its_own():
    values = {key(1, unlearn=1): 0.0, key(1, unlearn=2): 10.0, key(2, unlearn=1): 1.0, key(2, unlearn=2): 9.0}
    assert deviations.shares(values, ["training", "unlearning"])[0]["training"] == 0


def test_shares_of_three_levels_are_those_that_the_numbers_were_made_of():
    random, sds = np.random.default_rng(0), (3.0, 2.0, 1.0)
    values = {}
    for train in range(200):
        a = sds[0] * random.standard_normal()
        for unlearn in range(4):
            b = sds[1] * random.standard_normal()
            for scoring in range(4):
                values[key(train, unlearn=unlearn, scoring=scoring)] = a + b + sds[2] * random.standard_normal()
    own, tops = deviations.shares(values, ["training", "unlearning", "scoring"])
    assert list(own.values()) == pytest.approx(sds, rel=0.1) and len(tops) == 200


@pytest.mark.parametrize(
    "keys, said",
    [
        ([key(1)], ""),
        ([key(1), key(2)], "The deviation runs over 2 trainings."),
        (
            [key(n, n, n) for n in (1, 2, 3)],
            "The deviation runs over 3 trainings, each with a seed of its own for forget set and unlearning too, whose "
            "shares cannot be told apart.",
        ),
        ([key(unlearn=n) for n in (1, 2, 3)], "The deviation runs over 3 unlearnings."),
        (
            [key(t, unlearn=u) for t in (1, 2) for u in (1, 2, 3)],
            "The deviation runs over 2 trainings, and 3 unlearnings of each.",
        ),
        (
            [key(1), key(1, unlearn=2), key(2)],
            "The deviation runs over 2 trainings, and 3 unlearnings of these in all.",
        ),
        (
            [key(t, f, u, s) for t in (1, 2) for f in (1, 2) for u in (1, 2) for s in (0, 1)],
            "The deviation runs over 2 trainings, and 2 forget sets of each, and 2 unlearnings of each, and 2 scorings "
            "of each.",
        ),
    ],
)
def test_a_table_says_over_which_seeds_its_deviation_runs(keys, said):
    runs = [run("FT", 0.5 + 0.01 * n, t, f, u, s) for n, (f, t, _, u, s, _) in enumerate(keys)]
    (table,) = made(runs)
    assert deviations.words(table) == said
    notes = paper_table.notes(table, NONE)
    assert (said in notes) == bool(said)


def test_seeds_of_older_results_are_those_of_their_flags():
    old = result("FT", 0, 3, (0.5, 1, 1, 1, 1))
    assert comparison.seed_of(old) == (3, 3, 3, 3, 0, "")
    assert comparison.seed_of(run("FT", 0.5, train=4, forget=5, unlearn=6, scoring=7)) == (5, 4, 4, 6, 7, "")


# ---- which method is nearer ------------------------------------------------------------------------


def test_a_difference_by_hand():
    pairs = paired.changes({1: 2.0, 2: 4.0, 3: 6.0, 4: 9.0}, {1: 1.0, 2: 2.0, 3: 3.0})
    assert pairs == {1: 1.0, 2: 2.0, 3: 3.0}
    found = paired.difference(pairs.values())
    # Differences 1, 2, 3: t = 2 / (1 / sqrt 3) with 2 degrees of freedom, whose 97.5 % point is 4.3027.
    assert found.mean == 2 and found.pairs == 3
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    t = 2 * math.sqrt(3)
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2))  # two-sided, in closed form for 2 degrees
    two = paired.difference([1.0, 2.0])
    assert (two.mean, two.pairs, two.tested) == (1.5, 2, False) and paired.difference([]) is None
    assert math.isnan(paired.difference([1.0, 1.0, 1.0]).p)


def test_unlearnings_of_one_training_are_one_pair():
    """Otherwise ten unlearnings of two models would pass for twenty independent ones."""
    runs = [run(m, 1.0, t, unlearn=u) for m in ("retrain",) for t in (1, 2, 3) for u in (1, 2)]
    runs += [run("FT", 0.9 - 0.1 * t - 0.04 * u, t, unlearn=u) for t in (1, 2, 3) for u in (1, 2)]
    (table,) = made(runs)
    units = paired.Units(table)
    gaps = units.means(table.by_seed("FT", table.models[0].name))
    assert units.level == "training"
    assert list(gaps.values()) == pytest.approx([(0.1 + 0.1 * t + 0.06) / 4 for t in (1, 2, 3)])


def test_what_is_independent_is_the_topmost_level_that_varies():
    def pairs(keys):
        (table,) = made([run("FT", 0.1 * n, *seeds) for n, seeds in enumerate(keys)])
        units = paired.Units(table)
        return units.level, list(units.means(table.by_seed("FT", "dense", "UA")).values())

    assert pairs([(1, 1, 1, s) for s in (0, 1, 2)])[0] == "scoring"
    assert pairs([(1, 1, u, s) for u in (1, 2) for s in (0, 1)]) == ("unlearning", pytest.approx([0.05, 0.25]))
    assert pairs([(1, f, u, 0) for f in (1, 2) for u in (1, 2)]) == ("forget set", pytest.approx([0.05, 0.25]))
    assert pairs([(1, 1, 1, 0)]) == ("training", [0.0])


def plain(method, ua, seed, digest=None, unlearn=None):
    """A result of ``main_imp.py --seed`` and ``main_forget.py --seed``, whose training seed is the default one."""
    split = {**SIZES, **({"base_digest": digest} if digest else {})}
    told = {"seeds": {"train": 1, "unlearn": unlearn or seed, "eval": 0}}
    paper = {"retrain": "Retrain"}.get(method, method)
    config = {"run": {"train_seed": 1, "split_seed": None}}
    return result(method, 0, seed, (ua, 1.0, 1.0, 1.0, 1.0), paper, config=config, **told) | {"split": split}


def test_one_training_seed_on_three_splits_is_three_trainings():
    """As plain ``--seed 1``, ``2`` and ``3`` make them; otherwise three models' unlearnings pass for independent."""
    said = (
        "The deviation runs over 3 trainings, and 2 unlearnings of each, each with a seed of its own for forget set "
        "too, whose shares cannot be told apart."
    )
    for digests in ((None,) * 3, ("a", "b", "c"), ("a", None, "c")):
        seeds = [(seed, digest, unlearn) for seed, digest in zip((1, 2, 3), digests) for unlearn in (4, 5)]
        runs = [plain("FT", 0.1 * seed + 0.04 * unlearn, seed, digest, unlearn) for seed, digest, unlearn in seeds]
        runs += [plain("retrain", 1.0, seed, digest, unlearn) for seed, digest, unlearn in seeds]
        (table,) = made(runs)
        units = paired.Units(table)
        found = units.means(table.by_seed("FT", "dense", "UA"))
        assert (units.level, list(found.values())) == ("training", pytest.approx([0.28, 0.38, 0.48]))
        assert deviations.words(table) == said
        assert deviations.nested(table)[0][4:] == ["sd, trainings", "sd, unlearnings", "n"]
    # One split for all seeds, such as that of a data set without validation images: one model.
    (table,) = made([plain("FT", 0.1 * seed, seed, "same") for seed in (1, 2, 3)])
    assert paired.Units(table).level == "forget set"
    assert deviations.words(table).startswith("The deviation runs over 3 forget sets")


def test_a_method_that_lacks_the_harder_forget_set_is_held_against_the_same_ones():
    """Each side's mean over its own forget sets would compare FT on both with GA on the easier one."""
    runs = [run("retrain", 1.0, t, f) for t in (1, 2, 3) for f in (1, 2)]
    runs += [run("FT", 0.8 - 0.3 * (f - 1) + 0.01 * t, t, f) for t in (1, 2, 3) for f in (1, 2)]
    runs += [run("GA", 0.7, t, 1) for t in (1, 2, 3)]
    (table,) = made(runs)
    _, _, pairs, _ = nearer.against_nearest(table)
    [line] = pairs.to_dict("records")
    assert (line["method"], line["other"], line["pairs"]) == ("FT", "GA", 3)
    assert line["gap minus other's"] == pytest.approx(-0.12 / 4)  # UA 0.81, 0.82 and 0.83 against 0.7


def test_a_report_sets_every_method_against_the_nearest(tmp_path, capsys):
    ua = {"FT": (0.90, 0.86, 0.88), "GA": (0.60, 0.50, 0.61), "RL": (0.89, 0.87, 0.89), "raw": (0.1, 0.1, 0.1)}
    runs = [run("retrain", 1.0, t, t, t) for t in (1, 2, 3)]
    runs += [run(m, value, t, t, t) for m, values in ua.items() for t, value in zip((1, 2, 3), values)]
    for number, content in enumerate(runs):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "result.json").write_text(json.dumps(content))
    assert main_report.main([str(tmp_path), "--no_plots"]) == 0
    said = capsys.readouterr().out
    (table,) = made(runs)
    head, rows, pairs, note = nearer.against_nearest(table)
    by_name = {row[0]: dict(zip(head, row)) for row in rows}
    assert [row[0] for row in rows] == ["RL", "FT", "GA"] and "Original" not in by_name
    means = {m: statistics.fmean(25 * (1 - v) for v in values) for m, values in ua.items()}
    assert by_name["RL"]["minus the nearest's"] == "nearest"
    assert by_name["GA"]["minus the nearest's"] == f"{means['GA'] - means['RL']:+.2f}"
    low, high = map(float, by_name["GA"]["95 % interval"].split(" to "))
    assert low > 0 and low < means["GA"] - means["RL"] < high
    assert float(by_name["GA"]["p"]) < 0.05 < float(by_name["FT"]["p"]) and by_name["FT"]["pairs"] == "3"
    # Benjamini and Hochberg of two: the smaller times two, at most the larger.
    nearest = table.by_seed("RL", "dense")
    changes = [paired.changes(table.by_seed(method, "dense"), nearest) for method in ("FT", "GA")]
    small, large = sorted(paired.difference(change.values()).p for change in changes)
    assert (
        by_name["GA"]["p, corrected"] == f"{min(2 * small, large):.3f}"
        and by_name["FT"]["p, corrected"] == f"{large:.3f}"
    )
    assert "paired by training" in note and "which method is nearer to Retrain" in said
    (file,) = tmp_path.glob("*-nearer.csv")
    lines = list(csv.DictReader(file.open()))
    assert {(line["method"], line["other"]) for line in lines} == {("FT", "GA"), ("FT", "RL"), ("GA", "RL")}


@pytest.mark.parametrize("train, unit", [((1, 2, 3), "training"), ((1, 1, 1), "forget set")])
def test_a_ranking_says_over_what_its_intervals_run(train, unit):
    runs = []
    for forget, trained in zip((1, 2, 3), train):
        for method, gap in {"retrain": 0.0, "FT": 0.1, "GA": 0.2, "RL": 0.3}.items():
            for sparsity in (0, 0.9):
                content = run(method, 1 - gap * (1 + forget / 10), trained, forget)
                content["model"] = {**content["model"], "sparsity": sparsity}
                content["fingerprint"] += str(sparsity)
                runs.append(content)
    [group] = ranking.groups(made(runs))
    assert group.units.level == unit and f"over {unit}s, by" in ranking.NOTE.format(unit=group.units.level)
    head, rows = ranking.order(group)
    assert [line[head.index("95 % interval")] != "-" for line in rows if line[0] != "Original"] == [True] * 3


def test_a_nested_study_says_what_its_deviation_comes_from(tmp_path, capsys):
    values = {(1, 1): 0.1, (1, 2): 0.3, (2, 1): 0.5, (2, 2): 0.9}
    (table,) = made([run("FT", ua, t, unlearn=u) for (t, u), ua in values.items()])
    head, rows = deviations.nested(table)
    assert head == ["method", "model", "score", "mean", "sd, trainings", "sd, unlearnings", "n"]
    # As in the case by hand, in tenths; the standard error is that of the means 0.2 and 0.7.
    error = 100 * statistics.stdev((0.2, 0.7)) / math.sqrt(2)
    assert rows[0] == [
        "FT",
        "dense",
        "UA",
        f"45.00 ± {error:.2f}",
        f"{10 * math.sqrt(10):.2f}",
        f"{10 * math.sqrt(5):.2f}",
        "2",
    ]
    assert not deviations.nested(made([run("FT", 0.1, t, t, t) for t in (1, 2)])[0])[1], "matched seeds are one level"


# ---- what the flags decide -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four(few, few_run, tmp_path_factory):
    """Results of FT by the words that differ."""
    folder, found = tmp_path_factory.mktemp("seeds"), {}
    mask = ["--mask", str(few_run / "1model_SA_best.pth.tar"), "--unlearn", "FT", "--unlearn_epochs", "1"]
    for words in ("", "--unlearn_seed 2", "--unlearn_seed 5", "--eval_seed 4"):
        place = folder / (words or "plain").replace(" ", "_")
        more = ["--forget", "random:40", *words.split(), "--save_dir", str(place)]
        assert main_forget.main([*DIGITS, *few, *mask, *more]) == 0
        found[words] = json.loads((place / "result.json").read_text()) | {"place": place}
    return found


def weights(result):
    from trainer import checkpoints

    return checkpoints.read(result["place"] / "FTcheckpoint.pth.tar", "").weights


def test_the_seed_of_unlearning_changes_the_method_and_not_the_forget_set(four):
    plain, same, other = (four[words] for words in ("", "--unlearn_seed 2", "--unlearn_seed 5"))
    assert plain["split"] == same["split"] == other["split"]
    assert all((weights(plain)[name] == value).all() for name, value in weights(same).items()), "--seed is 2"
    assert any((weights(plain)[name] != value).any() for name, value in weights(other).items())
    assert other["seeds"] == {"split": 2, "train": 1, "forget": 2, "unlearn": 5, "eval": 0}


def test_the_seed_of_scoring_changes_scores_that_draw_and_nothing_else(four):
    plain, other = four[""], four["--eval_seed 4"]
    assert all((weights(plain)[name] == value).all() for name, value in weights(other).items())
    assert plain["accuracy"] == other["accuracy"] and plain["ZRF"]["unlearned"] != other["ZRF"]["unlearned"]
    assert plain["fingerprint"] != other["fingerprint"] and other["seeds"]["eval"] == 4
    assert "apart" not in plain["config"], "a run without these flags is the one it was"


def test_a_sweep_tells_five_kinds_of_seeds_apart(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        f"folder: {tmp_path}/runs\n"
        "seeds: {split: [1], train: [1, 2], forget: [7], unlearn: [3, 4], eval: [0, 5]}\n"
        "flags: {dataset: digits, arch: resnet20s}\n"
        "train: {dense: {script: main_imp.py, epochs: 1}}\n"
        "models: {dense: dense/0}\nscenarios: {random: 'random:0.1'}\nmethods: {FT: {unlearn_epochs: 1}}\n"
        "overrides:\n- {unlearn: 4, eval: 5, flags: {unlearn_lr: 0.5}}\n"
    )
    assert main_sweep.main([str(tmp_path / "s.yaml"), "--print"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "main_forget.py" in line]
    assert len(lines) == 8 and all("--seed 7" in line and "--split_seed 1" in line for line in lines)
    (one,) = [line for line in lines if "train2/forget7-unlearn4-eval5/random" in line]
    assert (
        "--unlearn_seed 4" in one and "--eval_seed 5" in one and "--train_seed 2" in one and "--unlearn_lr 0.5" in one
    )
    assert sum("--unlearn_lr 0.5" in line for line in lines) == 2


def test_an_override_leaves_runs_out(tmp_path, capsys):
    text = (
        f"folder: {tmp_path}/runs\nseeds: [1]\nflags: {{dataset: digits, arch: resnet20s}}\n"
        "train: {dense: {script: main_imp.py, epochs: 1}}\nmodels: {dense: dense/0}\n"
        "scenarios: {class: 'class:0', random: 'random:0.1'}\n"
        "methods: {FT: {unlearn_epochs: 1}, UNSIR: {}, retrain: {}}\nreference_model: retrain\noverrides:\n"
    )
    (tmp_path / "s.yaml").write_text(f"{text}- {{method: UNSIR, scenario: random, flags: false}}\n")
    assert main_sweep.main([str(tmp_path / "s.yaml"), "--print"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "main_forget.py" in line]
    assert len(lines) == 5 and not any("UNSIR" in line and "random" in line for line in lines)
    for override, said in (
        (
            "{method: retrain, scenario: random, flags: false}",
            "retrain cannot be left out: every other run is compared",
        ),
        ("{scenario: random, flags: false}", "flags: false leaves runs of methods out; name a method"),
    ):
        (tmp_path / "s.yaml").write_text(f"{text}- {override}\n")
        assert main_sweep.main([str(tmp_path / "s.yaml"), "--print"]) == 2
        assert said in capsys.readouterr().err
