"""What a command line says and nothing does: refused where another flag is evidently meant, else said first and
last.
"""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from conftest import DIGITS

import arg_parser
import main_backdoor
import main_forget
import main_imp
import main_saliency
import main_synflow
import main_transfer
from dataset.catalog import get
from dataset.locate import find_root
from trainer import messages
from trainer.training_flags import milestones
from unlearn import registry
from utils.errors import UsageError, say_last, script

SMALL = ["--dataset", "digits", "--arch", "resnet20s", "--device", "cpu"]
MEANT = [
    (
        main_forget,
        ["--mask", "m", "--unlearn", "FT", "--epochs", "3"],
        "--epochs 3: is not read by --unlearn FT; did you mean --unlearn_epochs 3? Give that one, or both",
    ),
    (
        main_forget,
        ["--unlearn", "retrain", "--lr", "0.2"],
        "--lr 0.2: is not read by --unlearn retrain; did you mean --unlearn_lr 0.2? Give that one, or both",
    ),
    (
        main_forget,
        ["--mask", "m", "--unlearn", "FT", "--epochs", "3", "--unlearn_epochs", "3", "--lr", "1"],
        "--lr 1: is not read by --unlearn FT; did you mean --unlearn_lr 1?",
    ),
    (
        main_forget,
        ["--unlearn", "retrain", "--checkpoint", "c"],
        "--checkpoint c: is not read by --unlearn retrain; did you mean --mask c?",
    ),
    (
        main_forget,
        ["--unlearn", "retrain", "--dataset", "cifar10", "--data_dir", "d"],
        "--data_dir d: is not read by --unlearn retrain; did you mean --data d?",
    ),
    (main_imp, ["--unlearn_epochs", "3"], "--unlearn_epochs 3: is not read by this script; did you mean --epochs 3?"),
    (main_synflow, ["--unlearn_lr", "3"], "--unlearn_lr 3: is not read by this script; did you mean --lr 3?"),
    (main_imp, ["--mask", "m"], "--mask m: is not read by this script; did you mean --checkpoint m with --resume?"),
    (
        main_transfer,
        ["--mask", "m", "--target", "t", "--epochs", "3"],
        "--epochs 3: is not read by --unlearn FT_prune; did you mean --unlearn_epochs 3?",
    ),
    (
        main_transfer,
        ["--mask", "m", "--target", "t", "--probe", "full", "--lr", "3"],
        "--lr 3: is not read by --unlearn FT_prune; did you mean --unlearn_lr 3 or --probe_lr 3? Give one of them",
    ),
]
ACCEPTED = [  # both were typed, or there is nothing else to mean
    (
        arg_parser.parse_forget,
        "--mask m --unlearn FT --epochs 182 --unlearn_epochs 10 --lr 0.1 --unlearn_lr 0.01 --num_workers 8",
        ("--epochs", "--lr", "--num_workers"),
    ),
    (
        arg_parser.parse_forget,
        "--mask m --unlearn fisher_new --alpha 1e-8 --epochs 3 --lr 0.1 --unlearn_epochs 3",
        ("--epochs", "--lr", "--unlearn_epochs"),
    ),
    (arg_parser.parse_forget, "--mask m --unlearn wfisher --lr 0.1", ("--lr",)),
    (arg_parser.parse_forget, "--mask m --unlearn raw --epochs 3", ("--epochs",)),
    (
        arg_parser.parse_imp,
        "--epochs 3 --unlearn_epochs 2 --unlearn FT --class_to_replace 0",
        ("--unlearn_epochs", "--unlearn", "--class_to_replace"),
    ),
    (arg_parser.parse_synflow, "--rate 0.9 --rewind_epoch 8 --pruning_times 1", ("--rewind_epoch", "--pruning_times")),
    (arg_parser.parse_backdoor, "--epochs 3 --lr 0.1 --unlearn FT", ()),
    (arg_parser.parse_backdoor, "--mask m --unlearn fisher_new --unlearn_epochs 3", ("--unlearn_epochs",)),
    (arg_parser.parse_saliency, "--mask m --unlearn_epochs 1", ("--unlearn_epochs",)),
    (arg_parser.parse_forget, "--unlearn retrain --dataset TinyImagenet --data_dir d", ()),
]


