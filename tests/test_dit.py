"""Diffusion transformers: tied embedders, guessed variances, Facebook's weights, and every command."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import tiny_pipelines
import torch
import torch.nn.functional as F
from conftest import killed_at, recorded
from tiny_pipelines import check_error, check_masked_weights_stay, run, run_and_killed_run
from torch import Tensor, nn

from dataset import prepare
from dataset.images import ImageSet
from dataset.named.latents import FACTS
from dataset.scenario import Scenario
from generation import drawing, encoding, samplers, variance
from generation.diffusion import Diffusion
from generation.schedule import Schedule
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Batch
from unlearn import registry, saliency
from unlearn.apply import apply
from unlearn.context import Context
from utils import files, seeds
from utils.errors import UsageError
from utils.log import Log

pytest.importorskip("diffusers")
pytestmark = pytest.mark.usefixtures("short_ways")

from generation import facebook, transformer  # noqa: E402
from generation.autoencoders import autoencoder  # noqa: E402

DATA = ["--dataset", "digits", "--input_size", "16", "--device", "cpu"]
NETWORK = "--arch dit --layers 2 --heads 2 --head_width 8".split()
QUICK = "--steps 4 --batch_size 64 --lr 1e-3 --ema_decay 0.5".split()
DRAW = "--timesteps 3 --n_samples_per_class 2 --device cpu".split()
WEIGHTS = "diffusion_pytorch_model.safetensors"


def network(classes: int = 3) -> transformer.DiT:
    """Two layers on latents of 8x8, all of whose weights matter."""
    torch.manual_seed(7)
    config = transformer.configured(2, 2, 8, 2, 8, 4, classes)
    model = transformer.DiT.from_config(config).tie()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


class Plain:
    """Inputs are latents already."""

    def clean(self, batch: Batch) -> Tensor:
        return batch.inputs

    def shape(self, inputs) -> tuple[int, ...]:
        return tuple(inputs)


def latents(count: int = 4) -> Batch:
    random = seeds.generator(3, "latents")
    return Batch(torch.randn(count, 4, 8, 8, generator=random), torch.arange(count) % 3, random=random)


# ---- network --------------------------------------------------------------------------------------


def test_a_step_keeps_the_embedders_tied():
    """All blocks have one embedder: in the list of weights, after a step, and in diffusers' own network."""
    model, task = network(), Diffusion(3, Schedule(steps=50), codec=Plain(), average=True)
    names = [name for name, _ in model.named_parameters()]
    assert sum("emb." in name for name in names) == 5 and not any(".1.norm1.emb" in name for name in names)
    before = {key: value.clone() for key, value in model.untied().state_dict().items()}
    training = Training(model, Recipe(1, 0.1, weight_decay=0.0, schedule="constant"), {})
    task.mean(model, latents())[0].backward()
    training.optimizer.step()
    after = model.untied().state_dict()
    moved = [key for key in after if ".norm1.emb." in key and not torch.equal(after[key], before[key])]
    assert len(moved) == 10
    for key in moved:
        assert torch.equal(after[key], after[key.replace("blocks.1.", "blocks.0.")]), key


