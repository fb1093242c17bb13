"""What a training run is, as data: a TOML file, read and checked."""

import dataclasses
import hashlib
import json
import pathlib
import tomllib


class RecipeError(ValueError):
    """Every problem of a recipe, one a line."""


@dataclasses.dataclass(frozen=True)
class Objectives:
    """Weights of the losses; 0: not computed.

    distill: 1 - cos to the teacher's target. rank: InfoNCE of the student's embedding against the
    targets of other spans (van den Oord et al. 2018, Eq. 4). contrastive: InfoNCE between two spans
    of one document, in both directions, against the batch's other documents. masked: cross-entropy
    of masked tokens (Devlin et al. 2019).
    """

    distill: float = 0.0
    rank: float = 0.0
    contrastive: float = 0.0
    masked: float = 0.0
    temperature: float = 0.05
    negatives: int = 1024  # of other spans' targets a step, for rank
    mask_share: float = 0.15


@dataclasses.dataclass(frozen=True)
class Phase:
    """Some steps of one kind. Learning rate: linear warm-up, then a cosine to `lr * lr_end`."""

    name: str
    steps: int
    lr: float
    objectives: Objectives
    lengths: tuple  # bytes of a span, one drawn for each step ...
    shares: tuple  # ... with these shares
    batch_bytes: int  # about so many bytes a step and process
    warmup: int = 50
    lr_end: float = 0.05
    layers: int | None = None  # only the first so many layers are used and trained
    teacher_share: float = 1.0  # of pairs with targets; the others are drawn from the whole corpus
    neighbours: float = 0.0  # share of pairs from the package of the pair before: hard negatives
    preambles: float = 0.0  # share of pairs with a span of another document before their second
    redraw_every: int = 0  # new random directions every so many steps; 0: never
    damping: float = 0.0  # above 0: the first layer begins as damping.py has it, of this strength ...
    damping_tokens: float = 1500.0  # ... half of it at so many tokens
    embedding_lr: float = 1.0  # learning rate of n-gram and token tables, relative to lr


@dataclasses.dataclass(frozen=True)
class Recipe:
    name: str
    phases: tuple
    seed: int = 1
    weight_decay: float = 0.01
    betas: tuple = (0.9, 0.98)
    clip: float = 1.0
    checkpoint_every: int = 100
    keep: int = 2  # checkpoints
    residual_scale: float | None = 0.0  # Encoder's
    idf_documents: int = 0  # initial.weight_by_rarity counts so many; 0: all rows begin alike
    lexical_dims: int = 0  # the embedding's last so many dimensions stay as they begin ...
    common_directions: int = 0  # so many of what documents share are taken out of them
    lexical_weight: float = 1.0  # their length, relative to that of all others together
    fixed: tuple = ()  # names of parameters that stay as they begin
    bfloat16: bool = False  # products of matrices in bfloat16, everything else in float32

    @property
    def steps(self):
        return sum(phase.steps for phase in self.phases)

    def place(self, step):
        """(phase index, step inside it) of a step of the run."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, step
            step -= phase.steps
        return len(self.phases), 0

    def digest_of(self, step):
        """What decided the weights after `step` steps: the settings, and the phases until there. Later
        phases may still be changed."""
        index, inside = self.place(step)
        done = dataclasses.replace(self, phases=self.phases[: index + (inside > 0)], keep=0)
        done = dataclasses.replace(done, checkpoint_every=0)
        return hashlib.sha256(repr(done).encode()).hexdigest()

    def needs_targets(self):
        return any(
            p.teacher_share > 0 and (p.objectives.distill or p.objectives.rank)
            for p in self.phases
        )


def _take(kind, fields, where, problems, **given):
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key in fields:
        if key not in known:
            problems.append(f"{where}{key}: unknown (known: {', '.join(known)})")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k in known}
    values.update(given)
    missing = [
        name
        for name, f in known.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        problems.extend(f"{where}{name}: is missing" for name in missing)
        return None
    return kind(**values)


def _check_phase(phase, where, problems):
    def need(condition, key, text):
        if not condition:
            problems.append(f"{where}{key}: {getattr(phase, key)!r} {text}")

    need(isinstance(phase.steps, int) and phase.steps >= 0, "steps", "is not a count")
    need(phase.lr > 0, "lr", "is not above 0")
    need(phase.batch_bytes > 0, "batch_bytes", "is not above 0")
    need(0 <= phase.teacher_share <= 1, "teacher_share", "is not in [0, 1]")
    need(0 <= phase.neighbours < 1, "neighbours", "is not in [0, 1)")
    need(0 <= phase.preambles <= 1, "preambles", "is not in [0, 1]")
    need(0 <= phase.damping < 1, "damping", "is not in [0, 1)")
    need(phase.damping_tokens > 1, "damping_tokens", "is not above 1")
    need(phase.redraw_every >= 0, "redraw_every", "is below 0")
    need(len(phase.lengths) == len(phase.shares) > 0, "shares", "are not as many as lengths")
    need(all(n >= 16 for n in phase.lengths), "lengths", "has spans below 16 bytes")
    weights = phase.objectives
    if not (weights.distill or weights.rank or weights.contrastive or weights.masked):
        problems.append(f"{where}objectives: all are 0, there is nothing to learn")


def parse(text):
    """The recipe of a TOML text. RecipeError lists every problem."""
    fields = tomllib.loads(text)
    problems, phases = [], []
    for number, phase in enumerate(fields.pop("phases", [])):
        where = f"phases[{number}]."
        objectives = _take(
            Objectives, phase.pop("objectives", {}), where + "objectives.", problems
        )
        made = _take(Phase, phase, where, problems, objectives=objectives)
        if made is not None and objectives is not None:
            _check_phase(made, where, problems)
            phases.append(made)
    if not phases:
        problems.append("phases: there is none")
    if fields.get("lexical_dims", 0) and not fields.get("idf_documents", 0):
        problems.append("lexical_dims: nothing is lexical without idf_documents")
    recipe = _take(Recipe, fields, "", problems, phases=tuple(phases))
    if problems:
        raise RecipeError("\n".join(problems))
    return recipe


def read(path, overrides=()):
    """overrides: ("seed=3", "phases.0.steps=10"): values are JSON, or text."""
    text = pathlib.Path(path).read_text()
    if not overrides:
        return parse(text)
    fields = tomllib.loads(text)
    for override in overrides:
        _override(fields, override)
    return parse(_toml(fields))


def _override(fields, override):
    key, equals, value = override.partition("=")
    if not equals:
        raise RecipeError(f"'{override}' is not key=value")
    try:
        value = json.loads(value)
    except json.JSONDecodeError:
        pass
    *path, last = key.split(".")
    for part in path:
        try:
            fields = fields[int(part) if part.isdigit() else part]
        except (KeyError, IndexError, TypeError):
            raise RecipeError(f"{key}: there is no {part}") from None
    fields[last] = value


def _toml(fields):
    """TOML of plain fields, tables last; enough for recipes."""
    lines = [f"{k} = {json.dumps(v)}" for k, v in fields.items() if k != "phases"]
    for phase in fields.get("phases", []):
        lines.append("[[phases]]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in phase.items() if k != "objectives"]
        lines.append("[phases.objectives]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in phase.get("objectives", {}).items()]
    return "\n".join(lines) + "\n"
