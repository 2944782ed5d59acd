"""``sfumato inspect``: what is in a folder of records, and what a server sees in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sfumato.cli._choices import Crop

SHOWN = 8
STANDING = {
    "trial": "TRIAL        these records must not leave this machine: a trial is counted as no release, and train refuses it",
    "withdrawn": "WITHDRAWN    these records must not leave their owner's machine: they never did, by the owner's word, and count no more",
}


def command(
    records: Annotated[Path, typer.Argument(help="A folder that sfumato seal wrote, or sfumato train; or a ballot.")],
    picture: Annotated[Path | None, typer.Option("--picture", help="Write 'as the server sees it' to this PNG.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that is there.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Try to refute what is claimed, by the records themselves.")] = False,
    truth: Annotated[Path | None, typer.Option(help="With --audit: the folder that was sealed, for what only its owner can test.")] = None,
    crop: Annotated[
        Crop | None,
        typer.Option(help="With --truth: as seal was told. [default: what your ledger says, else center]"),
    ] = None,
    selftest: Annotated[bool, typer.Option("--selftest", help="Run this version's mechanism; says nothing of these records.")] = False,
    base: Annotated[str, typer.Option(help="The base that the records were sealed for.")] = "tiny",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Verify records and show what leaves the machine. Exit code 1 when a shard is bad, or a claim refuted.

    Of a trained ControlNet's folder it lists what would be shared, and exits with 1 where something does not belong there. Of a ballot
    it shows what is in it.
    """
    from sfumato.cli import _audit, _output
    from sfumato.core.errors import UserError
    from sfumato.diffusion.quiet import quiet_libraries

    quiet_libraries()
    from sfumato.cli import _shared

    if records.is_file():
        if picture or audit or selftest:
            raise UserError(f"{records}: a file", expected="no other options: a ballot is shown as it is")
        _shared.show_ballot(records, as_json=as_json)
        return
    if _shared.is_controlnet(records):
        if picture or audit or selftest:
            raise UserError(f"{records}: a trained ControlNet", expected="no other options: its files are listed")
        _shared.show(records, as_json=as_json)
        return
    from sfumato.api.audit_records import of_records
    from sfumato.core import finished
    from sfumato.core.errors import RecordError
    from sfumato.core.outside import printable
    from sfumato.owner.picture_file import crop_of
    from sfumato.records import manifest as manifests
    from sfumato.records import privacy
    from sfumato.records import shard as shards
    from sfumato.records.rows import Stack
    from sfumato.records.trust import check_owner

    if truth is not None and not audit:
        raise UserError("--truth without --audit", fix="add --audit")
    cut = None if crop is None else crop_of(crop.value)
    if picture is not None:
        finished.keep(picture, overwrite=overwrite, option="--picture")
    manifest = manifests.read(records)
    new = check_owner(manifest)
    bad, good = [], []
    with _output.bar("verifying", len(manifest.shards)) as advance:
        for number, entry in enumerate(manifest.shards, 1):
            try:
                good.append(shards.check(records, entry, manifest))
            except RecordError as error:
                bad.append(str(error))
            advance(number)
    listed = {"manifest.json", *(entry.file for entry in manifest.shards)}
    extra = sorted(ascii(path.name)[1:-1] for path in records.iterdir() if path.name not in listed)
    first = {name: Stack(good, name)[:SHOWN] for name in manifest.settings.fields} if good else None
    not_drawn = None
    if picture is not None:
        try:
            write_picture(records, manifest, first, picture, base)
        except ValueError as error:  # the verdict on the records is not lost with the picture
            not_drawn = str(error)
    unchecked = _unchecked(records, manifest, base)
    audited = of_records(manifest, good, truth, base, crop=cut) if audit else None
    tried = _audit.of_mechanism(manifest, unchecked) if selftest else None
    shape, dtype = list(manifest.shape), str(manifest.settings.dtype).removeprefix("torch.")
    standing = _standing(manifest)
    if as_json:
        from sfumato.cli.outputs.inspect import FieldShape, Inspect

        report = Inspect(
            owner=manifest.owner,
            standing=standing,
            withdrawn_releases=manifest.privacy.get("withdrawn", 0),
            key=manifest.public_key,
            key_is_new_here=new,
            records=manifest.records,
            shards=len(manifest.shards),
            bad=tuple(bad),
            not_in_manifest=tuple(extra),
            fields={name: FieldShape(dtype=dtype, shape=tuple(shape)) for name in manifest.settings.fields},
            bytes_per_picture=manifest.bytes_per_picture,
            settings=manifest.settings,
            secure_noise=manifest.secure_noise,
            base=manifest.base,
            privacy=manifest.privacy,
            unchecked=unchecked,
            audit=audited,
            selftest=tried,
            picture=None if picture is None or not_drawn else str(picture),
            picture_error=not_drawn,
        )
        _output.emit(report)
    else:

        def tell(line: str) -> None:
            print(printable(line))

        print = _output.show  # what a stranger wrote does nothing to the terminal
        if standing in STANDING:
            tell(STANDING[standing])
        tell(f"owner        {manifest.owner}, key {manifest.public_key[:16]}…, signature good{' (a key not known here)' if new else ''}")
        tell(f"records      {manifest.records} in {len(manifest.shards)} shards, {manifest.bytes_per_picture:.0f} bytes a picture")
        fields = " and ".join(manifest.settings.fields)
        tell(f"leaves       {fields}, each {'x'.join(map(str, shape))} {dtype}; no caption, file name, date or noise")
        tell(f"pictures     claimed: sealed at step {manifest.settings.seal_step}, clip {manifest.settings.clip}")
        how = f"claimed: step {manifest.settings.condition_step}, clip {manifest.settings.condition_clip}"
        tell(f"conditions   {manifest.settings.condition}, {'derived by the server: none leaves' if manifest.settings.derived else how}")
        tell(f"noise        {'claimed: secure, unrepeatable' if manifest.secure_noise else 'INSECURE: from a seed, for tests only'}")
        if unchecked:
            tell(f"UNCHECKED    {unchecked}")
        tell(f"guarantee    {privacy.describe(manifest.privacy)}")
        for line in privacy.card(manifest.privacy, fingerprint=manifest.base["fingerprint"], person=_person(manifest)):
            tell(f"privacy card {line}")
        for line in _audit.records_lines(audited) if audited else ():
            tell(f"audit        {line}")
        if tried:
            tell(f"selftest     {_audit.mechanism_line(tried)}")
        for line in bad:
            tell(f"BAD          {line}")
        for name in extra:
            tell(f"UNKNOWN      {name}: not in the manifest; do not upload it unseen")
        if picture:
            tell(f"picture      {f'NOT DRAWN: {not_drawn}' if not_drawn else picture}")
    if not_drawn:
        raise typer.Exit(2)
    if bad or extra or (audited and audited.refuted) or (tried and tried.get("refuted")):
        raise typer.Exit(1)


