"""What several commands share and their help needs; and ``sfumato inspect`` of a trained ControlNet's folder: what would be shared."""

from __future__ import annotations

from pathlib import Path

import typer

CROP = "What becomes of a picture that is no square: center (its middle), pad (all of it, white beside it), none (refused)."


def is_controlnet(folder: Path) -> bool:
    """Whether ``folder`` is one of a ControlNet of ours, and none of records."""
    from sfumato.diffusion.controlnet_folder import SETTINGS

    return (folder / SETTINGS).is_file() and not (folder / "manifest.json").exists()


def show(folder: Path, *, as_json: bool) -> None:
    """List every file, what it is and whether it belongs there. Exit code 1 where something does not."""
    from sfumato.cli import _output
    from sfumato.server.export import contents

    found = contents(folder)
    if as_json:
        from sfumato.cli.outputs.inspect import ControlnetSeen
        from sfumato.cli.outputs.train import SharedFile

        _output.emit(ControlnetSeen(controlnet=str(folder), files=tuple(SharedFile.of(item) for item in found)))
    else:
        for item in found:
            _output.show(f"{'PRIVATE?' if item.private else 'shared':8} {item.bytes:>12,} bytes  {item.file}: {item.what}")
    if any(item.private for item in found):
        raise typer.Exit(1)


def show_ballot(path: Path, *, as_json: bool) -> None:
    """Verify a ballot, and show what is in it and what it guarantees, by its own words."""
    from dataclasses import asdict

    from sfumato.cli import _output
    from sfumato.records import ballot as ballots
    from sfumato.records.trust import check_owner

    found = ballots.read(path)
    new = check_owner(found)
    card = ballots.card(found)
    if as_json:
        from sfumato.cli.outputs.inspect import BallotSeen

        said = asdict(found) | {"counts": tuple(found.votes.tolist()), "card": tuple(card)}
        _output.emit(BallotSeen(**said, key_is_new_here=new))
        return
    unknown = " (a key not known here)" if new else ""
    _output.show(f"owner        {found.owner}, key {found.public_key[:16]}…, signature good{unknown}")
    _output.show(f"menu         {found.menu[:16]}…; one ballot of {found.rounds}")
    _output.show(f"noise        claimed: deviation {found.noise_multiplier:.3g} on every count")
    _output.show(f"counts       {', '.join(f'{one:.1f}' for one in found.votes)}")
    for line in card:
        _output.show(f"privacy card {line}")
