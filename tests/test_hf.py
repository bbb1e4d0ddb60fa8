"""Vision transformers of Hugging Face, from small folders made here: weights, input, head, pruning, and what is
refused.
"""

from __future__ import annotations

import json
import sys

import pytest
import torch
import torch.nn.functional as F

import main_forget
import main_imp
import models
import pruner
from trainer import checkpoints
from utils.errors import UsageError

transformers = pytest.importorskip("transformers")
VIT = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 4,
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
BATCH = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def original():
    torch.manual_seed(0)
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=3, **VIT)).eval()


@pytest.fixture
def folder(original, tmp_path):
    original.save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@torch.no_grad()
def test_weights_and_head_are_those_of_the_folder(folder, original):
    torch.manual_seed(5)
    model = models.build(f"hf:{folder}", 3, (MEAN, STD)).eval()
    assert torch.allclose(model(BATCH), original(model.normalize(BATCH)).logits, atol=1e-6)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in original.state_dict().items())
    assert model.state_dict().keys() == original.state_dict().keys() | {"normalize.mean", "normalize.std"}
    assert models.head(model) is model.classifier and torch.allclose(model.normalize.mean, torch.tensor(MEAN))


@torch.no_grad()
def test_another_number_of_classes_has_a_new_head_from_the_seed(folder, original):
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = models.build(f"hf:{folder}", 7)
        heads.append(model.classifier.weight)
    assert heads[0].shape == (7, 12) and torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert torch.equal(model.vit.layers[0].mlp.fc1.weight, original.vit.layers[0].mlp.fc1.weight)


@torch.no_grad()
def test_a_folder_without_weights_gives_new_ones_and_blank_reads_none(folder):
    torch.manual_seed(1)
    with_weights = models.build(f"hf:{folder}", 3)
    whole = models.origin(f"hf:{folder}")
    (folder / "model.safetensors").unlink()
    new = models.build(f"hf:{folder}", 3)
    assert not torch.equal(new.classifier.weight, with_weights.classifier.weight)
    assert models.origin(f"hf:{folder}") != whole and models.origin("resnet18") == {} == models.origin("timm:x")
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert models.blank(f"hf:{folder}", 3, 16).state_dict().keys() == new.state_dict().keys()
    with pytest.raises(UsageError, match=rf"^--arch hf:{folder}: cannot be loaded \("):
        models.build(f"hf:{folder}", 3)


@torch.no_grad()
def test_images_are_resized_to_the_models_size_and_normalised_as_its_preprocessor_says(folder, original):
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    model = models.build(f"hf:{folder}", 3, ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))).eval()
    for side in (8, 16, 33):
        images = torch.rand(2, 3, side, side)
        sized = images if side == 16 else F.interpolate(images, (16, 16), mode="bilinear", antialias=True)
        by_hand = torch.stack([(sized[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)
        assert torch.allclose(model(images), original(by_hand).logits, atol=1e-5)
        assert models.blank(f"hf:{folder}", 3, side)(torch.empty(1, 3, side, side, device="meta")).shape == (1, 3)


def test_all_linear_layers_but_the_head_are_pruned(folder):
    found = pruner.prunable(models.build(f"hf:{folder}", 3))
    assert len(found) == 2 * 6 and sum(p.numel() for p in found.values()) == 2 * (4 * 12 * 12 + 2 * 12 * 24)
    assert not any(name.startswith("classifier") or "patch" in name for name in found)


@pytest.mark.parametrize(("config", "message"), [
    (None, "is neither a folder with a config.json nor in the local Hugging Face cache; nothing is downloaded here"),
    ("{", "its config.json cannot be read"),
    ('{"hidden_size": 3}', "its config.json cannot be read"),
    ('{"model_type": "bert"}', "is a model of type bert; only vit"),
    ('{"model_type": "vit", "hidden_size": "many"}', "cannot be loaded|does not take images"),
])  # fmt: skip
def test_what_is_refused(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(UsageError, match=rf"^--arch hf:{tmp_path}: .*({message})"):
        models.blank(f"hf:{tmp_path}", 3, 16)


def test_a_name_comes_from_the_cache_alone(folder, tmp_path, monkeypatch, original):
    import huggingface_hub

    with pytest.raises(UsageError, match=r"^--arch hf:someone/vit: is neither a folder .* \(hf download NAME fetches"):
        models.check("hf:someone/vit")
    monkeypatch.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda name, file: str(folder / file) if name == "someone/vit" else None,
    )
    model = models.build("hf:someone/vit", 3)
    assert torch.equal(model.classifier.weight, original.classifier.weight)


def test_without_transformers_there_is_one_line(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"transformers is not installed; pip install transformers$"):
        models.check(f"hf:{folder}")


def test_fine_tuned_pruned_and_unlearned_from_the_command_line(folder, original, tmp_path, capsys):
    words = ["--dataset", "digits", "--input_size", "8", "--arch", f"hf:{folder}", "--device", "cpu"]
    train = [
        *words,
        "--epochs",
        "1",
        "--batch_size",
        "256",
        "--pruning_times",
        "2",
        "--rate",
        "0.9",
        "--prune_type",
        "lt",
    ]
    assert main_imp.main([*train, "--save_dir", str(tmp_path / "run")]) == 0
    start = torch.load(tmp_path / "run" / "1checkpoint.pth.tar")["init_weight"]
    assert torch.equal(start["vit.layers.1.mlp.fc2.weight"], original.vit.layers[1].mlp.fc2.weight), (
        "the initial weights are the folder's"
    )
    loaded = checkpoints.read(tmp_path / "run" / "1model_SA_best.pth.tar", "--mask")
    assert pruner.sparsity(loaded.mask) == pytest.approx(0.9, abs=1e-3)
    assert all(torch.count_nonzero(loaded.weights[name][~kept]) == 0 for name, kept in loaded.mask.items())
    mask = ["--mask", str(tmp_path / "run" / "1model_SA_best.pth.tar")]
    for method in ("FT", "retrain"):
        more = ["--unlearn", method, "--unlearn_epochs", "1", "--save_dir", str(tmp_path / method)]
        assert main_forget.main([*words, *mask, *more]) == 0
        assert f"* remain weight ratio = {100 * 230 / 2304:.2f} %" in capsys.readouterr().out
    config = json.loads((tmp_path / "retrain" / "result.json").read_text())["config"]
    assert config["pretrained"] == models.origin(f"hf:{folder}")["pretrained"]
    assert (
        main_forget.main(
            [*words[:4], "--arch", "vit_tiny", *mask, "--unlearn", "raw", "--save_dir", str(tmp_path / "x")]
        )
        == 2
    )
    assert "--arch vit_tiny: --mask" in capsys.readouterr().err
