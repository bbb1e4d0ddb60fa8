"""Adapters: what trains and what must not, merging under a mask, peft's folders, every method, and the command line."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, RUN_FILES
from PIL import Image
from torch import nn

import arg_parser
import main_forget
import main_imp
import models
import pruner
from dataset.images import ImageSet
from dataset.scenario import Scenario
from models import vit
from trainer import checkpoints, l1
from trainer.loop import Training
from unlearn import lora, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.unlearn_flags import Lora
from utils import files
from utils.device import PeakMemory
from utils.errors import RunError, UsageError
from utils.log import Log
from utils.options import identity

pytestmark = pytest.mark.numeric

peft = pytest.importorskip("peft")
CLASSES, SIDE = 3, 8


def flags(**more) -> Lora:
    return Lora(lora=True, **({"lora_rank": 2, "lora_alpha": 4.0} | more))


class Small(nn.Module):
    """A convolution with batch norm, a packed attention, a linear layer and a head: [N, 3, 8, 8] to [N, 3]."""

    def __init__(self):
        super().__init__()
        self.normalize = models.normalize.Normalize()
        self.conv, self.bn = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6)
        self.attention, self.dense = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 6)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, images):
        x = self.bn(self.conv(self.normalize(images))).relu().flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.fc(self.dense(x).relu().mean(1))


ALL = ("conv", "attention", "dense")
NAMES = ("conv.weight", "attention.in_proj_weight", "attention.out_proj.weight", "dense.weight")


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    model = Small()
    nn.init.normal_(model.attention.in_proj_bias)
    model.bn.running_mean.normal_()
    return model


def plan_of(model: nn.Module, **more) -> lora.Plan:
    return lora.plan(flags(**more), copy.deepcopy(model).to("meta"))


def random_mask(model: nn.Module, names=NAMES) -> pruner.Mask:
    torch.manual_seed(7)
    return {name: torch.rand(model.get_parameter(name).shape) < 0.4 for name in names}


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    return ImageSet(
        torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=random),
        torch.arange(count) % CLASSES,
    )


SETS = {"retain": images(8, 1), "forget": images(4, 2), "val": images(4, 3)}
BATCH = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def context(plan: lora.Plan, mask: pruner.Mask, **more) -> Context:
    return Context(
        mask,
        torch.device("cpu"),
        2,
        more.pop("compat", "fixed"),
        "digits",
        CLASSES,
        Scenario(None, 4),
        more.pop("whole", ()),
        Log(None),
        adapters=plan,
        **more,
    )


def scattered(adapted: nn.Module) -> nn.Module:
    """With other adapters than those that change nothing."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.3)
    return adapted.eval()


# ---- what trains ----------------------------------------------------------------------------------


def test_parameters_are_counted_by_hand(small):
    plan = plan_of(small, lora_targets=ALL)
    assert plan.targets == ALL and plan.head == "fc"
    # rank 2: conv 2*3*9 + 6*2, packed q, k and v 2*6 + 18*2, dense 2*6 + 6*2; the head's 6*3 + 3
    assert plan.trainable == 54 + 12 + 12 + 36 + 12 + 12 + 21
    assert plan.total == sum(p.numel() for p in small.parameters()) + plan.trainable - 21
    assert "159 of " in plan.words() and plan.facts()["targets"] == list(ALL)


@pytest.mark.parametrize(("arch", "count", "trainable"), [
    ("resnet20s", 19, None),
    ("vit_tiny", 12 * 3, 12 * 8 * ((192 + 576) + 2 * (192 + 768)) + 1930),
    ("vgg16_bn", 13, None),
    ("swin_t", 52, None),
])  # fmt: skip
def test_by_default_what_is_pruned_gets_adapters(arch, count, trainable):
    blank = models.blank(arch, 10, 32)
    wanted = {name.rpartition(".")[0].removesuffix(".out_proj") for name in pruner.prunable(blank)}
    plan = lora.plan(Lora(lora=True), blank)
    assert set(plan.targets) == wanted and len(plan.targets) == count
    assert trainable is None or plan.trainable == trainable


