"""The page of ``main_compare.py``: what is found for it, what is refused, and that it says what the runs say."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIGITS, QUICK
from PIL import Image
from torch import nn

import main_compare
import main_forget
import main_imp
import main_report
from compare import chosen_images, classifier_content, embedding, entries, layerwise, opening, thumbnails, whole_page
from compare.answers import Answers, ask
from compare.packed import LEVELS, Packed, unpacked
from dataset import prepare, superclasses
from dataset.images import ImageSet
from evaluation import similarity, weight_distance
from evaluation.features import BATCH, layer_grams, predict_with_features
from evaluation.predict import predict
from evaluation.privacy_score import privacy_score
from utils.errors import UsageError


class Net(nn.Module):
    """A convolution, two blocks and a head."""

    def __init__(self, classes=4, width=6, seed=0):
        torch.manual_seed(seed)
        super().__init__()
        self.first = nn.Conv2d(3, width, 3)
        self.bn = nn.BatchNorm2d(width)
        self.block1, self.block2 = (nn.Sequential(nn.Conv2d(width, width, 3), nn.ReLU()) for _ in range(2))
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        return self.head(self.block2(self.block1(self.bn(self.first(images)))).mean((2, 3)))


class Bent(nn.Module):
    """Its outputs are not those of its last linear layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, images):
        return self.head(images.mean((2, 3))).log_softmax(1)


def image_sets(counts: dict[str, int], classes=4, side=12, seed=0) -> dict[str, ImageSet]:
    random = np.random.RandomState(seed)
    total = sum(counts.values())
    labels = torch.from_numpy(random.randint(0, classes, total))
    levels = np.linspace(40, 215, classes).astype(int)[labels][:, None, None, None]
    pixels = np.clip(levels + random.randint(-40, 40, (total, 3, side, side)), 0, 255)
    images, starts = torch.from_numpy(pixels.astype(np.uint8)), np.cumsum([0, *counts.values()])
    return {
        name: ImageSet(images, labels, np.arange(start, start + count))
        for (name, count), start in zip(counts.items(), starts)
    }


def made_up(counts: dict[str, int], classes=4, names=("FT", "Retrain"), side=12):
    """Entries and what opening them would give, of untrained networks."""
    sets = image_sets(counts, classes, side)
    nets = [Net(classes, seed=seed).eval() for seed in range(len(names))]
    opened = opening.Opened("made up", tuple(f"kind {c}" for c in range(classes)), sets, dict(counts), nets)
    methods = {"Retrain": "retrain"}
    told = {"script": "main_forget.py", "model": {"arch": "net"}, "scenario": {"words": "some images"}}
    found = [
        entries.Entry(name, Path("runs") / name, Path("x.tar"), None, {**told, "method": methods.get(name, name)})
        for name in names
    ]
    return found, opened


def written(counts: dict[str, int], classes=4, names=("FT", "Retrain"), side=12) -> str:
    found, opened = made_up(counts, classes, names, side)
    shown = classifier_content.collect(found, opened, "pca")
    return whole_page.page("t", shown, "made", lambda most: thumbnails.sheet(opened.sets, shown.pictured, most))


# --- what is measured ---


def test_features_come_with_the_very_predictions_of_a_run():
    net, sets = Net(seed=3).eval(), image_sets({"forget": 7, "test": 30})
    plain, (found, features) = predict(net, sets), predict_with_features(net, sets)
    for name, images in sets.items():
        assert torch.equal(found[name].logits, plain[name].logits)
        [(batch, _)] = images.batches(99)
        own = net.block2(net.block1(net.bn(net.first(batch)))).mean((2, 3))
        torch.testing.assert_close(features[name], own.detach(), rtol=1e-4, atol=1e-5)
    assert isinstance(net.head, nn.Linear), "the caller's model is left as it is"
    found, features = predict_with_features(Bent(), sets)
    assert torch.equal(features["test"], found["test"].logits)


