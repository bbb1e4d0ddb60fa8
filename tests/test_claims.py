"""Claims about runs, judged: intervals by hand, every verdict, what is missing, and files that are refused."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict

import pytest
import yaml
from conftest import ROOT
from test_report import made, recipe, result, write

import main_report
import pruner
from report import claim_file, claims, comparison, missing, overview, paired, row_names
from report.runs import METRICS, collect
from utils.errors import UsageError

SPARSER = {"claim": "UA rises.", "score": "UA", "method": "FT", "smaller": {"sparsity": 0}, "larger": {"sparsity": 0.9}}
SMALL = ROOT / "results" / "table1-small"


def stated(tmp_path, *entries):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(list(entries)))
    return claim_file.read(str(path))


def judge(tmp_path, tables, *entries, planned=()):
    """Rows by title."""
    section = claims.section(stated(tmp_path, *entries), tables, planned)
    return [dict(zip(section.head, row)) for row in section.rows]


def ft(sparsity, seed, ua, method="FT", **more):
    return result(method, sparsity, seed, (ua, 0.5, 0.5, 0.5, 1.0), more.pop("paper", None), **more)


def rising(*changes, start=0.2):
    """FT on a dense and on a 90 % sparse model, whose UA differ by this much, seed by seed."""
    seeds = list(enumerate(changes, 1))
    return made([ft(0, seed, start) for seed, _ in seeds] + [ft(0.9, seed, start + change) for seed, change in seeds])


# ---- verdicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, interval, verdict",
    [
        # mean 0.2, standard deviation 0.1; 4.302653 is the 97.5 % point of t with 2 degrees of freedom, 3.182446 with 3
        ((0.1, 0.2, 0.3), 4.302653 * 0.1 / math.sqrt(3), "not shown: includes 0"),
        # mean 0.2, variance (0.01 + 0 + 0.01 + 0) / 3
        ((0.1, 0.2, 0.3, 0.2), 3.182446 * math.sqrt(0.02 / 3) / 2, "holds"),
        ((-0.1, -0.2, -0.15, -0.15), 3.182446 * math.sqrt(0.005 / 3) / 2, "does not hold"),
        ((0.1, 0.3), None, "not shown: 2 pairs"),
        ((0.1,), None, "not shown: 1 pair"),
        ((0.125, 0.125, 0.125), None, "not shown: all pairs differ by the same"),
    ],
)
def test_intervals_by_hand_decide_verdicts(tmp_path, changes, interval, verdict):
    [row] = judge(tmp_path, rising(*changes, start=0.5), SPARSER)
    mean = 100 * sum(changes) / len(changes)
    assert (row["difference"], row["pairs"], row["verdict"]) == (f"{mean:+.2f}", str(len(changes)), verdict)
    wanted = "-" if interval is None else f"{mean - 100 * interval:+.2f} to {mean + 100 * interval:+.2f}"
    assert row["95 % interval"] == wanted and (row["p"] == "-") == (interval is None)
    assert (row["table"], row["method"], row["model"]) == ("digits-resnet20s-class-0", "FT", "90 % sparse minus dense")


def test_p_by_hand_and_corrected_for_all_lines_of_the_file(tmp_path):
    def p(mean, sd):  # of three pairs, two-sided, in closed form for 2 degrees of freedom
        t = mean / (sd / math.sqrt(3))
        return 1 - t / math.sqrt(t * t + 2)

    falls = {**SPARSER, "smaller": SPARSER["larger"], "larger": SPARSER["smaller"]}
    clear = {**SPARSER, "score": "MIA-Efficacy"}
    runs = [result("FT", 0, seed, (0.2, 0.2, 0.5, 0.5, 1.0)) for seed in (1, 2, 3)]
    runs += [result("FT", 0.9, seed, (0.2 + seed / 10, 0.5 + seed / 100, 0.5, 0.5, 1.0)) for seed in (1, 2, 3)]
    rows = judge(tmp_path, made(runs), SPARSER, clear, falls, {**SPARSER, "method": "GA"})
    wide, small = p(0.2, 0.1), p(0.32, 0.01)
    assert [row["p"] for row in rows] == [f"{wide:.3f}", "<0.001", f"{wide:.3f}", "-"]
    # Benjamini and Hochberg of three: the smallest times three; the two equal ones times 3 / 2 and 3 / 3, the smaller.
    assert [row["p, corrected"] for row in rows] == [f"{wide:.3f}", f"{3 * small:.3f}", f"{wide:.3f}", "-"]
    assert [row["verdict"].split(":")[0] for row in rows] == ["not shown", "holds", "not shown", "not shown"]


def test_gaps_are_those_of_each_seed_to_its_own_retrain(tmp_path):
    exact, runs = {1: 0.9, 2: 0.8, 3: 0.7}, []
    for seed, ua in exact.items():
        for sparsity, below in ((0, 0.4), (0.9, 0.4 - 0.1 * seed)):
            runs += [ft(sparsity, seed, ua, "retrain", paper="Retrain"), ft(sparsity, seed, ua - below)]
    nearer = {**SPARSER, "smaller": SPARSER["larger"], "larger": SPARSER["smaller"]}
    gap, average = judge(tmp_path, made(runs), {**nearer, "score": "UA gap"}, {**nearer, "score": "average gap"})
    assert (gap["difference"], average["difference"]) == ("+20.00", "+5.00")  # 10, 20 and 30 points; of four scores one
    assert gap["model"] == "dense minus 90 % sparse" and gap["p"] == average["p"]


# ---- which runs are compared -----------------------------------------------------------------------


def test_a_claim_is_judged_for_each_scenario_method_and_model_that_it_names(tmp_path):
    runs = []
    for kind, forget in (("class", 0), ("random", None)):
        where = {"kind": kind, "words": kind, "forget": forget}
        for seed in (1, 2, 3):
            for method, gain in (("FT", 0.1), ("GA", 0.3)):
                for sparsity in (0, 0.5, 0.9):
                    ua = 0.2 + gain * sparsity * (1 + seed / 10)
                    runs.append(ft(sparsity, seed, ua, method, **where))
    tables = made(runs)
    both = {**SPARSER, "method": ["FT", "GA"], "larger": {"sparsity": [0.5, 1]}}
    rows = judge(tmp_path, tables, {**both, "each": ["method", "model"]})
    assert len(rows) == 8 and {row["model"] for row in rows} == {"50 % sparse minus dense", "90 % sparse minus dense"}
    assert [(row["method"], row["table"]) for row in rows[::2]] == [
        (method, f"digits-resnet20s-{kind}") for method in ("FT", "GA") for kind in ("class-0", "random")
    ]
    rows = judge(tmp_path, tables, {**both, "scenario": "random"})
    assert [(row["table"], row["method"], row["pairs"]) for row in rows] == [("digits-resnet20s-random", "FT, GA", "3")]
    # the mean of four gains, 0.2 × 0.7, times 1.2 in the mean over the seeds
    assert rows[0]["difference"] == f"{100 * 0.2 * 0.7 * 1.2:+.2f}"
    [row] = judge(
        tmp_path,
        tables,
        {
            "claim": "GA forgets more.",
            "score": "UA",
            "density": 0.1,
            "scenario": "class",
            "smaller": {"method": "FT"},
            "larger": {"method": "GA"},
        },
    )
    assert (row["method"], row["model"]) == ("GA minus FT", "90 % sparse")
    assert row["difference"] == f"{100 * 0.2 * 0.9 * 1.2:+.2f}"


def test_a_mean_is_over_seeds_that_have_all_of_it(tmp_path):
    runs = [ft(s, seed, 0.2 + s * seed / 10, method) for s in (0, 0.9) for seed in (1, 2, 3) for method in ("FT", "GA")]
    runs = [run for run in runs if not (run["method"] == "GA" and run["seed"] == 3)]
    [row] = judge(tmp_path, made(runs), {**SPARSER, "method": ["FT", "GA"]})
    assert (row["pairs"], row["difference"]) == ("2", "+13.50")  # 9 and 18 points of both, not FT's 27 alone


def test_unlearnings_of_one_training_are_one_pair(tmp_path):
    runs = []
    for train in (1, 2, 3):
        for unlearn in (1, 2):
            told = {"train": train, "unlearn": unlearn, "eval": 0}
            for sparsity in (0, 0.9):
                ua = 0.2 + sparsity / 9 * (train + unlearn)
                runs.append(ft(sparsity, 7, ua, seeds=told, config={"run": {"train_seed": train}}))
    [row] = judge(tmp_path, made(runs), SPARSER)
    assert (row["pairs"], row["difference"]) == ("3", "+35.00")


def test_a_side_that_lacks_the_harder_forget_sets_is_held_against_the_same_ones(tmp_path):
    runs = []
    for train in (1, 2, 3):
        for forget, harder in ((1, 0.0), (2, 0.2)):
            told = {"train": train, "unlearn": train, "eval": 0}
            config = {"run": {"train_seed": train, "split_seed": 1}}
            runs.append(ft(0, forget, 0.5 + harder + train / 100, seeds=told, config=config))
            if forget == 1:
                runs.append(ft(0, forget, 0.4 + train / 50, "GA", seeds=told, config=config))
    sides = {"sparsity": 0, "smaller": {"method": "GA"}, "larger": {"method": "FT"}}
    [row] = judge(tmp_path, made(runs), {"claim": "GA forgets less.", "score": "UA", **sides})
    assert (row["pairs"], row["difference"]) == ("3", "+8.00")  # 9, 8 and 7; with FT's mean over both sets 10 more


def test_scorings_of_one_unlearning_are_said_to_be_the_pairs(tmp_path):
    runs = []
    for scoring in (0, 1, 2):
        told = {"seeds": {"train": 1, "unlearn": 1, "eval": scoring}}
        runs += [ft(0, 1, 0.2, **told), ft(0.9, 1, 0.3 + scoring / 100, **told)]
    section = claims.section(stated(tmp_path, SPARSER), made(runs), ())
    assert section.rows[0][-1] == "3" and "there a pair is a scoring of one unlearning" in section.notes[1]
    unlearnings = [
        run | {"seeds": {**run["seeds"], "unlearn": u}, "fingerprint": f"{n} {u}"}
        for n, run in enumerate(runs)
        for u in (1, 2)
    ]
    section = claims.section(stated(tmp_path, SPARSER), made(unlearnings), ())
    assert section.rows[0][-1] == "2" and "there a pair is an unlearning" in section.notes[1]


def test_scenarios_of_which_one_has_one_training_are_paired_by_the_seeds_of_runs(tmp_path):
    def told(train):
        return {"seeds": {"train": train, "unlearn": 1, "eval": 0}, "config": {"run": {"train_seed": train}}}

    where = {"kind": "random", "words": "a tenth", "forget": None}
    runs = [ft(0, 1, 0.5, **told(1)), *(ft(0, 1, 0.2 + train / 10, **where, **told(train)) for train in (1, 2, 3))]
    sides = {"smaller": {"scenario": "random"}, "larger": {"scenario": "class"}}
    [row] = judge(tmp_path, made(runs), {**SPARSER, **sides})
    assert (row["difference"], row["verdict"]) == ("+20.00", "not shown: 1 pair")


def pruned(sparsity, seed, ua, epochs=9, method="FT", **prune):
    script = "main_synflow.py" if "score" in prune else "main_imp.py"
    model = recipe(epochs, int(bool(sparsity) and "score" not in prune), script, **prune)
    return ft(sparsity, seed, ua, method, model=model)


def test_pruners_are_compared_at_the_same_sparsity(tmp_path):
    """IMP cannot reach 95 % exactly; SynFlow's 50 % is no partner of its 95.6 %."""
    runs = []
    for seed in (1, 2, 3):
        runs.append(pruned(0.956, seed, 0.3, pruning_times=15, rate=0.2))
        runs.append(pruned(0.95, seed, 0.4 + seed / 100, score="synflow", rate=0.95))
        runs.append(pruned(0.5, seed, 0.9, score="synflow", rate=0.5))
        runs.append(pruned(0.95, seed, 0.5 + seed / 100, pruning_times=2, rate=0.95))
    sides = {"smaller": {"pruner": "imp"}, "larger": {"pruner": ["SynFlow", "OMP"]}, "each": "model"}
    rows = judge(tmp_path, made(runs), {**SPARSER, **sides})
    assert [(row["model"], row["difference"]) for row in rows] == [
        ("95 % sparse (OMP) minus 95.6 % sparse", "+22.00"),
        ("95 % sparse (synflow) minus 95.6 % sparse", "+12.00"),
    ]


