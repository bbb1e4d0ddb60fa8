"""SSD, LFSSD, ASSD, UNSIR and JiT, and the scores of their papers, against hand-worked cases and slow obvious twins."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import DIGITS, killed_at
from test_methods import SETS, Tiny, context, run, warmed_up
from torch import nn

import main_forget
import main_saliency
import models
from dataset.images import ImageSet
from evaluation import divergence, privacy_score, similarity, weight_distance
from unlearn import dampening, noise_images, registry
from unlearn.apply import apply
from unlearn.context import Progress
from utils.errors import UsageError
from utils.log import Log

pytestmark = pytest.mark.numeric


@pytest.fixture
def model() -> Tiny:
    return warmed_up(Tiny)


class Heard(Log):
    """Keeps the lines."""

    def __init__(self):
        super().__init__(None)
        self.lines = []

    def line(self, text=""):
        self.lines.append(text)


def gradients_of(model, losses) -> list[dict[str, torch.Tensor]]:
    """One dictionary of gradients for each loss."""
    names = [name for name, _ in model.named_parameters()]
    return [dict(zip(names, torch.autograd.grad(loss, list(model.parameters()), retain_graph=True))) for loss in losses]


def slow_importance(model, images, size, change, losses):
    """Mean over parts of ``size`` images of ``change`` of the gradient of the mean."""
    pixels, labels = torch.cat([b for b, _ in images.batches(99)]), images.labels
    each = [losses(model(x), y).mean() for x, y in zip(pixels.split(size), labels.split(size))]
    every = gradients_of(model, each)
    return {name: torch.stack([change(one[name]) for one in every]).mean(0) for name in every[0]}


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def squared_norm(logits, labels):
    return logits.square().sum(1)


@pytest.mark.parametrize(
    "name, change, losses", [("SSD", torch.square, cross_entropy), ("LFSSD", torch.abs, squared_norm)]
)
@pytest.mark.parametrize("importance, size", [("images", 1), ("batches", 8)])
def test_dampening_against_a_slow_twin(name, change, losses, importance, size, model):
    hyper = {"alpha": 1.0, "dampening": 0.5}
    after = run(name, model, {}, importance=importance, batch_size=size, **hyper)
    wanted = copy.deepcopy(model).eval()
    whole = ImageSet(
        torch.cat([SETS["retain"].images, SETS["forget"].images]),
        torch.cat([SETS["retain"].labels, SETS["forget"].labels]),
    )
    forget, everything = (slow_importance(wanted, s, size, change, losses) for s in (SETS["forget"], whole))
    selected = 0
    with torch.no_grad():
        for key, parameter in wanted.named_parameters():
            for place in range(parameter.numel()):
                f, d = (float(part[key].flatten()[place]) for part in (forget, everything))
                if f > d:
                    parameter.view(-1)[place] *= min(1.0, 0.5 * d / f)
                    selected += 1
    assert 5 < selected < 130  # of 135
    for key, value in wanted.state_dict().items():
        torch.testing.assert_close(after[key], value, rtol=1e-4, atol=1e-7)


def test_dampening_by_hand():
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, 4.0, -8.0]]))
    forget, everything = {"weight": torch.tensor([[4.0, 2.0, 9.0]])}, {"weight": torch.tensor([[1.0, 1.0, 3.0]])}
    assert dampening.dampen(model, forget, everything, alpha=2.0, dampening=1.0) == 2  # 2 > 2 * 1 is not
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[0.5, 4.0, -8 / 3]]))


def test_no_weight_grows():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(3.0)
    dampening.dampen(model, {"weight": torch.tensor([[2.0]])}, {"weight": torch.ones(1, 1)}, alpha=1.0, dampening=5.0)
    assert model.weight.item() == 3.0


def test_an_alpha_that_can_select_nothing_is_refused(model):
    with pytest.raises(UsageError, match=r"--alpha 4: SSD selects nothing, .* more than 3\.333 times .* 9 images"):
        run("SSD", model, {}, alpha=4.0)
    run("SSD", model, {}, alpha=4.0, importance="batches", batch_size=30)  # no bound is known there


def test_a_run_says_how_much_was_selected(model):
    where = context({})
    where.log = Heard()
    apply(registry.get("SSD"), model, SETS, registry.get("SSD").config(alpha=3.2), where)
    assert where.log.lines == [
        "SSD: 0 % of 135 weights selected at alpha 3.2; the model is unchanged, try a smaller --alpha"
    ]
    where.log.lines.clear()
    apply(registry.get("SSD"), model, SETS, registry.get("SSD").config(alpha=1.0), where)
    assert "that is a large part of the model" in where.log.lines[0]


def test_assds_threshold_is_a_percentile():
    random = torch.Generator().manual_seed(1)
    forget, everything = {"a": torch.rand(50, generator=random)}, {"a": torch.rand(50, generator=random)}
    everything["a"][7] = 0  # infinite
    forget["a"][9], everything["a"][9] = 0, 0  # NaN
    finite = np.delete((forget["a"] / everything["a"]).numpy().astype(np.float64), [7, 9])
    wanted = np.percentile(finite, 100 - math.log(1 + 100 * 0.1))
    assert dampening.adaptive_alpha(forget, everything, 0.1) == pytest.approx(wanted, rel=1e-6)


def test_jit_by_a_slow_twin(model):
    """Two steps of plain SGD; the draws are those of the run's own generator."""
    drawn = []

    class Recorded(type(context({}).draws)):
        def step(self, like, random):
            drawn.append(super().step(like, random))
            return drawn[-1]

    method, where = registry.get("JiT"), context({})
    where.draws = Recorded(2)
    config = method.config(unlearn_lr=0.002, batch_size=5, noisy_copies=2, noise_std=0.3)
    after = apply(method, model, SETS, config, where).model.state_dict()
    wanted = copy.deepcopy(model).eval()
    for number, (x, _) in enumerate(SETS["forget"].batches(5)):
        loss = 0.0
        for image in range(len(x)):
            for copy_ in range(2):
                noisy = (x + 0.3 * drawn[2 * number + copy_]).clamp(x.min(), x.max())
                away = wanted(x[image : image + 1]) - wanted(noisy[image : image + 1]).detach()
                loss = loss + away.norm() / (x[image] - noisy[image]).norm() / 2
        for parameter, gradient in zip(wanted.parameters(), torch.autograd.grad(loss, list(wanted.parameters()))):
            parameter.data -= 0.002 * gradient
    assert len(drawn) == 4
    for key, value in wanted.state_dict().items():
        torch.testing.assert_close(after[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["eval", "mixed", "train"])
def test_jits_modes_differ_in_whose_statistics_batch_norm_follows(mode, model):
    after = run("JiT", model, {}, noise_mode=mode, noisy_copies=2, batch_size=9, unlearn_lr=1e-9)
    wanted = copy.deepcopy(model).train(mode != "eval")
    [(clean, _)] = SETS["forget"].batches(9)
    wanted(clean)
    moved = not torch.equal(model.bn.running_mean, after["bn.running_mean"])
    assert (
        moved == (mode != "eval")
        and int(after["bn.num_batches_tracked"]) == 3 + {"eval": 0, "mixed": 1, "train": 3}[mode]
    )
    if mode != "train":  # there it follows the noisy copies too
        torch.testing.assert_close(after["bn.running_mean"], wanted.bn.running_mean)


def test_jit_without_noise_changes_nothing_and_divides_by_nothing(model):
    after = run("JiT", model, {}, noise_std=0.0, unlearn_lr=1.0)
    assert all(torch.equal(after[key], value) for key, value in model.state_dict().items())


def test_normalised_noise_is_that_of_the_models_own_scale():
    """A model that halves its input sees twice the noise of one whose images were halved before."""
    inner = warmed_up(Tiny)
    outer = models.normalize_first(copy.deepcopy(inner))
    outer.normalize.std.fill_(0.5)
    before = outer.state_dict()["normalize.std"].clone()
    doubled = {key: ImageSet(2 * s.images.float() / 255, s.labels).in_order() for key, s in SETS.items()}
    config = registry.get("JiT").config(unlearn_lr=0.002)
    ours = apply(registry.get("JiT"), outer, SETS, config, context({})).model.state_dict()
    theirs = apply(registry.get("JiT"), inner, doubled, config, context({})).model.state_dict()
    assert torch.equal(ours["normalize.std"], before)
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-6)


