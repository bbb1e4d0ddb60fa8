"""Swin, vision transformers and timm's models: keys, attention worked out slowly, masks, and every method on them."""

from __future__ import annotations

import copy
import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.nn.utils import prune

import main_forget
import main_imp
import models
import pruner
from dataset.images import ImageSet
from dataset.scenario import Scenario
from evaluation.predict import predict
from models import vit
from models.normalize import Normalize
from models.swin import PatchMerging, Swin, WindowAttention
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Classification
from unlearn import curvature, registry
from unlearn.apply import apply
from unlearn.context import Context
from unlearn.slopes import slopes
from utils.errors import UsageError
from utils.log import Log

pytestmark = pytest.mark.numeric

CLASSES, SIDE = 3, 8
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def tiny_swin() -> nn.Module:
    """8x8 images: stages of 8, 8, 4 and 4 tokens a side, windows of 2."""
    return Swin(
        CLASSES, widths=(16, 16, 32, 32), depths=(2, 2, 2, 2), heads=(1, 2, 2, 2), factors=(1, 1, 2, 1), window=2
    )


def tiny_vit() -> nn.Module:
    """8x8 images: four patches of 4x4; torchvision starts the head at zero, which would hide the rest."""
    model = vit._transformer(CLASSES, SIDE, patch=4, width=8, depth=2, heads=2)
    nn.init.normal_(model.heads.head.weight)
    return model


TINY = {"swin": tiny_swin, "vit": tiny_vit}


@pytest.fixture(params=TINY)
def model(request) -> nn.Module:
    torch.manual_seed(0)
    built = TINY[request.param]()
    built.normalize = Normalize(MEAN, STD)
    return built


def images(count: int, seed: int) -> ImageSet:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=random)
    return ImageSet(pixels, torch.arange(count) % CLASSES)


SETS = {"retain": images(8, 1), "forget": images(4, 2), "val": images(4, 3)}


def on_paper(name: str, classes: int = 10, **more) -> nn.Module:
    with torch.device("meta"):
        return models.build(name, classes, **more)


def shapes(model: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in model.state_dict().items()}


# ---- Swin -----------------------------------------------------------------------------------------


def swin_shapes() -> dict[str, list[int]]:
    """The field's checkpoints, key by key, at 10 classes."""
    want = {}
    for stage, (width, inputs, pairs) in enumerate(
        ((96, 3 * 4, 1), (192, 96 * 4, 1), (384, 192 * 4, 3), (768, 384, 1)), start=1
    ):
        want |= {
            f"stage{stage}.patch_partition.linear.weight": [width, inputs],
            f"stage{stage}.patch_partition.linear.bias": [width],
        }
        for pair in range(pairs):
            for shifted in (0, 1):
                block = f"stage{stage}.layers.{pair}.{shifted}"
                attention, mlp = f"{block}.attention_block.fn", f"{block}.mlp_block.fn"
                want |= {f"{attention}.norm.weight": [width], f"{attention}.norm.bias": [width]}
                if shifted:
                    want |= {f"{attention}.fn.upper_lower_mask": [16, 16], f"{attention}.fn.left_right_mask": [16, 16]}
                want |= {f"{attention}.fn.pos_embedding": [7, 7], f"{attention}.fn.to_qkv.weight": [3 * width, width]}
                want |= {f"{attention}.fn.to_out.weight": [width, width], f"{attention}.fn.to_out.bias": [width]}
                want |= {f"{mlp}.norm.weight": [width], f"{mlp}.norm.bias": [width]}
                want |= {f"{mlp}.fn.net.0.weight": [4 * width, width], f"{mlp}.fn.net.0.bias": [4 * width]}
                want |= {f"{mlp}.fn.net.2.weight": [width, 4 * width], f"{mlp}.fn.net.2.bias": [width]}
    want |= {
        "mlp_head.0.weight": [768],
        "mlp_head.0.bias": [768],
        "mlp_head.1.weight": [10, 768],
        "mlp_head.1.bias": [10],
    }
    return want | {"normalize.mean": [3], "normalize.std": [3]}


