"""Sweeps: from a file to command lines, what is refused, what runs, what is skipped, what goes on; and the search."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from threading import Timer

import pytest
from conftest import ROOT
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import arg_parser
import main_report
import main_sweep
from report.runs import read
from sweep import executors, grid, search_block, slurm, spec, winners
from sweep.job import WAITING, Job, last_line
from sweep.objective import OBJECTIVES
from sweep.runner import TRIES, Runner, summary
from sweep.search_study import Study
from sweep.state import State
from sweep.trial import baseline
from unlearn import registry
from utils import lock
from utils.preempt import RESUMABLE

COMMON = "--dataset digits --input_size 8 --arch resnet20s"
FULL = """
    title: everything that a file can say
    folder: out
    seeds: [1, 2]
    flags: {dataset: digits, input_size: 8, arch: resnet20s}
    train:
      base: {script: main_imp.py, epochs: 3}
      omp: {script: main_imp.py, from: base/0, epochs: 3, pruning_times: 2, rate: [0.5, 0.9],
            random_prune: true, rewind_epoch: null}
    models: {dense: base, sparse: omp/1}
    scenarios: {class: "class:3", some: {forget: "random:0.1"}}
    methods:
      retrain:
      FT: {unlearn_lr: [0.1, 0.01]}
      IU: {unlearn: wfisher, alpha: 2}
    overrides:
      - {method: FT, scenario: class, flags: {unlearn_epochs: 4}}
      - {seed: 2, training: omp, flags: {epochs: 5}}
      - {method: IU, model: "*=0.9", flags: {alpha: 7}}
