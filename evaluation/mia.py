"""Membership inference attacks on softmax outputs.

Each attack learns on shadow members (images known to have trained the model) and shadow
non-members (test images), then judges target images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from evaluation.predict import Predictions
from utils import seeds

Features = Callable[[np.ndarray, np.ndarray], np.ndarray]
KEYS = ("correctness", "confidence", "entropy", "m_entropy", "prob")
SMALLEST = 1e-30


def correctness(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """1 where the largest output is the true class, else 0: float [N]."""
    return (probs.argmax(1) == labels).astype(probs.dtype)


def confidence(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Output of the true class: float [N], in [0, 1]."""
    return probs[np.arange(len(labels)), labels]


def entropy(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Shannon entropy of the outputs in nats: float [N]; terms with p = 0 are 0."""
    return -(probs * np.log(np.where(probs > 0, probs, 1))).sum(1)


def modified_entropy(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Modified prediction entropy, one score per image; low means "looks memorised".

    For class probabilities p and true class y:
        M(p, y) = -(1 - p_y) log p_y  -  sum over i != y of  p_i log(1 - p_i)

    Args:
        probs: softmax outputs, float [N, C], rows summing to 1.
        labels: true classes, int [N].
    Returns:
        Scores in nats, float [N], at least 0. Logarithms are taken of at least 1e-30.
    Source: Song & Mittal, USENIX Security 2021, section 4.
    """
    rows = np.arange(len(labels))
    others = probs * np.log(np.maximum(1 - probs, SMALLEST))
    others[rows, labels] = 0
    true = probs[rows, labels]
    return -(1 - true) * np.log(np.maximum(true, SMALLEST)) - others.sum(1)


def modified_entropy_of_reference(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What the reference computes in place of ``modified_entropy``: float [N].

    It sums -(1 - p_c) log p_c over the classes c that occur anywhere in ``labels`` and
    -p_c log p_c over the others, whatever the image's own class (docs/differences.md, D5).
    """
    present = np.isin(np.arange(probs.shape[1]), labels)
    logs = np.log(np.maximum(probs, SMALLEST))
    return -(np.where(present, 1 - probs, probs) * logs).sum(1)


def features(compat: str) -> dict[str, Features]:
    """The features that the five attacks look at, by the reference's keys.

    Args:
        compat: "fixed", or "reference" for the reference's modified entropy.
    Returns:
        Functions from softmax outputs, float [N, C], and labels, int [N], to one number per image, float [N]; for
        "prob" to the outputs themselves.
    """
    return {
        "correctness": correctness,
        "confidence": confidence,
        "entropy": entropy,
        "m_entropy": modified_entropy if compat == "fixed" else modified_entropy_of_reference,
        "prob": lambda probs, labels: probs,
    }


def arranged(
    outputs: Mapping[str, Predictions], compat: str, seed: int = 0
) -> tuple[Predictions, Predictions, Predictions]:
    """Retain, forget and test outputs, in the order in which attacks divide them into shadows and targets.

    With ``compat`` "fixed", retain and test outputs that lie class by class are shuffled by ``seed`` (``mixed``). With
    "reference" all keep their order.
    """
    retain, forget, test = outputs["retain"], outputs["forget"], outputs["test"]
    return (mixed(retain, seed), forget, mixed(test, seed)) if compat == "fixed" else (retain, forget, test)


def svc_mia(
    shadow_members: Predictions,
    shadow_others: Predictions,
    target_members: Predictions | None,
    target_others: Predictions,
    compat: str = "fixed",
    keys: Sequence[str] = KEYS,
) -> dict[str, float]:
    """Attack by one support vector classifier per feature.

    Args:
        shadow_members, shadow_others: outputs on images known to be members and non-members, to learn from.
        target_members, target_others: outputs to judge, on members and non-members; the former may be None.
        compat: "fixed", or "reference" for the reference's modified entropy.
        keys: which features, of ``KEYS``.
    Returns:
        By feature, the fraction of the targets judged rightly, in [0, 1]; with members and
        non-members among the targets, the mean of the two fractions.
    Source: Jia et al. 2023, appendix C.3; settings of the released code (C = 3, RBF, gamma = 1/dimension).
    """

    def attack(feature: Features) -> float:
        def column(predictions: Predictions) -> np.ndarray:
            values = feature(*arrays[id(predictions)])
            return values.reshape(len(values), -1)

        judge = _fit(column(shadow_members), column(shadow_others))
        right = float(1 - judge(column(target_others)).mean())
        return right if target_members is None else (float(judge(column(target_members)).mean()) + right) / 2

    # not in the threads below: in a forked process, threads that use torch for the first time at once can fail
    outputs = (each for each in (shadow_members, shadow_others, target_members, target_others) if each is not None)
    arrays = {id(each): (each.probs.numpy(), each.labels.numpy()) for each in outputs}
    chosen = {key: feature for key, feature in features(compat).items() if key in keys}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # libsvm works without the interpreter's lock
        longest_first = [*reversed(chosen)]  # "prob", with all outputs, takes longest
        answers = dict(zip(longest_first, pool.map(attack, map(chosen.__getitem__, longest_first))))
    return {key: answers[key] for key in chosen}


def _fit(members: np.ndarray, others: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Train on members (1) and non-members (0), float [n, d]; the result maps [m, d] to 0 or 1.

    Equal rows become one row with their number as its weight, which has the same optimum.
    """
    from sklearn.svm import SVC

    rows = np.concatenate([members, others]).astype(np.float64)
    member = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    unique, counts = np.unique(np.column_stack([rows, member]), axis=0, return_counts=True)
    classifier = SVC(C=3, kernel="rbf", gamma="auto").fit(unique[:, :-1], unique[:, -1], sample_weight=counts)

    def judge(targets: np.ndarray) -> np.ndarray:
        distinct, position = np.unique(targets.astype(np.float64), axis=0, return_inverse=True)
        return classifier.predict(distinct)[position.ravel()]

    return judge


def mixed(predictions: Predictions, seed: int = 0) -> Predictions:
    """Outputs in an order whose beginning holds all classes: shuffled by ``seed`` if they lie class by class.

    The attacks take the first retain images as shadow members. In a folder tree of classes these would belong to one
    or two classes. The official files of CIFAR and SVHN are in mixed order, which is kept.
    """
    labels = predictions.labels
    if bool((labels[1:] < labels[:-1]).any()):
        return predictions
    order = torch.randperm(len(labels), generator=seeds.generator(seed, "shadows"))
    return Predictions(predictions.logits[order], labels[order])


def forget_efficacy(
    retain: Predictions, test: Predictions, forget: Predictions, compat: str, keys: Sequence[str] = KEYS
) -> dict[str, float]:
    """MIA-Efficacy: fraction of the forget set judged never seen, per feature, in [0, 1]; closer to Retrain is better.

    Shadow members are the first retain images, as many as there are test images.

    Args:
        keys: which features, of ``KEYS``.
    Source: Jia et al. 2023, section 5.1 and appendix C.3.
    """
    count = min(len(test), len(retain))
    return svc_mia(retain[:count], test[:count], None, forget, compat, keys)


def training_privacy(retain: Predictions, test: Predictions, compat: str) -> dict[str, float]:
    """How well members can be told from non-members at all, per feature, in [0, 1]; 0.5 is private.

    Half of the test images and as many retain images are shadows; the rest are targets.
    Source: Jia et al. 2023, released code.
    """
    half = min(len(test) // 2, len(retain) // 2)
    return svc_mia(retain[:half], test[:half], retain[half:], test[half:], compat)


def entropy_attack(retain: Predictions, test: Predictions, forget: Predictions) -> float:
    """Fraction of the forget set judged members, in [0, 1], by the entropy of the outputs; closer to Retrain is better.

    A logistic regression tells all retain images (members) from all test images (non-members), both
    classes weighted alike. The direction is opposite to MIA-Efficacy, which counts non-members.
    Source: Huang et al. 2024 (SFR-on), released code.
    """
    from sklearn.linear_model import LogisticRegression

    columns = [entropy(part.probs.double().numpy(), part.labels.numpy())[:, None] for part in (retain, test, forget)]
    member = np.repeat([1, 0], [len(retain), len(test)])
    judge = LogisticRegression(class_weight="balanced").fit(np.concatenate(columns[:2]), member)
    return float(judge.predict(columns[2]).mean())


def threshold_attacks(
    shadow_members: Predictions, shadow_others: Predictions, target_members: Predictions, target_others: Predictions
) -> dict[str, tuple[float, float]]:
    """Attack by one threshold per class and score, chosen on the shadows.

    A class that the shadow members or non-members lack, such as one that is forgotten whole, is judged by the threshold
    over all classes.

    Args:
        shadow_members, shadow_others: outputs on images known to be members and non-members, to choose thresholds.
        target_members, target_others: outputs on the members and non-members to judge.
    Returns:
        By score: fraction of target members judged members, fraction of target non-members judged
        non-members, both in [0, 1].
    Source: Song & Mittal, USENIX Security 2021, section 4.
    """
    sets = shadow_members, shadow_others, target_members, target_others
    parts = [(each.probs.numpy(), each.labels.numpy()) for each in sets]
    right = correctness(*parts[2]), correctness(*parts[3])
    result = {"correctness": (float(right[0].mean(dtype=np.float64)), float(1 - right[1].mean(dtype=np.float64)))}
    scores = {
        "confidence": confidence,
        "entropy": lambda p, y: -entropy(p, y),
        "m_entropy": lambda p, y: -modified_entropy(p, y),
    }
    for key, score in scores.items():
        values = [score(*part) for part in parts]
        thresholds = np.full(parts[0][0].shape[1], best_threshold(values[0], values[1]))
        for label in np.intersect1d(parts[0][1], parts[1][1]):
            thresholds[label] = best_threshold(values[0][parts[0][1] == label], values[1][parts[1][1] == label])
        member = [v >= thresholds[labels] for v, (_, labels) in zip(values[2:], parts[2:])]
        result[key] = (float(member[0].mean()), float(1 - member[1].mean()))
    return result


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """The value t among all scores that best tells members (>= t) from others (< t).

    Maximises the mean of the two fractions; of equals the first in order, members before others.
    """
    candidates = np.concatenate([members, others])
    true_positives = len(members) - np.searchsorted(np.sort(members), candidates, side="left")
    left_out = np.searchsorted(np.sort(others), candidates, side="left")
    rights = true_positives * len(others) + left_out * len(members)  # whole numbers, so that ties are ties
    return float(candidates[np.argmax(rights)])
