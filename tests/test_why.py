"""experiments/why_16px.py: rescaled models compute the same, and the narrow network keeps the weights it is for."""

from pathlib import Path

import pytest
import torch

import models
from experiments import why_16px
from pruner import Mask
from trainer import checkpoints


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
        elif "running" not in name:
            assert torch.equal(after.weights[name], model.state_dict()[name])
    images = torch.rand(4, 3, 16, 16)
    before = model(images)
    model.load_state_dict(after.weights)
    torch.testing.assert_close(model(images), before, rtol=1e-3, atol=1e-3)


def test_at_95_percent_the_narrow_network_keeps_what_the_wide_one_keeps_at_98():
    def convolutions(arch: str) -> int:
        return sum(p.numel() for p in models.build(arch, 10).parameters() if p.dim() == 4)

    assert 0.05 * convolutions(why_16px.NARROW) == pytest.approx(0.02 * convolutions("resnet18"), rel=0.03)
