"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): IDX files, a download, or a class-folder tree.

Grey images of 28x28 pixels become three equal channels of 32x32, as in Deep Unlearn (Cadet et al. 2025). Its code also
mirrors digits during training, which ``--compat reference`` does too.
"""

from dataset.catalog import NUMERALS, Source, register
from dataset.idx import MARKS, SIDE, read_idx
from dataset.torchvision_files import tree_of

CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)

for _name, _folder, _classes, _counts, _mean, _std, _flip in (
    ("mnist", "MNIST", NUMERALS, MNIST, 0.1307, 0.3081, "reference"),
    ("fashion_mnist", "FashionMNIST", CLOTHES, (6000,) * 10, 0.2860, 0.3530, True),
):
    register(
        Source(
            _name,
            read_idx(_folder, _classes, _counts),
            tree_of(_name, _classes),
            _counts,
            _classes,
            mean=(_mean,) * 3,
            std=(_std,) * 3,
            size=SIDE,
            resized=True,
            pad=0,
            flip=_flip,
            marks=(_folder, *MARKS),
        )
    )