def test_a_sparse_model_is_held_against_the_dense_one_of_its_own_training(tmp_path):
    runs = []
    for seed in (1, 2, 3):
        for epochs, ua in ((9, 0.2), (18, 0.6)):
            runs.append(pruned(0, seed, ua, epochs))
            runs.append(pruned(0.9, seed, ua + seed / 100, epochs, pruning_times=2, rate=0.9))
    rows = judge(tmp_path, made(runs), {**SPARSER, "each": "model"})
    assert [(row["difference"], row["pairs"]) for row in rows] == [("+2.00", "3")] * 2
    other = [run for run in runs if run["model"]["sparsity"] or run["model"]["recipe"]["train"]["epochs"] == 9]
    rows = judge(tmp_path, made(other), {**SPARSER, "each": "model"})
    assert [row["difference"] for row in rows] == ["+2.00"], "a dense model that has a better partner takes no other"


def test_flags_tell_the_sides_apart(tmp_path):
    runs = []
    for seed in (1, 2, 3):
        for alpha in (1e-4, 1e-3):
            for schedule, ua in (("decaying", 0.9), ("constant", 0.5), ("growing", 0.4)):
                hyper = {"alpha": alpha, "l1_schedule": schedule}
                runs.append(ft(0, seed, ua + alpha + seed / 100, "FT_prune", paper="l1-sparse", hyper=hyper))
    sides = {"smaller": {"flags": {"l1_schedule": ["constant"]}}, "larger": {"flags": {"l1-schedule": "decaying"}}}
    rows = judge(tmp_path, made(runs), {**SPARSER, "method": "l1-sparse", **sides, "each": "method"})
    assert [row["difference"] for row in rows] == ["+40.00"] * 2, "each alpha with itself"
    assert rows[0]["method"] == (
        "l1-sparse, alpha 0.0001, l1_schedule decaying minus l1-sparse, alpha 0.0001, l1_schedule constant"
    )
    assert rows[0]["verdict"].startswith("not shown: all pairs differ by the same")
    one = {"flags": {"l1_schedule": "growing", "alpha": "1e-3"}}  # YAML reads 1e-3 as text
    rows = judge(tmp_path, made(runs), {**SPARSER, "method": "FT_prune", **sides, "smaller": one, "each": "method"})
    assert [row["difference"] for row in rows] == ["+49.91", "+50.00"], "every alpha of the side that names none"


