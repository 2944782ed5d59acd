"""Re-identification: does a guess lead to the right person among G, of whom other pictures are known?

Notation: N probes (guesses, or real pictures), G people in the gallery, D values in an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from sfumato.core.errors import UserError
from sfumato.features.identity import Head

MINIMUM = 200  # people: fewer make a hit too easy to mean anything


@lru_cache(maxsize=1)
def judges() -> Head:
    """The head that ships, by which the judge tells people apart. Attackers train another, on other people."""
    path = files("sfumato") / "assets" / "identity.safetensors"
    return Head.from_bytes(path.read_bytes(), name=str(path))


@dataclass(frozen=True, eq=False)
class Gallery:
    """People by name, and one embedding of length 1 for each: float64 ``(G, D)``."""

    identities: tuple[str, ...]
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        if len(set(self.identities)) != len(self.identities):
            twice = next(name for i, name in enumerate(self.identities) if name in self.identities[:i])
            raise UserError(f"{twice!r} is in the gallery twice", expected="one entry for each person", fix="merge the pictures")
        if len(self.identities) < 2 or self.embeddings.ndim != 2 or len(self.embeddings) != len(self.identities):
            raise UserError(
                f"{len(self.identities)} people with embeddings of shape {self.embeddings.shape}", expected="(G, D), G at least 2"
            )

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        identities: Sequence[str],
        *,
        embed: Callable[[np.ndarray], np.ndarray] | None = None,
        minimum: int = MINIMUM,
    ) -> Gallery:
        """A gallery of real pictures, which must not be the pictures that the probes guess at.

        Args:
            images: uint8 ``(M, H, W, 3)``, one or several of each person.
            identities: the M pictures' people.
            embed: pictures to embeddings ``(M, D)``; by default the judge's head. Give the attack's own for guesses
                that are embeddings in the attack's space.
            minimum: fewest people that are accepted.

        Raises:
            UserError: too few people, a picture that is there twice, or as many identities as there are not pictures.
        """
        if len(images) != len(identities):
            raise UserError(f"{len(images)} pictures, {len(identities)} identities", expected="as many of one as of the other")
        people = tuple(dict.fromkeys(identities))
        if len(people) < minimum:
            raise UserError(f"a gallery of {len(people)} people", expected=f"at least {minimum}", fix="add pictures of other people")
        if len({image.tobytes() for image in images}) < len(images):
            raise UserError("a picture is in the gallery twice", expected="different pictures", fix="leave the copies out")
        embedded = _unit((judges().embed if embed is None else embed)(images))
        row = {person: i for i, person in enumerate(people)}
        total = np.zeros((len(people), embedded.shape[1]))
        np.add.at(total, [row[person] for person in identities], embedded)
        return cls(people, _unit(total))

    @property
    def chance(self) -> float:
        """The share of hits of a guess that knows nothing."""
        return 1 / len(self.identities)

    def similarities(self, probes: np.ndarray) -> np.ndarray:
        """Cosine similarities ``(N, G)`` of probe embeddings ``(N, D)`` with everyone; a probe of zeros has 0 with all."""
        if probes.ndim != 2 or probes.shape[1] != self.embeddings.shape[1]:
            wanted = f"(N, {self.embeddings.shape[1]}), by the embedding that the gallery was made with"
            raise UserError(f"probe embeddings of shape {probes.shape}", expected=wanted)
        similar: np.ndarray = _unit(probes) @ self.embeddings.T
        return similar

    def reidentify(self, probes: np.ndarray, identities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Who a probe is most like.

        Args:
            probes: embeddings ``(N, D)``, of any length.
            identities: the true people.

        Returns:
            Whether the right person comes first, boolean ``(N,)``, and the person's rank from 1, int64 ``(N,)``. Whoever
            is as similar as the right person ranks before them: a guess that says nothing is not a hit.
        """
        similar, own = self.similarities(probes), self._rows(probes, identities)
        rank = (similar >= similar[np.arange(len(own)), own][:, None]).sum(axis=1)
        return rank == 1, rank

    def guessed(self, probes: np.ndarray, identities: Sequence[str]) -> float:
        """The share of hits were every probe a guess at every one of ``identities``: what guesses that know of nobody get on average.

        Pairing each with one person instead would add the luck of the pairing. Where all of the gallery is looked for equally often,
        it is at most chance, whatever the guesses are.
        """
        similar = self.similarities(probes)
        alone = (similar == similar.max(axis=1, keepdims=True)).sum(axis=1) == 1
        named = np.bincount(similar.argmax(axis=1)[alone], minlength=len(self.identities)) / len(probes)
        return float(named[self._rows(probes, identities)].mean())

    def auc(self, probes: np.ndarray, identities: Sequence[str]) -> float:
        """How often a probe's similarity with the right person exceeds one of any probe with a wrong person; chance 0.5.

        Args:
            probes: embeddings ``(N, D)``, of any length.
            identities: the true people.
        """
        genuine, impostor = self._scores(probes, identities)
        below, up_to = (np.searchsorted(impostor, genuine, side=side).sum() for side in ("left", "right"))
        return float((below + up_to) / 2 / (len(genuine) * len(impostor)))

    def accepted(self, probes: np.ndarray, identities: Sequence[str], *, false_rate: float = 0.01) -> float:
        """Share of right people above the threshold that ``false_rate`` of the wrong ones pass; chance is that rate.

        Args:
            probes: embeddings ``(N, D)``, of any length.
            identities: the true people.
            false_rate: above 0, below 1.
        """
        if not 0 < false_rate < 1:
            raise UserError(f"false_rate {false_rate}", expected="above 0 and below 1")
        genuine, impostor = self._scores(probes, identities)
        return float((genuine > np.quantile(impostor, 1 - false_rate, method="higher")).mean())

    def _scores(self, probes: np.ndarray, identities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Similarities with the right person ``(N,)`` and, sorted, with all wrong ones ``(N (G - 1),)``."""
        similar, own = self.similarities(probes), self._rows(probes, identities)
        right = np.zeros(similar.shape, bool)
        right[np.arange(len(own)), own] = True
        return similar[right], np.sort(similar[~right])

    def _rows(self, probes: np.ndarray, identities: Sequence[str]) -> np.ndarray:
        if len(probes) != len(identities) or not len(probes):
            raise UserError(f"{len(probes)} probes, {len(identities)} identities", expected="as many of one as of the other, and some")
        row = {person: i for i, person in enumerate(self.identities)}
        unknown = next((person for person in identities if person not in row), None)
        if unknown is not None:
            raise UserError(
                f"{unknown!r} is not in the gallery",
                expected="probes of people that are in it",
                fix="add other pictures of that person to the gallery, or leave the probe out",
            )
        return np.array([row[person] for person in identities])


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows of length 1, float64; rows of zeros stay."""
    if not np.isfinite(embeddings).all():
        raise UserError("embeddings that are not finite", expected="numbers", fix="report the attack as failed; it diverged")
    rows = embeddings.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