"""


def stated(folder, text, name="sweep.yaml"):
    """A file of this text; returns its path."""
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def made(folder, text):
    """The cells of a file, by name."""
    return {cell.name: cell for cell in grid.cells(spec.read(stated(folder, text)))}


def line(cell):
    return " ".join((cell.script, *cell.argv))


def called(capsys, *words):
    """Exit code, stdout and stderr of main_sweep.py."""
    code = main_sweep.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


# from a file to command lines


def test_a_grid_worked_out_by_hand(tmp_path):
    cells = made(tmp_path, FULL)
    assert len(cells) == 2 * (3 + 3 * 2 * 4)  # seeds * (trainings + models * scenarios * methods)
    by_hand = {
        "seed1/base": (f"main_imp.py {COMMON} --epochs 3 --seed 1 --train_seed 1 --save_dir out/seed1/base", ()),
        "seed2/omp-rate=0.9": (
            f"main_imp.py {COMMON} --epochs 5 --pruning_times 2 --rate 0.9 --random_prune --seed 2 "
            "--train_seed 2 --resume "
            "--checkpoint out/seed2/base/0checkpoint.pth.tar --save_dir out/seed2/omp-rate=0.9",
            ("seed2/base",),
        ),
        "seed1/class/dense/retrain": (
            f"main_forget.py --mask out/seed1/base/0model_SA_best.pth.tar --unlearn retrain {COMMON} "
            "--forget class:3 --seed 1 --train_seed 1 "
            "--save_dir out/seed1/class/dense/retrain",
            ("seed1/base",),
        ),
        "seed1/class/sparse-rate=0.5/FT-unlearn_lr=0.01": (
            f"main_forget.py --mask out/seed1/omp-rate=0.5/1model_SA_best.pth.tar --unlearn FT {COMMON} "
            "--forget class:3 --unlearn_lr 0.01 "
            "--unlearn_epochs 4 --seed 1 --train_seed 1 --save_dir out/seed1/class/sparse-rate=0.5/FT-unlearn_lr=0.01",
            ("seed1/omp-rate=0.5",),
        ),
        "seed2/some/sparse-rate=0.9/IU": (
            "main_forget.py --mask out/seed2/omp-rate=0.9/1model_SA_best.pth.tar --unlearn wfisher "
            f"{COMMON} --forget random:0.1 --alpha 7 --seed 2 "
            "--train_seed 2 --save_dir out/seed2/some/sparse-rate=0.9/IU",
            ("seed2/omp-rate=0.9",),
        ),
    }
    for name, (words, needs) in by_hand.items():
        assert (line(cells[name]), cells[name].needs) == (words, needs)
    epochs = {name: "--unlearn_epochs 4" in line(cell) for name, cell in cells.items() if "/FT-" in name}
    assert len(epochs) == 24 and all(given == ("/class/" in name) for name, given in epochs.items())
    assert {name for name, cell in cells.items() if "--alpha 7" in line(cell)} == {
        f"seed{seed}/{scenario}/sparse-rate=0.9/IU" for seed in (1, 2) for scenario in ("class", "some")
    }
    assert [name for name, cell in cells.items() if "--epochs 5" in line(cell)] == [
        "seed2/omp-rate=0.5",
        "seed2/omp-rate=0.9",
    ]


def test_every_cell_stands_behind_those_that_it_needs(tmp_path):
    cells = made(tmp_path, FULL)
    order = list(cells)
    assert all(order.index(need) < order.index(name) for name, cell in cells.items() for need in cell.needs)
    assert Counter(grid.stage(cell, cells) for cell in cells.values()) == {1: 2, 2: 4 + 16, 3: 32}


def test_every_run_is_compared_with_the_retrained_model_of_its_own_cell(tmp_path):
    cells = made(
        tmp_path,
        """
        folder: out
        seeds: [0, 1]
        flags: {dataset: digits, input_size: 8, arch: resnet20s}
        train: {base: {script: main_imp.py}}
        models: {dense: base}
        scenarios: {class: "class:0", some: "random:0.1"}
        reference_model: exact
        methods: {FT: , exact: {unlearn: naive}}
    """,
    )
    own = cells["seed1/some/dense/FT"]
    assert own.needs == ("seed1/base", "seed1/some/dense/exact") and list(cells).index("seed1/some/dense/exact") < list(
        cells
    ).index("seed1/some/dense/FT")
    assert "--reference_model out/seed1/some/dense/exact/retraincheckpoint.pth.tar" in line(own)
    (tmp_path / "without.yaml").write_text("extends: sweep.yaml\nreference_model: false\nmethods: {exact: false}\n")
    assert not any("--reference_model" in line(cell) for cell in grid.cells(spec.read(tmp_path / "without.yaml")))
    assert cells["seed1/some/dense/exact"].needs == ("seed1/base",) and "--reference_model" not in line(
        cells["seed1/some/dense/exact"]
    )


def test_a_model_can_be_that_of_the_last_epoch(tmp_path):
    text = WHOLE.replace("{m: a}", "{best: a/1, last: a/1/last, dense: a/last}")
    cells = grid.cells(spec.read(stated(tmp_path, text)))
    masks = {
        cell.facts["model"]: (cell.argv[1], cell.facts["round"], cell.needs)
        for cell in cells
        if cell.facts.get("method") == "FT"
    }
    assert masks == {
        "best": ("out/seed1/a/1model_SA_best.pth.tar", 1, ("seed1/a",)),
        "last": ("out/seed1/a/1checkpoint.pth.tar", 1, ("seed1/a",)),
        "dense": ("out/seed1/a/0checkpoint.pth.tar", 0, ("seed1/a",)),
    }


def test_settings_are_grids_of_their_own(tmp_path):
    cells = made(
        tmp_path,
        """
        folder: out
        seeds: [0]
        flags: {dataset: digits, input_size: 8}
        settings: {small: {arch: resnet20s}, large: {arch: resnet18}}
        train: {model: {script: main_imp.py}}
        models: {dense: model}
        scenarios: {class: "class:0"}
        methods: {FT: {}}
        overrides: [{setting: large, method: FT, flags: {unlearn_lr: 0.5}}]
    """,
    )
    assert list(cells) == [
        "small/seed0/model",
        "large/seed0/model",
        "small/seed0/class/dense/FT",
        "large/seed0/class/dense/FT",
    ]
    assert line(cells["large/seed0/class/dense/FT"]) == (
        "main_forget.py --mask out/large/seed0/model/0model_SA_best.pth.tar --unlearn FT --dataset digits "
        "--input_size 8 --arch resnet18 "
        "--forget class:0 --unlearn_lr 0.5 --seed 0 --train_seed 0 --save_dir out/large/seed0/class/dense/FT"
    )
    assert "--unlearn_lr" not in line(cells["small/seed0/class/dense/FT"])


def test_a_file_extends_another_and_drops_of_it(tmp_path):
    stated(tmp_path, FULL, "base.yaml")
    path = stated(
        tmp_path,
        """
        extends: base.yaml
        folder: other
        seeds: [7]
        flags: {batch_size: 64}
        train: {omp: false}
        models: {sparse: false}
        methods: {FT: false, IU: {alpha: 5}}
        overrides: []
    """,
    )
    cells = {cell.name: cell for cell in grid.cells(spec.read(path))}
    assert list(cells) == [
        "seed7/base",
        *(f"seed7/{scenario}/dense/{method}" for scenario in ("class", "some") for method in ("retrain", "IU")),
    ]
    assert line(cells["seed7/some/dense/IU"]) == (
        f"main_forget.py --mask other/seed7/base/0model_SA_best.pth.tar --unlearn wfisher {COMMON} "
        "--batch_size 64 --forget random:0.1 --alpha 5 "
        "--seed 7 --train_seed 7 --save_dir other/seed7/some/dense/IU"
    )
    assert spec.read(path).title == "everything that a file can say"
    assert grid.cells(spec.read(path, "elsewhere"))[0].argv[-1] == "elsewhere/seed7/base"


# what is refused

TRAIN = "train: {a: {script: main_imp.py}}"
HEAD = f"folder: out\nseeds: [1]\n{TRAIN}\n"
BOTH = (
    f"{HEAD}flags: {{dataset: digits, input_size: 8, arch: resnet20s}}\nmodels: {{m: a}}\nscenarios: {{c: 'class:0'}}\n"
)
WHOLE = BOTH + "methods: {retrain: {}, FT: {}}\n"
RANGED = "{unlearn_lr: {low: 1e-3, high: 1}}"
TUNED = WHOLE + f"optuna: {{method: FT, parameters: {RANGED}, trials: 2, %s}}\n"
BAD = [
    ("", ": is empty"),
    ("# nothing", ": must be a mapping with the keys extends, title, folder"),
    ("- a", ": must be a mapping with the keys"),
    ("a: [1", ": is no YAML of plain values (line 1)"),
    ("folder: a\nfolder: b", ": is no YAML of plain values (line 1): folder is given twice"),
    ("a: \x00", ": is no YAML of plain values"),
    (
        "train: !!python/object/apply:os.system ['touch hacked']",
        ": is no YAML of plain values (line 1): could not determine a constructor for the tag",
    ),
    (f"folder: out\n{TRAIN}", ": seeds is needed"),
    (f"seeds: [1]\n{TRAIN}", ": folder is needed"),
    ("folder: out\nseeds: [1]", ": train is needed"),
    (f"{HEAD}method: {{FT: {{}}}}", ": method: unknown key (did you mean methods?); known: extends, title"),
    (f"folder: 3\nseeds: [1]\n{TRAIN}", ": folder 3: must be text"),
    (f"{HEAD}paper: [a]", ": paper ['a']: must be text"),
    *[
        (f"folder: out\nseeds: {seeds}\n{TRAIN}", ": seeds: must be a list of different whole numbers from 0 up")
        for seeds in ("3", "[1, 1]", "[-1]", "[1.5]", "[true]", "[a]")
    ],
    (
        f"{HEAD}resources: {{cpu: 3}}",
        ": resources: cpu: unknown key (did you mean cpus?); known: gpus, cpus, time, cells_per_process, ",
    ),
    (f"{HEAD}resources: {{cpus: 0}}", ": resources: cpus 0: must be a whole number from 1 up"),
    (f"{HEAD}resources: {{gpus: true}}", ": resources: gpus True: must be a whole number from 0 up"),
    (f"{HEAD}resources: {{partition: 3}}", ": resources: partition 3: must be text"),
    (f"{HEAD}flags: [a]", ": flags: must be a mapping of names to values"),
    (
        f"{HEAD}flags: {{epochs: [1, 2]}}",
        (
            ": flags: epochs [1, 2]: must be a number, text, true or false; a list, for a grid, is for train "
            "and methods only"
        ),
    ),
    (f"{HEAD}flags: {{seed: 3}}", ": flags: seed: seeds say it"),
    (f"{HEAD}flags: {{mask: x}}", ": flags: mask: models say it"),
    (f"{HEAD}settings: {{s: digits}}", ": settings: s: must be a mapping of flags to values"),
    (
        "folder: out\nseeds: [1]\ntrain: {../a: {script: main_imp.py}}",
        ": train: ../a: must consist of letters, digits and _ . + -",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {..: {script: main_imp.py}}",
        ": train: ..: must consist of letters, digits and _ . + -",
    ),
    ("folder: out\nseeds: [1]\ntrain: {a: {epochs: 3}}", ": train: a: script is needed, main_imp.py for example"),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_impp.py}}",
        ": seed1/a: script main_impp.py: unknown (did you mean main_imp.py?)",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: [main_imp.py]}}",
        ": train: a: script ['main_imp.py']: must be a number, text, true or false",
    ),
    ("folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, save_dir: x}}", ": train: a: save_dir: folder says it"),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, epochs: {b: 3}}}",
        ": train: a: epochs {'b': 3}: must be a number, text, true or false, or a list of such",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, epochs: []}}",
        ": train: a: epochs []: must be a number",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, epochs: three}}",
        ": seed1/a: --epochs three: must be a whole number",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, epoch: 3}}",
        ": seed1/a: --epoch: unknown flag (did you mean --epochs?)",
    ),
    (
        "folder: out\nseeds: [1]\ntrain: {a: {script: main_imp.py, from: b}}",
        ": train: a: from: no training is called b",
    ),
    (
        f"{HEAD}models: {{m: b/0}}\nscenarios: {{c: 'class:0'}}\nmethods: {{FT: }}",
        ": models: m: no training is called b",
    ),
    (
        f"{HEAD}models: {{m: a/x}}\nscenarios: {{c: 'class:0'}}\nmethods: {{FT: }}",
        ": models: m: a/x: must be TRAINING/ROUND, a/1 for example",
    ),
    (f"{HEAD}models: {{m: a}}\nscenarios: {{c: 'class:0'}}", ": methods is needed beside models"),
    (
        f"{BOTH}reference_model: retrian\nmethods: {{retrain: , FT: }}",
        ": reference_model retrian: must be one of methods, and no grid (did you mean retrain?)",
    ),
    (
        f"{BOTH}reference_model: retrain\nmethods: {{retrain: {{unlearn_lr: [0.1, 0.2]}}, FT: }}",
        ": reference_model retrain: must be one of methods, and no grid",
    ),
    (
        f"{BOTH}reference_model: FT\nmethods: {{retrain: , FT: }}",
        ": reference_model FT: must be a method that trains anew, retrain for example",
    ),
    (
        f"{BOTH}methods: {{FT: {{reference_model: x}}}}",
        ": methods: FT: reference_model: reference_model of the file says it",
    ),
    (BOTH + "methods: {FT: fast}", ": methods: FT: must be a mapping of flags to values"),
    (BOTH + "methods: {FTT: {}}", ": seed1/c/m/FTT: --unlearn FTT: unknown (did you mean FT?)"),
    (BOTH + "methods: {FT: {alpha: 3}}", ": seed1/c/m/FT: --alpha: FT does not read it"),
    (f"{WHOLE}overrides: {{FT: {{}}}}", ": overrides: must be a list"),
    (f"{WHOLE}overrides: [null]", ": override 1: must be a mapping of flags and at least one of setting, training"),
    (f"{WHOLE}overrides: [{{flags: {{alpha: 1}}}}]", ": override 1: must be a mapping of flags and at least one of"),
    (f"{WHOLE}overrides: [{{metod: FT, seed: 1}}]", ": override 1: metod: unknown key (did you mean method?)"),
    (
        f"{WHOLE}overrides: [{{method: FTT, flags: {{unlearn_lr: 1}}}}]",
        ": override 1: matches no run (method FTT (did you mean FT?))",
    ),
    (
        f"{WHOLE}overrides: [{{method: FT, training: a}}]",
        ": override 1: names a training and what is unlearned; no command is both",
    ),
    ("extends: nowhere.yaml", "nowhere.yaml: no such file"),
    ("extends: sweep.yaml", ": extends: "),
    (f"{WHOLE}optuna: 3", ": optuna: must be a mapping with the keys method, parameters"),
    (TUNED % "trails: 3", ": optuna: trails: unknown key (did you mean trials?)"),
    (TUNED % "seeds: [a]", ": optuna: seeds: must be a list of different whole numbers from 0 up"),
    (TUNED % "models: m", ": optuna: models m: must be a list of names"),
    (TUNED % "models: [n]", ": optuna: models n: unknown"),
    (TUNED % "sampler: cma", ": optuna: sampler cma: unknown; known: tpe, random, grid, nsga3"),
    (TUNED % "spread: -1", ": optuna: spread -1: must be a number from 0 up"),
    (TUNED % "spread: .inf", ": optuna: spread inf: must be a number from 0 up"),
    (
        TUNED.replace(RANGED, f"{{FT: {RANGED}, GA: {RANGED}}}") % "seed: 1",
        ": optuna: parameters: GA: given by method, they must name each of FT, and nothing else",
    ),
    (
        TUNED.replace(RANGED, "{FT: {unlearn_lr: {low: 2, high: 1}}}") % "seed: 1",
        ": optuna: parameters: unlearn_lr: must have low and high",
    ),
    (TUNED % "sampler: grid", ": optuna: sampler grid: needs choices for every parameter"),
    (TUNED.replace("trials: 2", "trials: 0") % "seed: 1", ": optuna: trials is needed"),
    (TUNED.replace("low: 1e-3", "low: 2") % "seed: 1", ": optuna: parameters: unlearn_lr: must have low and high"),
    (TUNED.replace("unlearn_lr", "unlearn_rate") % "seed: 1", ": seed1/c/m/FT: --unlearn_rate: unknown flag"),
    (TUNED.replace("unlearn_lr", "alpha") % "seed: 1", ": seed1/c/m/FT: --alpha: FT does not read it"),
    (
        TUNED.replace("FT: {}", "FT: {unlearn_epochs: [1, 2]}") % "seed: 1",
        ": optuna: method: FT is a grid over unlearn_epochs",
    ),
    (TUNED.replace("retrain: {}, ", "") % "seed: 1", ": optuna: needs retrain among the methods"),
    (TUNED.replace("method: FT", "method: [FT, FTT]") % "seed: 1", ": optuna: method FTT: unknown (did you mean FT?)"),
    (
        TUNED.replace(RANGED, "3") % "seed: 1",
        ": optuna: parameters: must be a mapping of flags to ranges, or a list of flags",
    ),
    (
        TUNED.replace(RANGED, "{}") % "seed: 1",
        ": optuna: parameters: must be a mapping of flags to ranges, or a list of flags",
    ),
    (
        TUNED.replace(RANGED, "[unlearn_lr, unlearn_epocs]") % "seed: 1",
        ": optuna: parameters: unlearn_epocs: no method here states a range for it (did you mean unlearn_epochs?)",
    ),
    (
        TUNED.replace("FT: {}", "raw: {}").replace(f"method: FT, parameters: {RANGED}", "method: raw") % "seed: 1",
        ": optuna: parameters: raw states a range for no flag",
    ),
    (
        TUNED.replace("FT: {}", "FT: {}, fisher: {}")
        .replace("method: FT", "method: [FT, fisher]")
        .replace(RANGED, "[unlearn_lr]")
        % "seed: 1",
        ": optuna: parameters: fisher states a range for alpha; give ranges",
    ),
    *[
        (
            TUNED.replace(RANGED, f"{{unlearn_epochs: {{{ranged}}}}}") % "seed: 1",
            f": optuna: parameters: unlearn_epochs: {said}",
        )
        for ranged, said in (
            ("low: 1, high: .inf", "must have low and high"),
            ("low: 1.5, high: 2.9", "low 1.5, high 2.9: the flag takes whole numbers"),
            ("low: 0.1, high: 9, log: true", "low 0.1, high 9: the flag takes whole numbers"),
        )
    ],
]


@pytest.mark.parametrize("text, expected", BAD, ids=range(len(BAD)))
def test_a_bad_file_is_one_clear_line_before_any_work(tmp_path, monkeypatch, capsys, text, expected):
    monkeypatch.chdir(tmp_path)
    stated(tmp_path, text)
    code, out, err = called(capsys, "sweep.yaml")
    assert code == 2 and out == "" and err.startswith("main_sweep.py: error: ") and err.count("\n") == 1
    assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize(
    "words, expected",
    [
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        (["sweep.yaml", "--stage", "1"], "--stage: is read with --print only"),
        (["sweep.yaml", "--print", "--stage", "3"], "--stage 3: the last stage is 2"),
        (["sweep.yaml", "--executor", "pbs"], "--executor pbs: unknown; known: local, slurm"),
        (["sweep.yaml", "--time_limit", "0"], "--time_limit 0: must be more than 0"),
        (["sweep.yaml", "--max_concurrent", "0"], "--max_concurrent 0: must be at least 1"),
        (["sweep.yaml", "--gpus", "99"], "--gpus 99: this machine has "),
    ],
)
def test_bad_flags(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    stated(tmp_path, WHOLE)
    code, out, err = called(capsys, *words)
    assert code == 2 and out == "" and err.startswith(f"main_sweep.py: error: {expected}") and err.count("\n") == 1


def test_without_slurm_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = called(capsys, stated(tmp_path, WHOLE), "--folder", tmp_path / "runs", "--executor", "slurm")
    assert (
        code == 2
        and err
        == "main_sweep.py: error: --executor slurm: there is no sbatch on this machine; --executor local runs here\n"
    )


def test_it_can_be_asked_without_torch():
    for words in (["--help"], [str(ROOT / "experiments" / "table1.yaml"), "--print"]):
        code = (
            f"import sys, main_sweep\ntry:\n    main_sweep.main({words!r})\nexcept SystemExit:\n    "
            f"pass\nassert not {{'torch', 'submitit', 'optuna'}} & sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


# what it prints


def test_print_shows_the_command_lines_in_order_and_by_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    path = stated(tmp_path, FULL)
    code, out, _ = called(capsys, path, "--print")
    printed = out.splitlines()
    assert code == 0 and printed == [f"python {line(cell)}" for cell in made(tmp_path, FULL).values()]
    stages = [called(capsys, path, "--print", "--stage", number)[1].splitlines() for number in (1, 2, 3)]
    assert [len(lines) for lines in stages] == [2, 20, 32] and sum(stages, []) == printed
    monkeypatch.chdir(tmp_path)
    script = shlex.split(called(capsys, path, "--print")[1].splitlines()[0])[1]
    assert Path(script) == ROOT / "main_imp.py" and not (tmp_path / "out").exists()


def test_dry_run_says_what_would_run(tmp_path, capsys):
    path = stated(tmp_path, WHOLE)
    code, out, _ = called(capsys, path, "--folder", tmp_path / "runs", "--dry_run", "--gpus", "0", "--cpus", "2")
    assert code == 0 and out.splitlines()[:5] == [
        "runs     seed1/a",
        "runs     seed1/c/m/retrain  after seed1/a",
        "runs     seed1/c/m/FT  after seed1/a",
        "",
        "3 runs: 3 runs",
    ]
    assert "cpus=2" in out and not (tmp_path / "runs").exists()


EXPERIMENTS = sorted(path for path in (ROOT / "experiments").glob("*.yaml") if path.name != "claims.yaml")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=[path.stem for path in EXPERIMENTS])
def test_every_command_of_every_experiment_is_accepted_by_its_script(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if "population: {lira: {splits: 64" in path.read_text():  # of thousands of command lines some
        path = stated(tmp_path, f"extends: {path}\npopulation: {{lira: {{splits: [0, 63], forgets: [0, 9]}}}}")
    code, out, _ = called(capsys, path, "--print")
    assert code == 0 and out
    folders, lines = [], out.splitlines()
    for number, command in enumerate(lines):
        python, script, *words = shlex.split(command)
        assert python == "python" and (ROOT / script).is_file()
        folders.append(words[words.index("--save_dir") + 1])
        if number % max(1, len(lines) // 100) == 0:
            parsed = getattr(arg_parser, f"parse_{script.removeprefix('main_').removesuffix('.py')}")(words)
            assert parsed.run.save_dir == folders[-1]
    assert len(set(folders)) == len(folders) and len({Path(folder).parts[1] for folder in folders}) == 1


def test_small_and_whole_experiments_go_in_pairs_and_share_no_folder():
    names = {path.stem for path in EXPERIMENTS}
    assert names >= {"table1", "table1-reference", "table1-small", "table1-small-reference", "table1-search"}
    assert {f"{name}-small" for name in ("sparsity", "pruners", "l1-schedule", "others", "backdoor")} <= names
    folders = {path.stem: spec.read(path).folder for path in EXPERIMENTS}
    assert folders.pop("table1-search") == folders["table1"]  # all of it lies in search/ below
    assert folders.pop("demo-search") == folders["demo"]
    assert folders.pop("lora-small-sparse") == folders["lora-small"]  # the same models
    for name in ("sparsity-16px", "pruners-16px", "l1-schedule-16px"):
        assert folders.pop(name) == folders["table1-16px"]  # what the table has is not run again
    assert len(set(folders.values())) == len(folders)


# one job


@contextmanager
def owner(folder, name):
    """Another process that holds a lock, until it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    take = f"print(lock.take(Path({str(folder)!r}), {name!r}), flush=True); time.sleep(60)"
    words = [sys.executable, "-c", f"import time; from pathlib import Path; from utils import lock; {take}"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "None\n"
        yield process
        process.kill()


def job(folder, script, inputs=()):
    made = Job(["sh", "-c", script], folder, list(inputs), {"GIVEN": "this"})
    signal.signal(signal.SIGTERM, made.stop)
    return made


@pytest.fixture
def handlers():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "script, code, status, said",
    [
        ("echo one; echo $GIVEN; echo", 0, "done", "this"),
        ("echo trouble >&2; exit 3", 3, "failed", "trouble"),
        ("kill -9 $$", -9, "killed", ""),
    ],
)
def test_a_job_says_how_its_command_ended(tmp_path, handlers, script, code, status, said):
    assert job(tmp_path / "cell", script)() == code
    stored = json.loads((tmp_path / "cell" / "status.json").read_text())
    assert (stored["status"], stored["code"], stored["last_line"]) == (status, code, said)


