"""Numbers that go wrong: the run stops with code 3 and one line, keeps its last good checkpoint, and tables show it
as failed.
"""

from __future__ import annotations

import json
import shutil
import textwrap

import pytest
import torch
from conftest import DIGITS
from torch import nn

import main_backdoor
import main_forget
import main_imp
import main_report
import main_sweep
import main_synflow
import main_transfer
from dataset.images import ImageSet
from evaluation.predict import accuracy_on, predict
from report.runs import read
from trainer import checkpoints
from trainer.loop import Training
from trainer.meter import EpochMeter
from trainer.recipe import Recipe
from trainer.task import accuracy
from unlearn import registry
from utils import finite
from utils.errors import DivergedError

TRAIN = [*DIGITS, "--epochs", "1", "--batch_size", "512"]


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert main_imp.main([*TRAIN, "--save_dir", str(folder)]) == 0
    return str(folder / "0model_SA_best.pth.tar")


def forget(mask, folder, *words):
    return main_forget.main([*DIGITS, "--mask", mask, "--batch_size", "64", "--save_dir", str(folder), *words])


# --- where it is noticed ---


class Line(nn.Module):
    """One weight; no step can make its loss but what the objective makes it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x.mean((2, 3)))


def images(count):
    return ImageSet(torch.zeros(count, 3, 2, 2, dtype=torch.uint8), torch.arange(count) % 2)


def broken_at(epoch, step, value):
    """An objective whose loss is ``value`` in one step, counted from 1."""
    seen = {}

    def objective(model, batch):
        seen[batch.epoch] = seen.get(batch.epoch, 0) + 1
        logits = model(batch.inputs)
        loss = nn.functional.cross_entropy(logits, batch.targets)
        broken = (batch.epoch + 1, seen[batch.epoch]) == (epoch, step)
        return (loss * value if broken else loss), accuracy(logits, batch.targets)

    return objective


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("prompt", [True, False], ids=["asked every step", "asked at the end, as on a GPU"])
def test_the_line_names_epoch_step_and_learning_rate(value, prompt, monkeypatch):
    asked = []
    if not prompt:
        original, number = EpochMeter.__init__, torch.Tensor.__float__

        def silent(self, device):
            original(self, device)
            self._prompt = False

        monkeypatch.setattr(EpochMeter, "__init__", silent)
        monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: asked.append(1) or number(tensor))
    training = Training(Line(), Recipe(3, 0.25, batch_size=4, milestones=(1,)), {})
    epochs = training.run(images(22), 1, broken_at(2, 3, value))
    assert next(epochs).epoch == 1
    with pytest.raises(
        DivergedError,
        match=(
            rf"^the loss became {value if prompt else '(nan|inf|-inf)'} in epoch 2, step 3, at learning rate "
            r"0\.025; try a smaller one$"
        ),
    ):
        next(epochs)
    assert training.epoch == 1 and not asked


def test_a_weight_that_overflows_in_the_last_step_is_noticed_before_it_is_stored():
    def steep(model, batch):
        return model.fc.bias.sum() * 1e30, {}

    training = Training(Line(), Recipe(1, 1e30, batch_size=8, weight_decay=0), {})
    with pytest.raises(DivergedError, match=r"^fc.bias became NaN or infinite in epoch 1 at learning rate 1e\+30"):
        next(training.run(images(8), 1, steep))
    assert training.epoch == 0


def test_what_the_optimiser_remembers_is_looked_at_too():
    def steep(model, batch):  # its square overflows, the step does not
        return model.fc.bias.sum() * 1e25, {}

    training = Training(Line(), Recipe(1, 1e-3, "adam", batch_size=8), {})
    with pytest.raises(DivergedError, match="^exp_avg_sq became NaN or infinite in epoch 1"):
        next(training.run(images(8), 1, steep))


def test_outputs_that_are_none_are_no_scores():
    model = Line()
    with torch.no_grad():
        model.fc.bias[1] = float("inf")
    with pytest.raises(DivergedError, match=r"the model's outputs are NaN or infinite for 5 of 5 images \(test\)"):
        predict(model, {"test": images(5)})
    with pytest.raises(DivergedError, match="for 5 of 5 validation images"):
        accuracy_on(model, images(5))
    with pytest.raises(DivergedError, match="for 5 of 5 forget images"):
        accuracy_on(model, images(5), name="forget")


def test_the_first_tensor_is_named_and_masks_may_hold_infinity():
    model = Line()
    model.register_buffer("attn_mask", torch.tensor([-float("inf")]))
    finite.check(finite.state(model), "now")
    finite.check([("count", torch.tensor(3))], "now")
    model.register_buffer("running_var", torch.tensor([float("inf")]))
    with pytest.raises(DivergedError, match="^running_var became NaN or infinite now$"):
        finite.check(finite.state(model), "now")


# --- whole runs ---


def test_ascent_at_an_absurd_step_size(mask, tmp_path, capsys):
    """Once in the first epoch, and once later, from where the same command fails again in the same way."""
    assert forget(mask, tmp_path / "first", "--unlearn", "GA", "--unlearn_lr", "1e30") == 3
    said = capsys.readouterr().err
    assert (
        said.startswith("main_forget.py: error: the loss became")
        and "in epoch 1, step" in said
        and "at learning rate 1e+30" in said
        and said.count("\n") == 1
    )
    assert not list((tmp_path / "first").glob("GA*"))
    folder, command = (
        tmp_path / "later",
        ("--unlearn", "GA", "--unlearn_lr", "0.3", "--unlearn_epochs", "60", "--warmup", "50"),
    )
    assert forget(mask, folder, *command) == 3
    first = capsys.readouterr().err
    kept = checkpoints.read_progress(folder / "GAprogress.pth.tar")
    assert 1 <= kept["epoch"] < 60 and f"in epoch {kept['epoch'] + 1}" in first
    assert all(bool(value.isfinite().all()) for value in kept["state_dict"].values())
    before = (folder / "GAprogress.pth.tar").read_bytes()
    assert forget(mask, folder, *command) == 3
    assert capsys.readouterr().err == first and (folder / "GAprogress.pth.tar").read_bytes() == before
    stored = json.loads((folder / "result.json").read_text())
    assert (
        stored["status"] == "failed"
        and stored["reason"] == first.removeprefix("main_forget.py: error: ").strip()
        and "scores" not in stored
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--unlearn", "FF", "--alpha", "1e38"), "became NaN or infinite by fisher_new"),
        (("--unlearn", "FF", "--alpha", "1e30"), "outputs are NaN or infinite"),
        (("--unlearn", "IU", "--alpha", "1e36"), "NaN or infinite"),
    ],
)
def test_one_step_at_an_absurd_length(few, few_run, tmp_path, capsys, words, expected):
    assert forget(str(few_run / "0model_SA_best.pth.tar"), tmp_path, *few, *words) == 3
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("script", [main_imp, main_synflow, main_backdoor], ids=lambda script: script.__name__)
def test_training_keeps_its_last_good_checkpoint(script, tmp_path, capsys):
    """The step size grows from epoch to epoch until the loss overflows; the same command then fails from there."""
    command = [
        *DIGITS,
        "--epochs",
        "20",
        "--batch_size",
        "512",
        "--lr",
        "1e4",
        "--warmup",
        "20",
        "--save_dir",
        str(tmp_path),
        *(["--steps", "5"] if script is main_synflow else []),
    ]
    assert script.main(command) == 3
    first = capsys.readouterr().err
    assert first.startswith(f"{script.__name__}.py: error: ") and " epoch " in first and "at learning rate" in first
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["status"] == "failed" and stored["script"] == f"{script.__name__}.py"
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.pth.tar")}
    for path in kept:
        checkpoints.read(path, "")
    assert script.main(command) == 3
    assert capsys.readouterr().err == first and {path: path.read_bytes() for path in tmp_path.glob("*.pth.tar")} == kept


def test_transfer_fails_in_one_point_and_says_so(mask, tmp_path, capsys):
    command = [
        *DIGITS,
        "--mask",
        mask,
        "--target_dataset",
        "digits",
        "--unlearn",
        "GA",
        "--unlearn_lr",
        "1e30",
        "--removed",
        "0,1",
        "--save_dir",
        str(tmp_path),
    ]
    assert main_transfer.main(command) == 3
    assert read(tmp_path / "removed_0" / "result.json")["status"] == "done"
    assert read(tmp_path / "removed_1" / "result.json")["status"] == "failed"


# --- tables and sweeps ---


def test_a_table_shows_what_failed(mask, tmp_path, capsys):
    runs = tmp_path / "runs"
    for seed in ("1", "2"):
        assert (
            forget(
                mask,
                runs / f"FT{seed}",
                "--unlearn",
                "FT",
                "--unlearn_epochs",
                "0",
                "--seed",
                seed,
                "--split_seed",
                "2",
            )
            == 0
        )
    assert forget(mask, runs / "GA", "--unlearn", "GA", "--unlearn_lr", "1e30", "--seed", "1", "--split_seed", "2") == 3
    capsys.readouterr()
    assert main_report.main([str(runs), "--no_plots"]) == 0
    said = capsys.readouterr().out
    [row] = [line for line in said.splitlines() if line.startswith("GA ")]
    assert row.split("failed (0 of 2 seeds)")[0].strip() == "GA" and row.count("failed (0 of 2 seeds)") == 4
    assert f"failed:\n{runs / 'GA'}: the loss became" in said
    page = (runs / "report.html").read_text()
    assert 'class="missing">failed (0 of 2 seeds)' in page and "Failed runs" in page
    assert ",GA,dense,UA,,,0,1,1," in next(runs.glob("*.csv")).read_text()
    assert (
        forget(
            mask,
            runs / "GA",
            "--unlearn",
            "GA",
            "--unlearn_lr",
            "1e-4",
            "--unlearn_epochs",
            "1",
            "--seed",
            "1",
            "--split_seed",
            "2",
        )
        == 0
    )
    capsys.readouterr()
    assert main_report.main([str(runs), "--no_plots"]) == 0
    said = capsys.readouterr().out  # what failed lies in earlier/ now
    assert (
        "failed:\n" not in said
        and "failed (" not in said
        and sum(line.startswith("GA ") for line in said.splitlines()) == 1
    )
    shutil.rmtree(runs / "FT1"), shutil.rmtree(runs / "FT2"), shutil.rmtree(runs / "GA")
    assert (
        forget(mask, runs / "alone", "--unlearn", "GA", "--unlearn_lr", "1e30", "--seed", "1", "--split_seed", "2") == 3
    )
    assert main_report.main([str(runs)]) == 0  # with nothing else to draw or to compare with
    assert "failed (0 of 1 seeds)" in capsys.readouterr().out


SWEEP = """
    folder: {folder}
    seeds: [1]
    flags: {{dataset: digits, input_size: 8, arch: resnet20s, device: cpu, batch_size: 512}}
    train: {{dense: {{script: main_imp.py, epochs: 1}}}}
    models: {{dense: dense}}
    scenarios: {{some: "random:0.1"}}
    methods: {{FT: {{unlearn_epochs: 1}}, GA: {{unlearn_lr: 1.0e+30}}}}