@pytest.mark.parametrize(("targets", "message"), [
    (("bn",), "--lora_targets bn: bn is no layer that can have adapters; names that do: attention, conv, dense"),
    (("out_proj",), "--lora_targets out_proj: attention.out_proj is no layer that can have adapters; names that do"),
    (("con",), "--lora_targets con: no layer's name ends so; names that do: attention, conv, dense"),
    (("fc",), "--lora_targets fc: is the classifier alone, which trains whole; name other layers too"),
])  # fmt: skip
def test_targets_that_are_refused(small, targets, message):
    with pytest.raises(UsageError) as error:
        plan_of(small, lora_targets=targets)
    assert str(error.value).startswith(message)


def test_a_grouped_convolution_cannot_be_merged_and_has_none(small):
    small.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
    assert "conv" not in plan_of(small).targets
    with pytest.raises(UsageError, match="conv is no layer that can have adapters"):
        plan_of(small, lora_targets=("conv",))


def test_without_peft_there_is_one_line(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"^--lora: peft is not installed; pip install peft$"):
        plan_of(small)


@torch.no_grad()
def test_training_starts_at_the_given_model_and_from_the_seed(small):
    plan = plan_of(small, lora_targets=ALL)
    expected = copy.deepcopy(small).eval()(BATCH)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    states = [lora.attach(copy.deepcopy(small), plan, seed).eval() for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.allclose(model(BATCH), expected, atol=1e-6) for model in states)
    first, same, other = (model.base_model.model.conv.lora_A["default"].weight for model in states)
    assert torch.equal(first, same) and not torch.equal(first, other)


# ---- merging --------------------------------------------------------------------------------------


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def statistics(state) -> set[str]:
    return {key for key in state if key.endswith(STATISTICS)}


def by_hand(adapted: nn.Module, start: nn.Module) -> dict[str, torch.Tensor]:
    """W + (alpha / rank) B A for every adapted weight, written as matrix products."""
    state, weights = adapted.state_dict(), dict(start.named_parameters())
    found = {}
    for layer in ALL:
        name = "attention.in_proj_weight" if layer == "attention" else f"{layer}.weight"
        a, b = (state[f"base_model.model.{layer}.lora_{part}.default.weight"] for part in "AB")
        found[name] = weights[name] + 2.0 * (b.flatten(1) @ a.flatten(1)).view(weights[name].shape)
    return found


@torch.no_grad()
@pytest.mark.parametrize("sparse", [False, True])
def test_merged_weights_are_those_worked_out_by_hand(small, sparse):
    mask = random_mask(small) if sparse else {}
    pruner.MaskEnforcer(small, mask)
    adapted = scattered(lora.attach(copy.deepcopy(small), plan_of(small, lora_targets=ALL), 0))
    before, expected, head = adapted(BATCH), by_hand(adapted, small), adapted.base_model.model.fc.weight.clone()
    merged = lora.merge(adapted, mask).eval()
    for name, value in expected.items():
        wanted = value * mask[name] if sparse else value
        assert torch.allclose(merged.get_parameter(name), wanted, atol=1e-6) and not torch.equal(
            merged.get_parameter(name), small.get_parameter(name)
        )
    for name, kept in mask.items():
        assert torch.count_nonzero(merged.get_parameter(name)[~kept]) == 0
    assert torch.equal(merged.fc.weight, head) and torch.equal(
        merged.attention.out_proj.weight, small.attention.out_proj.weight
    )
    assert merged.state_dict().keys() == small.state_dict().keys() and all(p.requires_grad for p in merged.parameters())
    same = torch.allclose(merged(BATCH), before, atol=1e-5)
    assert same != sparse  # masked afterwards, it is another function than the one that was trained


