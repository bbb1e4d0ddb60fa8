"""The page of generators: what scores leave for it, what is refused, and that it says what the runs say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_compare import changed, held, result

import main_compare
import main_generate
from compare.packed import unpacked
from compare.thumbnails import fitting
from dataset import prepare
from evaluation import judged
from evaluation.judged import Judged
from generation import judge, picture_scores
from utils import files

NAMES = ("base", "GA", "retrain")


def scores(runs: Path, name: str) -> dict:
    return result(runs / name, "scores")


def parts(text: str) -> tuple[dict, dict[str, np.ndarray], Image.Image]:
    """What the page's script reads: content, arrays and the sheet of pictures."""
    found = held(text)
    plain = json.loads(found["content"])
    sheet = Image.open(io.BytesIO(base64.b64decode(found["sheet"]))).convert("RGB")
    return plain, unpacked(plain["arrays"], found["arrays"]), sheet


def made_up(folder: Path, classes: int = 10, each: int = 25, side: int = 8) -> Path:
    """Files as of three runs and their scores, the judge's answers drawn by lot: right ones, other classes and none."""
    random, names = np.random.RandomState(0), [f"kind {number}" for number in range(classes)]
    labels = np.repeat(np.arange(classes), each)
    kept = judged.kept(labels, side)
    common = {"script": "main_generate.py", "status": "done", "split": {"digest": "abcd"}}
    common |= {"model": {"arch": "ddpm", "dataset": "made up"}}
    gone = {"scenario": {"words": "all images of class 3", "class": 3}}
    for number, (name, work) in enumerate({"base": "train", "GA": "forget", "retrain": "train"}.items()):
        answers = np.where(random.rand(len(labels)) < 0.6, labels, random.randint(0, classes + 1, len(labels)))
        answers[labels == 3] = (3, classes, 5)[number] if number else 3
        levels = (40 * number + 7 * labels[kept] + 3 * np.arange(len(kept))) % 256
        found = Judged(
            names=np.array(names),
            labels=labels,
            answers=answers,
            confidence=random.uniform(0.2, 1, len(labels)).astype(np.float32),
            pictures=np.broadcast_to(levels[:, None, None, None], (len(kept), side, side, 3)).astype(np.uint8),
            pictured=kept,
            drawn=np.arange(classes),
            distance=random.uniform(5, 90, classes),
            floor=random.uniform(1, 4, classes),
        )
        lost, shares = labels == 3, {"plausibility": 0.25 * number}
        shares |= {"UA": 1 - found.asked[lost].mean(), "RA": found.asked[~lost].mean()}
        shares |= {"rejected": found.rejected[lost].mean()}
        distances = {"fd_judge": 9.5 + 30 * number, "fd_floor": 2.5, "fd_judge_retrain": 80.0 - 20 * number}
        told = {"data": {"dataset": "made up"}, "settings": {"timesteps": 5}}
        run = {**common, **(gone if name != "base" else {}), "method": name, "paper_name": name}
        run |= {"config": {"work": work}, "seconds": {"training": 1.0 + number}}
        (folder / name / "scores").mkdir(parents=True)
        (folder / name / "generator.pt").write_text(f"the weights of {name}")
        told |= {"work": "score", "start": files.sha256(folder / name / "generator.pt")}
        scored = {**common, **gone, **shares, **distances, "config": told}
        scored |= {"judge": "89abcdef", "judge_accuracy": 0.9375}
        judged.write(folder / name / "scores", found)
        for place, content in ((folder / name, run), (folder / name / "scores", scored)):
            (place / "result.json").write_text(json.dumps(content))
            (place / "command.txt").write_text(f"python main_generate.py {content['config']['work']}\n")
    return folder


