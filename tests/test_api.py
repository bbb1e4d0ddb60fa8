"""The way in from Python: its page and notebook run as they are, and it computes what main_forget.py computes."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re

import numpy as np
import pytest
import torch
from conftest import DIGITS, ROOT
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import main_forget
from arg_parser import parse_forget
from dataset import own
from dataset.scenario import Scenario
from trainer import checkpoints
from trainer.problem import load
from unlearn import api, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.unlearn_setup import set_up
from utils.errors import UsageError
from utils.log import Log

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CPU = torch.device("cpu")


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


# ---- what the docs show ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_method_stays(monkeypatch):
    """What a page or a cell registers is gone afterwards: other tests walk through all methods."""
    registry.names()
    monkeypatch.setattr(registry._methods, "_items", dict(registry._methods._items))


def executed(blocks: list[str], known: dict) -> str:
    """Run blocks of code in one module, as a notebook does; what they print."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in blocks:
            exec(block, known)
    return printed.getvalue()


def test_the_page_runs_as_it_is_written():
    blocks = re.findall(r"^```python( setup)?\n(.*?)^```$", (ROOT / "docs" / "api.md").read_text(), re.M | re.S)
    assert [bool(name) for name, _ in blocks].index(True) == 1 and len(blocks) == 6
    known = {"__name__": "__main__"}
    executed([text for name, text in blocks if name], known)
    before = copy.deepcopy(known["model"].state_dict())
    printed = executed([text for name, text in blocks if not name], known)
    scores = known["scores"]
    assert scores["UA"] > 0.9 and scores["RA"] > 0.9 and scores["ToW"] > 0.8 and "'UA': " in printed
    assert "unlearn_epoch: FT has no such setting (did you mean unlearn_epochs?)" in printed
    assert "unlearn  epoch 2/2" in printed, "verbose"
    assert equal(known["model"].state_dict(), before)
    executed([text for _, text in blocks if "@method" in text], known)  # a cell that is run again


def test_the_notebook_runs_and_its_output_is_small_and_of_no_machine():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    known = {"__name__": "__main__"}
    for cell in code:
        stored = "".join(line for output in cell["outputs"] for line in output["text"])
        printed = executed(["".join(cell["source"])], known)
        assert re.sub(r"[\d.]+", "0", printed).split() == re.sub(r"[\d.]+", "0", stored).split()
    table = known["table"]
    assert table["original"]["UA"] < 0.1 and table["retrain"] == table["retrain"] | {"UA": 1.0, "ToW": 1.0, "KL": 0.0}
    assert table["SalUn"]["UA"] > 0.9 and table["SalUn"]["RA"] > 0.9 and table["guess"]["UA"] > 0.9
    assert known["zeros"] == 0.5 and NOTEBOOK.stat().st_size < 20_000
    assert not re.search(r"/(home|root|work|tmp|usr)/|site-packages", NOTEBOOK.read_text())


# ---- what it computes -----------------------------------------------------------------------------

METHODS = {  # one set, both sets as one, and validation images
    "FT": {"unlearn_epochs": 2, "unlearn_lr": 0.012345678901},
    "SalUn": {"unlearn_epochs": 1, "no_aug": True, "order": "joint"},
    "KDE": {"unlearn_epochs": 1, "distil_epochs": 1},
}


