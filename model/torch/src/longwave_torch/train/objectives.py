"""The losses. Each is a mean over spans or tokens, so that processes may be averaged."""

import torch
from torch.nn import functional

from ..encoder import mean_pool

MASK_ID = 256  # the byte tokenizer's first special token
GROUPS = 4  # that a batch's spans are computed in, by length
SAME = 0.98  # targets closer than this are one and the same text, and no negatives of each other


class Objective(torch.nn.Module):
    """The encoder with its losses; forward(batch) gives (loss, {name: value}).

    What a teacher says is of the embedding's first dimensions, as many as targets have. lexical:
    (how many of the last dimensions, their weight): contrastive compares both parts at unit length,
    the last ones times this weight.

    The masked objective's head is the token table itself, with a bias of its own that is not served.
    """

    def __init__(self, encoder, phase, seed, bfloat16=False, lexical=(0, 0.0)):
        super().__init__()
        self.encoder = encoder
        self.weights = phase.objectives
        self.layers = phase.layers
        self.seed = seed
        self.bfloat16 = bfloat16
        self.lexical = lexical
        if self.weights.masked and encoder.config.vocab_size <= MASK_ID:
            raise ValueError(
                f"objectives.masked needs a token of its own for masks: id {MASK_ID}, and the "
                f"vocabulary has {encoder.config.vocab_size}"
            )

    def forward(self, batch, step=0, rank=0):
        w = self.weights
        values = {}
        if w.distill or w.rank or w.contrastive:
            pooled = self._pooled(batch)
            taught = functional.normalize(pooled[:, : batch.targets.shape[1]], dim=1)
            if w.distill:
                values["distill"] = distill(taught, batch.targets, batch.has_target)
            if w.rank:
                values["rank"] = rank_loss(
                    taught, batch.targets, batch.has_target, batch.negatives, w.temperature
                )
            if w.contrastive:
                values["contrastive"] = contrastive(self._compared(pooled), w.temperature)
        if w.masked:
            values["masked"] = self._masked(batch, step, rank)
        loss = sum(getattr(w, name) * value for name, value in values.items())
        return loss, {name: value.detach() for name, value in values.items()}

    def _compared(self, pooled):
        dims, weight = self.lexical
        learned, kept = pooled.split([pooled.shape[1] - dims, dims], dim=1)
        parts = [functional.normalize(learned, dim=1), weight * functional.normalize(kept, dim=1)]
        return functional.normalize(torch.cat(parts, dim=1), dim=1)

    def _states(self, ids, lengths, found=None):
        """float32, also where products are of bfloat16: losses are small differences."""
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bfloat16):
            states = self.encoder(ids, lengths, num_layers=self.layers, found=found)
        return states.float()

    def _pooled(self, batch):
        """Means of the spans' states, [2 P, hidden]. Spans of like lengths together: of a batch of
        all lengths a third would be padding."""
        embeddings = self.encoder.embeddings
        found = embeddings.find(batch.ids, batch.lengths)
        if self.layers == 0 and embeddings.only_sums and not self.encoder.config.has_final_norm:
            return embeddings.means(batch.ids, batch.lengths, found)
        order = torch.argsort(batch.lengths, stable=True)
        means = []
        for rows in order.chunk(GROUPS):
            lengths = batch.lengths[rows]
            longest = int(lengths.max())
            part = tuple(None if of is None else of[rows, :longest] for of in found)
            states = self._states(batch.ids[rows, :longest], lengths, part)
            means.append(mean_pool(states, lengths))
        return torch.cat(means)[torch.argsort(order)]

    def _masked(self, batch, step, rank):
        generator = torch.Generator().manual_seed(hash((self.seed, step, rank)) % 2**63)
        draws = torch.rand(batch.ids.shape, generator=generator).to(batch.ids.device)
        valid = torch.arange(batch.ids.shape[1], device=draws.device) < batch.lengths[:, None]
        chosen = (draws < self.weights.mask_share) & valid
        states = self._states(batch.ids.masked_fill(chosen, MASK_ID), batch.lengths)
        logits = states[chosen] @ self.encoder.embeddings.token.weight.T
        return functional.cross_entropy(logits * logits.shape[1] ** -0.5, batch.ids[chosen])


def distill(rows, targets, has_target):
    """Mean of 1 - cos over the spans that have a target (0 if none has)."""
    gaps = (1 - (rows * targets).sum(1)) * has_target
    return gaps.sum() / has_target.sum().clamp(min=1)


def rank_loss(rows, targets, has_target, negatives, temperature):
    """InfoNCE: a span's own target against those of the batch and the negatives."""
    others = torch.cat([targets, negatives])
    logits = rows @ others.T / temperature
    known = torch.cat([has_target, has_target.new_ones(len(negatives))])
    same = targets @ others.T > SAME
    own = torch.eye(len(rows), len(others), dtype=torch.bool, device=rows.device)
    logits = logits.masked_fill((same | ~known) & ~own, -torch.inf)
    losses = functional.cross_entropy(
        logits, torch.arange(len(rows), device=rows.device), reduction="none"
    )
    return torch.where(has_target, losses, 0).sum() / has_target.sum().clamp(min=1)


def contrastive(rows, temperature):
    """Symmetric InfoNCE between row p and row P + p, the other documents being the negatives."""
    first, second = rows.chunk(2)
    logits = first @ second.T / temperature
    labels = torch.arange(len(first), device=rows.device)
    return (
        functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
    ) / 2
