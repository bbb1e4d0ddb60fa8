"""TinyViT-11M and the stored initialisations of the Deep Unlearn benchmark."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from conftest import DIGITS
from torch import nn

import main_forget
import main_imp
import models
from dataset.images import ImageSet
from dataset.scenario import Scenario
from models import timm_models, tinyvit
from models.normalize import normalize_first
from report.comparison import seed_of
from unlearn import layers, registry
from unlearn.apply import apply
from unlearn.context import Context
from utils import seeds
from utils.errors import UsageError
from utils.log import Log

pytestmark = pytest.mark.numeric
timm = pytest.importorskip("timm")

COUNTS = {2: 10_548_870, 5: 10_550_217, 10: 10_552_462, 100: 10_592_872}


def small(compat: str = "fixed", size: int = 32) -> nn.Module:
    """A narrow TinyViT with the windows of the published one."""
    from timm.models.tiny_vit import TinyVit

    torch.manual_seed(1)
    shape = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4)}
    model = timm_models.without_memory(TinyVit(num_classes=3, window_sizes=(7, 7, 14, 7), **shape))
    for name, parameter in model.named_parameters():  # its own attention is too weak to be seen in logits
        if name.endswith(("attention_biases", "conv3.bn.weight", "qkv.weight", "proj.weight", "fc.weight")):
            nn.init.normal_(parameter)
    return normalize_first(tinyvit.fitted(model, size, compat))


@pytest.mark.parametrize("size", [32, 64, 224])
def test_parameters_are_the_same_for_all_sizes(size):
    with torch.device("meta"):
        for classes, count in COUNTS.items() if size == 32 else [(10, COUNTS[10])]:
            for compat in ("fixed", "reference"):
                model = models.build("tinyvit_11m", classes, size=size, compat=compat)
                assert sum(p.numel() for p in model.parameters()) == count
                assert len(list(model.parameters())) == 215 and len(model.state_dict()) == 296 + 2  # normalize.*
    assert models.head_name(model) == "head.fc"


def test_a_seed_gives_the_benchmarks_initial_weights():
    """The first three weights of each network's first convolution, at 10 classes and seed 0."""
    for arch, stem, expected in (
        ("resnet18", True, (0.0021971, 0.0353361, 0.0161360)),
        ("tinyvit_11m", False, (-0.154106, 0.170075, 0.046772)),
    ):
        seeds.seed_everything(0)
        model = models.build(arch, 10, imagenet_stem=stem, size=32, compat="reference")
        first = next(p for p in model.parameters() if p.ndim == 4)
        assert first.flatten()[:3].tolist() == pytest.approx(expected, abs=1e-6), arch


def test_drop_path_grows_linearly_over_the_blocks():
    model = models.build("tinyvit_11m", 3, size=32)
    rates = [module.drop_prob for module in model.modules() if type(module).__name__ == "DropPath"]
    assert sorted(set(rates)) == pytest.approx([0.1 * place / 11 for place in range(1, 12)])


def windows(model: nn.Module) -> list[int]:
    return [stage.blocks[0].window_size for stage in model.stages[1:]]


def test_windows_are_no_larger_than_the_maps():
    assert windows(small("reference")) == [7, 14, 7]
    sizes = {8: [1, 1, 1], 20: [3, 2, 1], 32: [4, 2, 1], 64: [7, 4, 2], 96: [7, 6, 3], 224: [7, 14, 7]}
    assert {size: windows(small(size=size)) for size in sizes} == sizes


@pytest.mark.parametrize("size", [32, 64])
@torch.no_grad()
def test_a_shrunken_window_is_a_padded_one_whose_padding_is_not_attended_to(size):
    """The slow twin: the published windows, with minus infinity on every padded token."""
    shrunken, padded = small(size=size).eval(), small("reference", size).eval()
    images = torch.rand(3, 3, size, size)
    assert not torch.allclose(shrunken(images), padded(images), atol=1e-3), "attending to the padding does something"
    side = size // 4
    for stage in padded.stages[1:]:
        side = side // 2
        for block in stage.blocks:
            if side < block.window_size:
                real = torch.zeros(block.window_size, block.window_size, dtype=torch.bool)
                real[:side, :side] = True
                biases = block.attn.attention_biases[:, block.attn.attention_bias_idxs].clone()
                biases[:, :, ~real.flatten()] = float("-inf")
                block.attn.get_attention_biases = lambda device, biases=biases: biases
    assert torch.allclose(shrunken(images), padded(images), atol=1e-4)


@torch.no_grad()
def test_nothing_is_shrunken_at_the_published_size():
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(small(size=224).eval()(images), small("reference", 224).eval()(images))
    plain = timm.create_model("tiny_vit_11m_224", pretrained=False, num_classes=3).eval()
    ours = models.build("tinyvit_11m", 3, size=224).eval()
    plain.load_state_dict({key: value for key, value in ours.state_dict().items() if "normalize" not in key})
    assert torch.allclose(ours(images[:1]), plain(images[:1]), atol=1e-5)