def test_scenarios_can_be_the_two_sides(tmp_path):
    runs = [ft(0, seed, 0.5 + seed / 100) for seed in (1, 2, 3)]
    runs += [ft(0, seed, 0.1, kind="random", words="a tenth", forget=None) for seed in (1, 2, 3)]
    sides = {"smaller": {"scenario": "random"}, "larger": {"scenario": "class"}}
    [row] = judge(tmp_path, made(runs), {**SPARSER, **sides})
    assert (row["table"], row["difference"], row["verdict"]) == (
        "digits-resnet20s-class-0 minus digits-resnet20s-random",
        "+42.00",
        "holds",
    )


def planned_cells(folder, runs):
    """The runs in folders, with a sweep's file that labels their methods."""
    write(folder, [run for _, run in runs])
    cells = [
        {
            "name": str(number),
            "folder": str(number),
            "command": f"python {number}",
            "stage": "unlearn",
            "method": label,
            "paper_name": run["paper_name"],
            "model": "m",
            "round": 0,
            "needs": [],
        }
        for number, (label, run) in enumerate(runs)
    ]
    (folder / "s.sweep.json").write_text(json.dumps({"name": "s", "cells": cells}))
    return collect([folder])


def test_labels_of_a_sweep_join_what_is_tuned_for_each_model(tmp_path):
    """FT with one step size, and FT-tuned with another on each model: two lines, by the labels."""
    lr = {("FT", 0): 0.001, ("FT", 0.9): 0.001, ("FT-tuned", 0): 0.02, ("FT-tuned", 0.9): 0.05}
    ua = {("FT", 0): 0.1, ("FT", 0.9): 0.2, ("FT-tuned", 0): 0.3, ("FT-tuned", 0.9): 0.6}
    runs = [
        (label, ft(sparsity, seed, ua[label, sparsity] + sparsity * seed / 100, hyper={"unlearn_lr": value}))
        for (label, sparsity), value in lr.items()
        for seed in (1, 2, 3)
    ]
    found = planned_cells(tmp_path / "runs", runs)
    done = found.runs_of("main_forget.py")
    tables = comparison.tables(done)
    planned = missing.planned_runs(found, {run.content["fingerprint"] for run in done})
    every = {**SPARSER, "method": ["FT", "FT-tuned"], "each": "method"}
    rows = judge(tmp_path, tables, every, planned=planned)
    assert [(row["method"], row["difference"]) for row in rows] == [
        ("FT, unlearn_lr 0.001", "+11.80"),
        ("FT-tuned", "+31.80"),
    ]
    [row] = judge(tmp_path, tables, {**SPARSER, "method": "ft-tuned"}, planned=planned)
    assert row["method"] == "FT-tuned"
    claim_file.check_known(stated(tmp_path, {**SPARSER, "method": "FT-tuned"}), lambda: defaultdict(list), found)
    [row] = judge(tmp_path, tables, {**SPARSER, "each": "method"})
    assert row["method"] == "FT, unlearn_lr 0.001", "without labels only the same setting is a pair"


