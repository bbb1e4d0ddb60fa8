"""The files that populations are made of, their arrangement by hand, and attacks on small trained models."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from bootstrap import intervals, ulira_intervals

from evaluation.populations import outputs
from evaluation.populations.klom import klom
from evaluation.populations.lira import lira
from evaluation.populations.outputs import Outputs, for_klom, for_lira, for_rmia, for_ulira
from evaluation.populations.rmia import rmia
from evaluation.populations.roc import Bootstrap
from evaluation.populations.scaled_logit import scaled_logit
from evaluation.populations.ulira import ulira
from utils.errors import RunError, UsageError


def of(split: int, forget_set: int, roles: str, kind: str = "unlearned", run: str | None = None) -> Outputs:
    """A model whose margins are 100 * split + 10 * forget set + image; of each image r, f or - is its role."""
    margin = (100 * split + 10 * forget_set + np.arange(len(roles))).astype(np.float32)
    letters = np.array(list(roles))
    name = run or f"{kind}-{split}-{forget_set}"
    return Outputs(margin, letters == "r", letters == "f", kind, name, "digits", split, forget_set)


GRID = [of(0, 0, "rrff--"), of(0, 1, "ffrr--"), of(1, 0, "--rrff"), of(1, 1, "--ffrr")]


# --- Files ---


def test_a_file_comes_back_as_it_was(tmp_path):
    for name, kind in (("a", "original"), ("b", "retrained")):
        model = of(3, 2, "rrff--rf-", kind)
        outputs.write(tmp_path / name, model)
        found = outputs.read(tmp_path / name)
        for field in fields(Outputs):
            before, after = getattr(model, field.name), getattr(found, field.name)
            assert type(before) is type(after)
            np.testing.assert_array_equal(before, after, strict=isinstance(before, np.ndarray))
    again = tmp_path / "again"
    outputs.write(again, found)
    assert again.read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(again, allow_pickle=False) as archive:
        assert set(archive.files) == {field.name for field in fields(Outputs)}


def test_a_file_holds_one_number_per_image(tmp_path):
    random = np.random.default_rng(0)
    role = random.random(60_000)
    margin = random.normal(0, 5, 60_000).astype(np.float32)
    outputs.write(tmp_path / "outputs.npz", Outputs(margin, role < 0.4, role > 0.95, "unlearned", "a", "b", 0, 0))
    assert (tmp_path / "outputs.npz").stat().st_size < 300_000


def test_what_a_model_saw():
    roles = "rf-"
    seen = {kind: of(0, 0, roles, kind).trained.tolist() for kind in outputs.KINDS}
    assert seen == {"original": [1, 1, 0], "retrained": [1, 0, 0], "unlearned": [1, 1, 0]}
    assert of(0, 0, roles).never.tolist() == [0, 0, 1]


def whole(**changed) -> bytes:
    model = GRID[0]
    entries = {field.name: getattr(model, field.name) for field in fields(Outputs)} | changed
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: value for name, value in entries.items() if value is not None})
    return buffer.getvalue()


DAMAGED = {
    "cut off": (whole()[:-40], "is damaged or no outputs.npz"),
    "flipped": (whole()[:80] + b"????" + whole()[84:], "is damaged or no outputs.npz"),
    "text": (b"404 not found", "is damaged or no outputs.npz"),
    "empty": (b"", "is empty"),
    "lacks an entry": (whole(split=None), "is damaged or no outputs.npz"),
    "pickle": (whole(margin=np.array([{}])), "is damaged or no outputs.npz"),
    "doubles": (whole(margin=np.zeros(6)), "margin must be float32"),
    "shapes": (whole(forget=np.zeros(5, bool)), "forget must be bool"),
    "nothing": (whole(margin=np.zeros(0, np.float32)), "margin must be float32"),
    "NaN": (whole(margin=np.full(6, np.nan, np.float32)), "NaN or infinite; the model diverged, leave it out"),
    "both": (whole(forget=GRID[0].retain), "both retained and forgotten"),
    "kind": (whole(kind="pruned"), "one of original, retrained, unlearned"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused_by_name(tmp_path, case):
    content, message = DAMAGED[case]
    (tmp_path / "outputs.npz").write_bytes(content)
    with pytest.raises(UsageError, match=f"outputs.npz: .*{message}"):
        outputs.read(tmp_path / "outputs.npz")


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="outputs.npz: no such file"):
        outputs.read(tmp_path / "outputs.npz")
    with pytest.raises(RunError, match="cannot write"):
        outputs.write(tmp_path / "gone" / "outputs.npz", GRID[0])


# --- Arrangement ---


def test_ulira_compares_with_the_same_method_on_images_of_other_splits():
    n = np.nan
    forgot, never, split = for_ulira(GRID)
    expected = [[n, n, 2, 3, n, n], [10, 11, n, n, n, n], [n, n, n, n, 104, 105], [n, n, 112, 113, n, n]]
    np.testing.assert_array_equal(forgot, expected)
    expected = [[n, n, n, n, 4, 5], [n, n, n, n, 14, 15], [100, 101, n, n, n, n], [110, 111, n, n, n, n]]
    np.testing.assert_array_equal(never, expected)
    assert split.tolist() == [0, 0, 1, 1]


def test_ulira_compares_with_models_retrained_without_the_same_images():
    retrained = [replace(model, kind="retrained", run=f"new {i}", margin=-model.margin) for i, model in enumerate(GRID)]
    forgot, never, _ = for_ulira(GRID, retrained[::-1])
    np.testing.assert_array_equal(never, -forgot)


def test_lira_takes_the_images_that_shadow_models_know():
    shadows = [of(s, 0, roles, "original") for s, roles in enumerate(("rrfr-", "rfr--", "--rr-", "r-r--", "-r-f-"))]
    target = of(9, 0, "ffr--")
    found = for_lira(shadows, [target])
    # image 2 is retained by the target, 4 trained nobody, and the others have two models on either side
    assert found.images.tolist() == [0, 1, 3]
    assert found.members.tolist() == [[1, 1, 0]] and found.scored.tolist() == [[1, 1, 1]]
    assert found.shadow_in.tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 1]]
    assert found.target_z[0, :, 0].tolist() == [900, 901, 903]
    assert found.shadow_z[3, :, 0].tolist() == [300, 301, 303]
    assert for_lira(shadows, [target], "offline").images.tolist() == [0, 1, 3, 4]


def test_rmia_takes_as_population_what_trained_nobody():
    references = [of(0, 0, "rf----", "original"), of(1, 0, "rfrr--", "retrained")]
    images, population, judged, members = for_rmia(of(9, 0, "f-fr--"), references, least=2)
    # all references know image 0, the target retains 3, and none knows 4 and 5
    assert judged.tolist() == [1, 2] and members.tolist() == [False, True]
    assert population.target.shape == (2,) and not population.trained.any()
    assert images.trained.tolist() == [[True, False], [False, True]]
    assert images.references == pytest.approx(1 / (1 + np.exp([[-1.0, -2.0], [-101.0, -102.0]])))


def test_klom_takes_models_of_one_pair():
    unlearned = [of(0, 0, "rf-", run=f"u{i}") for i in range(3)]
    oracles = [of(0, 0, "rf-", "retrained", run=f"o{i}") for i in range(2)]
    left, right = for_klom(unlearned, oracles)
    assert left.tolist() == [[0, 1, 2]] * 3 and right.tolist() == [[0, 1, 2]] * 2


ORIGINALS = [of(s, 0, "rrr--", "original") for s in range(3)]
RETRAINED = [replace(model, kind="retrained", run=f"new {i}") for i, model in enumerate(GRID)]
REFUSED = {
    "none": (lambda: for_ulira([]), "none is given; name folders"),
    "missing": (
        lambda: for_ulira(GRID[:3]),
        "unlearned model of split 1, forget set 1 is missing; 4 are needed.* are 3",
    ),
    "twice": (lambda: for_ulira([*GRID, GRID[0]]), "run unlearned-0-0 is given twice"),
    "one pair twice": (lambda: for_ulira([*GRID, of(0, 0, "rrff--", run="b")]), "5 unlearned models .* for 4 splits"),
    "other data": (lambda: for_ulira([*GRID[:3], replace(GRID[3], data="mnist")]), "unlearned-1-1 is of other images"),
    "retrained missing": (
        lambda: for_ulira(GRID, RETRAINED[1:]),
        "retrained model of split 0, forget set 0 is missing; 4",
    ),
    "retrained alone": (
        lambda: for_ulira(GRID[:2], RETRAINED),
        "split 1, forget set 0 has nothing to be compared with",
    ),
    "not retrained": (
        lambda: for_ulira(GRID, [replace(model, run=f"b{i}") for i, model in enumerate(GRID)]),
        "run b0 is unlearned, not retrained",
    ),
    "other sets": (
        lambda: for_ulira(GRID, [of(0, 0, "ffrr--", "retrained"), *RETRAINED[1:]]),
        "runs unlearned-0-0 and retrained-0-0 retain or forget other images",
    ),
    "no shadows": (lambda: for_lira([], GRID), "not 0 and 4"),
    "few shadows": (
        lambda: for_lira(ORIGINALS, [of(9, 0, "ff---")]),
        "no image has 2 shadow models .* of 3; train more",
    ),
    "unlearned shadow": (lambda: for_lira(GRID, [of(9, 0, "rf----")]), "has unlearned and cannot be a shadow"),
    "target among shadows": (
        lambda: for_lira(ORIGINALS, [of(1, 0, "rrf--")]),
        "original-1-0 and target unlearned-1-0 are both of split 1, .* give shadow models of other splits",
    ),
    "small population": (
        lambda: for_rmia(of(9, 0, "rf---"), ORIGINALS),
        "1,000 images .* needed, and there are 2; train",
    ),
    "same references": (lambda: for_rmia(of(9, 0, "rf---"), ORIGINALS, least=2), "give references of more splits"),
    "klom none": (lambda: for_klom(GRID[:1], []), "not 1 and 0"),
    "klom pairs": (lambda: for_klom(GRID[:1], RETRAINED[1:2]), "give models of one split and forget set"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_population_that_will_not_do_is_refused_in_one_line(case):
    arrange, message = REFUSED[case]
    with pytest.raises(UsageError, match=message) as error:
        arrange()
    assert "\n" not in str(error.value)


# --- Attacks on models that are really trained ---

IMAGES, TRAINING = 320, 160  # the rest are test images
RANDOM = np.random.default_rng(3)
LABELS = RANDOM.integers(0, 3, IMAGES)
PIXELS = RANDOM.normal(0, 1, (IMAGES, 24)) + RANDOM.normal(0, 0.3, (3, 24))[LABELS]


def trained_on(chosen: np.ndarray, seed: int) -> np.ndarray:
    """Margins of ridge regression on a random layer, which learns noise by heart: float32 [images]."""
    random = np.random.default_rng(seed)
    hidden = np.maximum(PIXELS @ random.normal(0, 1, (24, 100)) / 5 + random.normal(0, 1, 100), 0)
    left, wanted = hidden[chosen], 8 * np.eye(3)[LABELS[chosen]]
    weights = np.linalg.solve(left.T @ left + 0.5 * np.eye(100), left.T @ wanted)
    return scaled_logit(hidden @ weights, LABELS).astype(np.float32)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict[str, list[Outputs]]:
    """Originals, models retrained by two seeds, and an unlearner that does nothing: 16 splits with 4 forget sets."""
    folder, found = tmp_path_factory.mktemp("study"), {"original": [], "retrained": [], "exact": [], "idle": []}
    for split in range(16):
        order = np.random.default_rng(split).permutation(TRAINING)[: TRAINING // 2]
        for j in range(4):
            retain, forget = np.zeros((2, IMAGES), bool)
            parts = np.split(np.random.default_rng(j).permutation(order), [64])
            retain[parts[0]], forget[parts[1]] = True, True
            seed = 100 * (4 * split + j)
            for name, kind, own in (
                ("original", "original", 0),
                ("retrained", "retrained", 1),
                ("exact", "unlearned", 2),
            ):
                margin = trained_on(retain | forget if name == "original" else retain, seed + own)
                model = Outputs(margin, retain, forget, kind, f"{name}-{split}-{j}", "made", split, j)
                outputs.write(folder / "outputs.npz", model)
                found[name].append(outputs.read(folder / "outputs.npz"))
            found["idle"].append(replace(found["original"][-1], kind="unlearned", run=f"idle-{split}-{j}"))
    return found


@pytest.mark.parametrize("against", [None, "retrained"])
def test_ulira_sees_what_was_not_unlearned_and_only_that(study, against):
    sure = {}
    for method in ("exact", "idle"):
        arguments = for_ulira(study[method], None if against is None else study[against])
        sure[method] = ulira_intervals(ulira(*arguments), arguments[2], bootstrap=Bootstrap(200))["auc"]
    assert sure["exact"][0] <= 0.5 <= sure["exact"][1]
    assert sure["idle"][0] > 0.6


@pytest.mark.parametrize("variant", ["online", "offline"])
def test_lira_and_rmia_see_what_was_not_unlearned_and_only_that(study, variant):
    shadows = [model for model in study["original"] if model.split >= 8 and model.forget_set == 0]
    for method in ("exact", "idle"):
        targets = [model for model in study[method] if model.split < 8 and model.forget_set == 0]
        arranged = for_lira(shadows, targets, variant)
        scores = lira(arranged.shadow_z, arranged.shadow_in, arranged.target_z, variant, fixed_variance=True)
        splits = np.repeat(np.arange(8)[:, None], scores.shape[1], 1)[arranged.scored]
        found = [(scores[arranged.scored], arranged.members[arranged.scored], splits)]
        parts = []
        for target in targets:
            images, population, judged, members = for_rmia(target, shadows, least=160)
            parts.append((rmia(images, population, variant), members, np.full(len(judged), target.split)))
        found.append(tuple(map(np.concatenate, zip(*parts))))
        for attack, arguments in zip(("LiRA", "RMIA"), found):
            low, high = intervals(*arguments, bootstrap=Bootstrap(200))["auc"]
            assert low > 0.6 if method == "idle" else low <= 0.5 <= high, (attack, method)


def test_klom_sees_what_was_not_unlearned_and_only_that(study):
    first = study["original"][0]

    def models(kind: str, seed: int, chosen: np.ndarray) -> list[Outputs]:
        return [replace(first, kind=kind, run=f"{kind}-{i}", margin=trained_on(chosen, seed + i)) for i in range(40)]

    oracles = models("retrained", 10**4, first.retain)
    for chosen, low, high in ((first.retain, 0.75, 1.25), (first.retain | first.forget, 1.5, 100)):
        unlearned, oracle = for_klom(models("unlearned", 10**5, chosen), oracles)
        found, floor = klom(unlearned[::2], oracle[1::2]), klom(oracle[::2], oracle[1::2])
        assert low < found[first.forget].mean() / floor[first.forget].mean() < high