def test_answers_by_hand():
    class Says(nn.Module):
        def forward(self, images):
            return torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 0.0]])

    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    found = ask(Says(), {"forget": ImageSet(images, torch.tensor([0, 1]))}, np.array([1]))
    assert found.predicted.tolist() == [0, 2] and found.accuracy == {"forget": 0.5}
    assert found.margin == pytest.approx([2 - np.log(3), -np.log(2 + np.exp(3))])
    assert found.confidence == pytest.approx([2 - np.log(3), 3 - np.log(3)])
    halved = np.array([[np.e, 1, 1, 1], [np.exp(1.5), 1, 1, 1]])
    share = halved / halved.sum(1, keepdims=True)
    assert found.entropy == pytest.approx(-(share * np.log(share)).sum(1))
    assert found.features.tolist() == [[0, 0, 3, 0]], "no linear layer: the logits are the features"


def test_layers_have_the_similarity_of_their_features():
    count = BATCH + 40  # two Gram matrices
    nets, [images] = [Net(seed=1).eval(), Net(seed=2).eval()], image_sets({"test": count}).values()
    names = layerwise.layer_names(nets[0])
    assert names == ["first", "block1.0", "block2.0", "head"]
    grams = [layer_grams(net, names, images) for net in nets]
    [(batch, _)] = images.batches(count)
    with torch.no_grad():
        outputs = [[net.first(batch), net.block1[0](net.bn(net.first(batch))), None, net(batch)] for net in nets]
    for place, name in enumerate(names):
        if name != "block2.0":
            x, y = (one[place].flatten(1) for one in outputs)
            slow = similarity.cka(x, y, BATCH)
            assert similarity.alignment(grams[0][name], grams[1][name]) == pytest.approx(slow, abs=1e-5)
    assert similarity.alignment(grams[0]["head"], grams[0]["head"]) == pytest.approx(1)
    groups = layerwise.parameters_by_layer(nets[0], names)
    assert groups["first"] == ["first.weight", "first.bias", "bn.weight", "bn.bias"]
    assert sorted(sum(groups.values(), [])) == sorted(name for name, _ in nets[0].named_parameters())


def test_all_pairs_of_models():
    sets = image_sets({"forget": 20, "test": 3})
    nets = [Net(seed=1), Net(seed=1), Net(width=4)]
    nets[1].head.weight.data[0] += 1
    found = layerwise.compare_layers(nets, sets)
    assert found.images == {"forget": 20} and set(found.cka["forget"]) == {(0, 1), (0, 2), (1, 2)}
    assert set(found.relative) == {(0, 1), (1, 0)}, "a narrower net has other weights"
    assert found.changed[0, 1] == [0, 0, 0, pytest.approx(6 / 28)] and found.relative[0, 1][:3] == [0, 0, 0]
    length = torch.cat([nets[1].head.weight.flatten(), nets[1].head.bias]).norm().item()
    assert found.relative[0, 1][3] == pytest.approx(6**0.5 / length, rel=1e-5)
    assert found.cka["forget"][0, 1][:3] == pytest.approx([1, 1, 1]) and found.cka["forget"][0, 1][3] < 1


def test_weight_changes_by_hand():
    first, second = ({"a": torch.tensor(v), "b": torch.zeros(2)} for v in ([3.0, 4.0], [3.0, 9.0]))
    found = weight_distance.weight_changes(first, second, {"one": ["a"], "two": ["b"], "all": ["a", "b"]})
    assert found["one"] == (1.0, 0.5) and found["all"] == (1.0, 0.25)
    assert np.isnan(found["two"][0]) and found["two"][1] == 0