def test_swin_has_the_fields_keys_in_their_order():
    found = shapes(on_paper("swin_t"))
    assert list(found.items()) == list(swin_shapes().items()) and len(found) == 170


def test_swins_masks_are_constants():
    model = on_paper("swin_t")
    parameters = sum(p.numel() for p in model.parameters())
    masks = {key: value for key, value in model.named_buffers() if key.endswith("_mask")}
    assert len(masks) == 12 and sum(m.numel() for m in masks.values()) == 3_072  # six shifted blocks, two masks each
    assert parameters + 3_072 == 26_601_718
    assert sum(p.numel() for p in on_paper("swin_t", 100).parameters()) == parameters + 90 * 769


def test_masks_keep_the_sides_of_a_shifted_window_apart():
    # Tokens 0 1 / 2 3, shifted by one: the upper row is cut off from the lower, the left column from the right.
    attention = WindowAttention(4, 1, window=2, shifted=True)
    no, ok = -math.inf, 0.0
    assert attention.upper_lower_mask.tolist() == [
        [ok, ok, no, no],
        [ok, ok, no, no],
        [no, no, ok, ok],
        [no, no, ok, ok],
    ]
    assert attention.left_right_mask.tolist() == [
        [ok, no, ok, no],
        [no, ok, no, ok],
        [ok, no, ok, no],
        [no, ok, no, ok],
    ]
    assert not hasattr(WindowAttention(4, 1, window=2, shifted=False), "upper_lower_mask")