"""


@pytest.mark.torture
def test_a_sweep_goes_on_and_names_what_failed(tmp_path, capsys):
    file = tmp_path / "sweep.yaml"
    file.write_text(textwrap.dedent(SWEEP.format(folder=tmp_path / "runs")))
    assert main_sweep.main([str(file)]) == 1
    said = capsys.readouterr().out
    assert "done     2 of 3" in said and "failed   1\n" in said and "main_forget.py: error: the loss became" in said
    assert main_report.main([str(tmp_path / "runs"), "--no_plots"]) == 0
    said = capsys.readouterr().out
    [row] = [line for line in said.splitlines() if line.startswith("GA ")]
    assert row.count("failed (0 of 1 seeds)") == 4
    assert main_sweep.main([str(file)]) == 1 and "done     2 of 3" in capsys.readouterr().out


# --- every method ---


def absurd(config, value):
    """Step sizes and weights beyond sense, wherever its flags take them."""
    named = [
        (name, field.metadata)
        for name, field in config.__dataclass_fields__.items()
        if isinstance(field.default, float)
    ]
    return [
        word
        for name, bounds in named
        if bounds["high"] is None and bounds["below"] is None
        for word in (f"--{name}", value)
    ]


@pytest.mark.torture
@pytest.mark.parametrize("value", ["100", "1e8", "1e30"])
@pytest.mark.parametrize("name", registry.names())
def test_every_method_at_absurd_settings(mask, tmp_path, capsys, name, value):
    config = registry.get(name).config
    words = absurd(config, value) + (
        ["--unlearn_epochs", "2"] if "unlearn_epochs" in config.__dataclass_fields__ else []
    )
    code = forget(mask, tmp_path, "--unlearn", name, *words)
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if not line.startswith("warning: ")]
    assert code in (0, 2, 3) and len(errors) == (code > 0), said
    if code == 2:  # refused before any work, by the flag's name
        assert errors[0].startswith("main_forget.py: error: --") and not (tmp_path / "result.json").exists()
    if code == 0:
        assert json.loads((tmp_path / "result.json").read_text())["status"] == "done"
