"""Tasks whose sequences are drawn anew at every step: accuracy in training is accuracy on data never
seen before."""

import torch

UNASKED = -1  # the label of positions at which nothing is asked

SHIFT = 3
KEYS = 8  # of recall


def shift_copy(recipe, generator):
    """(ids, labels) [batch, n]: y_i = x_(i - 3), x uniform. Needs position, and content not at all."""
    ids = torch.randint(recipe.vocabulary, (recipe.batch, recipe.n), generator=generator)
    labels = torch.full_like(ids, UNASKED)
    labels[:, SHIFT:] = ids[:, :-SHIFT]
    return ids, labels


def recall(recipe, generator):
    """(ids, labels) [batch, n]: KEYS tokens that each bind a key to a random value (id KEYS + key *
    values + value), every key once, among tokens that are a key alone (id key) and ask for its value.
    All in random order: nothing but content says where the value is."""
    batch, n = recipe.batch, recipe.n
    values = recipe.vocabulary // KEYS - 1
    bound = torch.randint(values, (batch, KEYS), generator=generator)
    asked = torch.randint(KEYS, (batch, n - KEYS), generator=generator)
    ids = torch.cat([KEYS + torch.arange(KEYS) * values + bound, asked], dim=1)
    labels = torch.cat([torch.full_like(bound, UNASKED), bound.gather(1, asked)], dim=1)
    order = torch.rand(batch, n, generator=generator).argsort(1)
    return ids.gather(1, order), labels.gather(1, order)


TASKS = {"shift": shift_copy, "recall": recall}
