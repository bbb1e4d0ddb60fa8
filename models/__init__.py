"""The architectures, by the reference's names; each model normalises its own input.

A family is one file. It registers builders with ``@architecture("name")``; a builder takes the
number of classes and returns a freshly initialised ``nn.Module`` whose first or last sub-module
is called ``normalize``. A builder that also declares ``size`` is told the side of the images in
pixels, one that declares ``compat`` is told "fixed" or "reference". State-dict keys are those of
the field's existing checkpoints. ``timm:NAME`` is any architecture of timm, ``hf:FOLDER_OR_NAME`` a vision
transformer of Hugging Face with its weights.
"""

from models import resnet, resnet_cifar, swin, vgg, vit  # noqa: F401  (importing a family registers it)
from models.parts import add_class, head, head_name, keep_classes, widen_to
from models.registry import blank, build, check, fitting, guess, guesses, names, origin, side

__all__ = [
    "add_class",
    "blank",
    "build",
    "check",
    "fitting",
    "guess",
    "guesses",
    "head",
    "head_name",
    "keep_classes",
    "names",
    "origin",
    "side",
    "widen_to",
]
