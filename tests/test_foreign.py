"""Checkpoints under other people's names: the same logits, or one line that says what differs."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS
from torch import nn
from torch.nn.utils import prune

import main_forget
import models
from trainer import checkpoints
from unlearn import saliency
from utils import foreign
from utils.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- models as their authors wrote them, from the papers and the published names ---


class Published(nn.Module):
    """A ResNet with the names of pytorch-cifar: ``linear`` for the head, ``shortcut`` for what joins blocks."""

    def __init__(self, widths, depth, option, classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])
        before = widths[0]
        for stage, width in enumerate(widths, start=1):
            blocks = [
                PublishedBlock(before if i == 0 else width, width, 2 if stage > 1 and i == 0 else 1, option)
                for i in range(depth)
            ]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.stages = len(widths)
        self.linear = nn.Linear(before, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear(F.avg_pool2d(x, x.shape[-1]).flatten(1))


class PublishedBlock(nn.Module):
    def __init__(self, inputs, width, stride, option):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.shortcut, self.pad = nn.Sequential(), 0
        if inputs != width and option == "A":
            self.pad = width // 4
        elif inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        side = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad)) if self.pad else self.shortcut(x)
        return F.relu(out + side)


def settled(model, side=32):
    """In evaluation mode, its batch norms' statistics away from 0 and 1, so that a mixed-up layer shows."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bn1.weight", "bn2.weight", "bn1.bias", "bn2.bias")):
            value += 0.1 * torch.rand(value.shape, generator=generator)
    return model.eval()


@functools.cache
def small():
    torch.manual_seed(0)
    return settled(Published((16, 32, 64), 3, "A"))


def opened(path, arch, classes=10, stem=False, side=32, **more):
    """Our model with the file's weights, as a script loads it."""
    blank = models.blank(arch, classes, side, stem)
    found = checkpoints.read(path, "--mask", model=blank, **more)
    checkpoints.check_fits(found, blank, arch, "--mask", stem=stem)
    model = models.build(arch, classes, (MEAN, STD), stem, side)
    checkpoints.load_weights(model, found)
    return model.eval(), found


