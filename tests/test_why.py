"""experiments/why_16px.py: rescaled models compute the same, the narrow network's weights are counted, the table."""

import json
from pathlib import Path

import pytest
import torch

import models
from experiments import why_16px
from pruner import Mask
from trainer import checkpoints
from utils import files
from utils.errors import UsageError


def stored(path: Path, seed: int, mask: Mask) -> torch.nn.Module:
    """A ResNet-18 with random weights and batch norm statistics, written as a checkpoint."""
    torch.manual_seed(seed)
    model = models.build("resnet18", 10).eval()
    for name, parameter in model.named_parameters():
        parameter.data *= mask.get(name, 1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    checkpoints.write({"state_dict": checkpoints.pack(model, mask), "epoch": 3}, path)
    return model


@pytest.mark.parametrize("direction", ["dense as sparse", "sparse as dense"])
def test_convolutions_get_the_norms_of_the_other_model_and_outputs_stay(tmp_path, direction):
    mask = {
        name: torch.rand(p.shape) < 0.1 for name, p in models.build("resnet18", 10).named_parameters() if p.dim() == 4
    }
    masks = ({}, mask) if direction == "dense as sparse" else (mask, {})
    model, other = (stored(tmp_path / f"{seed}.pt", seed, mask) for seed, mask in enumerate(masks))
    after = checkpoints.read(why_16px.rescale(tmp_path / "0.pt", tmp_path / "1.pt", tmp_path / "new/2.pt"), "--mask")

    assert after.extra["epoch"] == 3 and after.mask.keys() == masks[0].keys()
    for name, weights in other.named_parameters():
        if weights.dim() == 4:
            assert after.weights[name].norm() == pytest.approx(weights.norm().item(), rel=1e-5)
        else:
            assert torch.equal(after.weights[name], model.state_dict()[name])
    images = torch.rand(4, 3, 16, 16)
    before = model(images)
    model.load_state_dict(after.weights)
    torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-3)


def test_at_95_percent_the_narrow_network_keeps_what_the_wide_one_keeps_at_98():
    def convolutions(model: torch.nn.Module) -> int:
        return sum(p.numel() for p in model.parameters() if p.dim() == 4)

    wide = models.build("resnet18", 10)
    assert 0.05 * convolutions(why_16px.narrow(10)) == pytest.approx(0.02 * convolutions(wide), rel=0.03)


def test_the_table_compares_runs_with_retrain_of_the_same_model_and_seed(tmp_path, capsys):
    def line(model, method, seed, *four):
        return json.dumps(
            dict(zip(("model", "method", "seed", "UA", "MIA-Efficacy", "RA", "TA"), (model, method, seed, *four)))
        )

    path = tmp_path / "scores.jsonl"
    lines = [
        line("dense", "retrain", 1, 1, 1, 1, 0.4),
        line("dense", "retrain", 2, 1, 1, 1, 0.3),
        line("dense", "FT", 1, 0, 0.2, 1, 0.4),
        line("dense", "FT", 2, 0.5, 0.6, 1, 0.4),
        line("dense-norms-of-0.98", "FT", 2, 1, 1, 1, 0.5),
        line("narrow", "FT", 1, 1, 1, 1, 0.5),
    ]
    path.write_text("\n".join(lines) + "\n")
    assert why_16px.main(["--table", str(path)]) == 0
    shown, left_out = capsys.readouterr().out.split("\n\n")
    assert left_out.startswith(
        "left out, no run with its Retrain: FT on sparse-rate=0.95 (epochs), FT-10 on dense (epochs)"
    )
    assert shown.splitlines()[2:] == [
        "| epochs | dense | FT | 45.0, 25.0 | 35.0 | 25.0 | 40.0 | 100.0 | 40.0 |",
        "| norms | dense | FT | 45.0, 25.0 | 35.0 | 25.0 | 40.0 | 100.0 | 40.0 |",
        "| norms | dense-norms-of-0.98 | FT | 5.0 | 5.0 | 100.0 | 100.0 | 100.0 | 50.0 |",
        "| width | dense | FT | 45.0, 25.0 | 35.0 | 25.0 | 40.0 | 100.0 | 40.0 |",
    ]


def run(folder, kind, accuracy, checkpoint="a"):
    scores = {"UA": accuracy, "MIA-Efficacy": 1.0, "RA": 1.0, "TA": 0.5, "RTE": 1.0}
    content = {"script": "main_forget.py", "status": "done", "fingerprint": f"{folder}{checkpoint}", "method": "FT"}
    content |= {"paper_name": "FT", "compat": "fixed", "seed": 1, "scores": scores, "config": {"hyper": {}}}
    content |= {"scenario": {"kind": kind, "words": kind}, "model": {"dataset": "a", "arch": "b", "sparsity": 0}}
    folder.mkdir(parents=True)
    files.write_json(folder / "result.json", content | {"seal": files.seal(content)})


def test_only_runs_that_forget_the_class_count_and_two_of_one_seed_must_agree(tmp_path):
    run(tmp_path / "class" / "dense" / "FT", "class", 0.25)
    run(tmp_path / "random" / "dense" / "FT", "random", 0.75)
    run(tmp_path / "class" / "dense" / "SalUn", "class", 0.5)
    run(tmp_path / "again" / "dense" / "FT", "class", 0.25, "b")
    one = {"model": "dense", "method": "FT", "seed": 1, "UA": 0.25, "MIA-Efficacy": 1.0, "RA": 1.0, "TA": 0.5}
    assert why_16px.scores([tmp_path]) == [one]
    run(tmp_path / "other" / "dense" / "FT", "class", 0.5, "c")
    with pytest.raises(UsageError, match="another run of FT on dense with this seed has other scores"):
        why_16px.scores([tmp_path])


def test_the_table_in_results_is_that_of_its_scores(capsys):
    folder = Path(__file__).parent.parent / "results" / "why-16px"
    assert why_16px.main(["--table", str(folder / "scores.jsonl")]) == 0
    assert capsys.readouterr().out == (folder / "table.md").read_text()


@pytest.mark.parametrize("text", ["{}\n", "[1]\n", "no JSON\n", '{"model": "dense", "method": "FT", "seed": 1}\n'])
def test_a_file_that_holds_no_scores_is_one_line(text, tmp_path, capsys):
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    assert why_16px.main(["--table", str(path)]) == 2
    said = capsys.readouterr().err
    assert "holds no scores of this script" in said and said.count("\n") == 1


def test_without_the_models_of_the_sweeps_nothing_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert why_16px.main([]) == 2
    said = capsys.readouterr().err
    assert "main_sweep.py experiments/sparsity-16px.yaml" in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