def test_a_turned_model_lies_on_the_first():
    random = np.random.RandomState(0)
    features = random.normal(size=(50, 6))
    turn = np.linalg.qr(random.normal(size=(6, 6)))[0]
    first, second = embedding.embed([features, 3 + features @ turn], "pca")
    assert first == pytest.approx(second, abs=1e-9)
    centred = features - features.mean(0)
    _, _, axes = np.linalg.svd(centred)
    assert np.abs(first) == pytest.approx(np.abs(centred @ axes[:2].T), abs=1e-9)
    assert embedding.embed([features, features[:, :4]], "pca").shape == (2, 50, 2), "a narrower model is padded"
    assert embedding.embed([features[:, :1], features[:, :1]], "pca").shape == (2, 50, 2)


def test_tsne_and_umap_have_the_same_form():
    random = np.random.RandomState(0)
    features = [np.concatenate([random.normal(size=(20, 8)), 9 + random.normal(size=(20, 8))]) for _ in range(2)]
    placed = embedding.embed(features, "tsne")
    assert placed.shape == (2, 40, 2) and np.isfinite(placed).all()
    middles = placed[:, :20].mean((0, 1)), placed[:, 20:].mean((0, 1))
    assert np.linalg.norm(middles[0] - middles[1]) > placed[:, :20].std(), "two clouds stay apart"
    pytest.importorskip("umap", reason="umap-learn is not installed")
    placed = embedding.embed(features, "umap")
    assert placed.shape == (2, 40, 2) and np.isfinite(placed).all()


def test_arrays_survive_being_packed():
    packed, values = Packed(), np.random.RandomState(0).normal(size=999)
    packed.add("small", np.array([0, 255, 3]))
    packed.add("large", np.array([0, 70_000]))
    packed.add("none", np.array([], np.int64))
    packed.add_rounded("values", values)
    packed.add_rounded("equal", np.full(5, 7.0))
    found = unpacked(packed.index, packed.text())
    assert [entry["type"] for entry in packed.index.values()] == ["uint8", "uint32", "uint8", "uint16", "uint16"]
    assert all(entry["start"] % 4 == 0 for entry in packed.index.values())
    assert found["small"].tolist() == [0, 255, 3] and found["large"].tolist() == [0, 70_000] and not len(found["none"])
    assert np.abs(found["values"] - values).max() <= np.ptp(values) / LEVELS / 2 * 1.001
    assert (found["equal"] == 7).all()
    with pytest.raises(ValueError, match="negative"):
        packed.add("wrong", np.array([-1]))


def test_which_images_are_shown(monkeypatch):
    assert chosen_images.mapped({"forget": 5, "retain": 9}, "pca").tolist() == list(range(14))
    monkeypatch.setattr(chosen_images, "MAPPED", {"pca": 20})
    found = chosen_images.mapped({"forget": 6, "retain": 100, "test": 12}, "pca").tolist()
    assert [row for row in found if row < 6] == list(range(6)) and sum(row >= 106 for row in found) == 12
    assert [row for row in found if 6 <= row < 106] == [6, 56], "a tenth at most is retained"
    monkeypatch.setattr(chosen_images, "FURTHER", 2)
    predicted, margins = np.zeros((2, 6), int), np.zeros((2, 6))
    predicted[1, 1:5], margins[1] = 1, [9, 1, -8, 3, 2, 9]
    nothing = np.zeros(0)
    answers = [
        Answers(one, margin, margin, margin, nothing, torch.zeros(0), {}) for one, margin in zip(predicted, margins)
    ]
    assert chosen_images.pictured(np.array([0, 4]), answers).tolist() == [0, 2, 3, 4], "other answers, wide apart"


def test_retained_images_are_left_out_first():
    sets = image_sets({"forget": 10, "retain": 50, "test": 20})
    thinned = opening._thinned(sets, 40)
    assert {name: len(one) for name, one in thinned.items()} == {"forget": 10, "retain": 13, "test": 17}
    assert thinned["forget"] is sets["forget"]
    numbers = thinned["retain"].indices.tolist()
    assert numbers[0] == 10 and numbers == sorted(numbers) and numbers[-1] > 50, "evenly"
    assert sum(map(len, opening._thinned(sets, 80).values())) == 80


