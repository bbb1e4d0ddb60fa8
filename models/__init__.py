"""The architectures, by the reference's names; each model normalises its own input.

A family is one file. It registers builders with ``@architecture("name")``; a builder takes the
number of classes and returns a freshly initialised ``nn.Module`` whose first or last sub-module
is called ``normalize``. State-dict keys are those of the field's existing checkpoints.
"""
from models.registry import build, check, guess, names
from models import resnet, resnet_cifar, vgg  # noqa: F401  (importing a family registers it)

__all__ = ["build", "check", "guess", "names"]