def slow_attention(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """One image [H, W, C], token by token: who sees whom follows from where the tokens were before the shift."""
    height, width, channels = x.shape
    window, shift, size = layer.window, layer.shift, channels // layer.heads
    query, key, value = layer.to_qkv(x).split(channels, dim=-1)
    out = torch.zeros_like(x)
    tokens = [(r, c) for r in range(height) for c in range(width)]

    def place(r, c):  # window and place in it; a window that wraps around the border falls into parts
        r, c = (r - shift) % height, (c - shift) % width
        torn = (r >= height - window and r >= height - shift, c >= width - window and c >= width - shift)
        return (r // window, c // window, *torn), (r % window, c % window)

    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for r, c in tokens:
            mine, (down, right) = place(r, c)
            seen, scores = [], []
            for other in tokens:
                theirs, (their_down, their_right) = place(*other)
                if mine == theirs:
                    near = layer.pos_embedding[their_down - down + window - 1, their_right - right + window - 1]
                    scores.append(query[r, c, part] @ key[other][part] / size**0.5 + near)
                    seen.append(value[other][part])
            out[r, c, part] = torch.stack(scores).softmax(0) @ torch.stack(seen)
    return layer.to_out(out)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("window", "height", "width"), [(2, 4, 6), (4, 8, 4), (3, 6, 6)])
@torch.no_grad()
def test_window_attention_is_what_a_loop_over_tokens_gives(window, height, width, shifted):
    torch.manual_seed(1)
    layer = WindowAttention(4, 2, window, shifted)
    x = torch.randn(2, height, width, 4)
    assert torch.allclose(layer(x), torch.stack([slow_attention(layer, image) for image in x]), atol=1e-6)


def test_patches_are_read_channel_by_channel():
    torch.manual_seed(0)
    layer = PatchMerging(2, 5, factor=2)
    x = torch.randn(3, 2, 6, 4)
    unfolded = F.unfold(x, 2, stride=2).transpose(1, 2)  # [3, 6 patches, 2 channels * 4 pixels]
    assert torch.allclose(layer(x).flatten(1, 2), layer.linear(unfolded), atol=1e-6)


@torch.no_grad()
def test_swin_normalises_unless_it_imitates_the_reference():
    fixed, reference = (
        models.build("swin_t", 10, (MEAN, STD), compat=compat).eval() for compat in ("fixed", "reference")
    )
    reference.load_state_dict(fixed.state_dict())
    batch = torch.rand(2, 3, 32, 32)
    assert torch.allclose(fixed(batch), reference(fixed.normalize(batch)), atol=1e-5)
    assert not torch.allclose(fixed(batch), reference(batch), atol=1e-2)


def test_swin_takes_multiples_of_32_pixels():
    with torch.device("meta"):
        model = models.build("swin_t", 7)
        assert model(torch.empty(2, 3, 64, 96)).shape == (2, 7)
        with pytest.raises(ValueError, match="the side must be a multiple of 32"):
            model(torch.empty(2, 3, 32, 48))


# ---- ViT ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16"])
def test_a_vit_has_torchvisions_keys_and_normalize(name):
    import torchvision

    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(num_classes=1000)
    assert shapes(on_paper(name, 1000)) == shapes(theirs) | {"normalize.mean": [3], "normalize.std": [3]}
    count = {"vit_b_16": 86_567_656, "vit_b_32": 88_224_232, "vit_l_16": 304_326_632}[
        name
    ]  # torchvision's documentation
    assert sum(p.numel() for p in on_paper(name, 1000).parameters()) == count


def test_the_small_vit_has_64_patches():
    model = on_paper("vit_tiny")
    assert shapes(model)["encoder.pos_embedding"] == [1, 65, 192] and shapes(model)["heads.head.weight"] == [10, 192]
    # patches 48 * 192 + 192, class token and positions 66 * 192, 12 blocks of 12 * 192^2 + 13 * 192, last norm, head
    assert sum(p.numel() for p in model.parameters()) == 9_408 + 12_672 + 12 * (442_368 + 2_496) + 384 + 1_930
    assert shapes(on_paper("vit_tiny", size=64))["encoder.pos_embedding"] == [1, 257, 192]


@torch.no_grad()
def test_a_vit_normalises_first():
    from torchvision.models.vision_transformer import VisionTransformer

    ours = tiny_vit().eval()
    ours.normalize = Normalize(MEAN, STD)
    theirs = VisionTransformer(SIDE, 4, 2, 2, 8, 32, num_classes=CLASSES).eval()
    theirs.load_state_dict({key: value for key, value in ours.state_dict().items() if "normalize" not in key})
    batch = torch.rand(2, 3, SIDE, SIDE)
    by_hand = torch.stack([(batch[:, c] - m) / s for c, (m, s) in enumerate(zip(MEAN, STD))], 1)
    assert torch.allclose(ours(batch), theirs(by_hand), atol=1e-5)
    assert torch.equal(copy.deepcopy(ours)(batch), ours(batch))


# ---- any size, any name ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size", "message"), [
    ("swin_t", 48, ("--arch swin_t: does not take images of 48x48 pixels (the side must be a multiple of 32); give "
        "another --input_size")),
    ("vit_tiny", 30, ("--arch vit_tiny: does not take images of 30x30 pixels (Input shape indivisible by patch "
        "size!); give another --input_size")),
    ("vgg16_bn", 8, "--arch vgg16_bn: does not take images of 8x8 pixels (Given input size: "),
    ("vit", 32, "--arch vit: unknown (did you mean vit_tiny?); known: "),
])  # fmt: skip
def test_what_an_architecture_does_not_take(name, size, message):
    with pytest.raises(UsageError) as error:
        models.blank(name, 10, size)
    assert str(error.value).startswith(message)


def test_a_blank_model_has_shapes_and_no_weights():
    assert shapes(models.blank("vit_tiny", 10, 16)) == shapes(on_paper("vit_tiny", size=16))
    assert all(value.is_meta for value in models.blank("resnet18", 10, 8, imagenet_stem=True).state_dict().values())