def test_the_packed_attention_keeps_its_weights_to_the_bit(small):
    """peft's own adds its update to them and takes it off again in every pass, and counts the output projection's
    twice.
    """
    plan = plan_of(small, lora_targets=ALL)
    adapted = scattered(lora.attach(copy.deepcopy(small), plan, 0))
    for _ in range(3):
        adapted.train()(BATCH).sum().backward()
    lora.check_frozen(adapted, small, {}, "test")
    layer = adapted.base_model.model.attention
    assert all(p.grad is None for p in layer.base_layer.out_proj.parameters())
    alone = copy.deepcopy(small.attention)
    with torch.no_grad():
        alone.in_proj_weight.copy_(by_hand(adapted, small)["attention.in_proj_weight"])
        x = torch.randn(2, 4, 6)
        assert torch.allclose(layer.eval()(x, x, x)[0], alone.eval()(x, x, x)[0], atol=1e-5)


# ---- peft's folders -------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("sparse", [False, True])
def test_a_folder_loads_in_plain_peft_and_gives_the_same_logits(small, tmp_path, sparse):
    pruner.MaskEnforcer(small, random_mask(small) if sparse else {})
    plan = plan_of(small, lora_targets=ALL, lora_merge="none")
    adapted = scattered(lora.attach(copy.deepcopy(small), plan, 0))
    adapted.train()(BATCH)  # batch norm's statistics follow
    assert not torch.equal(adapted.eval().base_model.model.bn.running_mean, small.bn.running_mean)
    lora.write(adapted, tmp_path / "a")
    lora.write(adapted, tmp_path / "b")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert all(path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() for path in (tmp_path / "a").iterdir())
    plain = peft.PeftModel.from_pretrained(copy.deepcopy(small), str(tmp_path / "a")).eval()
    assert torch.allclose(plain(BATCH), adapted(BATCH), atol=1e-5)
    assert torch.equal(lora.read(copy.deepcopy(small), plan, tmp_path / "a").eval()(BATCH), adapted(BATCH))
    assert all(torch.equal(value, small.state_dict()[key]) for key, value in lora.base_state(adapted).items())
    assert lora.base_state(adapted).keys() == small.state_dict().keys()
    assert not torch.allclose(plain(BATCH), small.eval()(BATCH), atol=0.1)


def test_folders_that_are_refused(small, tmp_path):
    plan = plan_of(small, lora_targets=ALL)
    with pytest.raises(UsageError, match="--save_outputs .*: holds no adapters of this run"):
        lora.read(copy.deepcopy(small), plan, tmp_path, "--save_outputs")
    lora.write(lora.attach(copy.deepcopy(small), plan, 0), tmp_path)
    with pytest.raises(UsageError, match="its adapters are of other layers than this run's"):
        lora.read(copy.deepcopy(small), plan_of(small, lora_targets=("conv",)), tmp_path)
    with pytest.raises(UsageError, match="holds no adapters of this run .*size mismatch"):
        lora.read(copy.deepcopy(small), plan_of(small, lora_targets=ALL, lora_rank=3), tmp_path)
    adapted = lora.attach(copy.deepcopy(small), plan, 0)
    models.add_class(adapted, torch.zeros(1, 6), torch.zeros(1))
    with pytest.raises(RunError, match="the classifier has other classes than the frozen model has"):
        lora.write(adapted, tmp_path)


# ---- every method ---------------------------------------------------------------------------------

UNFIT = {
    "raw": "does not train by gradient steps",
    "fisher": "does not train by gradient steps",
    "fisher_new": "does not train by gradient steps",
    "wfisher": "does not train by gradient steps",
    "wfisher_exact": "does not train by gradient steps",
    **dict.fromkeys(("retrain", "retrain_ls", "retrain_sam"), "trains new weights"),
    "FT_prune_bi": "prunes weights",
    "SFRon": "chooses single weights to change",
    "SalUn": "is told to change salient weights only",
    "CFW": "adds noise to weights",
    "CT": "transposes kernels",
    **dict.fromkeys(("ASSD", "LFSSD", "SSD"), "makes single weights smaller"),
    **dict.fromkeys(("EU-k", "MSG", "PRMQ", "KDE", "RNI"), "draws weights anew"),
}
FIT = [name for name in registry.names() if name not in UNFIT]


