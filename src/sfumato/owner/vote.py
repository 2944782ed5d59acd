"""Vote with a folder of private pictures on a menu: each picture for the cluster that it is nearest to.

What leaves is a sum of people's votes, each scaled to norm 1, and noise. Whatever can be refused is
refused before the noise is drawn; then the ledger is written, and only then the ballot.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sfumato.accounting import accountant, gaussian, votes
from sfumato.core import finished
from sfumato.core.artifact import write_atomic
from sfumato.core.errors import PrivacyError, UserError
from sfumato.core.progress import Tell
from sfumato.core.randomness import Noise, SecureNoise
from sfumato.diffusion.base import Codec
from sfumato.owner import keys
from sfumato.owner.ballot_ledger import BallotLedger, Cast
from sfumato.owner.folder import Folder
from sfumato.owner.release_ledger import ReleaseLedger, locked
from sfumato.records import ballot as ballots
from sfumato.records import menu as menus
from sfumato.records.ballot import Ballot
from sfumato.records.manifest import public_hex
from sfumato.records.menu import Menu

NOT_SPENT = "no vote was spent"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an owner agrees to for a pool: (epsilon, delta) for all ``rounds`` ballots together.

    Raises:
        UserError: no such numbers.
    """

    epsilon: float = 1.0
    rounds: int = 1
    delta: float = accountant.DELTA

    def __post_init__(self) -> None:
        votes.sigma(self.epsilon, self.delta, self.rounds)


@dataclass(kw_only=True)
class Summary:
    """What a vote did.

    Attributes:
        ballot: what leaves.
        card: its privacy card.
        voters: people, or pictures, that voted. It stays on this machine.
        pictures: that voted. It stays here.
        again: whether it is the ballot of an earlier run, written once more.
        skipped: files that were left out, and why.
        notes: what its owner should know. They are of the pictures, and stay here.
    """

    ballot: Ballot
    card: list[str]
    voters: int
    pictures: int
    again: bool = False
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Voters:
    """All that votes: whose each picture is (its person, or itself), its names, and its cluster."""

    unit: str
    whose: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(set(self.whose))

    def histogram(self, clusters: int) -> list[int]:
        """The sum of everybody's scaled votes."""
        each: dict[str, Counter[int]] = {}
        for who, cluster in zip(self.whose, self.clusters, strict=True):
            each.setdefault(who, Counter())[cluster] += 1
        people = [votes.scaled([one[k] for k in range(clusters)]) for one in each.values()]
        return [sum(column) for column in zip(*people, strict=True)]


def vote(
    folder: Folder,
    menu: Menu,
    out: Path,
    *,
    owner: str,
    codec: Codec,
    plan: Plan,
    allow_rerelease: bool = False,
    noise: Noise | None = None,
    store: Path | None = None,
    on_picture: Tell = lambda done, total: None,
) -> Summary:
    """Cast a ballot. Run again after a kill it writes the same ballot, with no second draw.

    Args:
        folder: the private pictures.
        menu: what is voted on; ``menus.check_fit`` comes first.
        out: the ballot's file; it may leave the machine.
        owner: the name that signs it.
        codec: the base's VAE.
        plan: what is agreed for the whole pool.
        allow_rerelease: go on although these pictures voted in another pool; the ballots compose.
        noise: another source than the secure one voids the guarantee; for tests only.
        store: where keys and ledgers live; ``$SFUMATO_HOME`` by default.
        on_picture: called with (pictures done, in all).

    Raises:
        PrivacyError: a second ballot for the round, more than was agreed, or votes in another pool.
        UserError: too few voters, persons that are named for some pictures only, or more noise than
            votes. In every case no vote was spent.
    """
    menus.check_fit(menu, codec, name="the menu")
    noise, unit = noise or SecureNoise(), _unit(folder)
    home = keys.ledger_folder(store)
    with locked(home):
        key = keys.signing_key(keys.owner_folder(owner, store))
        name_key = keys.ledger_key(home)
        released, cast = ReleaseLedger(home, name_key), BallotLedger(home, name_key)
        _check_agreed(cast, menu, owner, (unit, plan.epsilon, plan.delta, plan.rounds))
        voters = _look(folder, menu, codec, released, cast, unit, on_picture)
        people = sorted(set(voters.whose)) if unit == "person" else []
        settings = cast.settings([*voters.pictures, *(f"{who} {k}" for who, k in zip(voters.whose, voters.clusters, strict=True))])
        names = {*voters.pictures, *voters.files, *people}
        before, unbounded = _before(voters, names, released, cast, menu, allow_rerelease=allow_rerelease)
        mine = next((one for one in cast.entries if (one.pool, one.round, one.owner) == (*_round(menu), owner)), None)
        if mine is None:
            _check_names(cast, menu, owner, names)
            notes = _capacity(voters, menu, plan, folder)
            finished.keep(out, overwrite=False)
            noised = votes.noised(voters.histogram(len(menu)), votes.sigma(plan.epsilon, plan.delta, plan.rounds), noise)
            found = Ballot(
                owner=owner, public_key=public_hex(key), menu=menu.digest, unit=unit, epsilon=plan.epsilon, delta=plan.delta,
                rounds=plan.rounds, secure=noise.secure, counts=ballots.clamped(noised),
            )  # fmt: skip
            data = ballots.pack(found, key)
            pool, number = _round(menu)
            cast.append(Cast(
                owner, pool, number, menu.digest, *(unit, plan.epsilon, plan.delta, plan.rounds), found.mu if found.secure else None,
                settings, voters.pictures, voters.files, people, data.decode(),
            ))  # fmt: skip
        else:
            notes = []
            data = mine.ballot.encode()
            found = ballots.parse(data, name="the ledger")
            _check_same(mine, menu, settings, out, data)
        if not out.exists():
            write_atomic(out, data)
    card = ballots.card(found, before=before, unbounded=unbounded)
    return Summary(
        ballot=found, card=card, voters=voters.count, pictures=len(voters.pictures), again=mine is not None,
        skipped=voters.skipped, notes=notes,
    )  # fmt: skip