def test_a_place_is_never_held_against_itself_nor_a_pair_in_both_orders(tmp_path):
    runs = [ft(0, seed, gain + seed / 100, m) for m, gain in (("FT", 0.2), ("GA", 0.4), ("RL", 0.6)) for seed in (1, 2)]
    every = {"claim": "FT forgets least.", "score": "UA", "sparsity": 0, "smaller": {"method": "FT"}}
    [row] = judge(tmp_path, made(runs), {**every, "larger": {}})
    assert (row["difference"], row["method"]) == ("+30.00", "GA, RL minus FT")  # 20 and 40; with itself 20 in the mean
    [row] = judge(tmp_path, made(runs), {**every, "smaller": {"method": ["FT", "GA"]}, "larger": {}})
    assert row["difference"] == "+30.00"  # RL's 40 and 20, without FT and GA in both orders
    both = {"smaller": {"method": ["FT", "GA"]}, "larger": {"method": ["GA", "FT"]}}
    [row] = judge(tmp_path, made(runs), {**every, **both})
    assert row["verdict"] == "not shown: the sides are the same runs"


def test_a_label_of_a_sweep_names_its_own_runs_alone(tmp_path):
    """GA-mask is typed GA too; with GA it means the runs that the sweep calls so."""
    ua = {"GA": 0.2, "GA-mask": 0.5, "RL-mask": 0.6}
    runs = [
        (label, ft(0, seed, value + seed / 100, label.split("-")[0], hyper={"saliency": "mask" in label}))
        for label, value in ua.items()
        for seed in (1, 2)
    ]
    found = planned_cells(tmp_path / "runs", runs)
    done = found.runs_of("main_forget.py")
    planned = missing.planned_runs(found, {run.content["fingerprint"] for run in done})
    sides = {"claim": "a", "score": "UA", "sparsity": 0, "smaller": {"method": "GA"}}
    tables = comparison.tables(done)
    rows = [
        judge(tmp_path, tables, {**sides, "larger": {"method": name}}, planned=planned)
        for name in ("GA-mask", "rl-mask", "RL")
    ]
    assert [row["difference"] for [row] in rows] == ["+30.00", "+40.00", "+40.00"]
    [row] = judge(tmp_path, tables, {**sides, "larger": {"method": "RL"}})
    assert row["difference"] == "+25.00", "without labels GA is both"