def test_a_job_waits_for_its_model_and_starts_a_stopped_command_again(tmp_path, handlers):
    assert job(tmp_path / "cell", "exit 0", [tmp_path / "model"])() == WAITING and not (tmp_path / "cell").exists()
    (tmp_path / "model").touch()
    twice = f"echo start; [ -e {tmp_path}/once ] && exit 0; touch {tmp_path}/once; exit {RESUMABLE}"
    assert job(tmp_path / "cell", twice, [tmp_path / "model"])() == 0
    assert (tmp_path / "cell" / "output.txt").read_text() == "start\nstart\n"


def test_a_job_that_is_told_to_stop_passes_it_on_and_does_not_start_again(tmp_path, handlers):
    stopping = f"trap 'exit {RESUMABLE}' TERM; kill -TERM $PPID; for i in $(seq 100); do sleep 0.1; done"
    assert job(tmp_path / "cell", stopping)() == RESUMABLE
    assert json.loads((tmp_path / "cell" / "status.json").read_text())["status"] == "interrupted"


def test_a_job_that_is_told_to_stop_while_its_command_starts_passes_it_on(tmp_path, handlers, monkeypatch):
    class Started(subprocess.Popen):
        def __init__(self, *words, **more):
            super().__init__(*words, **more)
            os.kill(os.getpid(), signal.SIGTERM)  # before anyone holds the process

    monkeypatch.setattr("sweep.job.subprocess.Popen", Started)
    assert job(tmp_path / "cell", "exec sleep 30")() == RESUMABLE


