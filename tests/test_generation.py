"""Diffusion models: the network, its noise, and how pictures are drawn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from generation import samplers
from generation.schedule import KINDS, Schedule, sequence
from generation.unet import ConditionalUNet, Downsample, Shape, plain_keys, waves

TINY = Shape(8, (1, 2), 1, (2,), 4, 1, 3, groups=4, dropout=0.0)


@pytest.fixture
def model() -> ConditionalUNet:
    torch.manual_seed(5)
    return ConditionalUNet(TINY).eval()


def inputs(count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 4, 4, generator=random), torch.arange(count) * 300, torch.arange(count) % 3


# ---- network --------------------------------------------------------------------------------------


def test_the_network_for_cifar10_has_the_size_of_the_reference():
    with torch.device("meta"):
        network = ConditionalUNet(Shape())
    assert sum(parameter.numel() for parameter in network.parameters()) == 38_632_323
    assert len(network.state_dict()) == 334 and next(iter(network.state_dict())) == "null_classes_emb"
    assert network.state_dict()["up.0.block.1.conv1.weight"].shape == (128, 256, 3, 3)


def test_going_down_pads_at_the_right_and_the_bottom_alone():
    layer = Downsample(1)
    torch.nn.init.ones_(layer.conv.weight)
    torch.nn.init.zeros_(layer.conv.bias)
    found = layer(torch.ones(1, 1, 4, 4))
    assert found.flatten().tolist() == [9.0, 6.0, 6.0, 4.0]


def test_the_time_is_told_by_sines_and_then_cosines():
    found = waves(torch.tensor([0, 2]), 4)
    assert found[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    angles = torch.tensor([2.0, 2e-4])
    assert torch.allclose(found[1], torch.cat([angles.sin(), angles.cos()]))


def test_a_dropped_class_is_no_class(model):
    noisy, times, classes = inputs()
    none = torch.zeros(4, dtype=torch.bool)
    dropped = model(noisy, times, classes, none)
    assert torch.equal(dropped, model(noisy, times, (classes + 1) % 3, none))
    mixed = model(noisy, times, classes, torch.tensor([True, False, True, False]))
    kept = model(noisy, times, classes)
    assert torch.allclose(mixed[::2], kept[::2]) and torch.allclose(mixed[1::2], dropped[1::2])
    assert not torch.allclose(kept, dropped, atol=1e-4)


def test_keys_with_the_prefix_of_several_devices_are_read(model):
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    assert plain_keys(state).keys() == plain_keys(plain_keys(state)).keys() == model.state_dict().keys()


# ---- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_grow_to_their_end(kind):
    betas = Schedule(kind, steps=50).betas()
    assert betas.dtype == torch.float32 and len(betas) == 50 and (betas.diff() >= 0).all()
    assert betas[-1] == pytest.approx(1.0 if kind == "jsd" else 0.02, rel=0.01)


def test_an_image_is_noised_by_what_is_left_of_it():
    schedule, clean, noise = Schedule("const", end=0.19, steps=3), torch.ones(3, 1, 1, 1), torch.full((3, 1, 1, 1), 2.0)
    found = schedule.noised(clean, noise, torch.tensor([0, 1, -1])).flatten()
    assert torch.allclose(found, torch.tensor([0.9 + 2 * 0.19**0.5, 0.81 + 2 * (1 - 0.81**2) ** 0.5, 1.0]))


def test_times_of_short_walks():
    assert sequence("uniform", 4, 20) == [0, 5, 10, 15]
    assert sequence("uniform", 7, 1000) == list(range(0, 1000, 142)), "eight, because 1,000 is not divisible by 7"
    assert sequence("quad", 3, 1000) == [0, 200, 800]


# ---- drawing --------------------------------------------------------------------------------------


def walk(model, kind: str, count: int, strength: float, eta: float, draw) -> list[Tensor]:
    start, _, classes = inputs()

    def predict(noisy, times):
        return samplers.guided(model, noisy, times, classes, strength)

    with torch.no_grad():
        times = sequence("uniform", count, 1000)
        return list(samplers.trajectory(kind, predict, start, times, Schedule(), draw, eta))


@pytest.mark.parametrize(("kind", "eta"), [("generalized", 0.0), ("generalized", 1.0), ("ddpm", 1.0)])
def test_pictures_are_those_of_diffusers(model, kind, eta):
    """The same noise into diffusers' schedulers, where these can take the same times."""
    diffusers = pytest.importorskip("diffusers")
    given = {"beta_start": 1e-4, "beta_end": 0.02, "timestep_spacing": "leading", "steps_offset": 0}
    if kind == "ddpm":
        twin = diffusers.DDPMScheduler(variance_type="fixed_large", clip_sample=True, **given)
    else:
        twin = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **given)
    twin.set_timesteps(10)
    random = torch.Generator().manual_seed(3)
    noises = [torch.randn(4, 1, 4, 4, generator=random) for _ in range(10)]
    left = iter(noises)
    found = walk(model, kind, 10, 2.0, eta, lambda like: next(left))
    picture, _, classes = inputs()
    for step, time in enumerate(twin.timesteps):
        with torch.no_grad():
            times = time.expand(4)
            conditional = model(picture, times, classes)
            free = model(picture, times, classes, torch.zeros(4, dtype=torch.bool))
        noise = 3 * conditional - 2 * free
        if kind == "ddpm":
            picture = stepped_with(twin, noise, time, picture, noises[step])
        else:
            more = {"variance_noise": noises[step]} if eta else {}
            picture = twin.step(noise, time, picture, eta=eta, **more).prev_sample
        assert torch.allclose(found[step], picture, atol=2e-5 * float(picture.abs().max()))


def stepped_with(scheduler, noise: Tensor, time: Tensor, picture: Tensor, drawn: Tensor) -> Tensor:
    """A step of DDPM whose normal numbers are given: what it adds is what another draw changes."""
    ready = torch.Generator().manual_seed(0)
    own = torch.randn(picture.shape, generator=ready)
    stepped = scheduler.step(noise, time, picture, generator=torch.Generator().manual_seed(0)).prev_sample
    if time == 0:
        return stepped
    spread = scheduler._get_variance(int(time)) ** 0.5
    return stepped + spread * (drawn - own)


def test_without_eta_nothing_is_drawn_and_pictures_repeat(model):
    def refuse(like: Tensor) -> Tensor:
        raise AssertionError("drew")

    first, second = (walk(model, "generalized", 5, 1.0, 0.0, refuse)[-1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("strength", "kept"), [(0.0, [None]), (-1.0, [False]), (0.5, [False, None])])
def test_guidance_asks_only_for_what_it_needs(strength, kept):
    asked = []

    def network(noisy, times, classes, keep):
        asked.append(None if keep is None else bool(keep.any()))
        return torch.full_like(noisy, 1.0 if keep is None else 3.0)

    found = samplers.guided(network, *inputs(), strength)
    assert asked == kept and float(found.mean()) == pytest.approx((1 + strength) * 1.0 - strength * 3.0)