@pytest.mark.parametrize("side, tile", [(8, 8), (32, 32), (96, 32)])
def test_every_picture_has_its_tile(side, tile):
    levels = torch.arange(20, dtype=torch.uint8) * 12
    images = levels[:, None, None, None].expand(20, 3, side, side).contiguous()
    sets = {
        "a": ImageSet(images, torch.zeros(20, dtype=torch.long), np.arange(5)),
        "none": ImageSet(images, torch.zeros(20, dtype=torch.long), np.arange(0)),
        "b": ImageSet(images, torch.zeros(20, dtype=torch.long), np.arange(10, 20)),
    }
    rows = np.array([0, 3, 4, 5, 14])
    sheet = thumbnails.sheet(sets, rows, 10**6)
    assert (sheet.side, sheet.columns) == (tile, 3)
    picture = np.asarray(Image.open(io.BytesIO(sheet.content)).convert("RGB")).astype(int)
    for place, image in enumerate([0, 3, 4, 10, 19]):
        y, x = (each * tile for each in divmod(place, 3))
        assert abs(picture[y : y + tile, x : x + tile].mean() - 12 * image) < 4
    assert thumbnails.sheet(sets, rows, 0).side == min(tile, 8), "the smallest, where nothing fits"


# --- runs ---


def held(text: str) -> dict[str, str]:
    """What a page holds for its script, by name."""
    return dict(re.findall(r'<script type="[^"]*" id="(\w+)">(.*?)</script>', text, re.DOTALL))


def parts(text: str) -> tuple[dict, dict[str, np.ndarray]]:
    """What the script of a page of classifiers reads: content and arrays."""
    found = held(text)
    plain = json.loads(found["content"])
    arrays = unpacked(plain["arrays"], found["arrays"])
    for place in range(len(plain["models"])):
        wrong, confidence = arrays[f"predicted{place}"] != arrays["label"], arrays[f"margin{place}"].copy()
        confidence[wrong] = arrays[f"confidence{place}"]
        arrays[f"confidence{place}"] = confidence
    return plain, arrays


def result(runs: Path, name: str) -> dict:
    return json.loads((runs / name / "result.json").read_text())


def test_the_page_holds_the_numbers_of_the_runs(compared_runs, compare_page):
    plain, arrays = parts(compare_page.read_text())
    assert [model["name"] for model in plain["models"]] == ["Original", "FT", "GA", "Retrain"] and plain["first"] == [
        1,
        3,
    ]
    assert [one["name"] for one in plain["sets"]] == ["forget", "retain", "test", "forget_test", "val"]
    split = np.load(compared_runs / "FT" / "split.npz")
    for place, name in ((1, "FT"), (2, "GA"), (3, "retrain")):
        told = result(compared_runs, name)
        assert plain["models"][place]["accuracy"] == told["accuracy"]
        assert plain["models"][place]["scores"] == {
            key: told["scores"][key] for key in plain["models"][place]["scores"]
        }
        right = arrays[f"predicted{place}"] == arrays["label"]
        for number, one in enumerate(plain["sets"]):
            here = arrays["set"] == number
            assert right[here].mean() == pytest.approx(told["accuracy"][one["name"]], abs=1e-12)
            assert arrays["number"][here].tolist() == split[one["name"]].tolist() and one["whole"] == here.sum()
        assert (np.sign(arrays[f"margin{place}"][~right]) <= 0).all()
    told = result(compared_runs, "FT")["to_retrained"]["privacy_score"]
    assert plain["privacy"]["1,3"] == pytest.approx(told)
    assert plain["models"][0]["accuracy"]["test"] == result(compared_runs, "FT")["original"]["TA"]
    assert "main_forget.py" in plain["models"][1]["command"] and plain["models"][0]["scores"]["UA"] is None
    assert plain["layers"]["changed"]["1,3"][-1] > 0
    assert set(plain["layers"]["cka"]) == {"forget", "retain", "test", "forget_test"}