def test_methods_that_do_more_than_step_along_gradients_are_refused():
    for name in registry.names():
        method = registry.get(name)
        assert method.unfit_for_adapters(method.config()) == UNFIT.get(name, ""), name
    salient = registry.get("FT").config(saliency_threshold=0.5)
    assert registry.get("FT").unfit_for_adapters(salient) == "is told to change salient weights only"


def tiny_vit() -> nn.Module:
    model = vit._transformer(CLASSES, SIDE, patch=4, width=8, depth=2, heads=2)
    nn.init.normal_(model.heads.head.weight)
    return model


@pytest.mark.parametrize("compat", ["fixed", "reference"])
@pytest.mark.parametrize("name", FIT)
@pytest.mark.parametrize("build", [Small, tiny_vit])
def test_every_other_method_trains_adapters_and_the_head_alone(name, build, compat):
    torch.manual_seed(0)
    model, method = build(), registry.get(name)
    names = NAMES if build is Small else tuple(pruner.prunable(model))
    mask = random_mask(model, names)
    wanted = {"unlearn_epochs": 2, "batch_size": 4, "unlearn_lr": 0.05, "noise_images": 4, "noise_copies": 2}
    config = method.config(**{key: value for key, value in wanted.items() if key in method.config.__dataclass_fields__})
    plan = plan_of(model, **({"lora_targets": ALL} if build is Small else {}))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    whole = (0,) if method.whole_classes else ()
    found = apply(method, model, SETS, config, context(plan, mask, compat=compat, whole=whole))
    after = found.model.state_dict()
    assert found.mask is mask and not lora.is_adapted(found.model)
    assert all(torch.equal(value, start[key]) for key, value in model.state_dict().items())
    head = {f"{plan.head}.weight", f"{plan.head}.bias"}
    adapted = {f"{target}.{own}" for target in plan.targets for own in ("weight", "in_proj_weight")}
    moved = {
        key
        for key, value in after.items()
        if value.shape != start[key].shape or not torch.equal(value, start[key] * mask.get(key, 1))
    }
    moved -= statistics(after)  # which follow the images
    assert moved <= head | adapted and (moved or (name, compat) == ("SCRUB", "fixed"))
    if name not in (
        "CF-k",
        "boundary_expanding",
        "boundary_shrink",
        "SCRUB",
    ):  # which train a part, step by little, or go back
        assert moved & head and moved & adapted
    assert all(torch.count_nonzero(after[key][~kept]) == 0 for key, kept in mask.items())


def test_a_method_that_touches_what_is_frozen_is_caught(small):
    def run(model, sets, config, context):
        with torch.no_grad():
            model.base_model.model.bn.original_module.running_mean.add_(1e-6)

    method = registry.Method("mine", run, registry.Iterative, frozenset({"retain"}), "", "mine", "", False, ())
    with pytest.raises(RunError, match="mine changed bn.running_mean, which is frozen under the adapters"):
        apply(method, small, SETS, registry.Iterative(), context(plan_of(small), {}))


def test_the_penalty_is_that_of_what_trains(small):
    adapted = scattered(lora.attach(small, plan_of(small), 0))
    expected = sum(p.detach().abs().sum() for p in adapted.parameters() if p.requires_grad)
    assert float(l1.norm(l1.trained(adapted.parameters()))) == pytest.approx(float(expected), rel=1e-6)


def test_no_epochs_change_nothing(small):
    mask = random_mask(small)
    after = apply(
        registry.get("FT"), small, SETS, registry.get("FT").config(unlearn_epochs=0), context(plan_of(small), mask)
    ).model
    assert all(
        torch.equal(value, small.state_dict()[key] * mask.get(key, 1)) for key, value in after.state_dict().items()
    )


# ---- the command line -----------------------------------------------------------------------------