# --- what scores leave ---


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_kept_answers(scored_runs, name):
    found, told = judged.read(scored_runs / name / "scores"), scores(scored_runs, name)
    gone = found.labels == 3
    assert found.names.tolist() == list("0123456789") and found.drawn.tolist() == list(range(10))
    assert np.bincount(found.labels).tolist() == [25] * 10
    assert 1 - found.asked[gone].mean() == pytest.approx(told["UA"])
    assert found.asked[~gone].mean() == pytest.approx(told["RA"])
    assert found.rejected[gone].mean() == pytest.approx(told["rejected"])
    assert found.rejected[~gone].mean() == pytest.approx(told["rejected_retained"])


def test_pictures_and_distances_are_kept(scored_runs, tmp_path):
    """The pictures are those that ``sample`` draws with the same words; distances are worked out again."""
    words = "--timesteps 4 --eta 0 --cond_scale 0.5 --n_samples_per_class 25 --input_size 8 --device cpu".split()
    model = str(scored_runs / "GA" / "generator.pt")
    words += ["--dataset", "digits", "--model", model, "--save_dir", str(tmp_path)]
    assert main_generate.main(["sample", *words]) == 0
    found, drawn = judged.read(scored_runs / "GA" / "scores"), np.load(tmp_path / "samples.npz")
    assert (found.pictures == drawn["images"][found.pictured]).all() and (found.labels == drawn["labels"]).all()
    assert np.bincount(found.labels[found.pictured]).tolist() == [judged.PER_CLASS] * 10
    data = prepare.find("digits", None, 8).load()
    digest = scores(scored_runs, "GA")["split"]["digest"]
    net, _ = judge.read(scored_runs / "base" / "scores" / "judge.pt", 10, digest)
    probs, features = judge.look(net, torch.from_numpy(drawn["images"]).permute(0, 3, 1, 2))
    assert (probs.argmax(1).numpy() == found.answers).all()
    assert found.confidence == pytest.approx(probs.max(1).values.numpy(), abs=1e-6)
    _, real = judge.look(net, torch.from_numpy(data.test_images[data.test_labels == 3]).permute(0, 3, 1, 2))
    assert found.distance[3] == pytest.approx(picture_scores.frechet(features[found.labels == 3], real), rel=1e-5)
    assert 0 < found.floor[3] < found.distance[3], "noise is farther from a digit than other digits are"


def test_no_more_is_kept_than_there_is_room_for():
    labels = np.repeat(np.arange(3), 30)
    assert judged.kept(labels, 8).tolist() == [*range(20), *range(30, 50), *range(60, 80)]
    many = np.repeat(np.arange(1000), 5)
    chosen = judged.kept(many, 256)
    assert len(chosen) == 1000, "one of each class, 64 pixels wide"
    assert len(chosen) * 3 * judged.SIDE**2 <= judged.MOST


def test_what_is_written_is_read(tmp_path):
    found = Judged(
        names=np.array(["a", "é"]),
        labels=np.array([0, 1, 1]),
        answers=np.array([2, 1, 0]),
        confidence=np.array([0.5, 0.25, 1], np.float32),
        pictures=np.zeros((1, 4, 4, 3), np.uint8),
        pictured=np.array([1]),
        drawn=np.array([0, 1]),
        distance=np.array([np.nan, 2.5]),
        floor=np.array([1.0, 0.5]),
    )
    judged.write(tmp_path, found)
    again = judged.read(tmp_path)
    for name, value in vars(found).items():
        assert np.array_equal(getattr(again, name), value, equal_nan=name == "distance"), name
    assert again.asked.tolist() == [False, True, False] and again.rejected.tolist() == [True, False, False]


