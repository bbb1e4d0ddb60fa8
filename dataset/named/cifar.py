"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): torchvision's files, a fresh download, or a class-folder tree."""

from dataset.catalog import Source, register
from dataset.torchvision_files import read_torchvision, tree_of

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)

for _name, _classes, _mean, _std, _folder in (
    ("cifar10", CIFAR10_CLASSES, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "cifar-10-batches-py"),
    ("cifar100", CIFAR100_CLASSES, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), "cifar-100-python"),
):
    register(
        Source(
            _name,
            read_torchvision(_name.upper()),
            tree_of(_name, _classes),
            (50_000 // len(_classes),) * len(_classes),
            _classes,
            mean=_mean,
            std=_std,
            marks=(_folder,),
            archive=f"cifar-{len(_classes)}-python.tar.gz",
        )
    )