SIZES = {"train": 14, "test": 8}
VIT = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A few 8-pixel images of three classes, and the folder of a small ViT."""
    root, random = tmp_path_factory.mktemp("lora"), np.random.default_rng(0)
    for part, count in SIZES.items():
        for label, name in enumerate("abc"):
            (root / "data" / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 220, (8, 8, 3), dtype=np.uint8)
                pixels[..., label] += 30
                Image.fromarray(pixels).save(root / "data" / part / name / f"{index}.png")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=CLASSES, **VIT)).save_pretrained(
        root / "vit"
    )
    return root


def words(place, arch: str) -> list[str]:
    named = {"vit": f"hf:{place / 'vit'}"}.get(arch, arch)
    return [
        "--dataset",
        "folder",
        "--data",
        str(place / "data"),
        "--arch",
        named,
        "--device",
        "cpu",
        "--batch_size",
        "8",
    ]


@pytest.fixture(scope="module")
def trained(place):
    """From an architecture to the folder of its dense and its 90 % sparse model."""

    def folder(arch: str):
        path = place / arch
        if not (path / "result.json").exists():
            assert (
                main_imp.main(
                    [
                        *words(place, arch),
                        "--epochs",
                        "5",
                        "--lr",
                        "0.02",
                        "--pruning_times",
                        "2",
                        "--rate",
                        "0.9",
                        "--save_dir",
                        str(path),
                    ]
                )
                == 0
            )
        return path

    return folder


def forget(place, trained, arch, sparse, method, folder, *more) -> int:
    mask = trained(arch) / f"{int(sparse)}checkpoint.pth.tar"
    hyper = ["--unlearn", method, "--unlearn_epochs", "2", "--unlearn_lr", "0.001" if method == "GA" else "0.005"]
    return main_forget.main(
        [
            *words(place, arch),
            "--mask",
            str(mask),
            *hyper,
            "--lora",
            "--lora_rank",
            "2",
            "--lora_alpha",
            "4",
            *more,
            "--save_dir",
            str(folder),
        ]
    )


def loaded(place, arch, path) -> tuple[nn.Module, pruner.Mask]:
    found = checkpoints.read(path, "")
    model = models.build(words(place, arch)[5], CLASSES, size=8)
    checkpoints.load_weights(model, found)
    return model.eval(), found.mask


GRID = [
    (arch, method, sparse)
    for arch in ("vit", "resnet18", "resnet20s")
    for method in ("FT", "FT_prune", "GA")
    for sparse in (False, True)
]
QUICK = [cell for cell in GRID if cell[0] == "resnet20s" or cell == ("vit", "FT", True)]


@pytest.mark.parametrize(
    ("arch", "method", "sparse"),
    [pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.torture) for cell in GRID],
)
def test_methods_on_models_from_the_command_line(place, trained, tmp_path, capsys, arch, method, sparse):
    assert forget(place, trained, arch, sparse, method, tmp_path) == 0
    before, mask = loaded(place, arch, trained(arch) / f"{int(sparse)}checkpoint.pth.tar")
    after, kept = loaded(place, arch, tmp_path / f"{method}checkpoint.pth.tar")
    assert kept.keys() == mask.keys() and all(torch.equal(kept[name], mask[name]) for name in mask)
    assert all(torch.count_nonzero(after.get_parameter(name)[~held]) == 0 for name, held in kept.items())
    assert pruner.sparsity(kept) == pytest.approx(0.9 if sparse else 0.0, abs=1e-3)
    result = json.loads((tmp_path / "result.json").read_text())
    told = result["adapters"]
    moved = {key for key, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[key])}
    trained = {f"{name}.weight" for name in told["targets"]} | {f"{told['head']}.weight", f"{told['head']}.bias"}
    assert moved == trained | statistics(after.state_dict())
    assert f"{told['trainable']:,} of {told['total']:,} parameters train" in capsys.readouterr().out
    if not sparse and method != "GA":  # whose steps are as small as rounding
        weight = f"{told['targets'][-1]}.weight"
        change = (after.get_parameter(weight) - before.get_parameter(weight)).detach().flatten(1).double()
        assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) <= 2
    stored = {name: sum(value) for name, value in pixels_right(place, after).items()}
    assert result["accuracy"]["test"] == pytest.approx(stored["test"] / len(pixels_right(place, after)["test"]))
    assert (result["memory"]["unlearning"] or 0) >= 0 and result["seconds"]["unlearning"] > 0
    assert (result["label"], result["paper_name"]) == (method, f"{registry.get(method).paper} + LoRA")
    own = {f"{method}checkpoint.pth.tar", f"{method}eval_result.pth.tar"}
    assert {path.name for path in tmp_path.iterdir()} == RUN_FILES | own


@torch.no_grad()
def pixels_right(place, model) -> dict[str, list[bool]]:
    """Whether the model is right about each test image, read anew from the files; class a, which is forgotten, left
    out.
    """
    right = []
    for label, name in enumerate("abc"):
        for path in sorted((place / "data" / "test" / name).iterdir()) if label else ():
            pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None].float() / 255
            right.append(int(model(pixels).argmax()) == label)
    return {"test": right}


@pytest.mark.parametrize(
    ("arch", "sparse"),
    [
        ("vit", True),
        pytest.param("vit_tiny", True, marks=pytest.mark.torture),
        pytest.param("resnet20s", False, marks=pytest.mark.torture),
        ("resnet20s", True),
    ],
)
def test_adapters_kept_apart(place, trained, tmp_path, capsys, arch, sparse):
    assert forget(place, trained, arch, sparse, "FT", tmp_path, "--lora_merge", "none") == 0
    own = {"FTbase.pth.tar", "FTadapter", "FTeval_result.pth.tar"}
    assert {path.name for path in tmp_path.iterdir()} == RUN_FILES | own
    given, mask = loaded(place, arch, trained(arch) / f"{int(sparse)}checkpoint.pth.tar")
    base, kept = loaded(place, arch, tmp_path / "FTbase.pth.tar")
    assert all(torch.equal(value, given.state_dict()[key]) for key, value in base.state_dict().items())
    assert kept.keys() == mask.keys() and all(torch.equal(kept[name], mask[name]) for name in mask)
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path / "FTadapter")).eval()
    result = json.loads((tmp_path / "result.json").read_text())
    assert sum(pixels_right(place, plain)["test"]) == round(result["accuracy"]["test"] * 16)
    assert result["model"]["parameters"] == result["adapters"]["total"] and result["adapters"]["merge"] == "none"
    parts = {path.name: path.read_bytes() for path in (tmp_path / "FTadapter").iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    for name in ("FTbase.pth.tar", "FTadapter"):
        (tmp_path / name).rename(other / name)
    assert forget(place, trained, arch, sparse, "FT", other, "--lora_merge", "none", "--resume") == 0
    assert json.loads((other / "result.json").read_text())["accuracy"] == result["accuracy"]
    assert {path.name: path.read_bytes() for path in (other / "FTadapter").iterdir()} == parts
    assert forget(place, trained, arch, sparse, "FT", other, "--lora_merge", "none", "--lora_dropout", "0.2") == 0
    [shelf] = (other / "earlier").iterdir()
    assert {path.name: path.read_bytes() for path in (shelf / "FTadapter").iterdir()} == parts


class Killed(BaseException):
    """As abrupt as a signal."""


def contents(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tar", ".safetensors")
    }


@pytest.mark.parametrize("merge", ["masked", pytest.param("none", marks=pytest.mark.torture)])
def test_a_killed_run_ends_in_the_same_bytes(place, trained, tmp_path, monkeypatch, merge):
    def run(name):
        return forget(
            place, trained, "resnet20s", True, "FT", tmp_path / name, "--lora_merge", merge, "--optimizer", "adam"
        )

    assert run("whole") == 0
    original, write, sizes = Training.advance, files.write_bytes, []
    count = 0

    def dies(self, *arguments):
        nonlocal count
        count += 1
        if count == 6:  # four steps an epoch
            raise Killed
        return original(self, *arguments)

    def measured(path, content):
        if path.name.endswith("progress.pth.tar"):
            sizes.append(len(content))
        write(path, content)

    monkeypatch.setattr(Training, "advance", dies)
    monkeypatch.setattr(files, "write_bytes", measured)
    with pytest.raises(Killed):
        run("cut")
    monkeypatch.setattr(Training, "advance", original)
    assert run("cut") == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole") and len(contents(tmp_path / "cut")) >= 2
    whole = (trained("resnet20s") / "0model_SA_best.pth.tar").stat().st_size
    assert max(sizes) < whole  # adapters with both of Adam's averages, and nothing that is frozen
    log = (tmp_path / "cut" / "log.jsonl").read_text().splitlines()
    assert [line["epoch"] for line in map(json.loads, log) if line["kind"] == "epoch"] == [1, 2]


@pytest.mark.parametrize(("more", "message"), [
    (["--unlearn", "FF"], ("--lora: fisher_new does not train by gradient steps; adapters need a method that trains by "
        "gradient steps alone, such as FT, GA or FT_prune")),
    (["--unlearn", "retrain"], "--lora: retrain trains new weights; adapters need"),
    (["--unlearn", "FT", "--saliency_threshold", "0.5"],
        "--lora: FT is told to change salient weights only; adapters need"),
    (["--unlearn", "FT", "--lora_targets", "bn1"],
        "--lora_targets bn1: bn1 is no layer that can have adapters; names that do: conv1, conv2"),
    (["--unlearn", "FT", "--lora_targets", ","], "--lora_targets: must name at least one layer"),
    (["--unlearn", "FT", "--lora_rank", "0"], "--lora_rank 0: must be at least 1"),
    (["--unlearn", "FT", "--lora_merge", "no"], "--lora_merge no: unknown (did you mean none?); known: masked, none"),
])  # fmt: skip
def test_what_is_refused_in_one_line(place, trained, tmp_path, capsys, more, message):
    mask = str(trained("resnet20s") / "0model_SA_best.pth.tar")
    assert (
        main_forget.main(
            [*words(place, "resnet20s"), "--mask", mask, "--lora", *more, "--save_dir", str(tmp_path / "x")]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert (
        error.startswith(f"main_forget.py: error: {message}")
        and error.count("\n") == 1
        and not (tmp_path / "x").exists()
    )


def test_flags_of_adapters_without_lora_are_named_and_change_nothing(place, trained, tmp_path):
    typed = [*words(place, "resnet20s"), "--mask", "m", "--unlearn", "FT", "--save_dir", str(tmp_path)]
    plain, more = (arg_parser.parse_forget([*typed, *extra]) for extra in ([], ["--lora_rank", "4"]))
    assert more.unread == ("--lora_rank",) and "lora" not in identity(plain)
    assert identity(plain) == identity(more)
    assert identity(arg_parser.parse_forget([*typed, "--lora"]))["lora"]["lora_rank"] == 8


def test_a_transformers_step_sizes_are_a_hundredth_and_its_milestones_stay(tmp_path):
    typed = ["--arch", "vit_tiny", "--mask", "m", "--unlearn", "FT", "--save_dir", str(tmp_path)]
    hyper = arg_parser.parse_forget(typed).hyper
    assert hyper.decreasing_lr == (91, 136) and hyper.unlearn_lr == pytest.approx(1e-4) and hyper.optimizer == "adamw"


def test_the_highest_memory_is_that_since_the_beginning():
    before = torch.ones(8 * 2**20)
    del before
    peak = PeakMemory(torch.device("cpu"))
    if peak.bytes is None:
        pytest.skip("this system does not tell")
    small, kept = peak.bytes, torch.ones(16 * 2**20)  # 64 MiB
    del kept
    assert small < 2**25 and 2**25 < peak.bytes < 2**27


def test_help_needs_neither_torch_nor_peft():
    code = (
        "import sys; sys.argv = ['main_forget.py', '--help', 'all']\nimport main_forget\ntry:\n    "
        "main_forget.main()\nfinally:\n    assert not {'torch', 'peft', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--lora_targets NAME,NAME" in done.stdout, done.stderr