def test_a_line_names_only_what_gave_numbers_and_a_note_the_rest(tmp_path):
    runs = [ft(s, seed, 0.2 + s * seed / 10, m) for s in (0, 0.9) for seed in (1, 2, 3) for m in ("FT", "GA", "RL")]
    runs = [run for run in runs if run["method"] != "GA" or (run["model"]["sparsity"] == 0) == (run["seed"] == 1)]
    runs = [run for run in runs if run["method"] != "RL" or run["seed"] < 3]
    section = claims.section(stated(tmp_path, {**SPARSER, "method": ["FT", "GA", "RL"]}), made(runs), ())
    [row] = section.rows
    assert row[3:5] == ["FT, RL", "90 % sparse minus dense"] and row[-1] == "2"
    assert section.notes[1:] == [
        'Left out of "UA rises." on digits-resnet20s-class-0: GA, 90 % sparse minus dense (no seed on both sides); '
        "1 of 3 sets of seeds, which not all of them have."
    ]


def test_the_nearest_sparsity_is_the_partner_where_only_the_pruner_differs(tmp_path):
    runs = []
    for seed in (1, 2, 3):
        runs.append(pruned(0.97, seed, 0.5 + seed / 100, pruning_times=2, rate=0.97))
        for sparsity, ua in ((0.9648, 0.1), (0.9719, 0.3), (0.9775, 0.2)):
            runs.append(pruned(sparsity, seed, ua, pruning_times=20, rate=0.2))
    sides = {"smaller": {"pruner": "IMP"}, "larger": {"pruner": "OMP"}}
    [row] = judge(tmp_path, made(runs), {**SPARSER, **sides})
    assert (row["model"], row["difference"]) == ("97 % sparse minus 97.19 % sparse", "+22.00")