@pytest.mark.parametrize("name", METHODS)
def test_it_computes_the_weights_and_scores_of_main_forget(name, few, few_run, tmp_path):
    mask, flags = str(few_run / "1model_SA_best.pth.tar"), METHODS[name]
    words = [*DIGITS, *few, "--unlearn", name, "--mask", mask, "--forget", "class:1", "--save_dir", str(tmp_path)]
    words += [
        word for flag, value in flags.items() for word in (f"--{flag}", *(() if value is True else (str(value),)))
    ]
    assert main_forget.main(words) == 0
    setup = set_up(parse_forget(words))
    images, _ = load(setup)
    split = np.load(tmp_path / "split.npz")

    def chosen(part: str, name: str) -> TensorDataset:
        pixels, labels = getattr(images, f"{part}_images"), getattr(images, f"{part}_labels")
        return TensorDataset(
            torch.from_numpy(pixels[split[name]]).permute(0, 3, 1, 2), torch.from_numpy(labels[split[name]])
        )

    sets = {"retain": "train", "forget": "train", "val": "train", "test": "test"}
    given = {name: chosen(part, name) for name, part in sets.items()}
    data = api.Data(**given, device="cpu", augment=api.Augment(images.pad, images.flip))
    start = setup.network.model(images, setup.weights)
    found = api.run(name, start, data, mask=setup.mask, **flags)
    stored = checkpoints.read(tmp_path / f"{name}checkpoint.pth.tar", "--mask", False, start)
    assert equal(found.model.state_dict(), stored.weights) and equal(found.mask, stored.mask)
    assert not equal(found.model.state_dict(), start.state_dict())
    result, scores = json.loads((tmp_path / "result.json").read_text()), api.score(found.model, data)
    expected = {key: result["scores"][key] for key in ("UA", "RA", "TA", "MIA-Efficacy")}
    expected |= {"entropy_attack": result["entropy_attack"], "loss_attack": result["deepunlearn"]["test"]["attack"]}
    expected |= {f"MIA-{key}": result["SVC_MIA_forget_efficacy"][key] for key in ("correctness", "m_entropy", "prob")}
    assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=1e-6)


# ---- a small problem ------------------------------------------------------------------------------

CLASSES = 3


def network(outputs: int = CLASSES) -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, outputs))


def samples(count: int, seed: int, low: float = 0.0) -> TensorDataset:
    random = torch.Generator().manual_seed(seed)
    images = low + torch.rand(count, 3, 6, 6, generator=random)
    return TensorDataset(images, torch.randint(0, CLASSES, (count,), generator=random))


def problem(**more) -> api.Data:
    return api.Data(
        **{"retain": samples(21, 1), "forget": samples(9, 2), "test": samples(12, 3), "device": "cpu"} | more
    )


def test_what_the_caller_has_is_left_as_it_is(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    model, mask = network().train(), {"0.weight": torch.ones(4, 3, 3, 3)}
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    data = problem(val=samples(6, 4))
    for name in ("RL", "retrain", "SCRUB", "RNI"):
        api.score(api.run(name, model, data, mask=mask).model, data, retrained=model)
    assert equal(model.state_dict(), before) and model.training and all(one.requires_grad for one in model.parameters())
    assert torch.equal(torch.get_rng_state(), random) and mask["0.weight"].dtype == torch.float32
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_the_model_is_given_what_the_data_set_gives():
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)
    seen: dict[str, Tensor] = {}
    sets: dict[str, object] = {
        "uint8": TensorDataset(pixels, torch.tensor([2, 0])),
        "PIL": [(Image.fromarray(one.permute(1, 2, 0).numpy()), label) for one, label in zip(pixels, (2, np.int64(0)))],
        "normalised": TensorDataset(10 * pixels.double() - 3, torch.tensor([2, 0])),
    }
    for name, given in sets.items():
        [(seen[name], labels)] = own.read(given, name, CPU).batches(9)
        assert seen[name].dtype == torch.float32 and labels.tolist() == [2, 0]
    assert torch.equal(seen["uint8"], pixels.float() / 255) and torch.equal(seen["PIL"], seen["uint8"])
    assert torch.equal(seen["normalised"], 10 * pixels.float() - 3)


def test_processes_read_the_same_in_the_same_order():
    one, two = (own.read(samples(150, 5), "retain", CPU, workers=workers) for workers in (0, 2))
    assert torch.equal(one.source, two.source) and torch.equal(one.labels, two.labels)


def test_one_step_of_ascent_by_hand():
    model, data = network(), problem(forget=samples(1, 2))
    found = api.run("GA", model, data, unlearn_epochs=1, unlearn_lr=0.1234567891, weight_decay=0, eval_mode=True)
    twin, (image, label) = copy.deepcopy(model).eval(), samples(1, 2)[0]
    nn.functional.cross_entropy(twin(image[None]), label[None]).backward()
    for (name, value), after in zip(twin.named_parameters(), found.model.parameters()):
        assert torch.allclose(after, value + 0.1234567891 * value.grad, atol=1e-7), name


