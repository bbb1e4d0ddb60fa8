"""``main_generate.py`` end to end: train, draw, forget, score, stop and go on, refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import killed_at, recorded
from PIL import Image

import main_generate
from generation import drawing, judge, picture_scores, saved
from utils import files

DATA = ["--dataset", "digits", "--input_size", "8", "--device", "cpu"]
NETWORK = "--width 8 --multipliers 1,2 --blocks 1 --attention 4 --norm_groups 4".split()
QUICK = "--steps 25 --batch_size 64 --lr 1e-3 --ema_decay 0.8".split()
DRAW = "--timesteps 4 --eta 0 --cond_scale 0.5 --n_samples_per_class 4".split()


def run(work: str, *words: object) -> int:
    return main_generate.main([work, *DATA, *map(str, words)])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    assert run("train", *NETWORK, *QUICK, "--save_dir", folder) == 0
    return folder


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "generator.pt")


def equal(left, right) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_a_training_leaves_a_generator(base):
    found, result = weights(base), files.read_json(base / "result.json", "")
    assert result["status"] == "done" and result["steps"] == 25 and result["split"]["train"] == 1298
    assert found["generator"]["width"] == 8 and found["classes"] == list("0123456789")
    assert not equal(found["state_dict"], found["average"])
    assert {"split.npz", "grid.png", "command.txt", "log.jsonl"} <= {path.name for path in base.iterdir()}
    assert not (base / "generator_progress.pt").exists()
    assert (base / "command.txt").read_text().startswith("python main_generate.py train --dataset digits")


def test_a_killed_training_goes_on_to_the_same_bytes(base, tmp_path):
    words = (*NETWORK, *QUICK, "--save_dir", tmp_path)
    with killed_at(2):
        run("train", *words)
    assert (tmp_path / "generator_progress.pt").exists() and not (tmp_path / "generator.pt").exists()
    assert run("train", *words) == 0
    assert (tmp_path / "generator.pt").read_bytes() == (base / "generator.pt").read_bytes()


def test_a_class_can_be_left_out_of_a_training(tmp_path):
    assert run("train", *NETWORK, *QUICK, "--forget", "class:3", "--save_dir", tmp_path) == 0
    result = files.read_json(tmp_path / "result.json", "")
    assert result["split"]["train"] == result["split"]["retain"] == 1298 - 118 == 1180
    assert weights(tmp_path)["forgotten"] == [3]


def test_pictures_are_the_same_in_all_files(base, tmp_path, capsys):
    words = ("--model", base / "generator.pt", *DRAW, "--classes_to_generate", "x0,x9", "--save_dir", tmp_path)
    assert run("sample", *words) == 0
    stored = np.load(tmp_path / "samples.npz")
    images, labels = stored["images"], stored["labels"]
    assert images.shape == (32, 8, 8, 3) and images.dtype == np.uint8
    assert sorted(set(labels.tolist())) == list(range(1, 9))
    for label in (1, 8):
        for number, image in enumerate(images[labels == label]):
            assert np.array_equal(
                np.asarray(Image.open(tmp_path / "class_samples" / str(label) / f"{number:05d}.png")), image
            )
    assert run("sample", *words) == 0 and "done already" in capsys.readouterr().out


def test_drawing_stops_and_goes_on_with_the_next_batch(base, tmp_path, monkeypatch):
    words = ["--model", base / "generator.pt", *DRAW, "--classes_to_generate", "1,2", "--sample_batch_size", "3"]
    assert run("sample", *words, "--save_dir", tmp_path / "whole") == 0
    with killed_at(5, (".png",)):  # in the second batch
        run("sample", *words, "--save_dir", tmp_path / "killed")
    batches = recorded(monkeypatch, drawing, "_draw_batch")
    assert run("sample", *words, "--save_dir", tmp_path / "killed") == 0
    assert [len(batch) for batch in batches] == [3, 2]  # of 8 pictures the first 3 were there
    one, other = ((tmp_path / name / "samples.npz").read_bytes() for name in ("whole", "killed"))
    assert one == other


def test_retrains_pictures_are_at_a_distance_from_other_pictures_of_its_own(base, tmp_path):
    """Of class 0, whose pictures come first in every draw."""
    words = ["--model", base / "generator.pt", "--retrained", base / "generator.pt", "--forget", "class:0", *DRAW]
    assert run("score", *words, "--judge_epochs", "1", "--save_dir", tmp_path) == 0
    assert files.read_json(tmp_path / "result.json", "")["fd_judge_retrain"] > 0


def test_a_generator_of_few_times_is_shown_by_as_many(tmp_path):
    assert run("train", *NETWORK, *QUICK, "--diffusion_steps", "10", "--save_dir", tmp_path) == 0
    assert (tmp_path / "grid.png").exists()


def test_pictures_do_not_depend_on_what_is_drawn_beside(base):
    found = saved.read(base / "generator.pt", "--model", 8)
    way = drawing.Way(4, 0.0, 0.5)
    first, again = (drawing.draw(found.network(), found.schedule, [1, 2], 3, way, 5) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(
        first.images, drawing.draw(found.network(raw=True), found.schedule, [1, 2], 3, way, 5).images
    )


def test_the_references_checkpoint_is_read(base, tmp_path):
    """A list of weights, optimiser, step and average, with ``module.`` before every key."""
    content = weights(base)
    parts = [{f"module.{key}": value for key, value in content[name].items()} for name in ("state_dict", "average")]
    torch.save([parts[0], {}, 24, parts[1]], tmp_path / "ckpt.pth")
    found, own = saved.read(tmp_path / "ckpt.pth", "--model", 8), saved.read(base / "generator.pt", "--model", 8)
    assert (found.shape.width, found.shape.multipliers, found.shape.attention) == (8, (1, 2), (4,))
    assert equal(found.weights, own.weights) and equal(found.average, own.average)


LONG = [pytest.param(method, marks=pytest.mark.torture) for method in ("SalUn", "SA")]


@pytest.mark.parametrize("method", ["SFRon", *LONG])
def test_forgetting_stops_and_goes_on_to_the_same_bytes(base, tmp_path, method):
    words = ["--model", base / "generator.pt", "--unlearn", method, "--forget", "class:3", "--iterations", "4"]
    words += ["--batch_size", "64", "--save_every", "1"]
    words += {"SA": ["--fisher_images", "32"], "SFRon": ["--no_saliency"]}.get(method, [])
    assert run("forget", *words, "--save_dir", tmp_path / "whole") == 0
    with killed_at(2):
        run("forget", *words, "--save_dir", tmp_path / "killed")
    assert run("forget", *words, "--save_dir", tmp_path / "killed") == 0
    one, other = ((tmp_path / name / "generator.pt").read_bytes() for name in ("whole", "killed"))
    assert one == other
    result = files.read_json(tmp_path / "whole" / "result.json", "")
    assert result["method"] == method and result["seconds"]["unlearning"] > 0 and result["split"]["forget"] == 118
    assert not equal(weights(tmp_path / "whole")["state_dict"], weights(base)["average"])


@pytest.mark.parametrize(("words", "begun"), [([], "average"), (["--compat", "reference"], "state_dict")])
def test_forgetting_begins_with_the_average_or_as_the_released_code(base, tmp_path, words, begun):
    """No steps leave the weights that it began with."""
    told = ["--model", base / "generator.pt", "--unlearn", "FT", "--forget", "class:3", "--iterations", "0", *words]
    told += ["--unlearn_epochs", "0", "--split_seed", "2"]
    assert run("forget", *told, "--save_dir", tmp_path) == 0
    assert equal(weights(tmp_path)["state_dict"], weights(base)[begun])


def test_scores_have_their_judge_beside_them(base, tmp_path, capsys):
    retrain = tmp_path / "retrain"
    assert run("train", *NETWORK, *QUICK, "--forget", "class:3", "--save_dir", retrain) == 0
    words = ["--model", base / "generator.pt", "--forget", "class:3", *DRAW, "--retrained", retrain / "generator.pt"]
    assert run("score", *words, "--judge_epochs", "4", "--save_dir", tmp_path / "a") == 0
    out = capsys.readouterr().out
    assert "judge_acc=" in out and "FD(judge, retrain)" in out and "FID" not in out
    first = files.read_json(tmp_path / "a" / "result.json", "")
    again = ["--judge", tmp_path / "a" / "judge.pt", "--save_dir", tmp_path / "b"]
    assert run("score", *words, *again) == 0
    second = files.read_json(tmp_path / "b" / "result.json", "")
    for name in ("UA", "RA", "plausibility", "fd_judge", "fd_floor", "precision", "recall", "diversity", "judge"):
        assert first[name] == second[name], name
    assert first["judge_accuracy"] > 0.8 and first["fd_floor"] < first["fd_judge"]


def test_the_judge_reads_digits_and_rejects_what_is_none():
    from sklearn.datasets import load_digits

    from dataset.images import ImageSet

    data = load_digits()
    images = torch.from_numpy((data.images * 255 / 16).round().astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(data.target).long()
    test = torch.arange(len(labels)) % 5 == 4
    found = judge.train(ImageSet(images[~test], labels[~test]), 10, 15, 1)
    probs, features = judge.look(found, images[test])
    asked, rejected, _ = picture_scores.answers(probs, labels[test])
    assert asked > 0.95 and rejected < 0.03 and features.shape == (int(test.sum()), 64)
    noise = torch.randint(0, 256, (100, 3, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    white = torch.full((10, 3, 8, 8), 255, dtype=torch.uint8)
    for nothing in (noise, white):
        _, rejected, _ = picture_scores.answers(judge.look(found, nothing)[0], torch.zeros(len(nothing)))
        assert rejected > 0.95


REFUSED = [
    ([], "a first word is needed; known: convert, encode, train, sample, saliency, forget, score"),
    (["trian"], "trian: unknown; known: convert, encode, train, sample, saliency, forget, score"),
    (["sample"], "--model FILE is needed"),
    (["sample", "--model", "nowhere.pt"], "--model nowhere.pt: no such file"),
    (["forget", "--model", "BASE", "--forget", "class:10"], "--forget class:10: "),
    (
        ["forget", "--model", "BASE", "--unlearn", "SCRUB"],
        "--unlearn SCRUB: is for classification alone, not for diffusion",
    ),
    (["forget", "--model", "BASE", "--unlearn", "SFRon", "--saliency_mask", "BASE"], "--saliency_mask BASE: "),
    (["sample", "--model", "BASE", "--timesteps", "2000"], "--timesteps 2000: must be at most 1000"),
    (
        ["sample", "--model", "BASE", "--classes_to_generate", "1,x2"],
        "--classes_to_generate 1,x2: must be classes 0 to 9",
    ),
    (["sample", "--model", "BASE", "--input_size", "16"], "--model BASE: draws images of 8 pixels, the data have 16"),
    (["sample", "--model", "DAMAGED"], "--model DAMAGED: is not of this network (differs in 1: conv_in.weight"),
    (["sample", "--model", "OTHER"], "--model OTHER: holds no class-conditional generator"),
    (["score", "--model", "BASE", "--judge", "BASE"], "--judge BASE: is no judge"),
    (["score", "--model", "BASE", "--retrained", "BASE"], "--retrained: needs --forget beside it"),
    (
        ["score", "--model", "BASE", "--retrained", "BASE", "--forget", "class:3", "--classes_to_generate", "x3"],
        "--classes_to_generate x3: leaves out class 3, in which --retrained is compared",
    ),
    (
        ["score", "--model", "BASE", "--forget", "class:3", "--classes_to_generate", "3"],
        "--classes_to_generate 3: has only the class to forget; scores also need pictures of classes that stay",
    ),
    (
        ["score", "--model", "BASE", "--classes_to_generate", "3", "--n_samples_per_class", "1"],
        "--n_samples_per_class 1: scores need at least 2 pictures of the classes that stay",
    ),
    (["train", "--width", "48"], "--norm_groups 32: must divide all numbers of channels, 48 too"),
    (["train", "--attention", "5"], "--attention 5: no level has this side; levels have 8, 4, 2, 1"),
    (["train", "--stream"], "--stream: "),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) or "nothing" for words, _ in REFUSED])
def test_bad_input_is_refused_in_one_line(base, tmp_path, capsys, words, said):
    content = weights(base)
    damaged = content | {"state_dict": content["state_dict"] | {"conv_in.weight": torch.zeros(2)}}
    places = {"BASE": base / "generator.pt", "DAMAGED": tmp_path / "damaged.pt", "OTHER": tmp_path / "other.pt"}
    torch.save(damaged, places["DAMAGED"])
    torch.save({"state_dict": {"a": torch.zeros(1)}}, places["OTHER"])
    size = [] if "--input_size" in words else ["--input_size", "8"]
    data = ["--dataset", "digits", "--device", "cpu", *size, "--save_dir", str(tmp_path / "out")]
    told = [str(places.get(word, word)) for word in words]
    assert main_generate.main([*told[:1], *(data if words[:1] != ["trian"] and words else []), *told[1:]]) == 2
    error = capsys.readouterr().err
    for name, place in places.items():
        error = error.replace(str(place), name)
    assert error.startswith(f"main_generate.py: error: {said}") and error.count("\n") == 1, error


def test_a_dry_run_writes_nothing(base, tmp_path, capsys):
    assert run("forget", "--model", base / "generator.pt", "--dry_run", "--save_dir", tmp_path / "x") == 0
    assert "iterations 150" in capsys.readouterr().out and not (tmp_path / "x").exists()
