"""Another task than classification through the same loop and methods; stopping inside an epoch; moving averages."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from test_methods import SETS
from torch import Tensor, nn

from dataset.scenario import Scenario
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Batch, Classification, Figures, Task
from unlearn import registry
from unlearn.apply import apply
from unlearn.context import Context, Progress
from unlearn.methods.sfron import Config as SFRonConfig
from utils import files, seeds
from utils.errors import UsageError
from utils.log import Log

CLASSES = 3
GENERIC = "FT FT_l1 FT_prune FT_prune_bi GA GA_l1 RL SalUn NG+ SFRon fisher_new fisher retrain".split()
GENERIC += "SalUn_soft retrain_sam CT ASSD SSD".split()


class Denoising(Task):
    """Guess the noise in an image whose class is known: the squared error, summed over its pixels."""

    name = "denoising"

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        noise = batch.draw(torch.randn, batch.inputs.shape)
        noisy = batch.inputs + 0.5 * noise
        return (model(noisy, batch.targets) - noise).square().flatten(1).sum(1), {}

    def wrong_targets(self, targets: Tensor, seed: int, exclude_true: bool = True) -> Tensor:
        return (targets + 1) % CLASSES


class Denoiser(nn.Module):
    """Two convolutions and a shift by class, with dropout, so that layers draw random numbers too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
        self.classes, self.drop = nn.Embedding(CLASSES, 6), nn.Dropout(0.1)

    def forward(self, noisy: Tensor, classes: Tensor) -> Tensor:
        return self.last(self.drop((self.first(noisy) + self.classes(classes)[:, :, None, None]).relu()))


@pytest.fixture
def model() -> Denoiser:
    torch.manual_seed(3)
    return Denoiser()


def context(task: Task | None = None, **more) -> Context:
    where = Context({}, torch.device("cpu"), 2, "fixed", "toy", CLASSES, Scenario(None, 9), (), Log(None), **more)
    where.task = task or Denoising()
    return where


def run(name: str, model: nn.Module, where: Context, **hyper) -> dict[str, Tensor]:
    method = registry.get(name)
    hyper = {"unlearn_epochs": 2, "batch_size": 8, "unlearn_lr": 1e-4, "alpha": 1e-4, "no_aug": True} | hyper
    known = {key: value for key, value in hyper.items() if key in method.config.__dataclass_fields__}
    return apply(method, model, SETS, method.config(**known), where).model.state_dict()


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


@pytest.mark.parametrize("name", GENERIC)
def test_methods_of_losses_alone_unlearn_another_task(name, model):
    start = copy.deepcopy(model.state_dict())
    first, second = (run(name, model, context()) for _ in range(2))
    assert equal(first, second) and not equal(first, start)
    assert all(value.isfinite().all() for value in first.values())


def test_every_other_method_is_refused_in_one_line(model):
    refused = [name for name in registry.names() if registry.get(name).tasks is not None]
    assert set(refused) | set(GENERIC) | {"raw"} == set(registry.names()) and not set(refused) & set(GENERIC)
    for name in refused:
        with pytest.raises(UsageError, match=rf"^--unlearn {name}: is for classification alone, not for denoising$"):
            run(name, model, context())


def test_fine_tuning_by_hand(model):
    twin = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(twin.parameters(), 1e-4, momentum=0.9, weight_decay=5e-4)
    seed = seeds.derive(seeds.derive(2, "unlearn", 0), "epoch", 0)
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    for images, classes in SETS["retain"].batches(8, seed):
        noise = torch.randn(images.shape, generator=random)
        loss = (twin(images + 0.5 * noise, classes) - noise).square().sum() / len(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = run("FT", model, context(), unlearn_epochs=1, schedule="constant")
    assert all(torch.allclose(found[key], value, atol=1e-6) for key, value in twin.state_dict().items())


def test_the_gradient_of_the_forget_set_points_where_ascent_goes(model):
    """One step of GA without momentum: along the gradient of the forget loss, up."""
    seed = seeds.derive(seeds.derive(2, "unlearn", 0), "epoch", 0)
    [(images, classes)] = SETS["forget"].batches(99, seed)
    twin, random = copy.deepcopy(model).eval(), torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=random)
    (twin(images + 0.5 * noise, classes) - noise).square().flatten(1).sum(1).mean().backward()
    hyper = {"unlearn_epochs": 1, "batch_size": 99, "eval_mode": True, "weight_decay": 0.0, "unlearn_lr": 1e-3}
    found = run("GA", model, context(), **hyper)
    expected = {name: value + 1e-3 * value.grad for name, value in twin.named_parameters()}
    assert all(torch.allclose(found[key], value, atol=1e-6) for key, value in expected.items())


# ---- inside an epoch ------------------------------------------------------------------------------


class Killed(BaseException):
    """As abrupt as a signal."""