def _standing(manifest: Any) -> str:
    """What the records are: by their manifest, or withdrawn by the ledger of this machine, where this is a copy from before."""
    from sfumato.owner import keys
    from sfumato.owner.release_ledger import ReleaseLedger

    place = keys.existing_ledger()
    if manifest.standing == "release" and place and manifest.release in ReleaseLedger(*place, look=True).withdrawn:
        return "withdrawn"
    standing: str = manifest.standing
    return standing


def _person(manifest: Any) -> int | None:
    """How many pictures the person with most has: its owner's machine alone knows."""
    from sfumato.owner import keys, release_folder

    place = keys.existing_ledger()
    return release_folder.person_of(manifest.release, place[0]) if place else None


def _unchecked(records: Path, manifest: Any, base: str) -> str:
    """Why the stated noise could not be compared with the base's, or the empty string.

    Raises:
        RecordError: it could, and is not the base's.
    """
    from sfumato.diffusion.base import load_codec
    from sfumato.records.reader import check_fit

    codec = load_codec(base)
    if manifest.base["fingerprint"] != codec.fingerprint:
        return f"sealed for base {manifest.base['name']!r}, not {base!r}: whether its steps have the stated noise is not known; pass --base"
    check_fit(records, manifest, codec)
    return ""


def write_picture(records: Path, manifest: Any, first: dict[str, Any] | None, out: Path, base: str) -> None:
    """Decode the ``first`` records as the server would: ``z_n`` above, ``c_m``, where it left, below."""
    import io

    import numpy as np
    from PIL import Image

    from sfumato.core.artifact import write_atomic
    from sfumato.core.errors import UserError
    from sfumato.diffusion.base import load_codec
    from sfumato.records.reader import check_fit

    if first is None:
        raise UserError("no good shard, so nothing to draw", fix="fetch the shards again")
    codec = load_codec(base)
    check_fit(records, manifest, codec)
    rows = [np.concatenate(list(codec.decode_pixels(first[name])), axis=1) for name in manifest.settings.fields]
    sheet = Image.fromarray(np.concatenate(rows))
    scale = max(1, 128 // codec.size)
    buffer = io.BytesIO()
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(buffer, "PNG")
    write_atomic(out, buffer.getvalue())