def test_a_job_waits_until_another_that_runs_the_same_cell_is_killed(tmp_path, handlers):
    with owner(tmp_path / "cell", lock.CELL) as other:
        ran, before = tmp_path / "ran", []
        Timer(0.3, lambda: (before.append(ran.exists()), other.kill())).start()
        assert job(tmp_path / "cell", f"touch {ran}")() == 0
    assert before == [False] and ran.exists()


def test_the_last_line_that_says_anything(tmp_path):
    (tmp_path / "log").write_bytes(b"first\n" + b"x" * 5000 + b"\nlast \xff one\n\n   \n")
    assert last_line(tmp_path / "log") == "last \N{REPLACEMENT CHARACTER} one" and last_line(tmp_path / "none") == ""


def test_two_sweeps_keep_out_of_each_others_folder(tmp_path, capsys):
    with owner(tmp_path / "runs", lock.SWEEP) as other:
        code, _, err = called(capsys, stated(tmp_path, WHOLE), "--folder", tmp_path / "runs", "--gpus", "0")
        assert code == 1 and f"another main_sweep.py is at work there (process {other.pid} on " in err


# carrying a sweep through


class Told:
    """An executor whose cells end as they are told, one after the other."""

    words = "as told"

    def __init__(self, codes):
        self.codes, self.running, self.ran = codes, [], []

    def take(self, cells):
        self.running = list(islice(cells, 1))
        self.ran += [cell.name for cell in self.running]
        return self.running

    def ended(self):
        cells, self.running = self.running, []
        return [(cell, self.codes[cell.name].pop(0) if self.codes.get(cell.name) else 0) for cell in cells]

    def wait(self, seconds):
        pass

    def stop(self):
        pass