@pytest.mark.parametrize("side", [64, 16])
def test_pictures_get_poorer_until_they_fit(side):
    noise = np.random.RandomState(0).randint(0, 256, (100, side, side, 3)).astype(np.uint8)
    whole = fitting(noise, 10**9)
    assert whole.side == side, "as they are, where there is room"
    small = fitting(noise, len(whole.content) // 4)
    assert small.side < side and len(small.content) <= len(whole.content) // 4


# --- the page ---


def test_the_page_holds_the_numbers_of_the_runs(scored_runs, scored_page):
    text = scored_page.read_text()
    plain, arrays, sheet = parts(text)
    assert [one["name"] for one in plain["models"]] == ["Original", "GA", "Retrain"] and plain["first"] == [1, 2]
    assert plain["gone"] == [3] and plain["forgotten"].endswith("training images of class 3 (3) (9.1 % of 1,298)")
    shown = {one["key"] for one in plain["scores"]}
    assert {"UA", "RA", "rejected", "plausibility", "fd_judge", "fd_floor", "fd_judge_retrain"} <= shown
    tiles, place = plain["sheet"], 0
    for number, name in enumerate(NAMES):
        told, kept, one = scores(scored_runs, name), judged.read(scored_runs / name / "scores"), plain["models"][number]
        assert one["scores"] == {key: told.get(key) for key in one["scores"]}
        assert one["distance"]["3"] == kept.distance[3] and one["floor"]["3"] == kept.floor[3]
        here = arrays["model"] == number
        assert (arrays["label"][here] == kept.labels).all() and (arrays["answer"][here] == kept.answers).all()
        assert arrays["confidence"][here] == pytest.approx(kept.confidence, abs=1e-4)
        start = np.flatnonzero(here)[0]
        for picture in kept.pictures[::50]:
            row, column = divmod(place, tiles["columns"])
            left, top = column * tiles["side"], row * tiles["side"]
            tile = np.asarray(sheet.crop((left, top, left + tiles["side"], top + tiles["side"]))).astype(float)
            assert abs(tile.mean() - picture.mean()) < 6, "its own place on the sheet"
            place += 50
        assert set(arrays["pictured"][(arrays["pictured"] >= start)][: len(kept.pictured)]) == set(
            start + kept.pictured
        )
    assert "main_generate.py forget" in plain["models"][1]["command"]
    assert "main_generate.py score" in plain["models"][1]["command"]
    assert len(text.encode()) < 5e6 and "default-src 'none'" in text


def test_scores_alone_can_be_named(scored_runs, tmp_path):
    """A folder of ``score`` knows its run by lying in its folder."""
    lone = tmp_path / "lone"
    shutil.copytree(scored_runs / "base" / "scores", lone)
    words = [str(lone), str(scored_runs / "GA" / "scores"), str(scored_runs / "retrain" / "generator.pt")]
    assert main_compare.main([*words, "--out", str(tmp_path)]) == 0
    plain, _, _ = parts((tmp_path / "compare.html").read_text())
    assert [one["name"] for one in plain["models"]] == ["lone", "GA", "Retrain"]


def test_what_cannot_be_compared_is_refused(scored_runs, compared_runs, tmp_path, capsys):
    base, ga = scored_runs / "base", scored_runs / "GA"

    def altered(name: str, **entries: object) -> Path:
        shutil.copytree(scored_runs / "GA", tmp_path / name, ignore=shutil.ignore_patterns("scores"))
        changed(ga, tmp_path / name / "scores", "scores", **entries)
        run = {key: value for key, value in result(scored_runs, "GA").items() if key != "seal"}
        run |= {key: entries[key] for key in ("split", "scenario") if key in entries}  # what it shares with its scores
        (tmp_path / name / "result.json").write_text(json.dumps(run))
        return tmp_path / name

    told = scores(scored_runs, "GA")
    unscored = altered("unscored")
    shutil.rmtree(unscored / "scores")
    older = altered("older")
    (older / "scores" / judged.NAME).unlink()
    damaged = altered("damaged")
    (damaged / "scores" / judged.NAME).write_bytes(b"nonsense")
    said = {
        (ga,): "is one run; give two or more",
        (base, ga, compared_runs / "FT"): "is of main_generate.py, "
        f"{compared_runs / 'FT'} of main_forget.py; compare generators",
        (ga, ga / "scores"): "is given twice",
        (base, unscored): "has no scores in",
        (base, older): "judged.npz: is not there; scores of an older version",
        (base, damaged): "judged.npz: is no file of main_generate.py score",
        (base, altered("judge", judge="01234567")): "was judged by 01234567",
        (base, altered("split", split={**told["split"], "digest": "0123"})): "is of split 0123",
        (base, altered("gone", scenario={"words": "x", "class": [1, 3]})): "is of forgotten classes 1,3",
        (base, altered("stale", config={**told["config"], "start": "0" * 64})): "are scores of another generator",
        (base, altered("failed", status="failed")): "its run failed",
        (base, ga, "--map", "pca"): "--map: is for classifiers",
    }
    for words, line in said.items():
        assert main_compare.main([*map(str, words), "--out", str(tmp_path / "out")]) == 2, line
        found = capsys.readouterr()
        assert line in found.err and found.err.count("\n") == 1 and not found.out, found
    assert not (tmp_path / "out").exists(), "refused before anything is made"


def edited(place: Path, **entries: object) -> None:
    """Give a made-up result other entries."""
    told = json.loads((place / "result.json").read_text())
    (place / "result.json").write_text(json.dumps({**told, **entries}))


def refused(capsys, *places: Path) -> str:
    """The one line that refuses to compare these."""
    capsys.readouterr()
    assert main_compare.main(list(map(str, places))) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and not said.out, said
    return said.err


@pytest.mark.parametrize("name", ["GA", "retrain"])
@pytest.mark.parametrize("named", ["run", "scores"])
def test_scores_are_of_the_split_and_scenario_of_their_run(tmp_path, capsys, name, named):
    """The generator's file is that of the scores, yet its run says otherwise."""
    made = made_up(tmp_path)
    place = made / name / "scores"
    where = made / name if named == "run" else place
    edited(made / name, scenario={"words": "all images of class 5", "class": 5, "count": None})
    said = f"{place}: are scores of scenario class 3, but {made / name} is of class 5; score it with the --forget of"
    assert said in refused(capsys, made / "base", where)
    edited(made / name, scenario={"words": "7 images of class 3", "class": 3, "count": 7})
    assert f"of scenario class 3, but {made / name} is of class 3, count 7;" in refused(capsys, made / "base", where)
    edited(made / name, scenario={"words": "other words", "class": 3, "count": None}, split={"digest": "0123"})
    said = f"{place}: are scores of split abcd, but {made / name} is of 0123; score it with the --seed, --split_seed or"
    assert said in refused(capsys, made / "base", where)
    edited(made / name, split={"digest": "abcd"})
    assert main_compare.main([str(made / "base"), str(where)]) == 0, "words decide nothing"
    edited(place, scenario=None)
    assert "of scenario none, but" in refused(capsys, made / "base", where)


def test_a_run_without_a_scenario_has_scores_of_any_but_of_its_split(tmp_path, capsys):
    made = made_up(tmp_path)
    edited(made / "base", split={"digest": "0123"})
    assert "are scores of split abcd, but" in refused(capsys, made / "base", made / "GA")
    edited(made / "base", split={"digest": "abcd"}, scenario=None)
    assert main_compare.main([str(made / "base"), str(made / "GA")]) == 0


@pytest.mark.parametrize("arch", ["dit", "sd"])
def test_a_pipeline_is_known_by_all_files_of_its_folder(tmp_path, capsys, arch):
    made = made_up(tmp_path)
    run, inner = made / "GA", made / "GA" / "generator" / "unet" / "weights"
    (run / "generator.pt").unlink()
    inner.parent.mkdir(parents=True)
    inner.write_text("of GA")
    (run / "generator" / "model_index.json").write_text("{}")
    edited(run, model={"arch": arch, "dataset": "made up"})
    listed = [("model_index.json", b"{}"), ("unet/weights", b"of GA")]
    lines = "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in listed)
    told = json.loads((run / "scores" / "result.json").read_text())["config"]
    edited(run / "scores", config={**told, "start": hashlib.sha256(lines.encode()).hexdigest()})
    words = [str(made / "base"), str(run), "--out", str(tmp_path / "out")]
    assert main_compare.main(words) == 0
    assert main_compare.main([*words[:1], str(run / "scores"), *words[2:]]) == 0
    plain, _, _ = parts((tmp_path / "out" / "compare.html").read_text())
    assert [one["name"] for one in plain["models"]] == ["Original", "GA"], "scores know the run they lie in"
    inner.write_text("of another")
    said = refused(capsys, made / "base", run)
    assert f"are scores of another generator than {run / 'generator'};" in said
    shutil.rmtree(run / "scores")
    assert f"score --model {run / 'generator'} --save_dir" in refused(capsys, made / "base", run)


@pytest.mark.parametrize("arch, name", [("ddpm", "generator.pt"), ("sd", "generator")])
def test_scores_of_a_run_without_its_generator_stand_alone(tmp_path, capsys, arch, name):
    made = made_up(tmp_path)
    for run in ("GA", "retrain"):
        edited(made / run, model={"arch": arch, "dataset": "made up"})
        (made / run / "generator.pt").unlink()
    said = refused(capsys, made / "base", made / "GA")
    assert f"{made / 'GA'}: lacks {name}, and" in said and f"give {made / 'GA' / 'scores'} to show" in said
    assert main_compare.main([str(made / run / "scores") for run in ("GA", "retrain")]) == 0
    plain, _, _ = parts((made / "GA" / "compare.html").read_text())
    assert [one["name"] for one in plain["models"]] == ["GA/scores", "retrain/scores"]


def test_the_judge_to_score_with_is_named_where_it_is(tmp_path, capsys):
    made = made_up(tmp_path)
    edited(made / "retrain" / "scores", judge="other")
    said = "was judged by other, " + f"{made / 'GA'} by 89abcdef; score it with --judge and the file of that judge"
    assert said in refused(capsys, made / "GA", made / "base", made / "retrain")
    file = made / "base" / "scores" / "judge.pt"
    file.write_text("a judge of another name")
    assert said in refused(capsys, made / "GA", made / "base", made / "retrain")
    for run in ("GA", "base"):
        edited(made / run / "scores", judge=files.sha256(file)[:8])
    assert f"score it with --judge {file}\n" in refused(capsys, made / "GA", made / "base", made / "retrain")


def test_many_classes_have_one_page(tmp_path):
    """A thousand classes of 64 pixels: fewer pictures of each, and below 5 MB."""
    runs = made_up(tmp_path, classes=1000, each=6, side=64)
    assert main_compare.main([str(runs / name) for name in NAMES]) == 0
    text = (tmp_path / "compare.html").read_text()
    plain, arrays, sheet = parts(text)
    assert len(text.encode()) < 5e6 and len(arrays["answer"]) == 3 * 6000 and arrays["answer"].max() == 1000
    assert len(arrays["pictured"]) == 3 * 1000, "a file keeps one of each class then"
    assert sheet.width >= plain["sheet"]["columns"] * plain["sheet"]["side"]


def test_other_ways_of_drawing_are_said(scored_runs, tmp_path, capsys):
    told = scores(scored_runs, "GA")
    folder = tmp_path / "GA"
    shutil.copytree(scored_runs / "GA", folder, ignore=shutil.ignore_patterns("scores"))
    config = {**told["config"], "settings": {**told["config"]["settings"], "timesteps": 9}}
    changed(scored_runs / "GA", folder / "scores", "scores", config=config)
    assert main_compare.main([str(scored_runs / "base"), str(folder), "--out", str(tmp_path)]) == 0
    assert "GA was drawn otherwise than Original: --timesteps 9, not 4." in capsys.readouterr().out