@pytest.mark.parametrize(
    ("main", "words", "said"), MEANT, ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else ""
)
def test_a_flag_of_the_other_script_names_the_one_that_is_meant(main, words, said, tmp_path, capsys):
    assert main.main([*SMALL, "--save_dir", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert error.split(" error: ")[1].startswith(said) and error.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("parse", "words", "unread"), ACCEPTED)
def test_a_flag_that_nothing_can_be_meant_by_is_accepted_and_named(parse, words, unread):
    assert set(parse([*words.split(), "--save_dir", "x"]).unread) == set(unread)


def test_the_refusal_names_file_and_line(tmp_path):
    (tmp_path / "words.txt").write_text("--mask m --unlearn FT\n--epochs 3\n")
    with pytest.raises(UsageError, match=r"words\.txt, line 2: --epochs 3: is not read by --unlearn FT"):
        arg_parser.parse_forget([f"@{tmp_path / 'words.txt'}", "--save_dir", "x"])


def test_flags_of_training_beside_a_model_that_is_trained_already(omp_run, tmp_path, capsys):
    given = [
        *DIGITS,
        "--mask",
        str(omp_run / "1model_SA_best.pth.tar"),
        "--save_dir",
        str(tmp_path / "run"),
        "--unlearn",
        "FT",
        "--dry_run",
    ]
    assert main_backdoor.main([*given, "--epochs", "3"]) == 2
    said = (
        "--epochs 3: is not read by --unlearn FT, and the model of --mask is trained already; did you mean "
        "--unlearn_epochs 3?"
    )
    assert said in capsys.readouterr().err
    assert main_backdoor.main([*given, "--epochs", "3", "--unlearn_epochs", "1", "--rate", "0.5"]) == 0
    assert capsys.readouterr().err == "warning: not read: --epochs, --rate, as the model of --mask is trained already\n"


def test_what_is_not_read_is_said_first_and_last(omp_run, tmp_path, capsys):
    words = [
        *DIGITS,
        "--mask",
        str(omp_run / "1model_SA_best.pth.tar"),
        "--unlearn",
        "raw",
        "--epochs",
        "3",
        "--save_dir",
        str(tmp_path / "run"),
    ]
    for _ in range(2):  # the second run finds its result
        assert main_forget.main(words) == 0
        assert capsys.readouterr().err.splitlines()[-1] == "warning: not read: --epochs"
    both = io.StringIO()
    with contextlib.redirect_stdout(both), contextlib.redirect_stderr(both):
        assert main_forget.main([*words[:-1], str(tmp_path / "other")]) == 0
    lines = both.getvalue().splitlines()
    assert lines[-1] == "warning: not read: --epochs"
    assert any(line.startswith("  not read") and "--epochs" in line for line in lines[:12])


def test_warnings_come_when_all_went_well_and_only_for_their_own_script(capsys):
    @script
    def inner(argv):
        say_last(["of the inner"])
        return 0

    @script
    def outer(argv):
        say_last(["of the\nouter"])
        assert inner([]) == 0
        if argv:
            raise UsageError("wrong")
        return 0

    assert outer([]) == 0
    assert capsys.readouterr().err == "warning: of the inner\nwarning: of the outer\n"
    assert outer(["x"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: wrong")


def test_milestones_scale_with_the_epochs():
    assert {epochs: milestones(epochs) for epochs in (1, 2, 3, 4, 5, 10, 20, 24, 30, 182)} == {
        1: (91, 136),
        2: (1,),
        3: (1, 2),
        4: (2, 3),
        5: (2, 4),
        10: (5, 7),
        20: (10, 15),
        24: (12, 18),
        30: (15, 22),
        182: (91, 136),
    }
    for epochs in range(3, 182):
        first, second = milestones(epochs)
        assert (
            0 < first < second < epochs
            and abs(first - epochs * 91 / 182) <= 1
            and abs(second - epochs * 136 / 182) <= 1
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", (91, 136)),
        ("--epochs 137", (91, 136)),
        ("--epochs 136", (68, 102)),
        ("--epochs 10", (5, 7)),
        ("--epochs 10 --decreasing_lr 91,136", (91, 136)),
        ("--epochs 10 --compat reference", (91, 136)),
        ("--epochs 10 --schedule cosine", (91, 136)),
        ("--epochs 1", (91, 136)),
    ],
)
def test_training_scales_the_milestones_that_were_not_typed(words, expected):
    for parse in (arg_parser.parse_imp, arg_parser.parse_synflow, arg_parser.parse_backdoor):
        assert parse([*words.split(), "--save_dir", "x"]).train.decreasing_lr == expected
    words = words.replace("--epochs", "--unlearn_epochs")
    for method in ("retrain", "retrain_ls", "retrain_sam"):
        assert (
            arg_parser.parse_forget([*words.split(), "--unlearn", method, "--save_dir", "x"]).hyper.decreasing_lr
            == expected
        )
    fine = arg_parser.parse_forget([*words.split(), "--unlearn", "FT", "--mask", "m", "--save_dir", "x"]).hyper
    assert fine.decreasing_lr == (91, 136)  # fine-tuning keeps a constant step size, as the papers' code does


def test_a_probe_scales_them_too():
    words = ["--mask", "m", "--target", "t", "--probe", "full", "--schedule", "step", "--save_dir", "x"]
    found = arg_parser.parse_transfer(words)
    assert found.probe.decreasing_lr == (15, 22) and found.hyper.decreasing_lr == (91, 136)


def test_the_header_says_whether_the_step_size_falls():
    def said(*words):
        return messages.settings(arg_parser.parse_forget(["--mask", "m", "--save_dir", "x", *words]).hyper)

    assert "schedule constant (decreasing_lr 91,136 lies beyond the 10 epochs)  warmup" in said("--unlearn", "FT")
    assert "schedule step  decreasing_lr 5,30 (30 beyond the 10 epochs)" in said(
        "--unlearn", "FT", "--decreasing_lr", "5,30"
    )
    assert "schedule step  decreasing_lr 5,7  " in said("--unlearn", "retrain", "--unlearn_epochs", "10")
    assert "schedule cosine  warmup" in said("--unlearn", "FT", "--schedule", "cosine")
    rewound = said("--unlearn", "FT", "--rewind_pth", "p", "--rewind_epoch", "85", "--unlearn_epochs", "10")
    assert "decreasing_lr 91,136 (136 beyond the 10 epochs)" in rewound


@pytest.mark.parametrize(
    ("parse", "words", "said"),
    [
        (
            arg_parser.parse_imp,
            "--epochs 10 --decreasing_lr 5,10",
            ["--decreasing_lr 5,10: the step size does not fall after 10, as there are 10 epochs"],
        ),
        (
            arg_parser.parse_imp,
            "--epochs 10 --decreasing_lr 91,136",
            ["--decreasing_lr 91,136: the step size does not fall after 91,136, as there are 10 epochs"],
        ),
        (arg_parser.parse_imp, "--epochs 10", []),
        (arg_parser.parse_imp, "--epochs 10 --compat reference", []),
        (arg_parser.parse_imp, "--epochs 1", []),
        (
            arg_parser.parse_forget,
            "--mask m --unlearn FT --decreasing_lr 20",
            ["--decreasing_lr 20: the step size does not fall after 20, as there are 10 epochs"],
        ),
        (arg_parser.parse_forget, "--mask m --unlearn FT", []),
        (arg_parser.parse_forget, "--mask m --unlearn fisher_new", []),
        (arg_parser.parse_backdoor, "--epochs 20 --decreasing_lr 10,15", []),
    ],
)
def test_a_typed_milestone_that_is_never_reached_is_said(parse, words, said):
    assert parse([*words.split(), "--save_dir", "x"]).remarks() == said


@pytest.mark.parametrize("name", ["digits", "noisy_digits"])
def test_a_data_set_without_files_reads_no_folder_and_says_so(name, tmp_path, capsys):
    words = [
        "--dataset",
        f"{name}_no_val",
        "--data",
        str(tmp_path / "none"),
        "--arch",
        "resnet20s",
        "--epochs",
        "1",
        "--save_dir",
        "x",
    ]
    assert (
        arg_parser.parse_imp(words).unread == ("--data",)
        and arg_parser.parse_imp([*words[:2], *words[4:]]).unread == ()
    )
    assert main_imp.main([*words, "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert (
        f"read      {name}_no_val: 10 classes, 1,438 training images\n" in said
        and "lies beyond the single epoch)" in said
    )
    (tmp_path / "file").touch()
    assert find_root(get(name), tmp_path / "file") == tmp_path / "file"


def test_a_dry_run_says_in_words_what_would_be_done(omp_run, tmp_path, capsys):
    mask, folder = omp_run / "1model_SA_best.pth.tar", tmp_path / "run"
    words = [*DIGITS, "--mask", str(mask), "--unlearn", "FT", "--unlearn_epochs", "1", "--save_dir", str(folder)]

    def said(main, argv):
        assert main.main([*argv, "--dry_run"]) == 0
        title, *lines = capsys.readouterr().out.splitlines()
        return {"": title} | {line.split()[0]: " ".join(line.split()[1:]) for line in lines}

    told = said(main_forget, words)
    assert told[""] == "main_forget.py: FT, fine-tune on the retain set (nothing is done: --dry_run)"
    assert told["read"].startswith("digits: 10 classes, 1,298 training images, 140 more for validation")
    assert told["forget"] == "all 136 training images of class 0 (0) (10.5 % of 1,298)"
    assert told["model"].startswith(f"resnet20s, starts from the weights in {mask}, keeps ") and told[
        "method"
    ].startswith("1 epoch at step size 0.01: ")
    assert told["write"] == f"{folder} (new)" and not folder.exists()
    assert main_forget.main(words) == 0
    capsys.readouterr()
    before = sorted(folder.iterdir())
    assert said(main_forget, words)["write"] == f"{folder} (this run is done already: {folder / 'result.json'})"
    assert said(main_forget, [*words, "--unlearn_lr", "0.5"])["write"].startswith(
        f"{folder} (what another run left moves to earlier/: FTcheckpoint.pth.tar, "
    )
    (folder / "result.json").unlink()
    assert said(main_forget, words)["write"].startswith(
        f"{folder} (this run was begun and goes on: FTcheckpoint.pth.tar"
    )
    assert set(before) - set(folder.iterdir()) == {folder / "result.json"}
    training = said(main_imp, [*SMALL, "--epochs", "10", "--pruning_times", "2", "--save_dir", str(tmp_path / "imp")])
    assert training["training"].startswith(
        "10 epochs at step size 0.1, a tenth of it after epochs 5 and 7: "
    ) and training["pruning"].startswith("pruning_times 2")
    assert said(main_synflow, [*SMALL, "--save_dir", "x"])["pruning"].startswith(
        "score synflow  rate 0.95".replace("  ", " ")
    )
    assert said(main_saliency, [*DIGITS, "--mask", str(mask), "--save_dir", "x"])["write"] == "x (new)"
    backdoor = said(main_backdoor, [*SMALL, "--epochs", "4", "--save_dir", "x"])
    assert backdoor["poison"].startswith("130 training images drawn at random") and backdoor["training"].startswith(
        "4 epochs at step size 0.1, a tenth of it after epochs 2 and 3"
    )
    moved = said(
        main_transfer, [*DIGITS, "--mask", str(mask), "--target_dataset", "digits", "--removed", "1", "--save_dir", "x"]
    )
    assert moved["transfer"].startswith("to digits: 10 classes") and moved["remove"].startswith(
        "1 classes, in this order: "
    )


def test_json_is_what_decides_the_numbers(omp_run, capsys):
    words = [
        *DIGITS,
        "--mask",
        str(omp_run / "1model_SA_best.pth.tar"),
        "--unlearn",
        "FT",
        "--save_dir",
        "x",
        "--dry_run",
    ]
    for form in (["json"], []):
        assert main_forget.main([*words, *form]) == 0
        out = capsys.readouterr().out
        assert (json.loads(out)["hyper"]["unlearn_epochs"] == 10) if form else out.startswith("main_forget.py: FT")
    assert main_forget.main([*words, "xml"]) == 2
    assert "--dry_run xml: unknown; known: words, json" in capsys.readouterr().err


def test_the_command_in_the_folder_holds_the_words_of_the_file(omp_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text(
        f"\ufeffpython main_forget.py \\\r\n --mask {omp_run / '1model_SA_best.pth.tar'} \\\r\n --unlearn "
        "raw --save_dir 'a $b'\r\n"
    )
    assert main_forget.main(["@words.txt", *DIGITS]) == 0
    capsys.readouterr()
    (tmp_path / "words.txt").unlink()
    assert main_forget.main([f"@{tmp_path / 'a $b' / 'command.txt'}"]) == 0
    assert "done already" in capsys.readouterr().out


HELP = {main_forget: 45, main_backdoor: 45, main_transfer: 45, main_imp: 40, main_synflow: 40, main_saliency: 40}


@pytest.mark.parametrize("main", HELP, ids=lambda main: main.__name__)
def test_help_is_a_screen_with_a_line_for_each_method_and_help_all_the_rest(main, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def helped(*topic):
        with pytest.raises(SystemExit) as stopped:
            main.main(["--help", *topic])
        assert stopped.value.code == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        return out

    short, everything = helped(), helped("all")
    methods = [name for name in registry.names() if f"\n  {name} " in short]
    assert len(methods) in (0, len(registry.names()))
    assert len(short.splitlines()) <= HELP[main] + len(methods) and len(everything.splitlines()) > 2 * HELP[main]
    common = {line.split()[0] for line in short.splitlines() if line.startswith("  --")}
    shown = {line.split()[0] for line in everything.splitlines() if line.startswith("  --")}
    assert 12 <= len(common) <= 30 and common <= shown and "--help all shows every flag" in short
    assert {"--save_dir", "--dataset", "--dry_run"} <= common and "--deterministic" in shown - common


def test_every_methods_help_has_its_own_words(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    words = {
        "fisher_new": "scale of the noise variance (3e-08)",
        "FT_prune": "weight of the l1 penalty, at its largest (0.0001",
        "wfisher": "length of the step (1)",
        "SCRUB": "weight of the distillation on the retain set (0.5)",
    }

    def helped(*argv):
        with pytest.raises(SystemExit):
            main_forget.main(list(argv))
        return " ".join(capsys.readouterr().out.split())

    for name, own in words.items():
        for argv in (["--unlearn", name, "--help"], ["--help", name], ["--unlearn", name, "--help", "all"]):
            text = helped(*argv)
            assert own in text and not [other for other in words.values() if other != own and other in text]
    everything = helped("--help", "all")
    assert all(own in everything for own in words.values())
    assert "passes over the forget set" not in helped(
        "--help"
    ) and "passes over the data that the method trains on" in helped("--help")
    assert (
        main_forget.main(["--help", "FTT"]) == 2 and "--help FTT: unknown (did you mean FT?)" in capsys.readouterr().err
    )
    assert main_imp.main(["--help", "FT"]) == 2 and "--help FT: must be --help or --help all" in capsys.readouterr().err