def test_a_state_dict_tells_its_architecture():
    assert [models.guess(on_paper(name, 100).state_dict()) for name in ("swin_t", "vit_tiny", "vit_b_32")] == [
        "swin_t",
        "vit_tiny",
        "vit_b_32",
    ]


def test_timm_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(UsageError, match=r"^--arch timm:resnet18: timm is not installed; pip install timm$"):
        models.check("timm:resnet18")


@torch.no_grad()
def test_timms_models():
    timm = pytest.importorskip("timm")
    model = models.build("timm:vit_tiny_patch16_224", 7, (MEAN, STD), size=32).eval()
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=32).eval()
    plain.load_state_dict({key: value for key, value in model.state_dict().items() if "normalize" not in key})
    batch = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model(batch), plain(model.normalize(batch)), atol=1e-5)
    assert models.blank("timm:resnet18", 7, 40)(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 7)
    assert models.head(model) is model.head
    assert len(pruner.prunable(model)) == 48 and len(pruner.prunable(on_paper("timm:resnet18"))) == 20
    with pytest.raises(UsageError, match=r"--arch timm:resnet19: unknown \(did you mean resnet1"):
        models.check("timm:resnet19")
    with pytest.raises(UsageError, match="--imagenet_arch: timm:resnet18 has no ImageNet stem"):
        models.check("timm:resnet18", imagenet_stem=True)


# ---- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "layers", "weights"), [
    # all linear layers but the head: per pair of Swin blocks 2 * 12 * width^2, then the four patch mergings
    ("swin_t", 4 * 12 + 4, 24 * (96**2 + 192**2 + 3 * 384**2 + 768**2) + 96 * 12 + 192 * 384 + 384 * 768 + 768 * 384),
    ("vit_tiny", 4 * 12, 12 * 12 * 192**2),  # in_proj 3 d^2, out_proj d^2, two of 4 d^2
    ("vit_l_16", 4 * 24, 24 * 12 * 1024**2),
])  # fmt: skip
def test_linear_layers_of_transformers_can_be_pruned(name, layers, weights):
    model = on_paper(name)
    found = pruner.prunable(model)
    assert (len(found), sum(weight.numel() for weight in found.values())) == (layers, weights)
    assert list(found) == [key for key, value in model.named_parameters() if key in found]  # module order
    assert all(value is found[key] for key, value in model.named_parameters() if key in found)
    left = {key.rpartition(".")[2] for key, value in model.named_parameters() if key not in found and value.ndim > 1}
    assert left == ({"weight", "pos_embedding"} if name == "swin_t" else {"weight", "class_token", "pos_embedding"})
    others = [
        key for key, value in model.named_parameters() if key not in found and value.ndim > 1 and key.endswith("weight")
    ]
    assert others == (["mlp_head.1.weight"] if name == "swin_t" else ["conv_proj.weight", "heads.head.weight"])
    assert models.head(model).weight is dict(model.named_parameters())[others[-1]]


def test_a_wide_head_does_not_make_a_transformer_of_a_resnet():
    assert (
        len(pruner.prunable(on_paper("resnet20s", 10_000))) == 19
    )  # its head has 640,000 weights, its convolutions 267,696
    assert models.head(nn.Conv2d(1, 1, 1)) is None


def test_packed_masks_are_torchs_own(model, tmp_path):
    mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0))
    theirs = copy.deepcopy(model)
    for name, kept in mask.items():
        layer, _, weight = name.rpartition(".")
        prune.custom_from_mask(theirs.get_submodule(layer), weight, kept.float())
    pruner.MaskEnforcer(model, mask)
    packed = checkpoints.pack(model, mask)
    assert list(packed) == list(theirs.state_dict())
    weights, unpacked = checkpoints.unpack(packed)
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    assert list(unpacked) and all(torch.equal(unpacked[key], mask[key]) for key in mask)
    torch.save(packed, tmp_path / "model.pt")
    loaded = checkpoints.read(tmp_path / "model.pt", "--mask")
    assert loaded.mask.keys() == mask.keys() and loaded.weights.keys() == model.state_dict().keys()