@pytest.mark.parametrize(
    "stated_as, sparsity, meant",
    [(0.99, 0.995, False), (0.99, 0.9905, True), (0.995, 0.99, False), (0.9, 0.904, True), (0.9, 0.906, False)],
)
def test_a_sparsity_may_be_missed_by_little_where_little_is_left(stated_as, sparsity, meant):
    assert claims._among(sparsity, (stated_as, stated_as)) == meant


# ---- what is missing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed, verdict",
    [
        ({"method": "GA"}, "no runs of GA"),
        ({"method": ["GA", "IU"], "each": "method"}, "no runs of GA, IU"),
        ({"scenario": "random"}, "no runs that forget: random"),
        ({"smaller": {"pruner": "snip"}, "larger": {"pruner": "SynFlow"}}, "no runs on models pruned by synflow"),
        ({"larger": {"sparsity": [0.94, 0.96]}}, "no runs on models that are 94 % sparse to 96 % sparse"),
        ({"flags": {"l1_schedule": "growing"}}, "no runs with l1_schedule growing"),
        ({"score": "average gap"}, "no Retrain with the same seeds"),
    ],
)
def test_what_there_is_no_run_of_is_named(tmp_path, changed, verdict):
    [row] = judge(tmp_path, rising(0.1, 0.2, 0.3), {**SPARSER, **changed})
    assert (row["verdict"], row["pairs"], row["difference"]) == (f"not shown: {verdict}", "0", "-")


def test_sides_without_a_common_seed_or_partner_are_no_pair(tmp_path):
    [row] = judge(tmp_path, made([ft(0, 1, 0.2), ft(0.9, 2, 0.5)]), SPARSER)
    assert row["verdict"] == "not shown: no seed on both sides" and row["model"] == "90 % sparse minus dense"
    apart = made([ft(0, 1, 0.2), ft(0.9, 1, 0.5, kind="random", words="a tenth", forget=None)])
    [row] = judge(tmp_path, apart, SPARSER)
    assert row["verdict"] == "not shown: the sides differ in more than it says"


def test_original_and_retrain_take_part_only_where_they_are_named(tmp_path):
    runs = [ft(s, seed, 0.2 + s, "retrain", paper="Retrain") for s in (0, 0.9) for seed in (1, 2, 3)]
    every = {key: value for key, value in SPARSER.items() if key != "method"}
    rows = judge(tmp_path, made(runs), every, {**every, "method": "Retrain"})
    assert rows[0]["verdict"] == "not shown: no runs but of Original and Retrain" and rows[1]["difference"] == "+90.00"


def test_runs_of_one_training_speak_of_that_model_alone(tmp_path):
    runs = []
    for seed in (1, 2, 3):
        more = {
            "seeds": {"train": 5, "unlearn": seed, "eval": 0},
            "config": {"run": {"train_seed": 5, "split_seed": 5}},
        }
        runs += [ft(0, seed, 0.2, **more), ft(0.9, seed, 0.3 + seed / 100, **more)]
    section = claims.section(stated(tmp_path, SPARSER), made(runs), ())
    assert [row[1] for row in section.rows] == ["holds"] and section.rows[0][-1] == "3"
    said = "All runs begin with one training in digits-resnet20s-class-0: there a pair is a forget set"
    assert section.notes[1].startswith(said)
    assert len(claims.section(stated(tmp_path, SPARSER), rising(0.1, 0.2, 0.2), ()).notes) == 1


def test_runs_that_failed_are_no_side(tmp_path, capsys):
    failed = {key: value for key, value in ft(0.9, 1, 0.5).items() if key != "scores"}
    runs = write(tmp_path / "runs", [ft(0, 1, 0.2), failed | {"status": "failed", "reason": "NaN"}])
    stated(tmp_path, SPARSER)
    assert main_report.main([str(runs), "--no_plots", "--claims", str(tmp_path / "claims.yaml")]) == 0
    assert "not shown: no runs on models that are 90 % sparse" in capsys.readouterr().out


# ---- files -----------------------------------------------------------------------------------------

