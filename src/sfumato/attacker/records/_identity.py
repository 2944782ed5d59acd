"""The attacker's own eye for people: a head of its own on public people of its own, never the judge's."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from sfumato.attacker.knowledge import Public
from sfumato.features import identity

SEED = 104_729  # not the judge's


@lru_cache(maxsize=2)
def learned(public: Public) -> tuple[identity.Head, torch.Tensor]:
    """The head, learned once for a set of public pictures, and their P embeddings ``(P, D)``."""
    described = identity.describe(public.images)
    head = identity.train(described, public.identities, seed=SEED)
    return head, torch.from_numpy(head.embed_described(described))


def people_of(public: Public) -> tuple[torch.Tensor, torch.Tensor]:
    """Who is on each of P public pictures, int64 ``(P,)``, and where these K people lie: the means of their pictures, ``(K, D)``."""
    embedded = learned(public)[1]
    number = {person: k for k, person in enumerate(sorted(set(public.identities)))}
    member = torch.tensor([number[person] for person in public.identities])
    sums = torch.zeros(len(number), embedded.shape[1]).index_add_(0, member, embedded)
    return member, F.normalize(sums, dim=1)
