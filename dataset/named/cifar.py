"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): torchvision's files, a fresh download, or a class-folder tree.

CIFAR-20 is CIFAR-100 by its 20 superclasses.
"""

from dataset.catalog import Source, register
from dataset.superclasses import Superclasses
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

CIFAR20_CLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
_number = {fine: number for number, members in enumerate(CIFAR20_CLASSES.values()) for fine in members.split()}
CIFAR20 = Superclasses(tuple(CIFAR20_CLASSES), tuple(_number[fine] for fine in CIFAR100_CLASSES))
_OF_10 = (CIFAR10_CLASSES, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "cifar-10-batches-py")
_OF_100 = (CIFAR100_CLASSES, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), "cifar-100-python")

for _name, _superclasses, (_classes, _mean, _std, _folder) in (
    ("cifar10", None, _OF_10),
    ("cifar20", CIFAR20, _OF_100),
    ("cifar100", None, _OF_100),
):
    register(
        Source(
            _name,
            read_torchvision(f"CIFAR{len(_classes)}"),
            tree_of(_name, _classes),
            (50_000 // len(_classes),) * len(_classes),
            _classes,
            mean=_mean,
            std=_std,
            marks=(_folder,),
            archive=f"cifar-{len(_classes)}-python.tar.gz",
            superclasses=_superclasses,
        )
    )