def carried(tmp_path, monkeypatch, codes):
    monkeypatch.setattr("sweep.runner.PAUSE", 0)
    read = spec.read(stated(tmp_path, WHOLE), str(tmp_path / "runs"))
    cells = grid.cells(read)
    state, executor = State(read, cells), Told(codes)
    runner = Runner(state, cells, executor)
    runner.run()
    text, code = summary(state, cells, runner.given_up)
    return executor.ran, text.splitlines(), code


MODEL, RETRAIN, FT = "seed1/a", "seed1/c/m/retrain", "seed1/c/m/FT"


@pytest.mark.parametrize(
    "codes, ran, code, lines",
    [
        ({}, [MODEL, RETRAIN, FT], 0, ["done     3 of 3", "failed   0", "missing  0"]),
        (
            {RETRAIN: [-9, None]},
            [MODEL, RETRAIN, RETRAIN, RETRAIN, FT],
            0,
            ["done     3 of 3", "failed   0", "missing  0"],
        ),
        ({RETRAIN: [-9] * 9}, [MODEL, *[RETRAIN] * TRIES, FT], 1, ["done     2 of 3", "failed   1"]),
        ({RETRAIN: [1]}, [MODEL, RETRAIN, FT], 1, ["done     2 of 3", "failed   1"]),
        ({MODEL: [2]}, [MODEL], 1, ["done     0 of 3", "failed   1"]),
        (
            {MODEL: [slurm.CANCELLED]},
            [MODEL],
            RESUMABLE,
            ["done     0 of 3", "failed   0", "missing  3", f"  {MODEL}  cancelled", f"  {RETRAIN}  waits for {MODEL}"],
        ),
        ({RETRAIN: [WAITING]}, [MODEL, RETRAIN, RETRAIN, FT], 0, ["done     3 of 3"]),
    ],
    ids=["well", "killed twice", "killed for ever", "fails", "model fails", "cancelled", "model comes late"],
)
def test_what_is_tried_again_and_what_is_given_up(tmp_path, monkeypatch, codes, ran, code, lines):
    found = carried(tmp_path, monkeypatch, codes)
    assert found[0] == ran and found[2] == code and found[1][: len(lines)] == lines