def test_masks_are_held_and_salient_weights_alone_change():
    model, data = network(), problem()
    mask = {"0.weight": (torch.arange(108) % 3 > 0).float().reshape(4, 3, 3, 3)}
    found = api.run("FT", model, data, mask=mask, unlearn_epochs=2)
    assert (
        torch.equal(found.model[0].weight != 0, mask["0.weight"].bool()) and found.mask["0.weight"].dtype == torch.bool
    )
    free = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in model.named_parameters()}
    free["4.weight"][1] = True
    after = dict(api.run("RL", model, data, saliency_mask=free, unlearn_epochs=1).model.named_parameters())
    changed = {name: (after[name] != value) for name, value in model.named_parameters()}
    assert changed["4.weight"][1].any()
    assert all(not (moved & ~free[name]).any() for name, moved in changed.items())


def test_what_trains_anew_does_not_depend_on_the_weights_that_it_is_given():
    data, other = problem(), network()
    nn.init.normal_(other[4].weight)
    first, second, third = (
        api.run("retrain", model, data, unlearn_epochs=1, seed=seed).model.state_dict()
        for model, seed in ((network(), 1), (other, 1), (network(), 2))
    )
    assert equal(first, second) and not equal(first, third)


def test_a_class_without_a_retained_image_is_forgotten_whole():
    (images, labels), model = samples(21, 1).tensors, network()
    sets = {
        "retain": TensorDataset(images[labels != 1], labels[labels != 1]),
        "forget": TensorDataset(images[labels == 1], labels[labels == 1]),
    }
    data, method = problem(**sets), registry.get("fisher_new")
    found = api.run("fisher_new", model, data, alpha=1e-3).model.state_dict()
    for whole in ((1,), ()):
        where = Context({}, CPU, 2, "fixed", "", CLASSES, Scenario(None, 1), whole, Log(None))
        by_hand = apply(method, model, data.sets, method.config(alpha=1e-3), where).model.state_dict()
        assert equal(by_hand, found) == bool(whole)


def test_scores_without_test_and_retrained_model_by_hand():
    data, model = problem(test=None), network()
    model.eval()
    right = [
        float(np.mean([int(model(image[None]).argmax()) == int(label) for image, label in part]))
        for part in (samples(21, 1), samples(9, 2))
    ]
    assert api.score(model, data) == pytest.approx({"RA": right[0], "UA": 1 - right[1]})
    assert api.score(model, problem(), retrained=model)["ToW"] == 1.0
    assert "ToW" not in api.score(model, problem())


@pytest.mark.parametrize("name", registry.names())
def test_every_method_runs(name):
    fields = registry.get(name).config.__dataclass_fields__
    hyper = {"unlearn_epochs": 1, "batch_size": 8, "unlearn_lr": 1e-3, "noise_copies": 2}
    everyone, val = [*samples(21, 1), *samples(9, 2)], samples(6, 4)
    sets = problem(val=val)
    if registry.get(name).whole_classes:
        forget, retain = ([one for one in everyone if (int(one[1]) == 0) == wanted] for wanted in (True, False))
        sets = problem(val=val, forget=forget, retain=retain)
    found = api.run(name, network(), sets, **{key: hyper[key] for key in hyper if key in fields})
    assert not found.model.training and found.seconds >= 0
    assert found.model(torch.zeros(2, 3, 6, 6)).shape == (2, CLASSES)


def test_a_cell_that_is_run_again_replaces_its_method_and_no_other():
    def registered(module: str, name: str):
        def nothing(model, sets, config, context):
            pass

        nothing.__module__ = module
        return registry.method(name, reads=(), summary="", source="")(nothing)

    for _ in range(2):
        latest = registered("__main__", "cell")
        assert registry.get("cell").run is latest
    for module, name in (("mine.cell", "cell"), ("__main__", "FT")):
        with pytest.raises(ValueError, match=f"'{name}' is registered twice"):
            registered(module, name)