def _round(menu: Menu) -> tuple[str, int]:
    return menu.about.pool, menu.about.round


def _unit(folder: Folder) -> str:
    """ "person" where everybody is named, "picture" where nobody is."""
    named = sum(bool(example.person) for example in folder)
    if 0 < named < len(folder):
        raise UserError(
            f"{folder.path}: {named:,} of {len(folder):,} pictures have a `person`",
            expected="who is on each of them, or no `person` column at all",
            fix="name the others, or take the column out: each picture then votes for itself, and so says the guarantee",
            privacy=f"somebody on two pictures, of which one has no name, would vote twice; {NOT_SPENT}",
        )
    return "person" if named else "picture"


def _check_agreed(cast: BallotLedger, menu: Menu, owner: str, agreed: tuple[str, float, float, int]) -> None:
    """Refuse another plan than that of the pool's first ballot, and more ballots than it has."""
    pool, number = _round(menu)
    mine = [one for one in cast.entries if one.pool == pool and one.owner == owner]
    if not mine:
        return
    if mine[0].agreed != agreed:
        unit, epsilon, _, rounds = mine[0].agreed
        raise PrivacyError(
            f"--epsilon {agreed[1]:g} --rounds {agreed[3]}, unit {agreed[0]}, for a pool that was agreed otherwise",
            expected=f"--epsilon {epsilon:g} --rounds {rounds}, unit {unit}, as in its first ballot",
            fix="vote as it was agreed",
            privacy=f"the guarantee of the ballots that left holds for that plan; {NOT_SPENT}",
        )
    if len(mine) >= mine[0].rounds and number not in [one.round for one in mine]:
        raise PrivacyError(
            f"round {number} of a pool for which all {mine[0].rounds} agreed ballots were cast",
            expected=f"{mine[0].rounds} ballots together, which make epsilon {mine[0].epsilon:g}",
            fix="stop here: the server can train",
            privacy=f"one more would exceed what was agreed; {NOT_SPENT}",
        )


def _check_names(cast: BallotLedger, menu: Menu, owner: str, names: set[str]) -> None:
    """Refuse pictures, files or people that voted in this pool under another owner's name."""
    twice = [one for one in cast.entries if one.pool == menu.about.pool and one.owner != owner and not one.names.isdisjoint(names)]
    if twice:
        raise PrivacyError(
            f"some of these pictures, or people, voted in this pool as {twice[0].owner!r}",
            expected="one owner of a picture, or a person",
            fix=f"vote as {twice[0].owner!r}, or take them out of one of the folders; people who only share a name need other ones",
            privacy=f"under two names they would have more ballots than were agreed; {NOT_SPENT}",
        )


def _check_same(mine: Cast, menu: Menu, settings: str, out: Path, data: bytes) -> None:
    """Refuse all but to write again the very ballot that was cast, where its file is gone."""
    if mine.menu != menu.digest or mine.settings != settings or (out.exists() and out.read_bytes() != data):
        raise PrivacyError(
            f"a second ballot for round {mine.round} of this pool",
            expected="one ballot a round",
            fix="send the one that there is; the same command with the same pictures writes it again where it was lost",
            privacy=f"each ballot is another draw of the noise, and draws average out; {NOT_SPENT}",
        )