@pytest.mark.parametrize(("key", "number"), [
    ("stage1.layers.0.1.attention_block.fn.fn.upper_lower_mask", math.nan),
    ("stage1.layers.0.1.attention_block.fn.fn.upper_lower_mask", math.inf),
    ("stage1.layers.0.1.attention_block.fn.fn.pos_embedding", -math.inf),
])  # fmt: skip
def test_only_attention_masks_may_be_infinite(key, number, tmp_path):
    state = tiny_swin().state_dict()
    state[key][0, 0] = number
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(UsageError, match=f"{key} holds NaN or infinite values"):
        checkpoints.read(tmp_path / "model.pt", "--mask")


def test_training_under_a_mask(model):
    mask = pruner.prune(model, "magnitude", 0.9, pruner.Sample(0))
    training = Training(model, Recipe(epochs=2, lr=0.1, batch_size=4, milestones=()), mask)
    optimised = [id(p) for group in training.optimizer.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in model.parameters())
    logs = list(training.run(SETS["retain"], 0, Classification().mean))
    assert len(logs) == 2 and all(math.isfinite(log.loss) for log in logs)
    pruner.check_held(model, mask, "training")


# ---- unlearning and scoring -----------------------------------------------------------------------


def context(mask: pruner.Mask, compat: str = "fixed", whole: tuple[int, ...] = ()) -> Context:
    return Context(mask, torch.device("cpu"), 2, compat, "digits", CLASSES, Scenario(None, 4), whole, Log(None))


# the last block and what is behind it
LAST = ("stage4.", "mlp_head.", "encoder.layers.encoder_layer_1.", "encoder.ln.", "heads.")


@pytest.mark.parametrize("rate", [pytest.param(0.0, marks=pytest.mark.torture), 0.9])
@pytest.mark.parametrize("name", registry.names())
def test_every_method(name, rate, model):
    method = registry.get(name)
    mask = (
        pruner.prune(model, "random", rate, pruner.Sample(0)) if rate else {}
    )  # by magnitude whole layers of so small a model would go
    more = {
        "PRMQ": {"unlearn_lr": 0.1},
        "SCRUB": {"unlearn_epochs": 2},
        "JiT": {"unlearn_lr": 1.0},  # a sparse transformer's outputs hardly change with noise
        **dict.fromkeys(("LFSSD", "SSD"), {"alpha": 1.2}),
    }  # beyond half precision's steps; before the step size falls
    wanted = {"unlearn_epochs": 1, "batch_size": 4, "rate": 0.0, "unlearn_lr": 1e-3, "noise_copies": 2}
    wanted |= more.get(name, {})
    hyper = {key: value for key, value in wanted.items() if key in method.config.__dataclass_fields__}
    before = {key: value * mask[key] if key in mask else value.clone() for key, value in model.state_dict().items()}
    whole = (0,) if method.whole_classes else ()
    where = context(mask, "reference" if name == "SCRUB" else "fixed", whole)  # where it does not go back to the start
    after = apply(method, model, SETS, method.config(**hyper), where).model.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert all(torch.isfinite(value).all() for key, value in after.items() if not key.endswith("_mask"))
    if name == "raw":
        assert not moved
        return
    constant = {key for key in after if key.endswith("_mask") or key.startswith("normalize")}
    expected = after.keys() - constant
    if name in ("CF-k", "EU-k"):
        expected = {key for key in expected if key.startswith(LAST)}
    assert moved and moved <= expected
    if getattr(method.config(), "saliency_threshold", None) is None and "SSD" not in name:
        assert moved == expected  # the others leave whole tensors of so small a model as they are
    assert sum(int(after[key].count_nonzero()) for key in pruner.prunable(model)) == pytest.approx(
        (1 - rate) * sum(weight.numel() for weight in pruner.prunable(model).values()), abs=0.5
    )
    assert all(torch.count_nonzero(after[key][~kept]) == 0 for key, kept in mask.items())