def test_the_page_is_whole_and_alone(compare_page):
    text = compare_page.read_text()
    assert len(text.encode()) < 5e6 and "default-src 'none'" in text
    ours = re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#)', ours)
    assert "Redistribution and use in source and binary forms" in text, "the library's licence"
    assert text.count("<main") == text.count("</main>") == 1
    assert all(f'for="{name}"' in text for name in re.findall(r'<select id="(\w+)"', text))


def test_a_report_links_to_a_page_beside_it(compared_runs, compare_page, tmp_path, capsys):
    assert main_report.main([str(compared_runs), "--no_plots"]) == 0
    assert '<a href="compare.html">' in (compared_runs / "report.html").read_text()
    assert main_report.main([str(compared_runs), "--no_plots", "--out", str(tmp_path)]) == 0
    assert "compare.html" not in (tmp_path / "report.html").read_text()


def test_a_folder_of_training_gives_the_model_that_was_unlearned(compared_runs):
    last, first = (compared_runs / "model" / f"{number}model_SA_best.pth.tar" for number in (1, 0))
    assert entries.read([str(compared_runs / "model"), str(compared_runs / "FT")])[0].path == last
    found = entries.read([str(first), str(compared_runs / "model"), str(compared_runs / "FT")])
    assert [entry.path for entry in found[:2]] == [first, last]
    assert [entry.name for entry in found] == ["Original (dense)", "Original (80 % sparse)", "FT (80 % sparse)"]


def changed(runs: Path, folder: Path, name: str, **entries_: object) -> Path:
    """A copy of a run with other entries in its result."""
    shutil.copytree(runs / name, folder)
    content = {key: value for key, value in result(runs, name).items() if key != "seal"}
    (folder / "result.json").write_text(json.dumps({**content, **entries_}))
    return folder


def test_what_cannot_be_compared_is_refused(compared_runs, tmp_path, capsys):
    ft, told = compared_runs / "FT", result(compared_runs, "FT")
    gone = changed(compared_runs, tmp_path / "gone", "GA")
    (gone / "GAcheckpoint.pth.tar").unlink()
    config = {**told["config"], "data": {**told["config"]["data"], "dataset": "cifar10"}}
    other = changed(compared_runs, tmp_path / "other", "GA", config=config)
    base = changed(compared_runs, tmp_path / "base", "GA", split={**told["split"], "base_digest": "0123"})
    split = changed(compared_runs, tmp_path / "split", "GA", split={**told["split"], "digest": "0123"})
    failed = changed(compared_runs, tmp_path / "failed", "GA", status="failed")
    strange = changed(compared_runs, tmp_path / "strange", "GA", script="main_transfer.py")
    lost = changed(compared_runs, tmp_path / "lost", "GA")
    (lost / "split.npz").unlink()
    damaged = changed(compared_runs, tmp_path / "damaged", "GA")
    (damaged / "GAcheckpoint.pth.tar").write_bytes(b"nonsense")
    wrong = changed(compared_runs, tmp_path / "wrong", "GA")
    shutil.copy(compared_runs / "model" / "result.json", tmp_path / "x.json")
    said = {
        (ft,): "is one run; give two or more",
        (compared_runs / "model",) * 2: "give a run of main_forget.py too",
        (ft, ft): "is given twice",
        (ft, tmp_path / "nowhere"): "no result.json there",
        (ft, gone): "GAcheckpoint.pth.tar: is not there",
        (ft, other): "is of data set cifar10",
        (ft, base): "was trained on split 0123",
        (ft, split): "forgets other images than",
        (ft, failed): "its run failed",
        (ft, strange): "is no result of main_forget.py",
        (lost, compared_runs / "model"): "split.npz: is not there",
        (ft, damaged): "GAcheckpoint.pth.tar",
        (ft, wrong, "--map", "nonsense"): "--map nonsense",
        (ft, wrong, "--images", "3"): "--images 3",
    }
    capsys.readouterr()
    for words, line in said.items():
        assert main_compare.main([*map(str, words), "--out", str(tmp_path / "out")]) == 2, line
        found = capsys.readouterr()
        assert line in found.err and found.err.count("\n") == 1 and not found.out, found
    assert not (tmp_path / "out").exists(), "refused before anything is made"


