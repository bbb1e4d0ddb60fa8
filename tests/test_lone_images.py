"""A batch of one image where maps have shrunk to 1 x 1: batch norm has no variance, and every walk goes on all the
same.
"""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import main_forget
import main_imp
import main_transfer
from trainer import checkpoints
from trainer.cpu_arithmetic import cpu_arithmetic

pytestmark = pytest.mark.numeric

PROBE = ["--target", "tree", "--removed", "0", "--probe", "full", "--probe_epochs", "1"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a tree of 8 x 8 pixels, of which 36 images train."""
    root, random = tmp_path_factory.mktemp("lone"), np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for label in range(2):
            (root / "tree" / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                pixels = (random.integers(0, 100, (8, 8, 3)) + 80 * label).astype(np.uint8)
                Image.fromarray(pixels).save(root / "tree" / part / f"class{label}" / f"{number}.png")
    return root


def words(arch: str = "resnet18", size: int = 8) -> list[str]:
    return ["--dataset", "folder", "--data", "tree", "--input_size", str(size), "--arch", arch, "--device", "cpu"]


def run(script, here, name, *more, **options) -> dict[str, torch.Tensor]:
    """The weights that a run in ``here`` ends with."""
    assert script.main([*words(**options), *map(str, more), "--save_dir", str(here / name)]) == 0
    assert json.loads((here / name / "result.json").read_text())["status"] == "done"
    found = sorted((here / name).glob("**/*target.pth.tar")) or sorted((here / name).glob("*checkpoint.pth.tar"))
    return checkpoints.read(found[-1], "").weights


@pytest.fixture(scope="module")
def trained(here):
    """The model after one epoch in batches of 5: the last has one image."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        run(main_imp, here, "imp", "--epochs", 1, "--batch_size", 5, "--lr", 0.01)
    return here / "imp" / "0model_SA_best.pth.tar"


def lone(dimensions: int) -> tuple[nn.Module, torch.Tensor]:
    layer = (nn.BatchNorm2d if dimensions == 4 else nn.BatchNorm1d)(3).double()
    with torch.no_grad():
        for tensor, values in zip(
            (layer.running_mean, layer.running_var, layer.weight, layer.bias),
            ([1, 2, 3], [4, 9, 16], [1, -2, 3], [0, 1, 2]),
        ):
            tensor.copy_(torch.tensor(values))
    return layer, torch.tensor([3.0, 2.0, 11.0], dtype=torch.float64).view(1, 3, *[1] * (dimensions - 2))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dimensions", [2, 4])
def test_one_number_per_channel_is_normalised_by_the_running_statistics_which_stay(dimensions, fast, monkeypatch):
    monkeypatch.setattr("utils.device._Arithmetic.fast", fast)
    layer, x = lone(dimensions)
    layer.eps = 1e-12
    before = copy.deepcopy(layer.state_dict())
    with cpu_arithmetic(layer):
        y = layer(x.requires_grad_())
        layer(torch.randn(5, *x.shape[1:], dtype=torch.float64))  # of the same step, before the backward pass
    assert y.flatten().tolist() == pytest.approx([1.0, 1.0, 8.0])  # (3 - 1) / 2, 1 - 2 * 0 / 3, 2 + 3 * 8 / 4
    y.sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([1 / 2, -2 / 3, 3 / 4])
    assert layer.weight.grad.tolist() == pytest.approx([1.0, 0.0, 2.0]) and layer.bias.grad.tolist() == [1.0, 1.0, 1.0]
    assert layer.num_batches_tracked == 1, "of the second batch alone"
    layer.load_state_dict(before)
    with cpu_arithmetic(layer):
        layer(x)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_batch_norm_that_has_an_activation_keeps_it():
    layer = pytest.importorskip("timm.layers").BatchNormAct2d(3)
    layer.load_state_dict({**lone(4)[0].state_dict(), "num_batches_tracked": torch.tensor(0)})
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(layer)
    with cpu_arithmetic(layer):
        found, single = layer(x), layer(x[:1, :, :1, :1])
    assert torch.allclose(found, twin(x), atol=1e-6) and float(found.detach().min()) == 0.0
    assert torch.equal(single, twin.eval()(x[:1, :, :1, :1])) and float(single.detach().min()) == 0.0


def test_a_last_batch_of_one_image_trains_and_leaves_the_statistics_of_small_maps_alone(here, trained):
    weights = checkpoints.read(trained, "").weights
    steps = {name: int(value) for name, value in weights.items() if name.endswith("num_batches_tracked")}
    assert {steps["bn1.num_batches_tracked"], steps["layer3.0.bn1.num_batches_tracked"]} == {8}
    assert {value for name, value in steps.items() if name.startswith("layer4")} == {
        7
    }  # the eighth batch has maps of 1 x 1


def test_in_batches_of_one_image_layers_of_small_maps_keep_their_statistics(here, trained, monkeypatch):
    monkeypatch.chdir(here)
    found = run(
        main_forget, here, "FT1", "--mask", trained, "--unlearn", "FT", "--unlearn_epochs", 1, "--batch_size", 1
    )
    start = checkpoints.read(trained, "").weights
    assert torch.equal(found["layer4.1.bn2.running_var"], start["layer4.1.bn2.running_var"])
    assert not torch.equal(found["layer4.1.bn2.weight"], start["layer4.1.bn2.weight"])
    assert not torch.equal(found["bn1.running_var"], start["bn1.running_var"])


# One forgotten image: alone, in pairs, among retained ones, endlessly, in train mode before any training, with
# adapters.
ONE = [
    ("GA", []),
    ("NG+", []),
    ("FCS", []),
    ("SalUn", []),
    ("SFRon", ["--no_saliency"]),
    ("MSG", []),
    ("BT", []),
    ("GA", ["--lora"]),
]


@pytest.mark.parametrize(
    "method, more", [*ONE[:3], *(pytest.param(*one, marks=pytest.mark.torture) for one in ONE[3:])]
)
def test_one_image_is_forgotten(method, more, here, trained, monkeypatch):
    monkeypatch.chdir(here)
    found = run(
        main_forget,
        here,
        f"{method}{len(more)}",
        "--mask",
        trained,
        "--unlearn",
        method,
        "--forget",
        "random:1",
        "--unlearn_epochs",
        1,
        "--unlearn_lr",
        1e-3,
        "--batch_size",
        17,
        *more,
    )
    start = checkpoints.read(trained, "").weights
    assert not torch.equal(found["layer4.1.conv1.weight"], start["layer4.1.conv1.weight"])


def test_a_model_is_carried_over_with_a_last_batch_of_one_image(here, trained, monkeypatch):
    monkeypatch.chdir(here)
    found = run(
        main_transfer, here, "probe", "--mask", trained, "--unlearn", "FT", "--batch_size", 39, *PROBE
    )  # 40 images
    assert all(value.isfinite().all() for value in found.values())


def test_vgg_ends_in_maps_of_one_pixel(here, monkeypatch):
    monkeypatch.chdir(here)
    found = run(
        main_imp, here, "vgg", "--epochs", 1, "--batch_size", 35, "--lr", 0.01, "--sam_rho", 1, arch="vgg16_bn", size=32
    )
    assert all(value.isfinite().all() for value in found.values())