def test_what_waits_for_a_failed_model_is_named(tmp_path, monkeypatch):
    _, lines, _ = carried(tmp_path, monkeypatch, {MODEL: [2]})
    assert lines[3:] == ["missing  2", *(f"  {name}  waits for {MODEL}, which failed" for name in (RETRAIN, FT))]


TINY = """
    folder: {folder}
    seeds: [1]
    resources: {{gpus: 0}}
    flags: {{dataset: digits, input_size: 8, arch: resnet20s, batch_size: 256}}
    train:
      omp: {{script: main_imp.py, epochs: {epochs}, pruning_times: 2, rate: 0.8, rewind_epoch: 1}}
    models: {{sparse: omp/1}}
    scenarios: {{class: "class:0"}}
    methods:
      FT: {{unlearn_epochs: 1}}
      GA: {{unlearn_epochs: 1, unlearn_lr: 1e-4}}
    overrides:
      - {{method: GA, flags: {{forget: "class:0:{images}"}}}}
"""


@pytest.mark.torture
def test_a_sweep_is_stopped_goes_on_fails_in_one_cell_and_skips_the_rest(tmp_path, capsys, monkeypatch):
    """Real runs on this machine: a time limit while the model trains, a cell that cannot run, the same cell mended."""
    runs = tmp_path / "runs"
    path = stated(tmp_path, TINY.format(folder=runs, epochs=10, images=999))
    stop = Runner.open

    def at_first_epoch(self):  # the time is up as soon as there is something to go on from
        if (runs / "seed1" / "omp" / "0checkpoint.pth.tar").exists():
            self.deadline = 0
        return stop(self)

    monkeypatch.setattr(Runner, "open", at_first_epoch)
    code, out, _ = called(capsys, path, "--time_limit", "9")
    assert code == RESUMABLE and "the time is up" in out
    assert out.split("missing  3\n")[1].splitlines()[:2] == [
        "  seed1/omp  stopped; it goes on when called again",
        "  seed1/class/sparse/FT  waits for seed1/omp",
    ]
    monkeypatch.undo()
    log = runs / "seed1" / "omp" / "output.txt"
    assert log.read_text().splitlines()[-1].startswith("main_imp.py: stopped by SIGTERM")
    assert "goes on  seed1/omp" in called(capsys, path, "--dry_run")[1]

    code, out, _ = called(capsys, path)
    assert "going on from" in log.read_text() and log.read_text().count("epoch  1/10") <= 2  # at most one a round
    tail = out.split("done     2 of 3\n")[1].splitlines()
    assert code == 1 and tail[0] == "failed   1" and tail[2] == "missing  0"
    assert tail[1].startswith(
        "  seed1/class/sparse/GA  main_forget.py: error: --forget class:0:999: class 0 has 136 training images"
    )
    assert tail[1].endswith(f"(log: {runs / 'seed1/class/sparse/GA/output.txt'})")
    before = {file: file.stat().st_mtime_ns for file in runs.glob("seed1/**/result.json")}
    assert len(before) == 2

    stated(tmp_path, TINY.format(folder=runs, epochs=10, images=50))
    code, out, _ = called(capsys, path)
    assert (
        code == 0
        and "3 runs, 2 done" in out
        and "[3/3] done    seed1/class/sparse/GA" in out
        and out.count("] done") == 1
    )
    assert before == {file: file.stat().st_mtime_ns for file in before}

    command = next(line for line in called(capsys, path, "--print")[1].splitlines() if "--unlearn FT" in line)
    _, script, *words = shlex.split(command)
    module = importlib.import_module(Path(script).stem)
    assert module.main([*words[:-1], str(tmp_path / "by hand")]) == 0
    by_hand, swept = tmp_path / "by hand", runs / "seed1" / "class" / "sparse" / "FT"
    assert (by_hand / "FTcheckpoint.pth.tar").read_bytes() == (swept / "FTcheckpoint.pth.tar").read_bytes()
    capsys.readouterr()
    assert main_report.main([str(runs), "--no_plots"]) == 0
    assert "digits, resnet20s: forget all 136" in capsys.readouterr().out
    manifest = json.loads((runs / "sweep.sweep.json").read_text())
    assert [cell["name"] for cell in manifest["cells"]] == [
        "seed1/omp",
        *(f"seed1/class/sparse/{method}" for method in ("FT", "GA")),
    ]


# the search


class Here:
    """An executor that runs the scripts in this very process, one after the other."""

    description = "in this process"

    def __init__(self, state, resources):
        self.state, self.running, self.over = state, [], []

    def take(self, cells):
        ready = [cell for cell in cells if all(self.state.done(self.state.by_name[name]) for name in cell.needs)][:1]
        self.running = list(ready)
        self.over = [
            (cell, importlib.import_module(cell.script.removesuffix(".py")).main(list(cell.argv))) for cell in ready
        ]
        return ready

    def ended(self):
        over, self.over, self.running = self.over, [], []
        return over

    def wait(self, seconds):
        pass

    def stop(self):
        pass

    def close(self):
        pass