# ---- what is refused ------------------------------------------------------------------------------


class Endless(IterableDataset):
    def __iter__(self):
        return iter([])


def pairs(*given) -> Dataset:
    return list(given)  # type: ignore[return-value]


IMAGE = torch.zeros(3, 6, 6)
WRONG_DATA = {
    "retain: has no images": {"retain": pairs()},
    "forget: must be a map-style data set, with a length and samples by number": {"forget": Endless()},
    "test: sample 0: must be a pair of an image and its class, not Tensor": {"test": pairs(IMAGE)},
    "val: sample 1: must have a class, a whole number from 0, not -1": {"val": pairs((IMAGE, 0), (IMAGE, -1))},
    "retain: sample 0: must have a class, a whole number from 0, not 0.5": {"retain": pairs((IMAGE, 0.5))},
    "retain: sample 0: must have a PIL image or a uint8 or float tensor [C, H, W], not torch.int64 [3]": {
        "retain": pairs((torch.zeros(3, dtype=torch.int64), 0))
    },
    "retain: sample 1: is torch.uint8 [3, 5, 5], and the first is torch.float32 [3, 6, 6]; a transform must make them "
    "alike": {"retain": pairs((IMAGE, 0), (IMAGE[:, 1:, 1:].byte(), 0))},
    "device gpu: unknown; known: auto, cpu, cuda, cuda:N, mps": {"device": "gpu"},
}


@pytest.mark.parametrize("said", WRONG_DATA)
def test_data_that_do_not_fit_are_refused_in_one_line(said):
    with pytest.raises(UsageError) as error:
        problem(**WRONG_DATA[said])
    assert str(error.value) == said


WRONG_RUNS = {
    "unlearn FTT: unknown (did you mean FT?)": {"method": "FTT"},
    "unlearn_lr -1: must be more than 0": {"unlearn_lr": -1},
    "unlearn_epochs 1.5: must be a whole number": {"unlearn_epochs": 1.5},
    "unlearn_epochs None: must have a value": {"unlearn_epochs": None},
    "alpha: FT has no such setting (did you mean amp?); it has: batch_size, optimizer, momentum": {"alpha": 1.0},
    "preset sfrom: FT has no such preset; it has: deepunlearn, sfron": {"preset": "sfrom"},
    "SCRUB: reads validation images; give Data(..., val=)": {"method": "SCRUB"},
    "model: must be a torch.nn.Module, not function": {"model": network},
    "model: does not take images [1, 3, 6, 6] (RuntimeError: ": {"model": nn.Linear(5, 3)},
    "model: must give logits, float [N, classes]; of one image it gives [1, 4, 4, 4]": {"model": nn.Conv2d(3, 4, 3)},
    "retain: has class 2, and the model knows classes 0 to 1": {"model": network(2)},
    "mask: 0.weigth is no parameter of the model (did you mean 0.weight?)": {"mask": {"0.weigth": IMAGE}},
    "mask: 0.weight must be a tensor [4, 3, 3, 3], not [3, 6, 6]": {"mask": {"0.weight": IMAGE}},
    "saliency_mask: must name every parameter, and lacks 0.weight": {"saliency_mask": {"0.bias": torch.ones(4)}},
    "saliency_mask: wfisher has no such setting": {"method": "wfisher", "saliency_mask": {"0.bias": torch.ones(4)}},
    "boundary_shrink: changes pixels, so that retain must have them in [0, 1]": {
        "method": "boundary_shrink",
        "data": {"retain": samples(21, 1, low=-0.5)},
    },
}


@pytest.mark.parametrize("said", WRONG_RUNS)
def test_runs_that_do_not_fit_are_refused_in_one_line(said):
    given = {"method": "FT", "model": network()} | WRONG_RUNS[said]
    data = problem(**given.pop("data", {}))
    with pytest.raises(UsageError) as error:
        api.run(data=data, **given)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)