def normalised(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def agree(ours, theirs, side=32):
    images = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    expected = theirs(normalised(images)).detach()
    assert torch.allclose(ours(images), expected, atol=1e-5 * max(1, float(expected.abs().max())))
    assert not torch.allclose(expected[0], expected[1], atol=1e-3), "a model that says the same to everything"


# --- published layouts ---


def akamaster(state):
    return {"state_dict": {f"module.{key}": value for key, value in state.items()}, "best_prec1": 92.6}


def kuangliu(state):
    return {"net": {f"module.{key}": value for key, value in state.items()}, "acc": 95.5, "epoch": 199}


def test_the_small_resnet_of_akamaster(tmp_path):
    torch.save(akamaster(small().state_dict()), tmp_path / "resnet20.th")
    ours, found = opened(tmp_path / "resnet20.th", "resnet20s")
    agree(ours, small())
    assert found.notes == ("'module.' dropped from all names", "linear.* taken for fc.*") and found.extra == {
        "best_prec1": 92.6
    }
    torch.save(
        akamaster(small().state_dict()), tmp_path / "old.th", _use_new_zipfile_serialization=False
    )  # as it was saved in 2018
    agree(opened(tmp_path / "old.th", "resnet20s")[0], small())


def test_the_resnet18_of_pytorch_cifar(tmp_path):
    theirs = settled(Published((64, 128, 256, 512), 2, "B"))
    torch.save(kuangliu(theirs.state_dict()), tmp_path / "ckpt.pth")
    ours, found = opened(tmp_path / "ckpt.pth", "resnet18")
    agree(ours, theirs)
    assert found.notes == (
        "entry net",
        "'module.' dropped from all names",
        "shortcut.* taken for downsample.*",
        "linear.* taken for fc.*",
    )


@pytest.mark.parametrize(("arch", "depth"), [("resnet20", 3)])
def test_resnets_with_convolutions_in_their_shortcuts(arch, depth, tmp_path):
    """chenyaofo's, whose files are bare state dicts with ``downsample`` and ``fc``."""
    theirs = settled(Published((16, 32, 64), depth, "B"))
    state = {
        key.replace("shortcut", "downsample").replace("linear", "fc"): value
        for key, value in theirs.state_dict().items()
    }
    torch.save(state, tmp_path / "x.pt")
    ours, found = opened(tmp_path / "x.pt", arch)
    agree(ours, theirs)
    assert found.notes == () and models.guess(state) == arch


def test_torchvisions_resnet18(tmp_path):
    import torchvision

    theirs = settled(torchvision.models.resnet18(num_classes=1000))
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours, found = opened(tmp_path / "resnet18.pth", "resnet18", 1000, stem=True, side=64)
    agree(ours, theirs, 64)
    with pytest.raises(UsageError, match=r"conv1.weight is .*; this is the ImageNet stem: add --imagenet_arch"):
        opened(tmp_path / "resnet18.pth", "resnet18", 1000)
    with pytest.raises(UsageError, match=r"the head has 1000 classes, .* has 10; give the data set"):
        opened(tmp_path / "resnet18.pth", "resnet18", 10, stem=True)


@pytest.mark.parametrize(
    ("arch", "stem"),
    [
        ("resnet18", True),
        ("resnet50", True),
        ("vgg16_bn", True),
        ("swin_t", True),
        ("vit_b_16", False),
        ("vit_b_32", False),
        ("vit_l_16", False),
    ],
)
def test_every_name_of_torchvision_is_ours(arch, stem):
    import torchvision

    with torch.device("meta"):
        theirs, ours = getattr(torchvision.models, arch)(), models.build(arch, 1000, imagenet_stem=stem)
    shapes = foreign.shapes(theirs.state_dict())
    assert foreign.fits(shapes, foreign.shapes(ours.state_dict()), models.head_name(ours)) and models.guesses(
        shapes
    ) == [(arch, stem)]
    assert models.side(shapes) == (224 if arch.startswith("vit") else None)


def test_the_swin_for_imagenet_is_torchvisions():
    """The same weights, the same logits; vgg16_bn is made in the same way, and large."""
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.swin_t(num_classes=3).eval()
    ours = models.build("swin_t", 3, (MEAN, STD), imagenet_stem=True).eval()
    ours.load_state_dict({**ours.state_dict(), **theirs.state_dict()})
    agree(ours, theirs, 64)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_timms_own_names(name, tmp_path):
    timm = pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=10).eval()
    safetensors.save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours, _ = opened(tmp_path / "model.safetensors", f"timm:{name}", side=224)
    agree(ours, theirs, 224)


# --- where it lies, and what is before its names ---

INSIDE = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state},
    "net": lambda state: {"net": state, "acc": 1.0},
    "model_state_dict": lambda state: {
        "epoch": 3,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
    },
    "weights below model": lambda state: {"model": {"weights": state}},
    "any name": lambda state: {"resnet": state, "note": "mine"},
    "beside numbers": lambda state: {**state, "epoch": 4, "best_acc": torch.tensor(91.0)},
    "ema alone": lambda state: {"ema": state},
    "profiled": lambda state: {**state, "total_ops": torch.zeros(1), "layer1.0.total_params": torch.zeros(1).double()},
    "an average": lambda state: {
        "n_averaged": torch.tensor(5),
        **{f"module.{key}": value for key, value in state.items()},
    },
    "twice the same": lambda state: {"model": state, "teacher": {"other.weight": torch.zeros(3, 3)}},
}
BEFORE = [
    "",
    "module.",
    "model.",
    "_orig_mod.",
    "net.",
    "backbone.",
    "encoder.",
    "module.model.",
    "_orig_mod.module.",
    "a.b.c.",
]


