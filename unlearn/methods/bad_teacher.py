"""BT (Bad Teacher): imitate an untrained network on the forget set and the original on the retain set."""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.benchmark import PAPER, SFRON, TEMPERATURE, Benchmarked, benchmarked
from unlearn.registry import about
from unlearn.signature import Batch, Context, Figures, Sets, Tensor, nn
from utils.options import changed, option


@dataclass(frozen=True)
class Config(Benchmarked):
    optimizer: str = changed(Benchmarked, "optimizer", "adam")
    weight_decay: float = changed(Benchmarked, "weight_decay", 0.0)
    temperature: float = option(1.0, "softens the outputs of teachers and student", above=0, search=TEMPERATURE)


@benchmarked("BT", config=Config, reads={"retain", "forget"}, aliases=("bad_teacher", "BadTeacher"))
@about(
    "Bad Teacher: imitate an untrained network on the forget set and the original on the retain set",
    source=f"Chundawat et al. 2023; {PAPER}; preset sfron: {SFRON}",
)
def bad_teacher(model: nn.Module, sets: Sets, config: Config, context: Context) -> None:
    """Descend the mean of KL(teacher || student): an untrained teacher for forget images, the original for others.

    The untrained teacher has the student's architecture. With ``--compat reference`` the loss is
    divided by the number of classes.
    """
    import torch
    import torch.nn.functional as F

    from dataset.pairs import Marked
    from trainer.task import accuracy
    from unlearn.distill import divergence, teacher_of

    good = teacher_of(model)
    bad = teacher_of(context.draws.network(model, "bad teacher"))
    share = 1 / context.classes if context.compat == "reference" else 1.0

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Figures]:
        images, (classes, forgotten) = batch.inputs, batch.targets
        logits = model(images)
        with torch.no_grad():
            target = F.softmax(torch.where(forgotten[:, None], bad(images), good(images)) / config.temperature, dim=1)
        return share * divergence(target, logits, config.temperature), accuracy(logits, classes)

    context.fit(model, Marked(sets.retain, sets.forget, context.classes), config, objective)
