"""The loop: phases, AdamW, warm-up and cosine, clipping, checkpoints, one process or many."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import time

import torch
import torch.distributed as distributed
from torch.nn.parallel import DistributedDataParallel

from ..progress import Progress
from .checkpoint import Checkpoints
from .damping import begin_with_damping
from .initial import TABLE_PROJECTIONS, TABLES, balance, untrained_entries
from .objectives import Objective


@dataclasses.dataclass(frozen=True)
class Process:
    """Which of how many processes this is (torchrun's environment), and its device."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self):
        return self.rank == 0


@contextlib.contextmanager
def process_group(device="auto"):
    """This process among those that torchrun started; alone without torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "auto":
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if count == 1:
        yield Process(device=device)
        return
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Process(distributed.get_rank(), count, device)
    finally:
        distributed.destroy_process_group()


def learning_rate(phase, step):
    """Linear warm-up over `warmup` steps, then a cosine from lr to lr * lr_end."""
    if step < phase.warmup:
        return phase.lr * (step + 1) / phase.warmup
    done = (step - phase.warmup) / max(1, phase.steps - phase.warmup)
    return phase.lr * (phase.lr_end + (1 - phase.lr_end) * 0.5 * (1 + math.cos(math.pi * done)))


def _used(name, phase, config):
    """Whether a phase trains a parameter: layers that it leaves out have no gradient, and the bias
    that they share none either if it uses none of them."""
    if phase.layers is None:
        return True
    if name.startswith("layers."):
        return int(name.split(".")[1]) < phase.layers
    return phase.layers > 0 or name != "attention_bias"


def _groups(encoder, phase, weight_decay, fixed):
    """Parameters of a phase for AdamW: decay for matrices, none for biases, norms and tables. AdamW
    moves every entry alike, so a matrix of more inputs moves its output further: the learning rate
    of a matrix goes down with its inputs beyond hidden_size (Yang et al. 2021, Table 3). Tables
    have their own. fixed: parameters that no phase trains."""
    groups = {}
    for name, parameter in encoder.named_parameters():
        used = _used(name, phase, encoder.config) and parameter not in fixed
        parameter.requires_grad_(used)
        if not parameter.requires_grad:
            continue
        decay, factor = 0.0, 1.0
        if name in TABLES:
            factor = phase.embedding_lr
        elif name in TABLE_PROJECTIONS:
            pass  # part of the tables
        elif parameter.dim() > 1 and "bias" not in name:
            decay = weight_decay
            factor = min(1.0, encoder.config.hidden_size / parameter.shape[1])
        groups.setdefault((decay, factor), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "factor": factor}
        for (decay, factor), parameters in groups.items()
    ]


def _named(encoder, names):
    parameters = dict(encoder.named_parameters())
    if unknown := [name for name in names if name not in parameters]:
        raise ValueError(f"fixed = {unknown}: the model has no such parameter")
    return {parameters[name] for name in names}


class Trainer:
    """Trains `encoder` by `recipe` in `folder`; `run` begins where the newest checkpoint ended.

    The same recipe, data, build and number of processes give the same weights, whether a run was
    interrupted or not.
    """

    def __init__(self, encoder, recipe, batches, folder, process=Process(), writer=None):
        self.encoder = encoder.to(process.device)
        self.recipe = recipe
        self.batches = batches
        self.folder = pathlib.Path(folder)
        self.process = process
        self.writer = writer
        self.checkpoints = Checkpoints(folder, recipe.keep)
        untrained = untrained_entries(self.encoder, recipe.lexical_dims)
        self._fixed = {p for p, mask in untrained.items() if mask.all()}
        self._fixed |= _named(self.encoder, recipe.fixed)
        self._untrained = {p: m for p, m in untrained.items() if p not in self._fixed}
        self.step = 0
        self._phase = None
        self._optimizer = None
        self._resume()

    # --- state -----------------------------------------------------------------------------------

    def _resume(self):
        state = self.checkpoints.latest()
        if state is None:
            return
        if state["recipe"] != self.recipe.digest_of(state["step"]):
            raise ValueError(
                f"{self.checkpoints.folder} was begun with another recipe: name a new folder, or "
                "change only phases that have not begun"
            )
        self.encoder.load_state_dict(state["encoder"])
        self.step = state["step"]
        index, inside = self.recipe.place(self.step)
        if inside > 0:
            self._begin_phase(index)
            self._optimizer.load_state_dict(state["optimizer"])

    def save(self):
        if self.process.first:
            optimizer = self._optimizer.state_dict() if self._optimizer else {}
            self.checkpoints.save(
                self.step,
                {
                    "recipe": self.recipe.digest_of(self.step),
                    "encoder": self.encoder.state_dict(),
                    "optimizer": optimizer,
                },
            )

    def _begin_phase(self, index):
        phase = self.recipe.phases[index]
        self._phase = index
        self._optimizer = torch.optim.AdamW(
            _groups(self.encoder, phase, self.recipe.weight_decay, self._fixed),
            lr=phase.lr,
            betas=self.recipe.betas,
        )
        lexical = (self.recipe.lexical_dims, self.recipe.lexical_weight)
        objective = Objective(
            self.encoder, phase, self.recipe.seed, self.recipe.bfloat16, lexical
        )
        if self.process.count > 1:
            objective = DistributedDataParallel(objective)
        self._objective = objective

    def _prepare(self, phase):
        """What a phase begins with, besides what the one before it has left."""
        if phase.damping:
            if self.recipe.lexical_dims:
                balance(self.encoder, self.batches.corpus, self.recipe, num_layers=0)
            begin_with_damping(
                self.encoder, self.batches.corpus, self.recipe, phase.damping, phase.damping_tokens
            )

    # --- the loop --------------------------------------------------------------------------------

    def run(self, max_steps=None, end_time=None, clock=time.monotonic):
        """Trains to the end of the recipe, at most `max_steps` more steps, or until `clock` passes
        `end_time`; saves a checkpoint last. Returns the last step's values."""
        begin, values = self.step, {}
        last = self.recipe.steps if max_steps is None else min(self.recipe.steps, begin + max_steps)
        with Progress(self.recipe.name, self.recipe.steps) as progress:
            progress.add(begin)
            while self.step < last and not self._time_is_up(end_time, clock):
                values = self._one_step(clock)
                progress.add(1)
                progress.show(**values)
                if self.step % self.recipe.checkpoint_every == 0 and self.step < last:
                    self.save()
        self.save()
        return values

    def _time_is_up(self, end_time, clock):
        """The first process's clock decides for all of them."""
        if end_time is None:
            return False
        up = torch.tensor(float(clock() > end_time), device=self.process.device)
        if self.process.count > 1:
            distributed.broadcast(up, 0)
        return bool(up)

    def _one_step(self, clock):
        began = clock()
        index, inside = self.recipe.place(self.step)
        phase = self.recipe.phases[index]
        if inside == 0:
            self._prepare(phase)
        if index != self._phase:
            self._begin_phase(index)
        if phase.redraw_every and inside % phase.redraw_every == 0 and inside > 0:
            generator = torch.Generator().manual_seed(self.recipe.seed + self.step)
            self.encoder.redraw_features(generator)
        batch = self.batches.make(phase, self.step, self.process.rank)
        batch = _to(batch, self.process.device)
        rate = learning_rate(phase, inside)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._optimizer.zero_grad(set_to_none=True)
        loss, values = self._objective(batch, self.step, self.process.rank)
        loss.backward()
        for parameter, mask in self._untrained.items():
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask, 0)
        norm = torch.nn.utils.clip_grad_norm_(
            [p for g in self._optimizer.param_groups for p in g["params"]], self.recipe.clip
        )
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"step {self.step}: the gradient is not finite (loss {loss.item()}); the checkpoint "
                "before it is kept"
            )
        self._optimizer.step()
        self.step += 1
        values = {name: float(value) for name, value in values.items()}
        values = {"loss": float(loss.detach()), **values, "norm": float(norm)}
        self._log(values, phase, rate, batch, clock() - began)
        return values

    def _log(self, values, phase, rate, batch, seconds):
        if not self.process.first:
            return
        tokens = int(batch.lengths.sum()) * self.process.count
        line = {"step": self.step, "phase": phase.name, **values, "lr": rate,
                "longest": int(batch.lengths.max()), "bytes": tokens, "seconds": seconds}  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(f"{phase.name}/{name}", value, self.step)
            self.writer.add_scalar("lr", rate, self.step)
            self.writer.add_scalar("bytes_per_second", tokens / max(seconds, 1e-9), self.step)


def _to(batch, device):
    if device == "cpu":
        return batch
    moved = {
        f.name: getattr(batch, f.name).to(device, non_blocking=True)
        for f in dataclasses.fields(batch)
        if getattr(batch, f.name) is not None
    }
    return dataclasses.replace(batch, **moved)