@pytest.mark.parametrize("kind", INSIDE)
def test_a_state_dict_is_found_wherever_it_lies(kind, tmp_path):
    torch.save(INSIDE[kind](small().state_dict()), tmp_path / "x.pt")
    agree(opened(tmp_path / "x.pt", "resnet20s")[0], small())


@pytest.mark.parametrize("before", BEFORE)
def test_a_prefix_that_all_names_share(before, tmp_path):
    torch.save({before + key: value for key, value in small().state_dict().items()}, tmp_path / "x.pt")
    ours, found = opened(tmp_path / "x.pt", "resnet20s")
    agree(ours, small())
    assert found.notes[:-1] == ((f"'{before}' dropped from all names",) if before else ())


def test_a_backbone_and_its_classifier(tmp_path):
    torch.save(
        {key if "linear" in key else f"backbone.{key}": value for key, value in small().state_dict().items()},
        tmp_path / "x.pt",
    )
    ours, found = opened(tmp_path / "x.pt", "resnet20s")
    agree(ours, small())
    assert found.notes == ("'backbone.' dropped from names", "linear.* taken for fc.*")


@pytest.mark.parametrize("head", ["fc", "linear", "classifier", "head", "heads.head", "classifier.1", "last_linear"])
def test_a_head_by_any_name(head, tmp_path):
    torch.save({key.replace("linear", head): value for key, value in small().state_dict().items()}, tmp_path / "x.pt")
    agree(opened(tmp_path / "x.pt", "resnet20s")[0], small())


def test_wrappers_within_names_and_no_counters_and_half_numbers(tmp_path):
    state = {
        key.replace("layer1.", "layer1._orig_mod."): value
        for key, value in small().state_dict().items()
        if foreign.COUNTER not in key
    }
    torch.save(state, tmp_path / "x.pt")
    ours, found = opened(tmp_path / "x.pt", "resnet20s")
    agree(ours, small())
    assert "_orig_mod dropped from within names" in found.notes
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    half = copy.deepcopy(small())
    half.load_state_dict(
        {
            key: value.half().float() if value.is_floating_point() else value
            for key, value in small().state_dict().items()
        }
    )
    agree(opened(tmp_path / "half.pt", "resnet20s")[0], half)


@pytest.mark.parametrize(
    ("mean", "std", "shape"),
    [("0.mean", "0.std", (3,)), ("mu", "sigma", (1, 3, 1, 1)), ("normalize.mean", "normalize.std", (3,))],
)
def test_statistics_that_the_file_brings(mean, std, shape, tmp_path):
    values = {mean: torch.tensor((0.5, 0.4, 0.3)).reshape(shape), std: torch.tensor((0.2, 0.25, 0.3)).reshape(shape)}
    torch.save({**values, **{f"1.{key}": value for key, value in small().state_dict().items()}}, tmp_path / "x.pt")
    ours, _ = opened(tmp_path / "x.pt", "resnet20s")
    assert torch.equal(ours.normalize.mean, torch.tensor((0.5, 0.4, 0.3))) and torch.equal(
        ours.normalize.std, torch.tensor((0.2, 0.25, 0.3))
    )


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor])
def test_statistics_beside_the_state_dict(kind, tmp_path):
    state = {key: value for key, value in models.build("resnet20s", 10).state_dict().items() if "normalize" not in key}
    torch.save({"net": state, "mean": kind([0.5, 0.4, 0.3]), "std": kind([0.2, 0.25, 0.3])}, tmp_path / "x.pt")
    found = checkpoints.read(tmp_path / "x.pt", "--mask", model=models.build("resnet20s", 10))
    assert found.weights["normalize.mean"].tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert found.weights["normalize.std"].tolist() == pytest.approx([0.2, 0.25, 0.3])
    assert found.notes == ("entry net", "mean and std taken for normalize.*")


