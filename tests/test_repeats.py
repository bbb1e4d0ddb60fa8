"""Repeats of a sweep's grid: populations, seeds told apart and free axes, from a file to command lines."""

from __future__ import annotations

import textwrap
from collections import Counter

import pytest
from test_sweep import COMMON, line, made, stated

import main_sweep
from sweep import grid, spec

GRID = textwrap.dedent("""
    folder: out
    flags: {dataset: digits, input_size: 8, arch: resnet20s%s}
    train: {omp: {script: main_imp.py, epochs: 3, pruning_times: 2, rate: 0.9}}
    models: {dense: omp/0, sparse: omp/1}
    methods: {retrain: , FT: }
""")
SCENARIO = 'scenarios: {some: "random:0.1"}\n'


def cells_of(tmp_path, text, more="", flags=""):
    return made(tmp_path, f"{GRID.replace('%s', flags)}{text}\n{textwrap.dedent(more)}")


def words(cell, *flags):
    """The values of some flags of a cell's command line."""
    return tuple(cell.argv[cell.argv.index(f"--{flag}") + 1] if f"--{flag}" in cell.argv else None for flag in flags)


def test_a_population_of_splits_trains_once_for_all_forget_sets_of_a_split(tmp_path):
    cells = cells_of(tmp_path, "population: {lira: {splits: 2, forgets: 3}}")
    assert Counter(cell.facts["stage"] for cell in cells.values()) == {"train": 2, "unlearn": 2 * 3 * 2 * 2}
    training = cells["split1/omp"]
    assert line(training) == (
        f"main_imp.py --save_outputs {COMMON} --epochs 3 --pruning_times 2 --rate 0.9 --seed 1 --train_seed 1 "
        "--split lira:1:0 --save_dir out/split1/omp"
    )
    unlearning = cells["split1/forget2/lira/sparse/FT"]
    assert line(unlearning) == (
        f"main_forget.py --mask out/split1/omp/1model_SA_best.pth.tar --unlearn FT --save_outputs {COMMON} --seed 1 "
        "--train_seed 1 --split lira:1:2 --save_dir out/split1/forget2/lira/sparse/FT"
    )
    assert unlearning.needs == ("split1/omp",)
    facts = unlearning.facts
    assert (facts["split"], facts["forget"], facts["scenario"], facts["seed"]) == ("1", "2", "lira", 1)
    splits = {name: words(cell, "split")[0] for name, cell in cells.items()}
    assert all(split == f"lira:{name[5]}:{name[13] if 'forget' in name else 0}" for name, split in splits.items())


def test_what_the_authors_did_trains_once_for_each_forget_set(tmp_path):
    cells = cells_of(tmp_path, "population: {lira: {splits: [0, 5], forgets: [1, 2, 4]}}", flags=", compat: reference")
    trainings = {name: words(cell, "split") for name, cell in cells.items() if cell.facts["stage"] == "train"}
    pairs = [(split, forget) for split in (0, 5) for forget in (1, 2, 4)]
    assert trainings == {f"split{s}-forget{j}/omp": (f"lira:{s}:{j}",) for s, j in pairs}
    assert cells["split5-forget4/lira/dense/retrain"].needs == ("split5-forget4/omp",)
    assert words(cells["split5-forget4/lira/dense/retrain"], "split") == ("lira:5:4",)


def test_the_papers_population_has_64_trainings_and_640_forget_sets(tmp_path):
    cells = cells_of(tmp_path, "population: {lira: {}}").values()
    assert sum(cell.facts["stage"] == "train" for cell in cells) == 64
    pairs = {words(cell, "split") for cell in cells if cell.facts["stage"] == "unlearn"}
    assert len(pairs) == 640 and len(cells) == 64 + 640 * 4


def test_initialisations_share_split_forget_set_and_draws(tmp_path):
    cells = cells_of(tmp_path, "population: {inits: 3}\nseeds: [7]", SCENARIO)
    seeds = {name: words(cell, "seed", "train_seed", "init_seed", "split_seed") for name, cell in cells.items()}
    assert {name for name in seeds if name.endswith("omp")} == {f"seed7-init{number}/omp" for number in range(3)}
    assert all(found == ("7", "7", name[10], None) for name, found in seeds.items())
    assert cells["seed7-init2/some/dense/FT"].needs == ("seed7-init2/omp",)
    assert set(cells_of(tmp_path, "population: {inits: [4]}", SCENARIO)) >= {"init4/omp", "init4/some/dense/FT"}


def test_seeds_of_split_training_and_unlearning_are_axes_of_their_own(tmp_path):
    cells = cells_of(tmp_path, "seeds: {split: [1, 2], train: [3], unlearn: [5, 6, 7]}", SCENARIO)
    trainings = {name: words(cell, "seed", "train_seed") for name, cell in cells.items() if "omp" in name}
    assert trainings == {"split1-train3/omp": ("1", "3"), "split2-train3/omp": ("2", "3")}
    unlearned = cells["split2-train3/unlearn6/some/sparse/FT"]
    assert words(unlearned, "seed", "train_seed", "split_seed") == ("6", "3", "2")
    assert unlearned.needs == ("split2-train3/omp",) and unlearned.facts["seed"] == 6
    assert len(cells) == 2 + 2 * 3 * 2 * 2