def test_the_gradient_of_a_tied_embedder_is_the_sum_of_all_copies():
    model = network()
    whole = model.untied()
    for block in whole.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    given, times, classes = latents().inputs, torch.tensor([1, 20, 30, 49]), torch.tensor([0, 1, 2, 3])
    own = model.eval()(given, times, classes)
    other = whole.eval()(given, times, classes).sample
    assert torch.allclose(own, other, atol=1e-6)
    own.square().sum().backward()
    other.square().sum().backward()
    name = "norm1.emb.class_embedder.embedding_table.weight"
    copies = [dict(whole.named_parameters())[f"transformer_blocks.{number}.{name}"].grad for number in (0, 1)]
    found = dict(model.named_parameters())[f"transformer_blocks.0.{name}"].grad
    assert torch.allclose(found, copies[0] + copies[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, copies[0], rtol=1e-2)


def test_the_default_network_has_the_size_of_the_paper():
    with torch.device("meta"):
        model = transformer.DiT.from_config(transformer.configured(28, 16, 72, 2, 32, 4, 1000)).tie()
    assert sum(parameter.numel() for parameter in model.parameters()) == 674_834_720


def test_a_dropped_class_is_the_last_row_and_none_is_dropped_by_itself():
    model = network().train()
    given, times, classes = latents().inputs, torch.full((4,), 9), torch.tensor([0, 1, 2, 0])
    dropped = model(given, times, classes, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(dropped, model(given, times, torch.full((4,), 3)))
    kept = model(given, times, classes)
    assert all(torch.equal(kept, model(given, times, classes)) for _ in range(10))
    assert not torch.allclose(kept, dropped, atol=1e-3)


@pytest.mark.parametrize(("channels", "overstated"), [(None, 4), (3, 3)])
def test_guidance_acts_on_all_channels_or_three(channels, overstated):
    model = network().eval()
    given, times, classes = latents().inputs, torch.full((4,), 9), torch.tensor([0, 1, 2, 0])
    kept, dropped = (model(given, times, classes, torch.full((4,), keep)) for keep in (True, False))
    found = samplers.guided(model, given, times, classes, 3.0, channels)
    assert torch.allclose(found[:, :overstated], 4 * kept[:, :overstated] - 3 * dropped[:, :overstated], atol=1e-5)
    assert torch.equal(found[:, overstated:], kept[:, overstated:]) and found.shape == (4, 8, 8, 8)


# ---- loss -----------------------------------------------------------------------------------------


def by_hand(guess: Tensor, clean: Tensor, time: int, noise: Tensor, schedule: Schedule) -> float:
    """Mean squared error and bits of one sample, number by number, in float64."""
    betas = schedule.betas().double()
    kept = torch.cumprod(1 - betas, 0)
    now, before = kept[time].item(), kept[time - 1].item() if time else 1.0
    beta, total, count = betas[time].item(), 0.0, clean.numel()
    posterior = lambda t: betas[t].item() * (1 - kept[t - 1].item()) / (1 - kept[t].item())  # noqa: E731
    low, high = math.log(posterior(max(time, 1))), math.log(beta)
    for x, e, g, v in zip(*(part.flatten().tolist() for part in (clean, noise, guess[:4], guess[4:]))):
        noisy = math.sqrt(now) * x + math.sqrt(1 - now) * e
        total += (e - g) ** 2
        guessed = (noisy - math.sqrt(1 - now) * g) / math.sqrt(now)
        first, second = beta * math.sqrt(before) / (1 - now), (1 - before) * math.sqrt(1 - beta) / (1 - now)
        mean, true = first * guessed + second * noisy, first * x + second * noisy
        log_variance = (v + 1) / 2 * high + (1 - (v + 1) / 2) * low
        if time:
            kl = 0.5 * (log_variance - low + math.exp(low - log_variance) - 1)
            kl += 0.5 * (true - mean) ** 2 * math.exp(-log_variance)
        else:
            scale = math.exp(-log_variance / 2)
            cdf = lambda value, scale=scale: 0.5 * (1 + math.erf(scale * value / math.sqrt(2)))  # noqa: E731
            above, below = cdf(x - mean + 1 / 255), cdf(x - mean - 1 / 255)
            mass = above if x < -0.999 else 1 - below if x > 0.999 else above - below
            kl = -math.log(max(mass, 1e-12))
        total += kl / math.log(2)
    return total / count


@pytest.mark.parametrize("time", [0, 1, 25, 49])
def test_the_loss_is_the_error_and_the_bits_of_the_guessed_variance(time):
    model, task = network().eval(), Diffusion(3, Schedule(steps=50), codec=Plain(), average=True)
    given = latents(1)
    times, noise = torch.tensor([time]), torch.randn(1, 4, 8, 8, generator=seeds.generator(1, "noise"))
    found = task.at(model, given, times, noise, None)
    noisy = task.schedule.noised(given.inputs, noise, times)
    expected = by_hand(model(noisy, times, given.targets)[0], given.inputs[0], time, noise[0], task.schedule)
    assert found.item() == pytest.approx(expected, rel=2e-3)


def test_the_bound_moves_the_guessed_variance_alone():
    guess = torch.randn(2, 8, 8, 8, generator=seeds.generator(1, "guess")).requires_grad_()
    noise, times = torch.randn(2, 4, 8, 8), torch.tensor([0, 30])
    variance.bits(Schedule(steps=50), guess, noise, times, noise).sum().backward()
    assert guess.grad[:, :4].abs().max() == 0 and guess.grad[:, 4:].abs().min() > 0


@pytest.mark.parametrize(("compat", "moves"), [("fixed", False), ("reference", True)])
def test_ascent_leaves_the_guessed_variance_alone(compat, moves):
    model = network()
    task = Diffusion(3, Schedule(steps=50), 0.0, compat=compat, codec=Plain(), average=True)
    (-task.climbed(model, latents())[0].mean()).backward()
    rows = model.proj_out_2.weight.grad.view(2, 2, 8, -1)[:, :, 4:]
    assert (rows.abs().max() > 0) == moves
    assert model.proj_out_2.weight.grad.view(2, 2, 8, -1)[:, :, :4].abs().min() > 0


# ---- methods --------------------------------------------------------------------------------------

NOISY = torch.randn(18, 4, 8, 8, generator=torch.Generator().manual_seed(4))
CLASSES = torch.arange(18) % 3
SETS = {
    name: ImageSet(NOISY, CLASSES, torch.nonzero((CLASSES == 1) == (name == "forget"))[:, 0])
    for name in ("retain", "forget")
}


class Still(Diffusion):
    """Every sample has the time 7 and the same noise, so that steps can be taken by hand."""

    def draw(self, batch: Batch) -> tuple[Tensor, Tensor]:
        noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(9))
        return torch.full((len(batch),), 7), noise.expand(batch.inputs.shape)


STILL = Still(3, Schedule(steps=50), 0.0, codec=Plain(), average=True)


def unlearned(name: str, model: nn.Module, task: Diffusion, compat: str = "fixed", **hyper) -> dict[str, Tensor]:
    method = registry.get(name)
    where = Context({}, torch.device("cpu"), 2, compat, "toy", 3, Scenario(None, 6), (1,), Log(None), task=task)
    given = {"unlearn_epochs": 1, "batch_size": 5, "unlearn_lr": 1e-3, "no_aug": True, "weight_decay": 0.0} | hyper
    known = {key: value for key, value in given.items() if key in method.config.__dataclass_fields__}
    return apply(method, model, SETS, method.config(**known), where).model.state_dict()


@pytest.mark.parametrize("name", ["FT", "GA", "RL", "SalUn", "SFRon", "NG+"])
def test_methods_unlearn_a_diffusion_transformer(name):
    model = network()
    start = copy.deepcopy(model.state_dict())
    task = Diffusion(3, Schedule(steps=50), codec=Plain(), average=True)
    first, second = (unlearned(name, model, task) for _ in range(2))
    assert first.keys() == start.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], start[key]) for key in first)


