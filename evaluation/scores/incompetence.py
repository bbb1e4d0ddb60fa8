"""Zero retrain forgetting: how close the outputs on forgotten images are to those of untrained networks."""

from __future__ import annotations

from evaluation.scoring import Column, Outputs, score

SAYS = (
    "zero retrain forgetting: 1 - JS / ln 2 between the outputs and those of networks with new weights, on forgotten "
    "test images or else the forget set; close to Retrain's is good"
)


@score("ZRF", reads={"forget"}, columns={"ZRF": Column(SAYS, False, ("unlearned",))})
def zero_retrain_forgetting(outputs: Outputs) -> dict[str, float | list[float] | str] | None:
    """ZRF in [0, 1] of the unlearned and, if there is one, the retrained model; None without random networks.

    Returns:
        ``images``, the set that was used; and by model the mean over the random networks, and ``..._by_network``, a
        list of the ZRF for each of them.
    Source: Chundawat et al. 2023 (Bad Teacher), section 4; the mean over several networks is ours.
    """
    from evaluation.divergence import zrf

    if not outputs.random:
        return None
    name = "forget_test" if "forget_test" in outputs.sets else "forget"
    result: dict[str, float | list[float] | str] = {"images": name}
    for model, sets in (("unlearned", outputs.sets), ("retrained", outputs.retrained)):
        if sets is not None:
            logits = sets[name].logits
            each = [zrf(one[name].logits[:, : logits.shape[1]].softmax(1), logits.softmax(1)) for one in outputs.random]
            result |= {model: sum(each) / len(each), f"{model}_by_network": each}
    return result