def test_slopes_are_gradients_times_directions(model):
    model.eval()
    torch.manual_seed(3)
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    batches = list(SETS["retain"].batches(3))
    forward = slopes(model, batches, [direction])[0]
    gradients = [
        curvature.summed_gradient(model, [(x[i : i + 1], y[i : i + 1])], {}) for x, y in batches for i in range(len(y))
    ]
    backward = torch.tensor([sum(float((g[n] * direction[n]).double().sum()) for n in g) for g in gradients])
    assert torch.allclose(forward.float(), backward, rtol=1e-3, atol=1e-4) and float(backward.abs().min()) > 1e-2
    assert torch.backends.mha.get_fastpath_enabled()


@torch.no_grad()
def test_predictions_are_those_of_the_model(model):
    model.eval()
    logits = predict(model, SETS)["retain"].logits
    want = torch.cat([model(batch) for batch, _ in SETS["retain"].batches(8)])
    assert torch.allclose(logits, want, atol=1e-5)
    model.register_buffer("grid", torch.zeros(1, 1, 1, 1, 1))  # some of timm's models hold such tensors
    model.normalize = Normalize()
    assert not torch.allclose(logits, predict(model, SETS)["retain"].logits, atol=1e-2)


def test_training_and_pruning_from_the_command_line(tmp_path):
    words = "--dataset digits --input_size 8 --arch vit_tiny --device cpu".split()
    words += ["--epochs", "0", "--pruning_times", "2", "--rate", "0.9"]
    assert main_imp.main([*words, "--save_dir", str(tmp_path / "run")]) == 0
    loaded = checkpoints.read(tmp_path / "run" / "1model_SA_best.pth.tar", "--mask")
    assert pruner.sparsity(loaded.mask) == pytest.approx(0.9, abs=1e-6)
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_weight" in loaded.mask
    assert loaded.weights["encoder.pos_embedding"].shape == (1, 5, 192)  # 8 pixels make four patches


def test_unlearning_images_of_another_side(tmp_path, capsys):
    """A folder of 16-pixel images needs no --input_size, and a model of another side does not fit it."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 10)):
        for label in ("a", "b"):
            (tmp_path / "data" / part / label).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / part / label / f"{index}.png")
    for side in (16, 32):
        torch.save(models.build("vit_tiny", 2, size=side).state_dict(), tmp_path / f"{side}.pt")
    words = [
        "--dataset",
        "folder",
        "--data",
        str(tmp_path / "data"),
        "--arch",
        "vit_tiny",
        "--device",
        "cpu",
        "--unlearn",
        "raw",
        "--forget",
        "random:8",
    ]
    assert main_forget.main([*words, "--mask", str(tmp_path / "16.pt"), "--save_dir", str(tmp_path / "run")]) == 0
    assert main_forget.main([*words, "--mask", str(tmp_path / "32.pt"), "--save_dir", str(tmp_path / "resized")]) == 0
    assert "input_size 32: from the weights of --mask" in capsys.readouterr().out
    assert (
        main_forget.main(
            [*words, "--input_size", "16", "--mask", str(tmp_path / "32.pt"), "--save_dir", str(tmp_path / "other")]
        )
        == 2
    )
    message = (
        "encoder.pos_embedding is [1, 65, 192], expected [1, 17, 192]; another --dataset, --input_size or --arch?; "
        "its positions are those of --input_size 32"
    )
    assert message in capsys.readouterr().err
    assert (
        main_forget.main(
            [*words, "--input_size", "18", "--mask", str(tmp_path / "16.pt"), "--save_dir", str(tmp_path / "other")]
        )
        == 2
    )
    assert "--arch vit_tiny: does not take images of 18x18 pixels" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