def test_statistics_of_other_pixels_are_refused(tmp_path):
    state = models.build("resnet20s", 10).state_dict()
    mean, std = torch.tensor([125.3, 123.0, 113.9]), torch.tensor([0.2, 0.0, 0.2])
    assert "normalize.mean is 125.3, 123, 113.9, but images are in [0, 1] here; divide mean and std by 255" in refused(
        {**state, "normalize.mean": mean}, tmp_path
    )
    assert "normalize.std is 0.2, 0, 0.2; it must be more than 0" in refused({**state, "normalize.std": std}, tmp_path)


@pytest.mark.parametrize("layer", ["conv1", "layer2.1.conv2"])
def test_masks_under_other_names(layer, tmp_path):
    theirs = copy.deepcopy(small())
    prune.random_unstructured(theirs.get_submodule(layer), "weight", 0.5)
    torch.save(kuangliu(theirs.state_dict()), tmp_path / "x.pt")
    ours, found = opened(tmp_path / "x.pt", "resnet20s")
    agree(ours, theirs)
    assert list(found.mask) == [f"{layer}.weight"] and int(found.mask[f"{layer}.weight"].sum()) == int(
        theirs.state_dict()[f"{layer}.weight_mask"].sum()
    )


def test_files_of_masks_under_other_names(tmp_path):
    """All masks of a VGG begin with "features.", which is no wrapper's."""
    model = models.build("vgg16_bn_lth", 10)
    masks = {
        f"{name}_mask": (torch.arange(value.numel()) % 2).reshape(value.shape).float()
        for name, value in model.named_parameters()
        if value.ndim == 4
    }
    for number, before in enumerate(("", "module.")):
        torch.save({before + name: value for name, value in masks.items()}, tmp_path / f"{number}.pt")
        found = checkpoints.read(tmp_path / f"{number}.pt", "--mask", model=model)
        checkpoints.check_fits(found, model, "vgg16_bn_lth", "--mask", masks_alone=True)
        assert not found.weights and all(
            torch.equal(found.mask[name.removesuffix("_mask")], value != 0) for name, value in masks.items()
        )
    own = {name: value > 0 for name, value in model.named_parameters()}
    torch.save({f"module.{name}": value for name, value in own.items()}, tmp_path / "saliency.pt")
    read = saliency.read(tmp_path / "saliency.pt", model)
    assert all(torch.equal(read[name], value) for name, value in own.items())


def test_a_whole_module_where_it_is_trusted(tmp_path):
    import torchvision

    theirs = settled(torchvision.models.resnet18(num_classes=10))
    for number, content in enumerate((theirs, {"model": theirs, "epoch": 3}, nn.DataParallel(theirs))):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(UsageError, match="--allow_pickle"):
            opened(tmp_path / f"{number}.pt", "resnet18", stem=True)
        agree(opened(tmp_path / f"{number}.pt", "resnet18", stem=True, side=64, allow_pickle=True)[0], theirs, 64)


# --- what is refused, and how ---


def refused(state, tmp_path, arch="resnet20s"):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UsageError) as error:
        opened(tmp_path / "x.pt", arch)
    return str(error.value)


def test_what_is_ambiguous_is_refused(tmp_path):
    state = small().state_dict()
    moved = {key: value + 1 for key, value in state.items()}
    assert (
        "holds several state dicts (model and ema); keep the one you mean: "
        "torch.save(torch.load('x.pt')['ema'], 'one.pt')" in refused({"model": state, "ema": moved}, tmp_path)
    )
    assert "several state dicts (student.net and teacher.net)" in refused(
        {"student": {"net": state}, "teacher": {"net": moved}}, tmp_path
    )
    both = {
        **{f"module.{key}": value for key, value in state.items()},
        "module._orig_mod.linear.bias": moved["linear.bias"],
    }
    assert "module.linear.bias and module._orig_mod.linear.bias would both be fc.bias; take one of them out" in refused(
        both, tmp_path
    )
    assert "would both be" not in refused({**state, "fc.weight": state["linear.weight"]}, tmp_path)
    weight = state["conv1.weight"]
    assert "conv1.weight_orig and conv1.weight are both there" in refused(
        {**state, "conv1.weight_orig": weight, "conv1.weight_mask": torch.ones_like(weight)}, tmp_path
    )


