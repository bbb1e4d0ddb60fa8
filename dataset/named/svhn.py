"""SVHN (Netzer et al. 2011), cropped digits without the extra images."""

from dataset.catalog import NUMERALS, Source, register
from dataset.torchvision_files import read_torchvision, tree_of

register(
    Source(
        "svhn",
        read_torchvision("SVHN"),
        tree_of("svhn", NUMERALS),
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        NUMERALS,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        pad=0,
        flip=False,
        marks=("train_32x32.mat",),
    )
)
