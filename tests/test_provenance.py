"""What a checkpoint knows need not be typed again; what is typed and differs is refused, in one line, before work."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import DIGITS, ROOT
from PIL import Image

import arg_parser
import main_backdoor
import main_forget
import main_imp
import main_saliency
import main_synflow
import main_transfer
import models
from report import comparison
from report.runs import Run
from trainer import checkpoints, inherited

CPU = ["--device", "cpu"]
STEPS = ["--steps", "2"]  # of SynFlow, which takes 100 by default


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Models at 8 pixels, of the default seed and of seed 5, each also pruned by SynFlow."""
    folder = tmp_path_factory.mktemp("provenance")
    for seed in ("2", "5"):
        for script, name, more in ((main_imp, "", []), (main_synflow, "synflow", STEPS)):
            words = [*DIGITS, "--epochs", "0", "--seed", seed, *more]
            assert script.main([*words, "--save_dir", str(folder / f"{name}seed{seed}")]) == 0
    return folder


def model(trained, seed=2, script=main_imp):
    folder = f"{'synflow' if script is main_synflow else ''}seed{seed}"
    return str(trained / folder / "0model_SA_best.pth.tar")


def planned(script, argv, capsys):
    """What ``--dry_run`` says that decides the numbers."""
    assert script.main([*CPU, *argv, "--save_dir", "never", "--dry_run", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(script, argv, capsys):
    assert script.main([*CPU, *argv, "--save_dir", "never"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err.split(": error: ")[1].strip()


SCRIPTS = {
    main_forget: ["--unlearn", "FT", "--mask", "M"],
    main_saliency: ["--mask", "M"],
    main_backdoor: ["--mask", "M", "--trigger_size", "2"],
    main_transfer: ["--target_dataset", "digits", "--mask", "M"],
    main_imp: ["--resume", "--checkpoint", "M"],
    main_synflow: ["--resume", "--checkpoint", "M", *STEPS],
}
TYPED = ["--arch", "resnet20s", "--dataset", "digits", "--input_size", "8", "--split_seed", "5"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("seed", ["5", "7"])
def test_typed_or_inherited_is_the_same_run(script, seed, trained, capsys):
    argv = [*(model(trained, 5, script) if word == "M" else word for word in SCRIPTS[script]), "--seed", seed]
    typed = (
        TYPED[:-2] if seed == "5" and script in (main_imp, main_synflow, main_backdoor) else TYPED
    )  # where a typed split stays typed
    short, whole = planned(script, argv, capsys), planned(script, [*argv, *typed], capsys)
    assert short == whole
    assert (
        short["model"]["arch"] == "resnet20s"
        and short["data"]["dataset"] == "digits"
        and short["data"]["input_size"] == 8
    )
    assert short["run"]["split_seed"] == (5 if seed == "7" else None)  # which is what --seed 5 means by itself


CONTRADICTIONS = [
    (
        ["--arch", "resnet18"],
        "--arch resnet18: {where} was made with arch resnet20s; leave --arch out, or give another file",
    ),
    (
        ["--dataset", "svhn"],
        "--dataset svhn: {where} was made with dataset digits; leave --dataset out, or give another file",
    ),
    (
        ["--input_size", "32"],
        "--input_size 32: {where} was made with input_size 8; leave --input_size out, or give another file",
    ),
    (["--imagenet_arch"], "--imagenet_arch: {where} was trained without it; leave --imagenet_arch out"),
    (["--stream"], "--stream: {where} was trained without it; leave --stream out"),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.parametrize(
    ("more", "message"), CONTRADICTIONS, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_what_is_typed_and_differs_is_refused(script, more, message, trained, capsys):
    file = model(trained, script=script)
    argv = [file if word == "M" else word for word in SCRIPTS[script]]
    where = f"{'--checkpoint' if '--checkpoint' in argv else '--mask'} {file}"
    assert refusal(script, [*argv, *more], capsys) == message.format(where=where)


def test_a_training_does_not_go_on_with_other_images(trained, capsys):
    argv = ["--resume", "--checkpoint", model(trained), "--split_seed", "3"]
    assert refusal(main_imp, argv, capsys).startswith(
        f"--split_seed 3: --checkpoint {model(trained)} was made with split_seed 2; leave --split_seed out"
    )


def test_the_whole_way_without_a_word_of_the_model(trained, tmp_path, capsys):
    """Unlearn, then score what came of it: another seed draws other images from the same split."""
    tenth = ["--seed", "3", "--forget", "random:0.1"]
    first = ["--mask", model(trained), "--unlearn", "FT", "--unlearn_epochs", "0", "--save_dir", str(tmp_path / "FT")]
    assert main_forget.main([*CPU, *tenth, *first]) == 0
    said = capsys.readouterr().out
    assert (
        f"inherited  arch resnet20s, dataset digits, input_size 8, split_seed 2: from --mask {model(trained)}" in said
    )
    after = tmp_path / "FT" / "FTcheckpoint.pth.tar"
    stored = torch.load(after)
    assert stored["origin"] == torch.load(model(trained))["origin"] and stored["split_seed"] == 2
    assert stored["origin"] == {
        "arch": "resnet20s",
        "imagenet_arch": False,
        "dataset": "digits",
        "input_size": 8,
        "stream": False,
        "split_seed": 2,
        "train_seed": 1,
        "mean": None,
        "std": None,
        "compat": "fixed",
        "side": 8,
        "classes": list("0123456789"),
        "folder": None,
        "superclasses": None,
    }
    again = ["--mask", str(after), "--unlearn", "raw", "--save_dir", str(tmp_path / "raw")]
    assert main_forget.main([*CPU, *tenth, *again]) == 0
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("FT", "raw"))
    third = ["--mask", str(after), "--unlearn", "raw", "--forget", "random:0.1", "--save_dir", str(tmp_path / "third")]
    assert main_forget.main([*CPU, *third]) == 0
    three = json.loads((tmp_path / "third" / "result.json").read_text())
    assert (two["config"]["run"]["split_seed"], three["config"]["run"]["split_seed"]) == (2, None)
    [table] = comparison.tables([Run("", tmp_path, two), Run("", tmp_path, three)])  # one model, seeds 3 and 2
    assert table.key["split"] == "of seed 2"
    assert one["split"] == two["split"] and one["accuracy"] == two["accuracy"] and two["model"]["arch"] == "resnet20s"


def test_a_model_unlearned_by_transfer_can_be_given_on(trained, tmp_path, capsys):
    argv = "--target_dataset digits --removed 1 --unlearn FT --unlearn_epochs 0".split()
    argv += ["--mask", model(trained), "--save_dir", str(tmp_path)]
    assert main_transfer.main([*CPU, *argv]) == 0
    capsys.readouterr()
    for name in ("FTcheckpoint.pth.tar", "FTtarget.pth.tar"):
        found = planned(main_forget, ["--mask", str(tmp_path / "removed_1" / name), "--unlearn", "FT"], capsys)
        assert (found["model"]["arch"], found["data"]["input_size"]) == ("resnet20s", 8)


def test_older_files_of_ours_say_it_in_other_entries(trained, tmp_path, capsys):
    content = torch.load(model(trained, 5))
    del content["origin"]
    torch.save(
        {**content, "arch": "resnet20s", "dataset": "digits", "classes": 10, "compat": "fixed"}, tmp_path / "old.pt"
    )
    found = planned(main_forget, ["--mask", str(tmp_path / "old.pt"), "--unlearn", "FT", "--seed", "7"], capsys)
    assert (
        found["model"]["arch"] == "resnet20s" and found["data"]["input_size"] == 8 and found["run"]["split_seed"] == 5
    )
    assert refusal(
        main_forget, ["--mask", str(tmp_path / "old.pt"), "--unlearn", "FT", "--input_size", "16"], capsys
    ).startswith("--input_size 16: ")


def test_two_files_must_be_of_one_kind(trained, tmp_path, capsys):
    other = torch.load(model(trained))
    other["origin"]["input_size"] = other["origin"]["side"] = 16
    torch.save(other, tmp_path / "large.pt")
    argv = ["--unlearn", "FT", "--mask", model(trained), "--reference_model", str(tmp_path / "large.pt")]
    message = (
        f"--reference_model {tmp_path / 'large.pt'}: was made with input_size 16, --mask {model(trained)} with 8; "
        "give files of the same model and data"
    )
    assert refusal(main_forget, argv, capsys) == message


def test_only_a_retrained_model_is_retrain(trained, tmp_path, capsys):
    """The original, a later state of it, or another method's model would make every gap look small."""
    quick = [*DIGITS, "--mask", model(trained), "--unlearn_epochs", "0"]
    assert main_forget.main([*quick, "--unlearn", "GA", "--save_dir", str(tmp_path / "GA")]) == 0
    assert torch.load(tmp_path / "GA" / "GAcheckpoint.pth.tar")["unlearn"] == "GA"
    torch.save(torch.load(model(trained))["state_dict"], tmp_path / "bare.pt")
    wanted = "give the checkpoint of --unlearn retrain with this forget set\n"
    for mask, file, said in (
        (model(trained), model(trained), "was trained on the images to forget too"),
        (model(trained), str(trained / "seed2" / "0checkpoint.pth.tar"), "was trained on the images to forget too"),
        (str(tmp_path / "bare.pt"), str(tmp_path / "bare.pt"), "was trained on the images to forget too"),
        (model(trained), str(tmp_path / "GA" / "GAcheckpoint.pth.tar"), "was made by --unlearn GA, not trained anew"),
    ):
        argv = [
            *quick,
            "--mask",
            mask,
            "--unlearn",
            "FT",
            "--reference_model",
            file,
            "--save_dir",
            str(tmp_path / "FT"),
        ]
        capsys.readouterr()
        assert main_forget.main(argv) == 2
        assert capsys.readouterr().err.endswith(f"error: --reference_model {file}: {said}; {wanted}")


def test_the_images_own_size_is_no_other_size(tmp_path, capsys):
    """Without --input_size a model is of the images' own side; typing that side changes nothing, another is refused."""
    entry = {"arch": "resnet20s", "dataset": "digits", "input_size": None, "side": 32, "split_seed": 2}
    torch.save({"state_dict": models.build("resnet20s", 10).state_dict(), "origin": entry}, tmp_path / "x.pt")
    argv = ["--mask", str(tmp_path / "x.pt"), "--unlearn", "FT"]
    plain = planned(main_forget, argv, capsys)
    assert plain["data"]["input_size"] is None and planned(main_forget, [*argv, "--input_size", "32"], capsys) == plain
    assert "was made with input_size 32" in refusal(main_forget, [*argv, "--input_size", "8"], capsys)


def test_the_architecture_comes_before_what_follows_from_it(tmp_path, capsys):
    entry = {"arch": "vit_tiny", "dataset": "digits", "input_size": 8}
    torch.save({"state_dict": models.build("vit_tiny", 10, size=8).state_dict(), "origin": entry}, tmp_path / "x.pt")
    found = planned(main_forget, ["--mask", str(tmp_path / "x.pt"), "--unlearn", "FT"], capsys)
    assert found["hyper"]["optimizer"] == "adamw" and found["hyper"]["schedule"] == "cosine"
    torch.save(models.build("vit_tiny", 10, size=8).state_dict(), tmp_path / "bare.pt")
    found = planned(
        main_forget, ["--mask", str(tmp_path / "bare.pt"), "--unlearn", "FT", "--dataset", "digits"], capsys
    )
    assert (
        found["model"]["arch"] == "vit_tiny"
        and found["data"]["input_size"] == 8
        and found["hyper"]["optimizer"] == "adamw"
    )


def test_swin_does_not_change_what_it_does_to_its_input(tmp_path, capsys):
    entry = {"arch": "swin_t", "dataset": "digits", "input_size": 32, "compat": "reference"}
    torch.save({"state_dict": models.build("swin_t", 10).state_dict(), "origin": entry}, tmp_path / "x.pt")
    argv = ["--mask", str(tmp_path / "x.pt"), "--unlearn", "FT"]
    assert planned(main_forget, argv, capsys)["run"]["compat"] == "reference"
    assert "--compat fixed" in refusal(main_forget, [*argv, "--compat", "fixed"], capsys)


def tree(root, names):
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name in names:
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                    root / part / name / f"{index}.png"
                )
    return root


def test_another_order_of_class_folders_is_another_data_set(tmp_path, capsys, monkeypatch):
    pets, renamed = tree(tmp_path / "pets", ("cat", "dog")), tree(tmp_path / "renamed", ("dog", "zebra"))
    assert (
        main_imp.main(
            [
                *CPU,
                "--dataset",
                "folder",
                "--data",
                str(pets),
                "--arch",
                "resnet20s",
                "--epochs",
                "0",
                "--save_dir",
                str(tmp_path / "model"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    mask = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar"), "--unlearn", "raw"]
    assert planned(main_forget, [*mask, "--data", str(pets)], capsys)["data"]["dataset"] == "folder"
    message = (
        "was trained with class 0 = cat, in this data set class 0 is dog; "
        "give the data set that it was trained on, with the same class folders"
    )
    assert refusal(main_forget, [*mask, "--data", str(renamed)], capsys) == f"{mask[0]} {mask[1]}: {message}"
    monkeypatch.chdir(tmp_path)  # where there is no ./data
    message = (
        f"--data DIR is needed: --mask {mask[1]} was trained on a folder of images called pets, 2 classes (cat, dog)"
    )
    assert refusal(main_forget, mask, capsys) == message


def test_the_form_without_validation_is_inherited(tmp_path):
    entry = {"arch": "resnet20s", "dataset": "cifar10_no_val", "input_size": None, "side": 32, "split_seed": 2}
    torch.save({"state_dict": models.build("resnet20s", 10).state_dict(), "origin": entry}, tmp_path / "x.pt")
    argv = ["--mask", str(tmp_path / "x.pt"), "--unlearn", "FT", "--save_dir", "never"]
    assert arg_parser.parse_forget(argv).data.dataset == "cifar10_no_val"
    assert arg_parser.parse_forget([*argv, "--dataset", "CIFAR10-no-val"]).data.dataset == "cifar10_no_val"
    assert (
        arg_parser.parse_forget([*argv, "--dataset", "cifar10"]).data.dataset == "cifar10"
    )  # the split's digest says more
    with pytest.raises(
        arg_parser.UsageError, match="--dataset cifar100: .* was made with dataset cifar10_no_val; leave"
    ):
        arg_parser.parse_forget([*argv, "--dataset", "cifar100"])


def test_a_file_that_cannot_be_read_says_nothing(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"nothing")
    for path in (tmp_path / "x.pt", tmp_path, tmp_path / "nowhere", "\x00"):
        found = inherited.inherit({"mask": str(path)}, ("mask",), 2)
        assert found.flags == {"mask": str(path)} and found.notes == []


def test_planning_reads_no_files(trained):
    parsed = arg_parser.parse_forget(
        ["--mask", model(trained), "--unlearn", "FT", "--save_dir", "x", "--arch", "resnet18"], read_files=False
    )
    assert parsed.model.arch == "resnet18" and parsed.inherited == ()


def test_help_and_flags_need_no_torch(tmp_path):
    import subprocess
    import sys

    asks = "arg_parser.parse_forget(['--unlearn', 'retrain', '--save_dir', 'x'])"
    code = f"import sys, arg_parser; {asks}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_peek_reads_no_numbers(trained):
    seen = checkpoints.peek(trained / "seed2" / "0model_SA_best.pth.tar")
    assert (
        seen.shapes["fc.weight"] == (10, 64)
        and seen.extra["origin"]["arch"] == "resnet20s"
        and "optimizer" not in seen.extra
    )