WRONG = {
    "a: 1": ": must be a list of claims, each a mapping with the keys claim, score, smaller",
    "[]": ": must be a list of claims",
    "- 3": ": claim 1: must be a mapping",
    "- {claim: a, scores: UA}": ": claim 1: scores: unknown key (did you mean score?)",
    "- {claim: a, smaller: {}, larger: {}}": ": claim 1: score is needed",
    "- {claim: [a], score: UA, smaller: {}, larger: {}}": ": claim 1: claim: must be a sentence on one line",
    "- {claim: a, score: UA, smaller: {method: FT}, larger: {arch: x}}": ": claim 1: larger: arch: unknown key",
    "- {claim: a, score: UA, smaller: 3, larger: {}}": ": claim 1: smaller: must be a mapping",
    "- {claim: a, score: gap, smaller: {method: FT}, larger: {}}": ": claim 1: score gap: unknown",
    "- {claim: a, score: UA, smaller: {}, larger: {}}": ": claim 1: smaller and larger: are the same runs",
    "- {claim: a, score: UA, smaller: {sparsity: 90}, larger: {}}": ": sparsity 90: must be a fraction in [0, 1]",
    "- {claim: a, score: UA, smaller: {density: [1, 0]}, larger: {}}": ": density [1, 0]: must be a fraction",
    "- {claim: a, score: UA, smaller: {density: 1, sparsity: 0}, larger: {}}": "sparsity and density: are one number",
    "- {claim: a, score: UA, smaller: {pruner: synflo}, larger: {}}": "pruner synflo: unknown (did you mean synflow?)",
    "- {claim: a, score: UA, smaller: {flags: lr}, larger: {}}": ": flags: must be a mapping",
    "- {claim: a, score: UA, smaller: {method: 3}, larger: {}}": ": method 3: must be a name or a list of names",
    "- {claim: a, score: UA, method: FT, smaller: {method: GA}, larger: {}}": "method is said of the whole claim too",
    "- {claim: a, score: UA, each: seed, smaller: {method: FT}, larger: {}}": ": each seed: unknown",
    '- {claim: "", score: UA, smaller: {method: FT}, larger: {}}': ": claim 1: claim: must be a sentence on one line",
    "- {claim: a, score: UA, smaller: {method: []}, larger: {}}": ": smaller: method []: must be a name or a list",
    '- {claim: a, score: UA, smaller: {method: " "}, larger: {}}': ": smaller: method : must be a name or a list",
    "- {claim: a, score: UA, scenario: [], smaller: {method: FT}, larger: {}}": ": scenario []: must be a name",
    "- {claim: a, score: UA, each: [], smaller: {method: FT}, larger: {}}": ": claim 1: each []: must be a name",
    "- {claim: a, score: UA, smaller: {flags: {}}, larger: {}}": ": flags: must be a mapping of flags",
    "- {claim: a, score: UA, smaller: {flags: {alpha: []}}, larger: {}}": ": flags: alpha: must be a value or a list",
    "- {claim: a, score: UA, smaller: {flags: {alpha: null}}, larger: {}}": ": flags: alpha: must be a value or a list",
    "- {claim: a, score: UA, smaller: {flags: {alpha: [1, null]}}, larger: {}}": ": flags: alpha: must be a value",
    "- {claim: a, score: UA, smaller: {flags: {l1_shedule: x}}, larger: {}}": (
        ": claim 1: flags l1_shedule: unknown (did you mean l1_schedule?)"
    ),
    "- {claim: a, score: UA, scenario: clas, smaller: {method: FT}, larger: {}}": (
        ": claim 1: scenario clas: unknown (did you mean class?); known: class, classes, part of a class"
    ),
    "- {claim: a, score: UA, smaller: {method: FTT}, larger: {}}": ": claim 1: method FTT: unknown (did you mean FT?)",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_one_line_before_anything_is_written(text, tmp_path, capsys):
    runs, path = write(tmp_path / "runs", [ft(0, 1, 0.2)]), tmp_path / "c.yaml"
    path.write_text(text)
    assert main_report.main([str(runs), "--claims", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"main_report.py: error: {path}: ") and WRONG[text] in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_flags_and_scenarios_that_only_a_run_has_are_known(tmp_path):
    own = ft(0, 1, 0.2, hyper={"my_flag": 1}, kind="my kind")
    write(tmp_path / "runs", [own])
    stated(tmp_path, {**SPARSER, "scenario": "my kind", "flags": {"my-flag": 1, "lora_rank": 4, "alpha": False}})
    assert main_report.main([str(tmp_path / "runs"), "--no_plots", "--claims", str(tmp_path / "claims.yaml")]) == 0


def test_pruners_are_those_of_the_project():
    assert set(row_names.PRUNERS) == {"OMP", "IMP", "random", *pruner.scores}


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match="nowhere.yaml: no such file"):
        claim_file.read("nowhere.yaml")


# ---- a real folder ---------------------------------------------------------------------------------


def test_the_papers_claims_on_real_runs_agree_with_the_page_on_them(tmp_path, capsys):
    words = ["--claims", str(ROOT / "experiments" / "claims.yaml"), "--out", str(tmp_path), "--no_plots"]
    assert main_report.main([str(SMALL), *words]) == 0
    assert "Claims of " in capsys.readouterr().out
    lines = list(csv.DictReader((tmp_path / "claims.csv").open()))
    sparser = {(line["method"], line["table"].split("-")[2]): line for line in lines if "Sparsity" in line["claim"]}
    for kind in ("class", "random"):
        [table] = SMALL.glob(f"*-{kind}-*-sparsity.md")
        for method in ("FT", "GA", "FF", "IU"):
            said = re.search(rf"\| {method} \| [^|]+ \| (\S+)±", table.read_text())[1]
            line = sparser[method, kind]
            assert f"{100 * float(line['difference']):+.2f}" == said and line["pairs"] == "3"
            assert float(line["low"]) < 0 < float(line["high"]) and line["verdict"].startswith("not shown")
    held = [line for line in lines if line["claim"].startswith("l1-sparse") and line["verdict"] == "holds"]
    assert [(line["method"], line["model"]) for line in held] == [("FT minus l1-sparse", "dense")] * 2
    assert sum("pruned by IMP" in line["verdict"] for line in lines) == 2
    shown = (tmp_path / "claims.md").read_text()
    assert shown.count("| holds |") == 2 and "the verdict, is not corrected for the number of lines" in shown
    page = " ".join((ROOT / "docs" / "reports.md").read_text().split())
    told = re.search(r"The p values are (\S+) and (\S+)\. Corrected for the \d+ lines tested, both are (\S+),", page)
    found = [f"{float(line[key]):.3f}" for key in ("p", "p_corrected") for line in held]
    assert [*told.groups(), told[3]] == found
    assert "l1-sparse is nearer to Retrain than FT on the dense model." in (tmp_path / "report.html").read_text()
    assert all(float(line["p_corrected"]) >= float(line["p"]) for line in lines if line["p"])


# ---- the picture over sparsity ---------------------------------------------------------------------


def test_scores_over_sparsity_with_bands_and_retrain():
    shares, runs = (0, 0.5, 0.75, 0.9, 0.95, 0.98), []
    for seed, off in ((1, -0.1), (2, 0.1)):
        for share in shares:
            runs.append(result("retrain", share, seed, (1.0, 0.9, 0.9, 0.8, 2.0), "Retrain"))
            for method, paper in (("FT", "FT"), ("FT_prune", "l1-sparse")):
                ua = 0.4 + share / 2 + off if method == "FT" else 0.9
                runs.append(result(method, share, seed, (ua, 0.9, 0.9 + off, 0.8, 1.0), paper))
    [table] = made(runs)
    [(name, models)] = overview.families(table).items()
    drawn = overview.against_sparsity(table, models, name)
    panels = {axis.get_title(): axis for axis in drawn.axes if axis.get_title()}
    assert list(panels) == [*METRICS, "average gap to Retrain, of each seed"]
    for axis in panels.values():
        assert [line.get_label() for line in axis.get_lines()] == ["Retrain", "FT", "l1-sparse"]
        assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "50", "75", "90", "95", "98"]
        assert len(axis.collections) == 3
    exact, tuned, _ = panels["UA"].get_lines()
    assert list(exact.get_ydata()) == [100] * 6
    assert list(tuned.get_ydata()) == pytest.approx([100 * (0.4 + share / 2) for share in shares])
    band = panels["UA"].collections[1].get_paths()[0].vertices
    assert {round(y, 6) for x, y in band if x == 0} == {30.0, 50.0}  # 40 ± 10 on the dense model
    # Each seed misses RA by 10 points, on either side: their gaps do not cancel.
    exact, tuned, sparse = panels["average gap to Retrain, of each seed"].get_lines()
    assert list(exact.get_ydata()) == [0] * 6 and list(sparse.get_ydata()) == pytest.approx([(10 + 10) / 4] * 6)
    assert list(tuned.get_ydata()) == pytest.approx([(60 - 50 * share + 10) / 4 for share in shares])


def test_differences_of_a_report_are_paired_by_key():
    assert paired.changes({1: 3.0, 2: 5.0}, {2: 1.0, 3: 1.0}) == {2: 4.0}
    assert paired.corrected([math.nan, 0.02, 0.01])[1:] == [0.02, 0.02] and paired.p_text(0.0004) == "<0.001"