SEARCH = """
    folder: {folder}
    seeds: [1]
    flags: {{dataset: digits, input_size: 8, arch: resnet20s, batch_size: 256{more}}}
    train: {{dense: {{script: main_imp.py, epochs: 2}}}}
    models: {{dense: dense}}
    scenarios: {{class: "class:0"}}
    methods: {{retrain: {{unlearn_epochs: 1}}, FT: {{unlearn_epochs: 1, unlearn_lr: 0.3}}}}
    overrides: [{{method: FT, flags: {{unlearn_lr: 0.2, momentum: 0.5}}}}]
    optuna: {{method: FT, parameters: {{unlearn_lr: {wanted}}}, trials: {trials}, at_once: 2, seeds: [11, 12],
             sampler: {sampler}}}
"""


def search_text(folder, trials, wanted="{low: 1e-3, high: 1, log: true}", sampler="tpe", more=""):
    return SEARCH.format(folder=folder, trials=trials, wanted=wanted, sampler=sampler, more=more)


def test_a_search_goes_on_where_it_was_stopped_and_finds_the_least_gap(few, tmp_path, capsys, monkeypatch):
    optuna = pytest.importorskip("optuna")
    monkeypatch.setitem(executors.EXECUTORS, "local", Here)
    monkeypatch.setattr("sweep.runner.PAUSE", 0)
    runs, more = tmp_path / "runs", f", split: {few[1]}"
    path = stated(tmp_path, search_text(runs, 3, more=more))
    take, count = Here.take, Counter()

    def stopped(self, cells):
        """The process is gone after the third trial has run for one of its seeds."""
        started = take(self, cells)
        count["trials"] += sum("/trial" in cell.name for cell in started)
        if count["trials"] == 5:
            raise KeyboardInterrupt
        return started

    monkeypatch.setattr(Here, "take", stopped)
    assert called(capsys, path)[0] == 130
    monkeypatch.setattr(Here, "take", take)
    journal = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(runs / "search" / "journal.log"))
    )
    states = [
        trial.state.name for trial in optuna.load_study(study_name="dense-class-FT", storage=journal).get_trials()
    ]
    assert states == ["COMPLETE", "COMPLETE", "RUNNING"]
    before = {file: file.stat().st_mtime_ns for file in runs.glob("**/result.json")}
    assert len(before) == 2 + 2 + 5  # trainings, Retrain, trials; of each two seeds

    code, out, _ = called(capsys, path)
    assert code == 0
    assert before == {file: file.stat().st_mtime_ns for file in before}  # nothing ran twice
    trials = optuna.load_study(study_name="dense-class-FT", storage=journal).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3 and len(
        {trial.params["unlearn_lr"] for trial in trials}
    ) == 3
    assert all(1e-3 <= trial.params["unlearn_lr"] <= 1 for trial in trials)

    retrained = [read(runs / f"search/seed{seed}/class/dense/retrain/result.json")["scores"] for seed in (11, 12)]
    for trial in trials:  # the gap by hand
        ran = [read(runs / f"search/dense-class-FT/trial{trial.number:03}/seed{seed}/result.json") for seed in (11, 12)]
        assert all(
            one["config"]["hyper"]["unlearn_lr"] == trial.params["unlearn_lr"]
            and one["config"]["hyper"]["momentum"] == 0.5
            for one in ran
        )
        gaps = [
            abs(sum(one["scores"][name] for one in ran) - sum(one[name] for one in retrained)) / 2
            for name in ("UA", "RA", "TA", "MIA-Efficacy")
        ]
        assert trial.value == pytest.approx(sum(gaps) / 4, abs=1e-12)
    best = min(trials, key=lambda trial: trial.value)
    assert json.loads((runs / "search" / "best.json").read_text()) == {
        "dense-class-FT": {
            "model": "dense",
            "scenario": "class",
            "method": "FT",
            "values": best.params,
            "average_gap": best.value,
            "trial": best.number,
        }
    }
    assert out.splitlines()[-1] == f"for a table: extends: {runs / 'search' / 'winners.yaml'}"
    assert out.splitlines()[-3] == (
        f"  - {{model: dense, scenario: class, method: FT, flags: {{unlearn_lr: "
        f"{best.params['unlearn_lr']}}}}}  # average gap {100 * best.value:.2f} points"
    )
    assert (
        main_report.main([str(runs), "--no_plots"]) == 2 and "no finished result" in capsys.readouterr().err
    )  # all of it is in no table

    alone = json.loads((runs / "search" / "best.json").read_text())
    two = (
        search_text(runs, 1, more=more)
        .replace("method: FT,", "method: [FT, GA],")
        .replace("methods: {", "methods: {GA: {unlearn_epochs: 1}, ")
    )
    assert called(capsys, stated(tmp_path, two))[0] == 0  # FT has more trials than that already, GA gets its one
    both = json.loads((runs / "search" / "best.json").read_text())
    assert list(both) == ["dense-class-FT", "dense-class-GA"] and both["dense-class-FT"] == alone["dense-class-FT"]
    tried = sorted(
        path.relative_to(runs / "search" / "dense-class-GA").as_posix()
        for path in runs.glob("search/dense-class-GA/**/result.json")
    )
    assert tried == ["trial000/seed11/result.json", "trial000/seed12/result.json"]
    code, out, _ = called(capsys, stated(tmp_path, two), "--dry_run")
    assert code == 0 and [row.split()[1:5] for row in out.splitlines() if row.startswith("then")] == [
        ["1", "trials", "of", "FT"],
        ["1", "trials", "of", "GA"],
    ]

    code, _, err = called(capsys, stated(tmp_path, search_text(runs, 4, "{choices: [0.1, 0.2]}", more=more)))
    assert code == 2 and "this search was begun with other ranges" in err and err.count("\n") == 1


def test_a_search_of_several_methods_takes_the_ranges_that_they_state(tmp_path):
    text = WHOLE.replace("FT: {}", "FT: {unlearn_lr: 0.3}, SCRUB: {}, l1: {unlearn: FT_prune}, neggradplus: {}")
    path = stated(
        tmp_path,
        text
        + (
            "optuna: {method: [SCRUB, FT, l1, neggradplus, SCRUB], trials: 20, parameters: [alpha, unlearn_lr, "
            "unlearn_epochs, forget_batch_size]}\n"
        ),
    )
    scrub, ft, sparse, alias = search_block.read(spec.read(path))
    assert [scrub.method, ft.method, sparse.method, alias.method] == ["SCRUB", "FT", "l1", "neggradplus"]
    assert ft.parameters == {
        "unlearn_epochs": IntDistribution(1, 37),
        "unlearn_lr": FloatDistribution(1e-5, 1e-1, log=True),
    }
    assert sparse.parameters == {**ft.parameters, "alpha": FloatDistribution(1e-6, 1e-2, log=True)}
    assert scrub.parameters["forget_batch_size"] == CategoricalDistribution([64, 128, 256])
    assert alias.parameters["alpha"] == FloatDistribution(0.0, 1.0)