def test_ascent_of_no_weight_is_repair_alone():
    model = network()
    hyper = {"iterations": 1, "batch_size": 99, "momentum": 0.0, "schedule": "constant", "forget_freq": 1}
    found = unlearned("SFRon", model, STILL, no_saliency=True, forget_alpha=0.0, **hyper)
    STILL.mean(model.train(), Batch(*next(SETS["retain"].batches(99))))[0].backward()
    for name, value in model.named_parameters():
        assert torch.allclose(found[name] - value, -1e-3 * value.grad, rtol=1e-2, atol=3e-7), name


# ---- Facebook's weights ---------------------------------------------------------------------------


class Original(nn.Module):
    """DiT as the paper and its weights have it, under their names; written for this test from the description."""

    def __init__(self, layers: int = 2, width: int = 16, heads: int = 2, classes: int = 3, side: int = 8):
        super().__init__()
        self.heads, self.width, self.side = heads, width, side
        self.pos_embed = nn.Parameter(self.positions(side // 2, width), requires_grad=False)
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(4, width, 2, 2)})
        two = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.t_embedder = nn.ModuleDict({"mlp": two})
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, width)})
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attn": nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}),
                    "mlp": nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}),
                    "adaLN_modulation": nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width)),
                }
            )
            for _ in range(layers)
        )
        modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.final_layer = nn.ModuleDict({"linear": nn.Linear(width, 32), "adaLN_modulation": modulation})

    @staticmethod
    def positions(side: int, width: int) -> Tensor:
        """Of each token, sines and cosines of its column, then of its row: [1, side * side, width]."""
        waves = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        angles = [place.flatten()[:, None] * waves for place in (columns, rows)]
        parts = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
        return torch.cat(parts, 1)[None].float()

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        count = len(x)
        tokens = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(128) / 128)
        told = self.t_embedder["mlp"](torch.cat([angles.cos(), angles.sin()], 1))
        told = told + self.y_embedder["embedding_table"](y)

        def normed(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
            return F.layer_norm(tokens, (self.width,), eps=1e-6) * (1 + scale[:, None]) + shift[:, None]

        for block in self.blocks:
            shift, scale, gate, shift2, scale2, gate2 = block["adaLN_modulation"](told).chunk(6, 1)
            joint = block["attn"]["qkv"](normed(tokens, shift, scale)).view(count, -1, 3, self.heads, 8)
            q, k, v = joint.permute(2, 0, 3, 1, 4)
            mixed = F.softmax(q @ k.transpose(-1, -2) / math.sqrt(8), -1) @ v
            tokens = tokens + gate[:, None] * block["attn"]["proj"](mixed.transpose(1, 2).flatten(2))
            inner = F.gelu(block["mlp"]["fc1"](normed(tokens, shift2, scale2)), approximate="tanh")
            tokens = tokens + gate2[:, None] * block["mlp"]["fc2"](inner)
        shift, scale = self.final_layer["adaLN_modulation"](told).chunk(2, 1)
        out = self.final_layer["linear"](normed(tokens, shift, scale)).view(count, 4, 4, 2, 2, 8)
        return out.permute(0, 5, 1, 3, 2, 4).reshape(count, 8, 8, 8)


@pytest.fixture
def original() -> Original:
    torch.manual_seed(2)
    model = Original()
    for name, parameter in model.named_parameters():
        if name != "pos_embed":
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("form", ["bare", "ema"])
def test_facebooks_weights_give_the_same_noise(original, vae, tmp_path, form):
    state = original.state_dict()
    wrapped = {f"module.{key}": value for key, value in state.items()}
    torch.save(state if form == "bare" else {"model": {}, "ema": wrapped, "opt": {}}, tmp_path / "DiT.pt")
    words = ["--model", tmp_path / "DiT.pt", "--vae", vae, "--heads", 2, "--save_dir", tmp_path / "out"]
    assert run("convert", *words) == 0
    model = transformer.read(tmp_path / "out" / "generator", "--model").network().eval()
    x, t, y = latents().inputs, torch.tensor([0, 9, 500, 999]), torch.tensor([0, 1, 2, 3])
    assert torch.allclose(model(x, t, y), original(x, t, y), atol=2e-4)


def test_masks_of_strange_names_are_refused_in_a_line(original, vae, tmp_path):
    torch.save(original.state_dict(), tmp_path / "DiT.pt")
    network = facebook.read(tmp_path / "DiT.pt", str(vae), 2).network()
    strange = {"blocks.0.weight": torch.ones(2), "blocks.0.attn.qkv.weight": torch.tensor(1.0), "blocks": torch.ones(1)}
    for key, value in strange.items():
        torch.save({key: value}, tmp_path / "mask.pt")
        with pytest.raises(UsageError, match="is no saliency mask of this model"):
            saliency.read(tmp_path / "mask.pt", network)


def test_masks_under_facebooks_names_are_read(original, vae, tmp_path):
    torch.save(original.state_dict(), tmp_path / "DiT.pt")
    converted = facebook.read(tmp_path / "DiT.pt", str(vae), 2)
    mask = {f"module.{key}": (value > 0).float() for key, value in original.state_dict().items()}
    torch.save(mask, tmp_path / "mask.pt")
    found, parameters = saliency.read(tmp_path / "mask.pt", converted.network()), dict(converted.weights)
    assert len(found) == 39  # 2 blocks, 14 parameters each, and 11 around them
    assert all(torch.equal(value, parameters[key] > 0) for key, value in found.items())
    assert found["transformer_blocks.1.attn1.to_k.bias"].equal(original.blocks[1]["attn"]["qkv"].bias[16:32] > 0)


# ---- commands -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return tiny_pipelines.autoencoder(tmp_path_factory.mktemp("vae") / "vae")


@pytest.fixture(scope="module")
def base(vae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    assert run("train", *DATA, *NETWORK, "--vae", vae, *QUICK, "--save_dir", folder) == 0
    return folder / "generator"


def weights(folder, part: str = "transformer") -> bytes:
    return (folder / "generator" / part / WEIGHTS).read_bytes()


def test_a_training_leaves_a_pipeline_that_diffusers_reads(base):
    from diffusers import DiTPipeline

    found = DiTPipeline.from_pretrained(base, local_files_only=True)
    blocks = found.transformer.transformer_blocks
    name = "norm1.emb.timestep_embedder.linear_1.weight"
    one, other = (dict(block.named_parameters())[name] for block in blocks)
    assert torch.equal(one, other) and found.scheduler.config.variance_type == "learned_range"
    facts = files.read_json(base / "generator.json", "")
    assert facts["classes"] == list("0123456789") and facts["split_digest"]
    own = transformer.read(base, "--model")
    raw, average = (own.network(raw=raw).state_dict() for raw in (True, False))
    assert raw.keys() == average.keys() and not any(torch.equal(raw[key], average[key]) for key in list(raw)[:3])


def test_a_killed_training_goes_on_to_the_same_bytes(vae, tmp_path):
    words = [*DATA, *NETWORK, "--vae", vae, *QUICK, "--steps", "24"]
    straight, resumed = run_and_killed_run("train", tmp_path, *words)
    for part in ("transformer", "transformer_ema"):
        assert weights(straight, part) == weights(resumed, part)


@pytest.mark.parametrize("method", ["SFRon", "SalUn"])
def test_forgetting_stops_and_goes_on_to_the_same_bytes(base, tmp_path, method):
    words = [*DATA, "--model", base, "--unlearn", method, "--forget", "class:3", "--iterations", 3, "--save_every", 1]
    words += ["--batch_size", 8, *(["--no_saliency"] if method == "SFRon" else [])]
    straight, resumed = run_and_killed_run("forget", tmp_path, *words)
    assert weights(straight) == weights(resumed)
    result = files.read_json(straight / "result.json", "")
    assert result["model"]["arch"] == "dit" and result["method"] == method
    assert weights(straight) != (base / "transformer_ema" / WEIGHTS).read_bytes()


def test_latents_are_made_once_and_trained_on(vae, tmp_path, capsys):
    """Mean and deviation are the autoencoder's; other autoencoders' latents, and other scripts, are refused."""
    import main_imp

    made = ["--dataset", "latents", "--data", tmp_path / "latents", "--device", "cpu"]
    assert run("encode", *DATA, "--vae", vae, "--save_dir", tmp_path / "latents") == 0
    stored, facts = np.load(tmp_path / "latents" / "train.npy"), files.read_json(tmp_path / "latents" / FACTS, "")
    assert stored.shape == (1438, 8, 8, 8) and facts["side"] == 16 and facts["classes"] == list("0123456789")
    codec = autoencoder(vae, "")
    pixels = prepare.find("digits", None, 16).load().train_images[:3]
    found = codec.moments(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    assert np.allclose(stored[:3], found.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    assert run("train", *made, *NETWORK, "--vae", vae, "--steps", 2, "--save_dir", tmp_path / "base") == 0
    words = ["--model", tmp_path / "base" / "generator", "--unlearn", "FT", "--forget", "class:3", "--iterations", 1]
    assert run("forget", *made, *words, "--save_dir", tmp_path / "FT") == 0
    capsys.readouterr()
    other = tiny_pipelines.autoencoder(tmp_path / "other", 5)
    assert run("train", *made, *NETWORK, "--vae", other, "--save_dir", tmp_path / "no") == 2
    assert "its latents were not made by the autoencoder in" in capsys.readouterr().err
    assert run("train", *made, "--save_dir", tmp_path / "no") == 2
    assert "holds latents, which ddpm does not draw" in capsys.readouterr().err
    assert main_imp.main([str(word) for word in (*made, "--save_dir", tmp_path / "no")]) == 2
    assert "holds no images; it is for main_generate.py alone" in capsys.readouterr().err


def test_encoding_stops_and_goes_on_with_the_next_part(vae, tmp_path, monkeypatch):
    words = [*DATA, "--vae", vae, "--batch_size", 50]
    assert run("encode", *words, "--save_dir", tmp_path / "whole") == 0
    monkeypatch.setattr(encoding, "PART", 500)  # 500, 500 and 438 training images
    with killed_at(2, (".npy",)):
        run("encode", *words, "--save_dir", tmp_path / "killed")
    encoded = recorded(monkeypatch, encoding, "_moments")
    assert run("encode", *words, "--save_dir", tmp_path / "killed") == 0
    assert len(encoded) == 3  # the first part was there; the test images are one
    one, other = (np.load(tmp_path / name / "train.npy") for name in ("whole", "killed"))
    assert np.array_equal(one, other) and len(one) == 1438
    assert not (tmp_path / "killed" / "parts").exists()


def test_parts_of_another_encoding_are_not_taken(vae, tmp_path, monkeypatch):
    other, target = tiny_pipelines.autoencoder(tmp_path / "other", 5), ["--save_dir", tmp_path / "latents"]
    monkeypatch.setattr(encoding, "PART", 500)
    with killed_at(3, (".npy",)):
        run("encode", *DATA, "--vae", other, *target)
    assert (tmp_path / "latents" / "parts" / "train" / "000001.npy").exists()
    assert run("encode", *DATA, "--vae", vae, *target) == 0
    codec, pixels = autoencoder(vae, ""), prepare.find("digits", None, 16).load().train_images[:3]
    moments = codec.moments(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).permute(0, 2, 3, 1).numpy()
    assert np.allclose(np.load(tmp_path / "latents" / "train.npy")[:3], moments, atol=1e-5)


def test_masked_weights_do_not_move(base, tmp_path):
    check_masked_weights_stay(base, lambda path: transformer.read(path, "--model").network(), tmp_path, *DATA)


def test_pictures_need_no_data_set(base, tmp_path):
    words = ["--model", base, *DRAW, "--classes_to_generate", "1,7"]
    assert run("sample", *words, "--save_dir", tmp_path / "a") == 0
    assert len(list((tmp_path / "a" / "class_samples" / "7").glob("*.png"))) == 2
    assert run("sample", *words, "--sample_type", "DDIMScheduler", "--eta", "0", "--save_dir", tmp_path / "b") == 0
    one, other = ((tmp_path / name / "samples.npz").read_bytes() for name in "ab")
    assert one != other and not (tmp_path / "a" / "split.npz").exists()


def test_the_page_of_generators_knows_a_pipeline_by_its_scores(base, tmp_path, capsys):
    import main_compare

    gone, judge = ["--forget", "class:3"], base.parent / "scores" / "judge.pt"
    words = ["--model", base, "--unlearn", "GA", "--iterations", 1, "--batch_size", 8, *gone]
    assert run("forget", *DATA, *words, "--save_dir", tmp_path / "GA") == 0
    for folder, more in ((base.parent, ["--judge_epochs", 1]), (tmp_path / "GA", ["--judge", judge])):
        words = ["--model", folder / "generator", *DRAW, *gone, *more, "--save_dir", folder / "scores"]
        assert run("score", *DATA, *words) == 0
    words = [str(base.parent), str(tmp_path / "GA"), "--out", str(tmp_path)]
    assert main_compare.main(words) == 0
    (tmp_path / "GA" / "generator" / "generator.json").write_text("{}")
    capsys.readouterr()
    assert main_compare.main(words) == 2
    assert f"another generator than {tmp_path / 'GA' / 'generator'};" in capsys.readouterr().err


def test_without_eta_pictures_of_a_scheduler_are_those_of_our_own_steps(base):
    from diffusers import DDIMScheduler

    generator = transformer.read(base, "--model")
    same = {"clip_sample": False, "timestep_spacing": "leading", "set_alpha_to_one": True, "steps_offset": 0}
    scheduler = DDIMScheduler(trained_betas=generator.schedule.betas().numpy(), **same)
    own = drawing.Way(10, 0.0, 1.0, codec=generator.codec())
    other = drawing.Way(10, 0.0, 1.0, codec=generator.codec(), scheduler=scheduler)
    pictures = [drawing.draw(generator.network(), generator.schedule, [1, 2], 2, way, 5) for way in (own, other, own)]
    assert torch.equal(pictures[0].images, pictures[2].images)
    assert (pictures[0].images.int() - pictures[1].images.int()).abs().max() <= 1


REFUSED = [
    (["sample", "--model", "EMPTY"], "--model EMPTY: is a folder without model_index.json"),
    (["sample", "--model", "PARTLESS"], "--model PARTLESS: lacks vae/config.json; is no whole pipeline"),
    (["sample", "--model", "OTHER"], "--model OTHER: transformer has not the weights of its config"),
    (["sample", "--model", "UNTIED"], "--model UNTIED: transformer was trained with embedders that differ"),
    (["sample", "--model", "BASE", "--sample_type", "Dream"], "--sample_type Dream: unknown; known: generalized"),
    (["sample", "--model", "BASE", "--concept", "a cat"], "--concept: --model reads no prompts"),
    (["sample", "--model", "BASE", "--classes_to_generate", "10"], "--classes_to_generate 10: must be classes 0 to 9"),
    (["forget", *DATA, "--model", "BASE", "--forget", "class:10"], "--forget class:10: "),
    (
        ["forget", *DATA, "--model", "BASE", "--forget", "class:3", "--unlearn", "SalUn", "--saliency_mask", "MASK"],
        "--saliency_mask MASK: is no saliency mask of this model",
    ),
    (["forget", *DATA, "--input_size", "8", "--model", "BASE"], "--model BASE: draws images of 16 pixels, the data"),
    (["train", *DATA, "--arch", "dit"], "--vae FOLDER is needed"),
    (["train", *DATA, "--arch", "dit", "--vae", "EMPTY"], "--vae EMPTY: lacks config.json"),
    (["train", *DATA, "--arch", "dit", "--patch", "3", "--vae", "VAE"], "--input_size 16: must be a multiple of 6"),
    (["convert", "--model", "MASK", "--vae", "VAE"], "--model MASK: lacks"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_bad_input_is_refused_in_one_line(base, vae, tmp_path, capsys, words, said):
    import shutil

    from safetensors.torch import load_file, save_file

    places = {name: tmp_path / name.lower() for name in ("EMPTY", "PARTLESS", "OTHER", "UNTIED", "MASK")}
    places |= {"BASE": base, "VAE": vae}
    places["EMPTY"].mkdir()
    for name in ("PARTLESS", "OTHER", "UNTIED"):
        shutil.copytree(base, places[name])
        shutil.rmtree(places[name] / "transformer_ema")
    shutil.rmtree(places["PARTLESS"] / "vae")
    for name in ("OTHER", "UNTIED"):
        file = places[name] / "transformer" / WEIGHTS
        state = load_file(file)
        if name == "OTHER":
            state["stranger"] = state.pop("proj_out_1.bias")
        else:
            state["transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias"] += 1
        save_file(state, file)
    torch.save({"conv_in.weight": torch.ones(2, dtype=torch.bool)}, places["MASK"])
    assert run(*(places.get(word, word) for word in words), "--save_dir", tmp_path / "out") == 2
    check_error(capsys.readouterr().err, said, places)


def test_a_missing_library_is_named_with_its_install_command(base, tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert run("sample", "--model", base, "--save_dir", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "needs diffusers, which is not installed; pip install diffusers transformers accelerate" in error
    assert error.count("\n") == 1