def test_unsir_learns_noise_that_the_model_does_not_take_for_the_class(model):
    where, config = context({}, whole=(1,)), registry.get("UNSIR").config(noise_steps=60, noise_penalty=0.0)
    before = copy.deepcopy(model.state_dict())
    noise, stale = noise_images.learn(model, SETS["retain"], config, where)
    labels = torch.ones(32, dtype=torch.int64)
    start = where.draws.normal("noise", torch.empty(32, 3, 6, 6), "unsir", 1)
    first, last = (float(F.cross_entropy(model(images), labels)) for images in (start, noise[0][1]))
    assert last > 2 * first and noise[0][0] == 1 and noise[0][1].shape == (32, 3, 6, 6)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters()) and stale[0].abs().max() > 0


def test_unsir_trains_on_noise_of_the_class_and_first_images_of_the_others():
    noise = [(0, torch.arange(4.0).view(4, 1, 1, 1)), (2, 10 + torch.arange(4.0).view(4, 1, 1, 1))]
    some = noise_images.repeated(noise, 3, 2)
    assert some.images.flatten().tolist() == [0, 1, 2, 0, 1, 2, 10, 11, 12, 10, 11, 12]
    assert some.labels.tolist() == [0] * 6 + [2] * 6
    labels = torch.tensor([2, 1, 0, 1, 1, 2])
    images = ImageSet(torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1), labels)
    first = noise_images.first_of_others(images, 2, context({}, whole=(0,)), nn.Identity())
    assert first.labels.tolist() == [1, 1, 2, 2] and (255 * first.images).round().flatten().tolist() == [1, 3, 0, 5]