def bias_gradient(model: nn.Module) -> float:
    model.zero_grad()
    model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    return float(model.stages[1].blocks[0].attn.attention_biases.grad.abs().sum())


def test_attention_biases_learn_in_eval_mode_unless_the_reference_is_imitated():
    for compat, learns in (("fixed", True), ("reference", False)):
        model = small(compat, 64).eval()
        with torch.no_grad():
            model(torch.rand(1, 3, 64, 64))  # after which timm's own would keep biases that have no gradient
        assert [bias_gradient(model) > 0 for _ in range(2)] == [learns] * 2  # and twice
        assert bias_gradient(model.train()) > 0
        images, model = torch.rand(2, 3, 64, 64), copy.deepcopy(model).eval()
        with torch.no_grad():
            before = model(images)
            model.stages[1].blocks[0].attn.attention_biases.copy_(torch.randn(2, 49))
            assert not torch.equal(model(images), before), "a step in eval mode counts at once"


@pytest.mark.parametrize("name", ["NG+", "CF-k", "EU-k", "SalUn", "wfisher", "fisher_new", "KDE", "CT", "MSG"])
def test_methods_that_the_reference_fails_on_or_that_train_in_eval_mode(name):
    random = np.random.RandomState(0)
    pixels = torch.from_numpy(random.randint(0, 256, (12, 3, 32, 32)).astype(np.uint8))
    labels = torch.arange(12) % 3
    sets = {
        part: ImageSet(pixels, labels, np.arange(start, start + 4)) for part, start in (("retain", 0), ("forget", 4))
    }
    sets |= {part: ImageSet(pixels, labels, np.arange(8, 12)) for part in ("val", "test")}
    method, model = registry.get(name), small()
    known = method.config.__dataclass_fields__
    wanted = {"unlearn_epochs": 1, "batch_size": 2, "unlearn_lr": 1e-2}
    hyper = {key: value for key, value in wanted.items() if key in known}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    where = Context({}, torch.device("cpu"), 2, "fixed", "digits", 3, Scenario(None, 4), (), Log(None))
    after = apply(method, model, sets, method.config(**hyper), where).model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in before.items())
    if name == "EU-k":
        assert layers.blocks(model) == [f"stages.{number}" for number in range(4)]


def test_without_timm_there_is_one_line(monkeypatch):
    import sys

    state = models.build("tinyvit_11m", 3, size=32).state_dict()
    assert models.guess(state) == "tinyvit_11m"
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match="^--arch tinyvit_11m: timm is not installed; pip install timm$"):
        models.check("tinyvit_11m")
    assert models.guess(state) is None


def result(folder) -> dict:
    return json.loads((folder / "result.json").read_text())


def test_from_the_command_line(tmp_path):
    """Trained, and unlearned in eval mode, on a few digits."""
    parts = {"retain": range(8), "forget": range(8, 12), "val": range(12, 16), "test": range(4)}
    np.savez(tmp_path / "split.npz", **{name: np.array(listed) for name, listed in parts.items()})
    shared = ["--dataset", "digits", "--device", "cpu", "--split", str(tmp_path / "split.npz"), "--batch_size", "8"]
    train = [*shared, "--arch", "tinyvit_11m", "--epochs", "1", "--save_dir", str(tmp_path / "model")]
    assert main_imp.main(train) == 0
    mask = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar"), "--unlearn_epochs", "1"]
    assert main_forget.main([*shared, *mask, "--unlearn", "NG+", "--save_dir", str(tmp_path / "NG")]) == 0
    assert result(tmp_path / "NG")["model"]["arch"] == "tinyvit_11m"


def test_initial_weights_have_a_seed_of_their_own(tmp_path):
    def trained(*seeds_typed) -> tuple[dict, dict]:
        folder = tmp_path / "-".join(seeds_typed or ("none",))
        words = [*DIGITS, "--epochs", "0", "--batch_size", "256", "--save_dir", str(folder)]
        assert main_imp.main([*words, *seeds_typed]) == 0
        return torch.load(folder / "0checkpoint.pth.tar")["state_dict"], result(folder)

    plain, five, other = trained(), trained("--train_seed", "5"), trained("--train_seed", "1", "--init_seed", "5")
    alike = [all(torch.equal(value, other[0][key]) for key, value in one[0].items()) for one in (plain, five)]
    assert alike == [False, True]
    assert "init_seed" not in plain[1]["config"]["run"], "a run without it keeps its fingerprint"
    assert other[1]["config"]["run"]["init_seed"] == 5 and other[1]["fingerprint"] != five[1]["fingerprint"]
    recipes = [
        torch.load(tmp_path / name / "0checkpoint.pth.tar")["recipe"]["run"]
        for name in ("none", "--train_seed-1---init_seed-5")
    ]
    assert recipes[0] == recipes[1], "tables average over it"


def test_runs_are_compared_with_those_of_the_same_initial_weights():
    run = {"seed": 2, "config": {"run": {"train_seed": 1}}}
    other = {"seed": 2, "config": {"run": {"train_seed": 1, "init_seed": 4}}}
    assert (seed_of(run), seed_of(other)) == ((2, 1, 1), (2, 1, 4))