def test_any_flag_is_an_axis_and_trainings_that_do_not_read_it_serve_all_values(tmp_path):
    cells = cells_of(tmp_path, "seeds: [1]\naxes: {unlearn_lr: [0.1, 0.01], weight_decay: [0, 0.001]}", SCENARIO)
    trainings = {name: words(cell, "weight_decay", "unlearn_lr") for name, cell in cells.items() if "omp" in name}
    assert trainings == {"seed1-weight_decay=0/omp": ("0", None), "seed1-weight_decay=0.001/omp": ("0.001", None)}
    unlearned = cells["seed1-weight_decay=0.001/unlearn_lr=0.01/some/dense/FT"]
    assert words(unlearned, "weight_decay", "unlearn_lr") == ("0.001", "0.01")
    assert len(cells) == 2 + 2 * 2 * 2 * 2


def test_overrides_name_the_axes(tmp_path):
    more = """
    overrides:
      - {split: 1, method: FT, flags: {unlearn_lr: 0.5}}
      - {forget: [0, 2], method: FT, flags: {unlearn_epochs: 2}}
    """
    cells = cells_of(tmp_path, "population: {lira: {splits: 2, forgets: 3}}", more)
    found = {
        name[5] + name[13]: words(cell, "unlearn_lr", "unlearn_epochs") for name, cell in cells.items() if "/FT" in name
    }
    assert found == {f"{s}{j}": ("0.5" if s else None, None if j == 1 else "2") for s in (0, 1) for j in (0, 1, 2)}


LIRA = "population: {lira: {splits: 2, forgets: 2}}"
BAD = [
    ("", ": seeds is needed"),
    ("seeds: {}", ": seeds: must be a list, or a mapping with some of the keys split, train, forget, unlearn, eval"),
    ("seeds: {splits: [1]}", ": seeds: splits: unknown key (did you mean split?)"),
    ("seeds: {train: 3}", ": seeds: train: seeds: must be a list of different whole numbers from 0 up"),
    ("population: 3", ": population: must be a mapping with inits or lira"),
    ("population: {init: 3}", ": population: init: unknown key (did you mean inits?)"),
    ("population: {inits: 0}", ": population: inits 0: must be a number from 1 up, or a list"),
    ("population: {inits: [1, 1]}", ": population: inits [1, 1]: must be a number from 1 up, or a list"),
    ("population: {lira: 64}", ": population: lira: must be a mapping: {splits: 64, forgets: 10}"),
    ("population: {lira: {splits: 65}}", ": population: lira: splits 65: must be a number from 1 to 64, or a list"),
    ("population: {lira: {forgets: [10]}}", ": population: lira: forgets [10]: must be a number from 1 to 10"),
    ("population: {lira: {forget: 3}}", ": population: lira: forget: unknown key (did you mean forgets?)"),
    (f"{LIRA}\n{SCENARIO}", ": scenarios: population: lira says what is forgotten"),
    (f"{LIRA}\nseeds: {{split: [1]}}", ": seeds: split: population: lira says how the data are divided"),
    (f"{LIRA}\naxes: {{compat: [fixed, reference]}}", ": compat: with population: lira it belongs into flags"),
    ("population: {inits: 2}\nseeds: {train: [1, 2]}", ": seeds: train and population: inits are the same axis"),
    ("seeds: [1]\naxes: 3", ": axes: must be a mapping of flags to lists of values"),
    ("seeds: [1]\naxes: {lr: 3}", ": axes: lr 3: must be a list of different numbers or texts"),
    ("seeds: [1]\naxes: {lr: [1, 1]}", ": axes: lr [1, 1]: must be a list of different numbers or texts"),
    ("seeds: [1]\naxes: {seed: [1]}", ": axes: seed: seeds say it"),
    (f"seeds: [1]\naxes: {{larning: [1]}}\n{SCENARIO}", ": axes: larning: no script of this sweep reads it"),
    (f"seeds: [1]\naxes: {{lr: [fast]}}\n{SCENARIO}", ": seed1-lr=fast/omp: --lr fast: must be a number"),
    (
        f"{LIRA}\noptuna: {{method: FT, trials: 1}}",
        ": optuna: a search takes seeds as a list, and neither population nor axes; give it a file of its own",
    ),
    (f"{LIRA}\noverrides: [{{split: 3, flags: {{lr: 1}}}}]", ": override 1: matches no run (split 3"),
    ("seeds: [1]\noverrides: [{forget: 1, flags: {lr: 1}}]", ": override 1: forget: unknown key"),
]


@pytest.mark.parametrize("text, expected", BAD, ids=range(len(BAD)))
def test_a_bad_file_is_one_clear_line(tmp_path, monkeypatch, capsys, text, expected):
    monkeypatch.chdir(tmp_path)
    stated(tmp_path, GRID.replace("%s", "") + text)
    assert main_sweep.main(["sweep.yaml"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and expected in said.err and said.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


def test_a_file_can_drop_a_population_that_it_extends(tmp_path):
    stated(tmp_path, GRID.replace("%s", "") + LIRA, "base.yaml")
    path = stated(tmp_path, f"extends: base.yaml\npopulation: false\nseeds: [1]\n{SCENARIO}")
    assert "seed1/some/dense/FT" in {cell.name for cell in grid.cells(spec.read(path))}