def test_what_differs_is_said(tmp_path):
    state = small().state_dict()
    assert "1 entries missing, 0 unknown; conv1.weight is missing" in refused(
        {key: value for key, value in state.items() if key != "conv1.weight"}, tmp_path
    )
    assert "1 unknown; projector.weight is unknown" in refused(
        {**state, "projector.weight": torch.zeros(4, 64, 2)}, tmp_path
    )
    assert "it looks like resnet44s" in refused(akamaster(models.build("resnet44s", 10).state_dict()), tmp_path)
    assert "'module.' dropped from all names" in refused(
        {"module.a.weight": torch.zeros(3, 3), "module.b.weight": torch.zeros(3)}, tmp_path
    )
    some = [key for key in state if foreign.COUNTER in key][:1]
    assert f"{some[0]} is missing" in refused({key: value for key, value in state.items() if key not in some}, tmp_path)
    one = {key: value for key, value in models.build("resnet20s", 10).state_dict().items() if key != "normalize.std"}
    assert "normalize.std is missing" in refused(one, tmp_path)


def test_layers_of_one_shape_are_not_guessed(tmp_path):
    """Two batch norms of a block under names that could be either's."""
    state = {
        key.replace(".bn1", ".norma").replace(".bn2", ".normb"): value for key, value in small().state_dict().items()
    }
    assert "is no resnet20s" in refused(state, tmp_path)


# --- the real script ---


@pytest.fixture
def scored(tmp_path, capsys):
    def run(content, *more):
        torch.save(content, tmp_path / "theirs.pt")
        code = main_forget.main(
            [
                *DIGITS[:4],
                "--device",
                "cpu",
                "--mask",
                str(tmp_path / "theirs.pt"),
                "--unlearn",
                "raw",
                "--save_dir",
                str(tmp_path / "run"),
                *more,
            ]
        )
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_from_the_command_line(scored, tmp_path):
    code, out, _ = scored(kuangliu(small().state_dict()))
    assert code == 0 and "arch resnet20s: from the weights of --mask" in out
    assert (
        "weights    entry net, 'module.' dropped from all names, linear.* taken for fc.*, "
        "no normalize.*: statistics of digits" in out
    )
    own = torch.load(tmp_path / "run" / "rawcheckpoint.pth.tar")["state_dict"]
    assert own["normalize.mean"].tolist() == pytest.approx([0.3061] * 3)
    code, out, _ = scored(akamaster(small().state_dict()), "--mean", "imagenet", "--arch", "resnet20s")
    assert code == 0 and "no normalize.*: --mean and --std" in out
    again = torch.load(tmp_path / "run" / "rawcheckpoint.pth.tar")
    assert again["state_dict"]["normalize.mean"].tolist() == pytest.approx(MEAN) and again["state_dict"][
        "normalize.std"
    ].tolist() == pytest.approx(STD)
    code, out, _ = scored(again)
    assert code == 0 and "mean 0.485,0.456,0.406, std 0.229,0.224,0.225: from --mask" in out
    code, _, error = scored(again, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    assert (
        code == 2
        and "normalises its input by mean and standard deviation 0.485,0.456,0.406 and 0.229,0.224,0.225; "
        "leave --mean and --std out"
        in error
    )


def test_json_is_no_checkpoint_and_allow_pickle_is_not_advised(tmp_path):
    (tmp_path / "result.json").write_text('{\n "fingerprint": "0"}')
    for allowed in (False, True):
        with pytest.raises(UsageError, match=r"result.json: is JSON, not a checkpoint; models end in .pth.tar"):
            checkpoints.read(tmp_path / "result.json", "--mask", allowed)
