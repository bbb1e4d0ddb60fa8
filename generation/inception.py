"""FID and Inception Score by torch-fidelity, with Inception's weights from a local file: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from utils import files, torch_files
from utils.errors import UsageError

SPLITS = 10  # parts of the pictures over which the Inception Score is averaged


class _Pictures(Dataset):
    """Images as the data set of single pictures that torch-fidelity expects."""

    def __init__(self, images: Tensor):
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> Tensor:
        return self._images[position]


def check(path: Path) -> str:
    """Check a file of Inception's weights for torch-fidelity; its hex SHA-256.

    Raises:
        UsageError: torch-fidelity is not installed, or the file is damaged or of another network.
    """
    flag = f"--inception_weights {path}"
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UsageError("--inception_weights: torch-fidelity is not installed; pip install torch-fidelity") from error
    content = torch_files.load(path, flag)  # plain tensors alone, before torch-fidelity opens it
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
    except (RuntimeError, TypeError, AttributeError) as error:
        hint = "give weights-inception-2015-12-05-6726825d.pth of torch-fidelity"
        raise UsageError(f"{flag}: does not hold the weights of its Inception network; {hint}") from error
    torch_files.check_tensors(dict(content), flag, network)
    return files.sha256(path)


def scores(drawn: Tensor, real: Tensor, weights: Path, device: torch.device, at_once: int = 64) -> dict[str, Any]:
    """``fid`` between drawn and real pictures, ``inception_score`` and number (``fid_pictures``) of the drawn ones.

    Args:
        drawn, real: uint8 [N, 3, H, W] on the CPU.
        weights: a file that ``check`` has accepted.
        at_once: pictures in a batch.
    Source: Heusel et al. 2017, eq. 6; Salimans et al. 2016, section 4.
    """
    from torch_fidelity import calculate_metrics

    measured = calculate_metrics(
        input1=_Pictures(drawn),
        input2=_Pictures(real),
        fid=True,
        isc=True,
        isc_splits=min(SPLITS, len(drawn)),
        feature_extractor_weights_path=str(weights),
        cuda=device.type == "cuda",
        batch_size=min(at_once, len(drawn), len(real)),
        cache=False,
        save_cpu_ram=True,
        verbose=False,
    )
    score = measured["inception_score_mean"]
    return {"fid": measured["frechet_inception_distance"], "inception_score": score, "fid_pictures": len(drawn)}