def _look(
    folder: Folder, menu: Menu, codec: Codec, released: ReleaseLedger, cast: BallotLedger, unit: str,
    on_picture: Tell,
) -> _Voters:  # fmt: skip
    """Read every picture once and find its cluster; the same one twice votes once."""
    found, seen, done = _Voters(unit), set[str](), 0
    for start in range(0, len(folder), menus.BLOCK):
        images: list[np.ndarray] = []
        for example in folder.examples[start : start + menus.BLOCK]:
            done += 1
            try:
                image = example.image()
                names = released.name(image), released.file_name(example.path)
            except (UserError, OSError) as report:
                found.skipped.append(str(report))
                continue
            finally:
                on_picture(done, len(folder))
            if seen.intersection(names):
                continue
            seen.update(names)
            images.append(image)
            found.pictures.append(names[0])
            found.files.append(names[1])
            found.whose.append(cast.person(example.person) if unit == "person" else names[0])
        if images:
            found.clusters += menu.nearest(menus.embed(menu.about.network, np.stack(images), codec)).tolist()
    if found.count < 2:
        raise UserError(
            f"{folder.path}: {found.count} {'person' if unit == 'person' else 'picture'} to vote",
            expected="several: what one of them wants, noise hides",
            fix="; ".join(found.skipped[:1]) or "vote with more pictures, or seal these",
            privacy=NOT_SPENT,
        )
    return found


def _before(
    voters: _Voters, names: set[str], released: ReleaseLedger, cast: BallotLedger, menu: Menu, *, allow_rerelease: bool
) -> tuple[float, str]:
    """mu, for the unit, of what left before of the one who is known best, and why that bounds nothing, where it does not."""
    others = cast.others(names, pool=menu.about.pool)
    if others and not allow_rerelease:
        raise PrivacyError(
            f"some of these pictures, or people, voted in another pool ({len(others)} ballots)",
            expected="pictures that vote in one pool",
            fix="take them out; or --allow-rerelease, and the card says what all of it comes to",
            privacy=f"ballots compose, whatever pool they are for; {NOT_SPENT}",
        )
    whose = dict(zip((*voters.pictures, *voters.files), (*voters.whose, *voters.whose), strict=True))
    squares: dict[str, float] = {}
    for record, mu in released.counted():
        for who in {whose[name] for name in record if name in whose}:
            squares[who] = squares.get(who, 0.0) + (math.inf if mu is None else (mu / 2) ** 2)  # zero-out: the picture is not there
    sealed = math.sqrt(max(squares.values(), default=0.0))
    if any(one.mu is None for one in others):
        return math.inf, "an earlier ballot had noise from a seed"
    if math.isinf(sealed):
        return math.inf, "records of these pictures were sealed without a bound"
    return gaussian.compose([sealed, *(one.mu for one in others if one.mu is not None)]), ""


def _capacity(voters: _Voters, menu: Menu, plan: Plan, folder: Folder) -> list[str]:
    """What these votes can carry; refused where not even one cluster could stand out."""
    noise, owners, clusters = votes.sigma(plan.epsilon, plan.delta, plan.rounds), menu.about.owners, len(menu)
    carried = votes.carried(voters.count, noise, owners)
    whom = "people" if voters.unit == "person" else "pictures"
    if carried < 1:
        needed = votes.needed(1, voters.count, plan.delta, plan.rounds, owners)
        raise UserError(
            f"{folder.path}: {voters.count} {whom}, and noise of {noise:.3g} on every count: no cluster could stand out",
            expected=f"votes that can carry one of {clusters} clusters at least",
            fix=f"--epsilon {_up(needed):g}, fewer --rounds, or more {whom}",
            privacy=NOT_SPENT,
        )
    notes = []
    if carried < clusters:
        needed = votes.needed(clusters, voters.count, plan.delta, plan.rounds, owners)
        notes.append(
            f"at most {carried} of {clusters} clusters can stand out of the noise by these votes; for all of them, shared evenly, it"
            f" would take --epsilon {_up(needed):g}, or a menu of fewer"
        )
    if len(set(voters.clusters)) == 1:
        notes.append("all of these pictures are in one cluster: look at the menu; the next round may tell them apart")
    if voters.unit == "picture":
        notes.append("no `person` column: each picture votes for itself, and the guarantee is for a picture, not for a person")
    return notes


def _up(epsilon: float) -> float:
    """An epsilon that suffices, in two digits."""
    step = 10 ** (math.floor(math.log10(max(epsilon, 1e-6))) - 1)
    return math.ceil(epsilon / step) * step