def test_a_search_of_several_methods_can_give_each_its_own_ranges(tmp_path):
    ranges = "{FT: {unlearn_lr: {choices: [0.1, 0.2]}}, l1: {alpha: {low: 1e-4, high: 1e-2, log: true}}}"
    text = WHOLE.replace("FT: {}", "FT: {}, l1: {unlearn: FT_prune}")
    ft, sparse = search_block.read(
        spec.read(stated(tmp_path, f"{text}optuna: {{method: [FT, l1], trials: 2, parameters: {ranges}}}\n"))
    )
    assert ft.parameters == {"unlearn_lr": CategoricalDistribution([0.1, 0.2])}
    assert sparse.parameters == {"alpha": FloatDistribution(1e-4, 1e-2, log=True)}


def test_the_spread_of_a_trial_over_its_seeds_is_added_to_its_gap_when_asked():
    exact, ours = (
        [{"scores": {"UA": part, "RA": 0.5, "TA": 0.5, "MIA-Efficacy": part}} for part in side]
        for side in ((1.0, 1.0), (0.6, 0.2))
    )
    gap = OBJECTIVES.get("gap").values
    assert gap(ours, exact, 0.5) == (pytest.approx(0.3 + 0.5 * 0.1),)  # the single seeds' gaps are 0.2 and 0.4
    assert gap(ours, exact, 0) == (pytest.approx(0.3),)


def test_a_grid_is_searched_to_its_end(tmp_path):
    optuna = pytest.importorskip("optuna")
    text = (
        TUNED.replace(RANGED, "{unlearn_lr: {choices: [0.1, 0.2, 0.4]}}").replace("trials: 2", "trials: 3")
        % "sampler: grid, at_once: 2, spread: 2"
    )
    wanted = spec.read(stated(tmp_path, text))
    [found] = search_block.read(wanted)
    study = Study(wanted, found, baseline(wanted, found)[1:], optuna.storages.InMemoryStorage())
    tried = []
    while batch := study.trials():
        for number, values in batch:
            tried.append(values["unlearn_lr"])
            study.tell(number, (values["unlearn_lr"],))
    assert sorted(tried) == [0.1, 0.2, 0.4]
    assert "avg. gap + 2 sd" in study.table().splitlines()[1]
    said, complete = winners.best(replace(wanted, folder=tmp_path), [study])
    assert complete and (said.splitlines()[1].endswith("flags: {unlearn_lr: 0.1}}  # average gap + 2 sd 10.00 points"))
    assert json.loads((tmp_path / "best.json").read_text())["m-c-FT"]["spread"] == 2


def test_whole_numbers_are_drawn_as_such_wherever_the_flag_is(tmp_path):
    optuna = pytest.importorskip("optuna")
    ranges = (
        "{unlearn-epochs: {low: 1, high: 9}, lora_rank: {low: 2, high: 16, log: true}, unlearn_lr: {low: 1, high: 9}}"
    )
    path = stated(
        tmp_path,
        WHOLE.replace("FT: {}", "FT: {lora: true}")
        + f"optuna: {{method: FT, trials: 20, at_once: 20, parameters: {ranges}}}\n",
    )
    wanted = spec.read(path)
    [found] = search_block.read(wanted)
    study = Study(wanted, found, baseline(wanted, found)[1:], optuna.storages.InMemoryStorage())
    values = [drawn for _, drawn in study.trials()]
    assert study.name == "m-c-FT" and len(values) == 20
    assert [{type(drawn[name]) for drawn in values} for name in ("unlearn-epochs", "lora_rank", "unlearn_lr")] == [
        {int},
        {int},
        {float},
    ]
    assert len({drawn["unlearn-epochs"] for drawn in values}) > 4 and all(
        2 <= drawn["lora_rank"] <= 16 for drawn in values
    )
    [cell] = study.cells(0, values[0])
    assert cell.argv[cell.argv.index("--unlearn-epochs") + 1] == str(values[0]["unlearn-epochs"])


def test_searches_of_one_name_are_refused_before_any_work(tmp_path, capsys):
    pytest.importorskip("optuna")
    text = WHOLE.replace("{c: 'class:0'}", "{c: 'class:0', c-x: 'class:1'}").replace(
        "FT: {}", "FT: {}, x-FT: {unlearn: FT}"
    )
    path = stated(
        tmp_path,
        text.replace("folder: out", f"folder: {tmp_path / 'out'}") + "optuna: {method: [FT, x-FT], trials: 1}\n",
    )
    code, _, err = called(capsys, path, "--gpus", "0")
    assert code == 2 and "two searches are called m-c-x-FT; give a model, scenario or method another label" in err


def test_the_range_that_any_method_states_is_one_that_it_takes(tmp_path):
    ranged = [
        name
        for name in registry.names()
        if any(field.metadata.get("search") for field in fields(registry.get(name).config))
    ]
    assert set(registry.names()) - set(ranged) == {"raw"}
    listed = ", ".join(f"{name}: {{}}" for name in ranged if name != "retrain")
    path = stated(
        tmp_path, f"{BOTH}methods: {{retrain: {{}}, {listed}}}\noptuna: {{method: [{', '.join(ranged)}], trials: 1}}\n"
    )
    found = search_block.read(spec.read(path))
    assert [each.method for each in found] == ranged and all(each.parameters for each in found)


def test_without_optuna_a_search_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = called(capsys, stated(tmp_path, search_text(tmp_path / "runs", 2)), "--gpus", "0")
    assert code == 2 and err == "main_sweep.py: error: optuna: is not installed; pip install optuna\n"
    assert not list(tmp_path.glob("runs/seed*"))


def test_a_reader_that_has_seen_enough_is_no_error():
    words = f"{sys.executable} main_sweep.py experiments/methods-small.yaml --print"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {words} | true"], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "" and done.returncode == 141
