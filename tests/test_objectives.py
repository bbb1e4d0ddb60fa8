"""The search of Deep Unlearn: its four objectives by hand, its sampler, and what becomes of its winners."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import optuna
import pytest
import yaml
from test_sweep import BOTH, SEARCH, Here, called, line, stated

from report.runs import read
from sweep import executors, grid, search, search_block, spec, winners
from sweep.objective import OBJECTIVES, norm
from sweep.search_study import Study
from sweep.trial import baseline, in_search_folder
from utils.errors import UsageError

FOUR = OBJECTIVES.get("deepunlearn")


def result(accuracy=(0.9, 0.5, 0.6), attack=0.5, method="FT", dataset="digits") -> dict:
    return {
        "method": method,
        "model": {"dataset": dataset},
        "accuracy": dict(zip(("retain", "forget", "val"), accuracy)),
        "deepunlearn": {"val": {"attack": attack}},
    }


def test_the_four_objectives_by_hand():
    exact = [result((1.0, 0.8, 0.5), 0.55)]
    found = FOUR.values([result((0.9, 0.5, 0.62), 0.35)], exact, 0)
    assert found == pytest.approx((0.1 / 3, 0.3 / 3, 0.12 / 3, 0.3))
    assert FOUR.values([result((1.0, 0.8, 0.5), 0.5)], exact, 0) == (0, 0, 0, 0)
    assert (
        FOUR.values([result((1.0, 0.8, 0.5), 1.0)], exact, 0)[3] == FOUR.values([result(attack=0.0)], exact, 0)[3] == 1
    )
    spoilt = FOUR.values([result((math.nan, 0.8, 0.5), 0.5)], exact, 0)
    assert spoilt == (math.inf, 0, 0, 0) and FOUR.failed == (math.inf,) * 4
    assert norm((3.0, 4.0)) == 5 and norm(None) == norm((math.nan, 1.0)) == norm(FOUR.failed) == math.inf


def test_what_a_method_trains_on_does_not_judge_it():
    run, exact = result((0.9, 0.5, 1.0), method="KDE"), [result((0.9, 0.8, 0.1))]
    del run["deepunlearn"]["val"]
    assert FOUR.values([run], exact, 0) == (0, pytest.approx(0.1), 0, 0)


def test_without_validation_images_it_says_so():
    for run, said in (
        (result(dataset="digits_no_val"), "needs validation images; leave no_val out"),
        (result(attack=None), "needs at least six validation and forget images to attack"),
    ):
        with pytest.raises(UsageError, match=f"^optuna: objective deepunlearn: {said}$"):
            FOUR.values([run], [result()], 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("trials: 1, objective: gab", "objective gab: unknown (did you mean gap?); known: gap, deepunlearn"),
        ("trials: 1, objective: deepunlern", "objective deepunlern: unknown (did you mean deepunlearn?)"),
        ("trials: 1, objective: deepunlearn, spread: 1", "spread: objective deepunlearn judges each seed on its own"),
        ("trials: 1, population: 10", "population: is for sampler nsga3 alone"),
        ("trials: 1, sampler: nsga3, population: 1", "population 1: must be a whole number from 2 up"),
        ("trials: 1, over: seed", "over seed: must be a list of names"),
        ("trials: 1, over: [sed]", "over sed: unknown"),
    ],
)
def test_what_a_file_cannot_ask_for(more, said, tmp_path):
    path = stated(tmp_path, BOTH + f"methods: {{retrain: {{}}, FT: {{}}}}\noptuna: {{method: FT, {more}}}\n")
    with pytest.raises(UsageError) as error:
        search_block.read(spec.read(path))
    assert f"{path}: optuna: {said}" in str(error.value)


GOALS = {"unlearn_lr": 0.7, "momentum": 0.2, "weight_decay": 0.5, "max_norm": 0.9}


def studies(tmp_path, more: str) -> tuple[spec.Spec, list[Study]]:
    """Studies of a file whose cells never run."""
    ranges = ", ".join(f"{name}: {{low: 1e-3, high: 0.99}}" for name in GOALS)
    methods = f"methods: {{retrain: {{}}, FT: {{}}}}\noptuna: {{method: FT, parameters: {{{ranges}}}, "
    wanted = spec.read(stated(tmp_path, BOTH + methods + more + "}\n"))
    wanted = replace(wanted, folder=tmp_path / "out")
    (tmp_path / "out" / "search").mkdir(parents=True)
    [found] = search_block.read(wanted)
    journal = optuna.storages.InMemoryStorage()
    exact = [cell for cell in baseline(wanted, found) if cell.facts["stage"] == "unlearn"]
    return wanted, [Study(wanted, replace(found, seeds=[cell.facts["seed"]]), [cell], journal) for cell in exact]


def test_a_grid_is_tried_once(tmp_path):
    ranges = "{unlearn_lr: {choices: [0.1, 0.2]}, momentum: {choices: [0, 0.5, 0.9]}}"
    for trials, expected in ((10, 6), (4, 4)):
        block = f"optuna: {{method: FT, sampler: grid, trials: {trials}, parameters: {ranges}}}\n"
        [found] = search_block.read(spec.read(stated(tmp_path, BOTH + "methods: {retrain: {}, FT: {}}\n" + block)))
        assert found.trials == expected


def test_seeds_are_searched_on_their_own_by_nsga3(tmp_path):
    _, found = studies(tmp_path, "objective: deepunlearn, trials: 130, at_once: 10, population: 20, seeds: [3, 4]")
    assert [study.name for study in found] == ["m-c-FT-deepunlearn-seed3", "m-c-FT-deepunlearn-seed4"]
    assert {study.group for study in found} == {"m-c-FT"}
    firsts = []
    for study in found:
        assert isinstance(study.study.sampler, optuna.samplers.NSGAIIISampler)
        apart = []
        while batch := study.trials():
            for number, drawn in batch:
                apart.append([abs(drawn[name] - goal) for name, goal in GOALS.items()])
                study.tell(number, apart[-1]) if number % 5 else study.fail(number)
        assert len(apart) == 130 and study.ranked()[-1].values == [math.inf] * 4
        early, late = (sum(map(sum, part)) for part in (apart[:20], apart[-20:]))
        assert late < 0.7 * early, "later generations are nearer"
        firsts.append(apart[0])
    assert firsts[0] != firsts[1], "each seed has a sampler of its own"
    assert found[0].table().splitlines()[1].split()[-2] == "norm"


def test_the_winner_is_the_nearest_over_all_seeds_and_a_file_extends_it(tmp_path):
    more = "objective: deepunlearn, trials: 2, at_once: 2, seeds: [3, 4]"
    wanted, found = studies(tmp_path, more)
    told = {3: [(0.3, 0.0, 0.0, 0.4), (0.1, 0.1, 0.1, 0.1)], 4: [(0.0, 0.0, 0.0, 0.15), None]}
    drawn = {}
    for study in found:
        for (number, values), judged in zip(study.trials(), told[study.search.seeds[0]]):
            drawn[study.search.seeds[0], number] = values
            study.fail(number) if judged is None else study.tell(number, judged)
    said, complete = winners.best(in_search_folder(wanted), found)
    best = drawn[4, 0]
    flags = ", ".join(f"{name}: {value}" for name, value in best.items())
    assert complete and said.splitlines()[1] == (
        f"  - {{model: m, scenario: c, method: FT, flags: {{{flags}}}}}  # norm 15.00 points"
    )
    folder = tmp_path / "out" / "search"
    stored = json.loads((folder / "best.json").read_text())["m-c-FT"]
    assert stored["values"] == best and (stored["seed"], stored["trial"]) == (4, 0)
    assert stored["norm"] == pytest.approx(0.15) and list(stored["objectives"]) == list(FOUR.parts)
    table = tmp_path / "table.yaml"
    table.write_text("extends: out/search/winners.yaml\nseeds: [7]\n")
    read_back = spec.read(table)
    assert read_back.optuna is None and read_back.seeds == [7]
    [cell] = [cell for cell in grid.cells(read_back) if cell.facts.get("method") == "FT"]
    assert f"--unlearn_lr {best['unlearn_lr']}" in line(cell)


def test_overrides_of_the_file_stay_and_the_winner_comes_last(tmp_path):
    wanted, [study, _] = studies(tmp_path, "objective: deepunlearn, trials: 1, seeds: [3, 4]")
    wanted = replace(wanted, overrides=[{"method": "FT", "flags": {"momentum": 0.5, "unlearn_lr": 9.0}}])
    [(number, values)] = study.trials()
    study.tell(number, (0, 0, 0, 0))
    winners.best(wanted, [study])
    content = yaml.safe_load((tmp_path / "out" / "winners.yaml").read_text())
    assert content["overrides"][0] == wanted.overrides[0] and content["overrides"][1]["flags"] == values


LEFT_OUT = [
    {"method": "FT", "flags": False},
    {"method": "FT", "scenario": "c", "flags": {"momentum": 0.5}},
    {"method": "FT", "seed": 3, "flags": False},
]


def test_a_search_runs_nothing_that_the_file_leaves_out(tmp_path):
    text = BOTH.replace("{c: 'class:0'}", "{c: 'class:0', d: 'class:1'}")
    text += "methods: {retrain: {}, FT: {}}\noptuna: {method: FT, parameters: {unlearn_lr: {low: 0.1, high: 1}}, "
    wanted = spec.read(stated(tmp_path, f"{text}trials: 1, seeds: [3, 4]}}\noverrides: {json.dumps(LEFT_OUT)}\n"))
    wanted = replace(wanted, folder=tmp_path / "out")
    wanted.folder.mkdir()
    [found] = search_block.read(wanted)
    [(_, retrained)] = search._studied(wanted, [found], baseline(wanted, found))
    assert [cell.name for cell in retrained] == ["seed4/c/m/retrain"]
    study = Study(wanted, found, retrained, optuna.storages.InMemoryStorage())
    [(number, values)] = study.trials()
    assert [cell.name for cell in study.cells(number, values)] == ["m-c-FT/trial000/seed4"]
    study.tell(number, (0.1,))
    winners.best(wanted, [study])
    table = tmp_path / "table.yaml"
    table.write_text("extends: out/winners.yaml\nseeds: [3, 4, 5]\n")
    tuned = [cell for cell in grid.cells(spec.read(table)) if cell.facts.get("method") == "FT"]
    assert [cell.name for cell in tuned] == ["seed4/c/m/FT", "seed5/c/m/FT"]
    assert all(f"--momentum 0.5 --unlearn_lr {values['unlearn_lr']}" in line(cell) for cell in tuned)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("{method: FT, flags: false}", "method: FT: overrides leave all of its runs out (flags: false)"),
        (
            "{method: retrain, seed: 4, flags: false}",
            "seed4/c/m/FT: is measured against Retrain, which overrides leave out there (flags: false)",
        ),
    ],
)
def test_a_search_of_what_is_left_out_is_refused(left_out, said, tmp_path):
    methods = f"methods: {{retrain: {{}}, FT: {{}}}}\noverrides: [{left_out}]\n"
    path = stated(tmp_path, f"{BOTH}{methods}optuna: {{method: FT, trials: 1, seeds: [3, 4]}}\n")
    with pytest.raises(UsageError) as error:
        search_block.read(spec.read(path))
    assert str(error.value) == f"{path}: optuna: {said}"


def test_settings_can_share_a_winner(tmp_path):
    """As the benchmark takes one over the splits of a population."""
    settings = "settings: {s0: {split: 'lira:0:0'}, s1: {split: 'lira:1:0'}}\n"
    methods = (
        "methods: {retrain: {}, FT: {}}\noptuna: {method: FT, trials: 1, objective: deepunlearn, over: [setting]}\n"
    )
    text = (BOTH + settings + methods).replace("{c: 'class:0'}", "{c: {}}")
    wanted = replace(spec.read(stated(tmp_path, text)), folder=tmp_path)
    [found] = search_block.read(wanted)
    exact = [cell for cell in baseline(wanted, found) if cell.facts["stage"] == "unlearn"]
    assert [cell.facts["setting"] for cell in exact] == ["s0", "s1"]
    journal = optuna.storages.InMemoryStorage()
    both = [Study(wanted, replace(found, seeds=[cell.facts["seed"]]), [cell], journal) for cell in exact]
    for study, value in zip(both, (0.2, 0.1)):
        [(number, _)] = study.trials()
        study.tell(number, (value, 0, 0, 0))
    said, complete = winners.best(wanted, both)
    assert complete and said.splitlines()[1].startswith("  - {model: m, scenario: c, method: FT, flags: ")
    assert len(said.splitlines()) == 2
    assert json.loads((tmp_path / "best.json").read_text())["m-c-FT"]["setting"] == "s1"


def test_a_group_without_a_finished_trial_has_no_winner(tmp_path):
    wanted, [study, _] = studies(tmp_path, "objective: deepunlearn, trials: 1, seeds: [3, 4]")
    study.fail(study.trials()[0][0])
    said, complete = winners.best(wanted, [study])
    assert not complete and said.splitlines()[1] == "  # m-c-FT: no trial succeeded"


def test_a_search_runs_trials_and_writes_what_the_benchmark_would(tmp_path, capsys, monkeypatch):
    """Real scripts on digits: two seeds with two trials each, one of which fails."""
    monkeypatch.setitem(executors.EXECUTORS, "local", Here)
    monkeypatch.setattr("sweep.runner.PAUSE", 0)
    runs = tmp_path / "runs"
    text = SEARCH.format(folder=runs, trials=2, wanted="{low: 1e-3, high: 0.5, log: true}", sampler="nsga3", more="")
    text = text.replace("trials:", "objective: deepunlearn, trials:")
    take = Here.take

    def failing(self, cells):
        cells = list(cells)
        if cells and cells[0].name == "dense-class-FT-deepunlearn-seed12/trial001/seed12":
            self.running, self.over = cells[:1], [(cells[0], 1)]
            return cells[:1]
        return take(self, cells)

    monkeypatch.setattr(Here, "take", failing)
    code, out, err = called(capsys, stated(tmp_path, text))
    assert code == 0, err
    stored = json.loads((runs / "search" / "best.json").read_text())["dense-class-FT"]
    journal = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(runs / "search" / "journal.log"))
    )
    norms = {}
    for seed in (11, 12):
        study = optuna.load_study(study_name=f"dense-class-FT-deepunlearn-seed{seed}", storage=journal)
        exact = read(runs / f"search/seed{seed}/class/dense/retrain/result.json")
        for trial in study.get_trials():
            assert trial.state.name == "COMPLETE"
            if (seed, trial.number) == (12, 1):
                assert trial.values == [math.inf] * 4
                continue
            ran = read(runs / f"search/{study.study_name}/trial{trial.number:03}/seed{seed}/result.json")
            assert ran["config"]["hyper"]["unlearn_lr"] == trial.params["unlearn_lr"]
            expected = [
                abs(ran["accuracy"][name] - exact["accuracy"][name]) / 3 for name in ("retain", "forget", "val")
            ]
            expected.append(abs(2 * ran["deepunlearn"]["val"]["attack"] - 1))
            assert trial.values == pytest.approx(expected, abs=1e-12)
            norms[sum(value**2 for value in expected) ** 0.5] = (seed, trial.number, trial.params)
    least = min(norms)
    assert (stored["seed"], stored["trial"], stored["values"]) == norms[least]
    assert stored["norm"] == pytest.approx(least)
    table = stated(tmp_path, f"extends: {runs / 'search' / 'winners.yaml'}\ntitle: table\nseeds: [1]\n", "table.yaml")
    code, printed, _ = called(capsys, table, "--print")
    assert code == 0 and f"--unlearn_lr {stored['values']['unlearn_lr']}" in printed
