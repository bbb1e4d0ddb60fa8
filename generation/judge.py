"""The judge of pictures: a classifier trained on real images, with a further class for pictures that show none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataset.images import Images, scale
from trainer import checkpoints
from trainer.loop import Training
from trainer.recipe import Recipe
from trainer.task import Batch, Classification, Figures, accuracy
from utils import files, seeds, torch_files
from utils.errors import UsageError

FILE = "judge.pt"
REJECT_SHARE = 0.5  # number of reject pictures per real image in a batch
AT_ONCE = 1000  # pictures judged in one forward pass


class JudgeNet(nn.Module):
    """Three convolutions with batch norm and a hidden layer, whose 64 outputs are the features of a picture.

    Args:
        classes: number of the data set's classes; output number ``classes`` is "none of them".
        width: channels of the first convolution; the others have twice as many.
    """

    FEATURES: ClassVar[int] = 64

    def __init__(self, classes: int, width: int = 32):
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 2 * width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(2))
        self.hidden = nn.Linear(8 * width, self.FEATURES)
        self.head = nn.Linear(self.FEATURES, classes + 1)

    def features(self, images: Tensor) -> Tensor:
        """Features, float [B, 64], of float images [B, 3, H, W] in [0, 1]."""
        return F.relu(self.hidden(self.convolutions(2 * images - 1).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes + 1] of float images [B, 3, H, W] in [0, 1]."""
        return self.head(self.features(images))


@dataclass(frozen=True)
class Judged(Classification):
    """Classification of a batch's images together with ``rejects``, whose class is "none of them"."""

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        """Losses of the batch's images and of R rejects, float [B + R]; the figures are of the real images only."""
        false = rejects(batch)
        logits = model(torch.cat([batch.inputs, false]))
        none = batch.targets.new_full((len(false),), self.classes)
        losses = F.cross_entropy(logits, torch.cat([batch.targets, none]), reduction="none")
        return losses, accuracy(logits[: len(batch)], batch.targets)


def rejects(batch: Batch) -> Tensor:
    """Pictures that show no class, float [R, C, H, W] in [0, 1], made of a batch of real ones.

    A sixth each is noise, coarse noise, blurs, shuffled pixels, blends and blocks. R is half of the batch's size,
    rounded down to a multiple of 6, at least 6.
    """
    count = max(6, int(REJECT_SHARE * len(batch)) // 6 * 6)
    picked = batch.draw(torch.randint, 0, len(batch), (count,))
    images, size = batch.inputs[picked], batch.inputs.shape[-1]
    noise, coarse, blurred, shuffled, one, blocks = images.chunk(6)
    order = batch.draw(torch.rand, (len(shuffled), size * size)).argsort(1)[:, None].expand(-1, images.shape[1], -1)
    grey = batch.draw(torch.rand, (len(coarse), 1, 3, 3)).expand(-1, images.shape[1], -1, -1)
    others = batch.inputs[batch.draw(torch.randint, 0, len(batch), (len(one),))]
    made = [
        batch.draw(torch.rand, noise.shape),
        F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False),
        F.interpolate(F.adaptive_avg_pool2d(blurred, 2), size=(size, size), mode="bilinear", align_corners=False),
        shuffled.flatten(2).gather(2, order).view(shuffled.shape),
        (one + others) / 2,
        F.interpolate((batch.draw(torch.rand, (len(blocks), 1, 2, 2)) < 0.5).to(images), size=(size, size)).expand(
            blocks.shape
        ),
    ]
    return torch.cat(made)


def train(images: Images, classes: int, epochs: int, seed: int) -> JudgeNet:
    """Train a judge on these images.

    Args:
        classes: number of the data set's classes.
        epochs: passes over the images.
        seed: of initial weights and training.
    Returns:
        The judge on the images' device, in eval mode.
    """
    seeds.seed_everything(seed)
    model, task = JudgeNet(classes).to(images.device), Judged(classes)
    recipe = Recipe(epochs, 3e-3, "adam", weight_decay=1e-4, schedule="smooth", batch_size=64)
    training = Training(model, recipe, {})
    training.quiet = True
    for _ in training.run(images, seed, task.mean):
        pass
    return model.eval()


@torch.no_grad()
def look(judge: JudgeNet, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The judge's probabilities [N, classes + 1] and features [N, 64] for pictures, float32 on the CPU.

    Args:
        pictures: uint8 [N, C, H, W], on any device.
    """
    device, probs, features = judge.head.weight.device, [], []
    for part in pictures.split(AT_ONCE):
        part_features = judge.features(scale(part.to(device)))
        features.append(part_features.cpu())
        probs.append(judge.head(part_features).softmax(1).cpu())
    return torch.cat(probs), torch.cat(features)


def write(path: Path, judge: JudgeNet, accuracy: float, digest: str) -> None:
    """Write a judge to a file.

    Args:
        accuracy: on real test images, in [0, 1].
        digest: of the split that it was trained on.
    """
    weights = {name: value.cpu() for name, value in judge.state_dict().items()}
    checkpoints.write(
        {"judge": judge.classes, "state_dict": weights, "accuracy": accuracy, "split_digest": digest}, path
    )


def read(path: Path, classes: int, digest: str) -> tuple[JudgeNet, float]:
    """Read a judge from a file: the network in eval mode, and its accuracy in [0, 1].

    Args:
        classes: number of classes that it must have.
        digest: of the split that it must have been trained on.
    Raises:
        UsageError: the file holds no judge, or one of other classes or another split.
    """
    flag = f"--judge {path}"
    content = torch_files.load(path, flag)
    if not isinstance(content, dict) or "judge" not in content:
        raise UsageError(f"{flag}: is no judge; give judge.pt of main_generate.py score")
    if content["judge"] != classes or content["split_digest"] != digest:
        raise UsageError(f"{flag}: was trained on other images; leave --judge out to train one on these")
    judge = JudgeNet(classes)
    try:
        judge.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UsageError(f"{flag}: holds other weights than a judge's; leave --judge out") from error
    return judge.eval(), float(content["accuracy"])


def name(path: Path) -> str:
    """The name of a stored judge: the first 8 hex digits of its file's SHA-256."""
    return files.sha256(path)[:8]
