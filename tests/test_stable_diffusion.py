"""Stable Diffusion in a folder made here: prompts, concepts, masks, pictures, what is frozen and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_pipelines
import torch
from PIL import Image
from tiny_pipelines import check_error, check_masked_weights_stay, run, run_and_killed_run

from generation import drawing
from generation.diffusion import Diffusion
from trainer.task import Batch
from utils import files, seeds

pytest.importorskip("diffusers")
pytestmark = pytest.mark.usefixtures("short_ways")

from generation import stable  # noqa: E402
from generation.generation_flags import Prompts  # noqa: E402

DATA = ["--dataset", "digits", "--input_size", "16", "--device", "cpu"]
NAMES = "zero,one,two,three,four,five,six,seven,eight,nine"
WEIGHTS = "diffusion_pytorch_model.safetensors"
LONG = ("SalUn", "SFRon", "GA", "FT", "SalUn_soft")
DRAW = "--timesteps 3 --n_samples_per_class 2 --device cpu".split()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return tiny_pipelines.stable_diffusion(tmp_path_factory.mktemp("sd") / "sd")


def unet(folder) -> bytes:
    return (folder / "unet" / WEIGHTS).read_bytes()


def told(pipeline, *prompts: str) -> stable.Stable:
    import dataclasses

    return dataclasses.replace(stable.read(pipeline, "--model"), prompts=prompts, pixels=16)


# ---- network and task -----------------------------------------------------------------------------


def test_a_class_is_its_prompt_and_a_dropped_one_the_empty_prompt(pipeline):
    from diffusers import StableDiffusionPipeline

    model = told(pipeline, "a cat", "a dog").network().eval()
    whole = StableDiffusionPipeline.from_pretrained(pipeline, local_files_only=True)
    noisy, times = torch.randn(3, 4, 8, 8, generator=seeds.generator(1, "noisy")), torch.tensor([3, 400, 999])
    found = model(noisy, times, torch.tensor([1, 0, 0]), torch.tensor([True, True, False]))
    texts = whole.encode_prompt(["a dog", "a cat", ""], "cpu", 1, False)[0]
    assert torch.allclose(found, whole.unet(noisy, times, texts).sample, atol=1e-5)
    assert model.state_dict().keys() == whole.unet.state_dict().keys()


def test_a_concept_takes_the_place_of_its_class_and_another_prompt_comes_last(pipeline):
    from pathlib import Path

    from dataset import catalog
    from dataset.prepare import DatasetInfo
    from dataset.scenario import Scenario

    info = DatasetInfo(catalog.get("digits"), Path(), 16, [1, 1, 1], None)
    flags = Prompts("a photo of {}", ("cats", "dogs", "birds"), "a nude person", "a dressed person")
    found = stable.read(pipeline, "--model").with_prompts(flags, info, Scenario((1,), None))
    assert found.prompts == ("a photo of cats", "a nude person", "a photo of birds", "a dressed person")


def test_the_concept_is_taught_to_be_drawn_as_the_other_prompt(pipeline):
    """The distance is between the U-Net under both prompts, at one noise, of one time."""
    generator = told(pipeline, "zero", "one", "a dressed person")
    model, codec = generator.network().eval(), generator.codec()
    task = Diffusion(2, generator.schedule, 0.0, "instead", codec=codec, average=True)
    labels = torch.tensor([1, 1])
    targets = task.wrong_targets(labels, 0)
    assert targets.tolist() == [1 + 3 * 2] * 2
    images = torch.rand(2, 3, 16, 16, generator=seeds.generator(1, "images"))
    given = Batch(images, targets, random=seeds.generator(2, "draws"))
    found = task.taught(model, given)[0]
    noisy, times, _ = task.noised(Batch(images, labels, random=seeds.generator(2, "draws")))
    one, other = (model(noisy, times, torch.full((2,), number)) for number in (1, 2))
    assert torch.allclose(found, (one - other).square().flatten(1).mean(1), rtol=1e-4)


def test_latents_are_drawn_anew_around_their_mean_and_scaled(pipeline):
    codec = told(pipeline).codec()
    images = torch.rand(64, 3, 16, 16, generator=seeds.generator(1, "images"))[:1].expand(500, -1, -1, -1)
    given = Batch(images, torch.zeros(500), random=seeds.generator(1, "latents"))
    found, (mean, deviation) = codec.clean(given), codec.moments(images[:1]).chunk(2, 1)
    factor = codec.vae.config.scaling_factor
    assert found.shape == codec.shape(images.shape) == (500, 4, 8, 8)
    assert torch.allclose(found.mean(0), factor * mean[0], atol=5 * factor * float(deviation.max()) / 500**0.5)
    assert torch.allclose(found.std(0), factor * deviation[0], rtol=0.2)


def test_pictures_are_those_of_diffusers_pipeline(pipeline):
    """The same start, scheduler, guidance and prompt: within one level of brightness."""
    from diffusers import StableDiffusionPipeline

    from generation import folders

    generator = told(pipeline, "a cat")
    way = drawing.Way(4, 0.0, 6.5, codec=generator.codec(), scheduler=folders.scheduler(pipeline, ""))
    found = drawing.draw(generator.network(), generator.schedule, [0], 2, way, 5)
    start = torch.randn(2, 4, 8, 8, generator=seeds.generator(5, "pictures", 0))
    whole = StableDiffusionPipeline.from_pretrained(pipeline, local_files_only=True)
    whole.set_progress_bar_config(disable=True)
    images = whole(["a cat"] * 2, latents=start, guidance_scale=7.5, num_inference_steps=4, output_type="np").images
    assert np.abs(found.images.permute(0, 2, 3, 1).numpy() - images * 255).max() < 1.01


# ---- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["RL", *(pytest.param(name, marks=pytest.mark.torture) for name in LONG)])
def test_forgetting_stops_and_goes_on_to_the_same_bytes(pipeline, tmp_path, method):
    words = [*DATA, "--model", pipeline, "--unlearn", method, "--forget", "class:3", "--iterations", 3]
    words += ["--save_every", 1, "--batch_size", 4, "--class_names", NAMES, "--unlearn_lr", 1e-3]
    words += ["--concept", "a photo of three", "--instead", "a cat"]
    straight, resumed = (folder / "generator" for folder in run_and_killed_run("forget", tmp_path, *words))
    assert unet(straight) == unet(resumed) != unet(pipeline)
    for part in ("text_encoder", "vae"):
        assert {file.name: file.read_bytes() for file in (straight / part).iterdir()} == {
            file.name: file.read_bytes() for file in (pipeline / part).iterdir()
        }


def test_a_result_draws_in_diffusers_and_in_the_next_run(pipeline, tmp_path):
    from diffusers import StableDiffusionPipeline

    words = [*DATA, "--model", pipeline, "--unlearn", "SalUn", "--forget", "class:3:8", "--iterations", 1]
    assert run("forget", *words, "--save_dir", tmp_path / "a") == 0
    made = tmp_path / "a" / "generator"
    StableDiffusionPipeline.from_pretrained(made, local_files_only=True)
    assert run("sample", "--model", made, *DRAW, "--save_dir", tmp_path / "b") == 0
    assert np.load(tmp_path / "b" / "samples.npz")["images"].shape == (20, 16, 16, 3)


def test_training_goes_on_with_a_pipelines_weights(pipeline, tmp_path):
    words = [*DATA, "--model", pipeline, "--steps", 2, "--batch_size", 4, "--ema_decay", 0.5]
    assert run("train", *words, "--save_dir", tmp_path) == 0
    made = tmp_path / "generator"
    assert unet(made) != unet(pipeline) and (made / "unet_ema" / WEIGHTS).is_file()
    result = files.read_json(tmp_path / "result.json", "")
    assert result["model"]["arch"] == "sd" and result["steps"] == 2


def test_masked_weights_do_not_move(pipeline, tmp_path):
    check_masked_weights_stay(pipeline, lambda path: told(path).network(), tmp_path, *DATA)


def test_prompts_of_a_file_are_drawn_by_their_seeds_and_go_on(pipeline, tmp_path, capsys):
    table = tmp_path / "prompts.csv"
    table.write_text("case_number,prompt,evaluation_seed,note\n7,a cat,1,x\n8,a dog,2,y\n9,a cat,1,z\n")
    words = ["--model", pipeline, "--prompts_file", table, *DRAW, "--save_dir", tmp_path / "a"]
    assert run("sample", *words) == 0
    assert "that nothing reads: note" in capsys.readouterr().out
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "a" / "prompts").iterdir()}
    assert sorted(pictures) == ["7_0.png", "7_1.png", "8_0.png", "8_1.png", "9_0.png", "9_1.png"]
    assert pictures["7_1.png"] == pictures["9_1.png"] != pictures["8_1.png"]
    assert Image.open(tmp_path / "a" / "prompts" / "7_0.png").size == (16, 16)
    (tmp_path / "a" / "result.json").unlink()
    (tmp_path / "a" / "prompts" / "8_1.png").unlink()
    kept = (tmp_path / "a" / "prompts" / "7_0.png").stat().st_mtime_ns
    assert run("sample", *words) == 0
    assert pictures == {path.name: path.read_bytes() for path in (tmp_path / "a" / "prompts").iterdir()}
    assert (tmp_path / "a" / "prompts" / "7_0.png").stat().st_mtime_ns == kept


FORGET = ["forget", *DATA, "--forget", "class:3"]
REFUSED = [
    (["sample", "--model", "NO unet"], "--model NO unet: lacks unet/config.json; is no whole pipeline"),
    (["sample", "--model", "NO text_encoder"], "--model NO text_encoder: lacks text_encoder/config.json"),
    (["sample", "--model", "NO tokenizer"], "--model NO tokenizer: lacks tokenizer/"),
    (["sample", "--model", "NO scheduler"], "--model NO scheduler: scheduler: no such file"),
    (["sample", "--model", "OTHER"], "--model OTHER: is a CogVideoXPipeline; known: DiTPipeline, StableDiffusionPipe"),
    (["sample", "--model", "VELOCITY"], "--model VELOCITY: its network guesses v_prediction"),
    (["sample", "--model", "BASE"], "--model BASE: names no classes; give --class_names or --prompts_file"),
    (["sample", "--model", "BASE", "--prompts_file", "nowhere.csv"], "--prompts_file nowhere.csv: no such file"),
    (["sample", "--model", "BASE", "--prompts_file", "TABLE"], "--prompts_file TABLE: line 2 has no prompt"),
    ([*FORGET, "--model", "BASE", "--class_names", "a,b"], "--class_names: has 2 names, digits has 10 classes"),
    ([*FORGET, "--model", "BASE", "--template", "a cat"], "--template a cat: must have a {}"),
    ([*FORGET, "--model", "BASE", "--concept", 60 * "a "], "prompt 'a a a a"),
    (["forget", *DATA, "--model", "BASE", "--forget", "class:1,2", "--concept", "b"], "--concept: needs --forget"),
    (["forget", *DATA, "--input_size", "10", "--model", "BASE"], "--input_size 10: must be a multiple of 4"),
    ([*FORGET, "--model", "BASE", "--unlearn", "SalUn", "--saliency_mask", "MASK"], "--saliency_mask MASK: is no sal"),
    (["forget", *DATA, "--model", "BASE", "--forget", "class:11"], "--forget class:11: "),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words)[:70] for words, _ in REFUSED])
def test_bad_input_is_refused_in_one_line(pipeline, tmp_path, capsys, words, said):
    places = {"BASE": pipeline, "TABLE": tmp_path / "table.csv", "MASK": tmp_path / "mask.pt"}
    places["TABLE"].write_text("text\na cat\n")
    torch.save({"conv_in.weight": torch.ones(2, dtype=torch.bool)}, places["MASK"])
    for word in words:
        if word.startswith("NO ") or word in ("OTHER", "VELOCITY"):
            places[word] = tmp_path / word.replace(" ", "-")
            shutil.copytree(pipeline, places[word])
            if word.startswith("NO "):
                shutil.rmtree(places[word] / word[3:])
    for name, file, entry, value in (
        ("OTHER", "model_index.json", "_class_name", "CogVideoXPipeline"),
        ("VELOCITY", "scheduler/scheduler_config.json", "prediction_type", "v_prediction"),
    ):
        if name in places:
            content = json.loads((places[name] / file).read_text())
            (places[name] / file).write_text(json.dumps(content | {entry: value}))
    assert run(*(places.get(word, word) for word in words), "--save_dir", tmp_path / "out") == 2
    check_error(capsys.readouterr().err, said, places)