def test_what_is_left_out_is_said(compared_runs, tmp_path, capsys):
    words = [
        str(compared_runs / "FT"),
        str(compared_runs / "retrain"),
        "--images",
        "200",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    assert main_compare.main(words) == 0
    out, (plain, arrays) = capsys.readouterr().out, parts((tmp_path / "compare.html").read_text())
    [retain] = [one for one in plain["sets"] if one["name"] == "retain"]
    assert retain["shown"] < retain["whole"] and len(arrays["label"]) == 200
    line = f"Of the retain set {retain['shown']:,} of {retain['whole']:,} images were looked at."
    assert line in out and line in (tmp_path / "compare.html").read_text()


def test_another_accuracy_than_the_runs_is_said(compared_runs, tmp_path, capsys):
    told = result(compared_runs, "GA")
    other = changed(compared_runs, tmp_path / "GA", "GA", accuracy={**told["accuracy"], "test": 0.125})
    assert main_compare.main([str(compared_runs / "FT"), str(other), "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert re.search(r"GA: accuracy on the test set is \S+ % here, 12.50 % in its result.json", capsys.readouterr().out)


def test_models_of_superclasses_need_no_flag(few, tmp_path, capsys):
    """The record of the run says what belongs to what: its file may be gone."""
    kinds = tmp_path / "kinds.yaml"
    kinds.write_text("even: [0, 2, 4, 6, 8]\nodd: [1, 3, 5, 7, 9]\n")
    words = [*DIGITS, *few, "--superclasses", str(kinds), "--save_dir"]
    assert main_imp.main([*words, str(tmp_path / "model"), "--epochs", "1", "--decreasing_lr", "1"]) == 0
    words = ["--mask", str(tmp_path / "model" / "0model_SA_best.pth.tar"), *few, *QUICK, "--unlearn", "FT"]
    assert main_forget.main([*words, "--forget", "subclass:3", "--save_dir", str(tmp_path / "FT")]) == 0
    kinds.unlink()
    pair = [str(tmp_path / "model"), str(tmp_path / "FT")]
    assert main_compare.main([*pair, "--device", "cpu"]) == 0
    plain, arrays = parts((tmp_path / "compare.html").read_text())
    assert plain["classes"] == ["even", "odd"] and plain["models"][1]["accuracy"] == result(tmp_path, "FT")["accuracy"]
    forget = arrays["label"][arrays["set"] == 0]
    assert len(forget) == np.load(tmp_path / "FT" / "split.npz")["forget"].size and (forget == 1).all()
    config = {key: value for key, value in result(tmp_path, "FT")["config"].items() if key != "superclasses"}
    other = changed(tmp_path, tmp_path / "other", "FT", config=config)
    capsys.readouterr()
    assert main_compare.main([pair[1], str(other)]) == 2
    assert f"{other}: is of superclasses none, {pair[1]} of even,odd" in capsys.readouterr().err


def test_images_are_counted_by_superclass(tmp_path):
    info = prepare.find("cifar20", str(tmp_path), None)
    told = {"script": "main_forget.py", "config": {"official_counts": [2500] * 20}}
    opening._check_counts([entries.Entry("FT", Path("runs"), Path("x"), None, told)], info)
    told["config"]["official_counts"][3] = 2499
    with pytest.raises(UsageError, match="its run saw 49,999 training images"):
        opening._check_counts([entries.Entry("FT", Path("runs"), Path("x"), None, told)], info)


def test_recorded_superclasses():
    told = {"names": ["bird", "mammal"], "subclasses": {"cat": "mammal", "owl": "bird"}}
    assert superclasses.recorded(told, ("owl", "cat")) == superclasses.Superclasses(("bird", "mammal"), (0, 1))
    assert superclasses.recorded(None, ("owl", "cat")) is None
    assert superclasses.recorded(told, ("bird", "mammal")) is None, "folders of folders: they are the classes"
    with pytest.raises(UsageError, match="class dog is in no superclass that the run knows"):
        superclasses.recorded(told, ("dog",))


def test_missing_packages_are_named(compared_runs, monkeypatch, capsys):
    import sys

    for name, words in (("umap", ["--map", "umap"]), ("bokeh", [])):
        monkeypatch.setitem(sys.modules, name, None)
        assert main_compare.main([str(compared_runs / "FT"), str(compared_runs / "GA"), *words]) == 2
        assert "pip install" in capsys.readouterr().err


def test_adapters_stored_apart_are_merged(few, few_run, tmp_path):
    pytest.importorskip("peft")
    words = ["--mask", str(few_run / "0model_SA_best.pth.tar"), *few, *QUICK, "--unlearn", "FT", "--lora"]
    for name, merge in (("apart", "none"), ("merged", "masked")):
        assert main_forget.main([*words, "--lora_merge", merge, "--save_dir", str(tmp_path / name)]) == 0
    assert main_compare.main([str(tmp_path / "apart"), str(tmp_path / "merged"), "--device", "cpu"]) == 0
    plain, _ = parts((tmp_path / "compare.html").read_text())
    for model, name in zip(plain["models"], ("apart", "merged")):
        assert model["accuracy"] == pytest.approx(result(tmp_path, name)["accuracy"])
    assert [model["name"] for model in plain["models"]] == ["FT + LoRA [apart]", "FT + LoRA [merged]"]


@pytest.mark.parametrize("classes", [2, 1000])
def test_few_and_many_classes(classes):
    text = written({"forget": 40, "retain": 60, "test": 50}, classes)
    plain, arrays = parts(text)
    assert len(plain["classes"]) == classes and arrays["label"].max() < classes and len(text) < 5e6
    assert arrays["predicted0"].max() < classes


def test_noise_fits_too():
    """Pictures that cannot be compressed become smaller."""
    noise = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3000, 3, 32, 32)).astype(np.uint8))
    sets = {"test": ImageSet(noise, torch.zeros(3000, dtype=torch.long))}
    whole = thumbnails.sheet(sets, np.arange(3000), 10**9)
    small = thumbnails.sheet(sets, np.arange(3000), 400_000)
    assert whole.side == 32 and small.side < 32 and len(small.content) <= 400_000


def test_a_script_cannot_be_ended_by_a_name():
    found, opened = made_up({"forget": 9, "test": 9})
    hostile = opening.Opened(
        opened.dataset, ("</script><b>", *opened.classes[1:]), opened.sets, opened.whole, opened.models
    )
    shown = classifier_content.collect(found, hostile, "pca")
    text = whole_page.page("<i>", shown, "m", lambda most: thumbnails.sheet(opened.sets, shown.pictured, most))
    assert parts(text)[0]["classes"][0] == "</script><b>" and "</script><b>" not in text and "<i>" not in text


def test_a_privacy_score_of_every_pair():
    found, opened = made_up({"forget": 30, "test": 9}, names=("FT", "GA", "Retrain"))
    plain = classifier_content.collect(found, opened, "pca").plain
    logits = [predict(net, opened.sets)["forget"].logits for net in opened.models]
    assert len(plain["privacy"]) == 6 and plain["privacy"]["2,0"] == privacy_score(logits[2], logits[0])