@pytest.mark.parametrize("stored", [1, 2, 5])
@pytest.mark.parametrize("name", ["FT", "RL", "NG+", "SFRon", "CT"])
def test_a_run_killed_inside_an_epoch_goes_on_to_the_same_bytes(name, stored, model, tmp_path, monkeypatch):
    """Progress is stored after every step; the run is killed when it has been so many times."""
    hyper = {"forget_freq": 2, "slow_rate": 0.7, "batch_size": 4} if name == "SFRon" else {"batch_size": 4}
    whole = run(name, model, context(), **hyper)
    write, count = files.write_bytes, itertools.count(1)

    def dies(target, content):
        write(target, content)
        if next(count) == stored:
            raise Killed

    monkeypatch.setattr(files, "write_bytes", dies)
    with pytest.raises(Killed):
        run(name, model, context(progress=Progress(tmp_path / "p.pt", "x"), save_every=1), **hyper)
    monkeypatch.setattr(files, "write_bytes", write)
    progress = Progress(tmp_path / "p.pt", "x")
    assert progress.state["inside"]["step"] >= 1
    torch.manual_seed(99)  # a new process
    assert equal(run(name, model, context(progress=progress, save_every=1), **hyper), whole)


def test_figures_of_an_epoch_outlive_a_kill(model):
    def training() -> Training:
        torch.manual_seed(1)
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(108, CLASSES))
        return Training(classifier, Recipe(1, 0.1, batch_size=4), {})

    objective, kept = Classification(CLASSES).mean, []
    [whole] = training().run(SETS["retain"], 5, objective)
    first = training()

    def save():
        kept.append((copy.deepcopy(first.state()), copy.deepcopy(first.model.state_dict())))

    list(first.run(SETS["retain"], 5, objective, save=save, every=2))
    assert [state["inside"]["step"] for state, _ in kept] == [2, 4]  # of 6 steps; behind the last the epoch is over
    second = training()
    second.restore(kept[0][0])
    second.model.load_state_dict(kept[0][1])
    [resumed] = second.run(SETS["retain"], 5, objective)
    assert (resumed.loss, resumed.figures) == (whole.loss, whole.figures) and 0 < whole.figures["accuracy"] < 1


def test_a_run_that_counts_steps_ends_inside_an_epoch_and_goes_on_there():
    taken, kept = [], []

    def objective(model, batch):
        taken.append(batch.epoch)
        return Classification().mean(model, batch)

    def training() -> Training:
        torch.manual_seed(1)
        classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(108, CLASSES))
        return Training(classifier, Recipe(2, 0.1, batch_size=4, steps=9), {})

    whole = training()

    def save():
        kept.append((copy.deepcopy(whole.state()), copy.deepcopy(whole.model.state_dict())))

    list(whole.run(SETS["retain"], 5, objective, save=save, every=2))
    assert taken == [0] * 6 + [1] * 3  # 21 images in batches of 4: six steps, then three
    assert [(state["epoch"], state["inside"]["step"]) for state, _ in kept] == [(0, 2), (0, 4), (1, 2)]
    for state, weights in kept:
        again = training()
        again.restore(state)
        again.model.load_state_dict(weights)
        list(again.run(SETS["retain"], 5, objective))
        assert equal(again.model.state_dict(), whole.model.state_dict())


# ---- moving averages ------------------------------------------------------------------------------


def average_by_hand(model: nn.Module, decay: float, seed: int) -> dict[str, Tensor]:
    twin = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(twin.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    average = {name: value.detach().clone() for name, value in twin.named_parameters()}
    for epoch in range(2):
        for images, labels in SETS["retain"].batches(8, seeds.derive(seed, "epoch", epoch)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(twin(images), labels).backward()
            optimizer.step()
            for name, value in twin.named_parameters():
                average[name] = decay * average[name] + (1 - decay) * value.detach()
    return average


@pytest.mark.parametrize("killed", [False, True])
def test_the_moving_average_begins_with_the_starting_weights(killed):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    expected = average_by_hand(model, 0.8, 5)
    training = Training(model, Recipe(2, 0.05, batch_size=8, ema_decay=0.8), {})
    epochs = training.run(SETS["retain"], 5, Classification().mean)
    next(epochs)
    if killed:
        stored, weights = copy.deepcopy(training.state()), copy.deepcopy(model.state_dict())
        model.load_state_dict(weights)
        training = Training(model, Recipe(2, 0.05, batch_size=8, ema_decay=0.8), {})
        training.restore(stored)
        epochs = training.run(SETS["retain"], 5, Classification().mean)
    list(epochs)
    assert not torch.allclose(model[1].weight, expected["1.weight"], atol=1e-4)
    training.finish()
    assert all(torch.allclose(value, expected[name], atol=1e-6) for name, value in model.named_parameters())


def test_the_average_follows_whole_turns_and_not_the_step_up(model):
    """SFR-on takes two steps in a turn; the average moves once, after the second."""
    from unlearn.fast_slow import Ascent, FastSlow

    where = context()
    config = SFRonConfig(iterations=3, forget_freq=1, batch_size=8)
    ascent = Ascent(model, where, SETS["forget"], 0.5, "set", 8)
    plan = FastSlow(model, ascent, SETS["retain"], None, config, where)
    assert [step.group for step in plan.steps(0, 1, 0)] == [None, 0] * 3
    assert [step.group for step in plan.steps(0, 1, 3)] == [0, None, 0], "from the middle of an epoch on"