def test_stale_gradients_join_the_first_step_alone(model):
    stale = [torch.full_like(parameter, 0.5) for parameter in model.parameters()]
    task = context({}).task
    objective = noise_images.with_gradients(task.mean, stale, {})
    batch = type("B", (), {"inputs": torch.rand(4, 3, 6, 6), "targets": torch.tensor([0, 1, 2, 0])})
    plain, added, later = (
        torch.autograd.grad(each(model.eval(), batch)[0], list(model.parameters()))
        for each in (task.mean, objective, objective)
    )
    assert all(torch.allclose(b - a, torch.full_like(a, 0.5), atol=1e-6) for a, b in zip(plain, added))
    assert all(torch.equal(a, b) for a, b in zip(plain, later))


def test_a_killed_unsir_takes_the_stale_gradients_once(model, tmp_path):
    config = registry.get("UNSIR").config(unlearn_epochs=2, noise_steps=2, noise_copies=1)

    def run(name: str) -> dict[str, torch.Tensor]:
        where = context({}, "reference", whole=(1,))
        where.progress = Progress(tmp_path / name)
        where.memory = (where.progress.state or {}).get("memory", {})
        return apply(registry.get("UNSIR"), model, SETS, config, where).model.state_dict()

    with killed_at(2):
        run("killed.pt")
    whole, resumed = run("whole.pt"), run("killed.pt")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_unsir_is_for_whole_classes(model):
    with pytest.raises(UsageError, match=r"--unlearn UNSIR: forgets whole classes alone; give --forget class:C"):
        apply(registry.get("UNSIR"), model, SETS, registry.get("UNSIR").config(), context({}))


def test_distances_by_hand():
    p, q = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert divergence.activation_distance(p, q) == pytest.approx(math.sqrt(2) / 2)
    assert divergence.zrf(p, q) == pytest.approx(0.5)  # JS is ln 2 on the first row and 0 on the second
    assert divergence.completeness(p, q) == 0.5
    found = divergence.distances(p, q)
    assert found["activation_distance_rms"] == pytest.approx(1.0) and not math.isfinite(found["js_as_coded"])


def test_weight_distance_by_hand():
    first = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0]), "mean": torch.tensor([9.0])}
    second = {"a": torch.tensor([0.0, 4.0]), "b": torch.tensor([4.0]), "mean": torch.tensor([0.0])}
    found = weight_distance.weight_distance(first, second, ["a", "b"])
    assert found == {"l2": 5.0, "relative": 1.0, "layers": {"a": 5.0, "b": 0.0}}


def test_cka_knows_rotations_and_scales_and_tells_noise():
    random = torch.Generator().manual_seed(3)
    x = torch.randn(200, 10, generator=random)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=random))[0]
    assert similarity.cka(x, 3 * x @ turn, 50) == pytest.approx(1, abs=1e-6)
    assert abs(similarity.cka(x, torch.randn(200, 10, generator=random), 200)) < 0.05


def test_privacy_score_by_hand():
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.5, 0.0]])
    same = privacy_score.privacy_score(logits, logits)
    apart = privacy_score.privacy_score(logits, 20 + 40 * logits)
    assert apart["score"] == 0.0  # a threshold tells them apart without an error
    # e = ln(1 - d - a) - ln b with a + b = 1 is 0 up to d: the same outputs cannot be told apart
    assert same["score"] == pytest.approx(1.0)


def test_stored_importances_serve_any_request_on_the_same_model(few, few_run, tmp_path, capsys):
    dense, sparse = (str(few_run / f"{state}model_SA_best.pth.tar") for state in (0, 1))
    stored, words = tmp_path / "stored", [*DIGITS, *few, "--forget", "random:0.1", "--unlearn", "SSD", "--alpha", "2"]
    assert main_saliency.main([*DIGITS, *few, "--mask", sparse, "--saliency", "SSD", "--save_dir", str(stored)]) == 0
    file = str(stored / "importances_SSD.pt")
    assert "importances for SSD over 288 images" in capsys.readouterr().out

    def state(folder, *more):
        assert main_forget.main([*words, "--mask", sparse, *more, "--save_dir", str(tmp_path / folder)]) == 0
        return torch.load(tmp_path / folder / "SSDcheckpoint.pth.tar")["state_dict"]

    anew, again = state("anew"), state("again", "--importances", file)
    changed = [key for key, value in torch.load(sparse)["state_dict"].items() if not torch.equal(value, anew[key])]
    assert len(changed) > 20
    for key, value in anew.items():
        torch.testing.assert_close(again[key], value, rtol=1e-5, atol=1e-7)
    capsys.readouterr()
    for wrong, said in {
        ("--mask", dense, "--importances", file): "is of a model with other weights; make it anew with this --mask",
        ("--mask", sparse, "--importances", dense): "holds no importances; make them with main_saliency.py",
        ("--mask", sparse, "--importances", file, "--importance", "batches"): "leave out --importance batches",
        ("--mask", sparse, "--importances", file, "--unlearn", "LFSSD"): "holds importances of SSD, not of LFSSD",
    }.items():
        assert main_forget.main([*words, *wrong, "--save_dir", str(tmp_path / "wrong")]) == 2
        assert said in capsys.readouterr().err
