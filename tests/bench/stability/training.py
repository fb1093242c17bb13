"""One run: a small encoder and a linear head, trained from scratch on one task."""

import dataclasses
import math

import torch
from torch.nn import functional

from longwave_torch import Encoder

from .tasks import TASKS, UNASKED
from .variants import VARIANTS, encoder_config

LAST_STEPS = 50  # what the accuracy of a run is taken over
CURVE_POINTS = 12


@dataclasses.dataclass(frozen=True)
class Run:
    """What is trained. `init_scale`: times the initial weights of q and k."""

    task: str
    variant: str
    init_scale: float
    seed: int

    @property
    def name(self):
        return f"{self.task}/{self.variant}/x{self.init_scale:g}/{self.seed}"


@dataclasses.dataclass
class History:
    """One value a step, up to the step at which a loss or a gradient was not finite."""

    accuracy: list = dataclasses.field(default_factory=list)
    loss: list = dataclasses.field(default_factory=list)
    gradient_norm: list = dataclasses.field(default_factory=list)
    finite: bool = True

    def summary(self, steps):
        """What is kept of a run. Steps that a run did not come to count as wrong answers."""
        accuracy = self.accuracy + [0.0] * (steps - len(self.accuracy))
        width = -(-steps // CURVE_POINTS)
        last = accuracy[-LAST_STEPS:]
        return {
            "accuracy": round(sum(last) / len(last), 5),
            "curve": [
                round(sum(part) / len(part), 4)
                for part in (accuracy[at : at + width] for at in range(0, steps, width))
            ],
            "last_loss": round(self.loss[-1], 5) if self.loss else None,
            "max_gradient_norm": round(max(self.gradient_norm, default=0.0), 3),
            "finite": self.finite,
        }


class Model(torch.nn.Module):
    """Logits [batch, n, vocabulary] of ids [batch, n]: an Encoder and a linear head."""

    def __init__(self, config, recipe, init_scale=1.0, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        # At n = 96 the dense form is the quickest.
        self.encoder = Encoder(
            config, bias_init=recipe.bias_init, generator=generator, backend="dense"
        )
        self.head = torch.nn.Linear(config.hidden_size, config.vocab_size)
        with torch.no_grad():
            self.head.weight.normal_(0.0, config.hidden_size**-0.5, generator=generator)
            self.head.bias.zero_()
            for layer in self.encoder.layers:
                layer.attention.query.weight.mul_(init_scale)
                layer.attention.key.weight.mul_(init_scale)

    def forward(self, ids):
        return self.head(self.encoder(ids))


def rate_at(step, recipe):
    return recipe.rate * min(1.0, (step + 1) / recipe.warm_up)


def answers(model, ids, labels):
    """(loss, share of right answers), over the positions at which something is asked."""
    asked = labels != UNASKED
    logits, wanted = model(ids)[asked], labels[asked]
    right = (logits.detach().argmax(1) == wanted).float().mean()
    return functional.cross_entropy(logits, wanted), right.item()


def train(run, recipe, on_step=lambda: None):
    """(model, History). The sequences of a seed are the same for all variants; random directions are
    drawn at the first step and then every `redraw_every` steps. Gradients are not clipped."""
    variant = VARIANTS[run.variant]
    model = Model(encoder_config(variant, recipe), recipe, run.init_scale, run.seed)
    sequences = torch.Generator().manual_seed(1_000_000 + run.seed)
    directions = torch.Generator().manual_seed(2_000_000 + run.seed)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=recipe.rate, fused=True)
    history = History()
    for step in range(recipe.steps):
        if step % recipe.redraw_every == 0:
            model.encoder.redraw_features(directions)
        optimizer.param_groups[0]["lr"] = rate_at(step, recipe)
        optimizer.zero_grad()
        loss, right = answers(model, *TASKS[run.task](recipe, sequences))
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            history.finite = False
            break
        optimizer.step()
        history.accuracy.append(right)
        history.loss.append(loss.item())
        history.gradient_norm.append(norm.item())
        on_step()
    return model, history
