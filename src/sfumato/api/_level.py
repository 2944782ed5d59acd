"""The settings of a seal: of a level that was measured, or steps that an owner chose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sfumato.core import registry
from sfumato.core.errors import UserError
from sfumato.diffusion.base import Codec
from sfumato.owner.domain import Distance
from sfumato.records import presets
from sfumato.records.record import SealSettings

Step = int | Literal["none"] | None  # "none": not noised; None: not chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What an owner asked for: a level, or steps, or neither."""

    privacy: str | None = None
    seal_step: Step = None
    condition_step: Step = None
    derive: bool = False
    clip: float | None = None
    condition_clip: float | None = None
    bits: int = 16

    @property
    def by_hand(self) -> bool:
        """Whether steps were chosen."""
        return self.seal_step is not None or self.condition_step is not None or self.derive


def choose(asked: Asked, codec: Codec, *, condition: str) -> tuple[str | None, SealSettings]:
    """The level, if one decides, and the settings.

    Without a choice it is the level that was measured; where none was, a choice is needed.

    Raises:
        UserError: no choice on a base where nothing was measured, or half of one.
    """
    if asked.privacy is not None and asked.by_hand:
        raise UserError("--privacy with steps or --derive", expected="one or the other: a level decides the steps")
    if not asked.by_hand:
        level = asked.privacy or presets.DEFAULT
        if supplied(condition) and level in presets.known(codec.fingerprint, codec.latent_shape).get("levels", {}):
            raise _unused(level, condition)
        preset = presets.find(level, codec.fingerprint, codec.latent_shape, condition=condition)
        condition_clip = None if preset.derived else asked.condition_clip
        return level, replace(preset, clip=asked.clip, condition_clip=condition_clip, bits=asked.bits)
    if asked.seal_step is None:
        raise UserError(
            "no --seal-step",
            expected="the step of the pictures beside --condition-step or --derive",
            fix="give --seal-step, such as 900, or take --privacy alone",
            privacy="the step decides how much of a picture comes back: none is taken silently",
        )
    derived = asked.condition_step is None
    if derived and not asked.derive and (asked.seal_step == "none" or supplied(condition)):
        raise UserError(
            f"--seal-step {asked.seal_step} --condition {condition} without --condition-step",
            expected="the step of the conditions: none can be found in such records, so they have to leave",
            fix="give --condition-step, or 'none' for conditions that leave as they are"
            + ("; or --condition canny, to leave the folder's own out" if supplied(condition) else ""),
            privacy="a condition at a low step gives its edges away",
        )
    if asked.derive and not derived:
        raise UserError("--derive with --condition-step", expected="one or the other: a derived condition does not leave")
    return None, SealSettings(
        condition=condition,
        seal_step=_index(asked.seal_step, "--seal-step"),
        condition_step=_index(asked.condition_step, "--condition-step"),
        clip=asked.clip,
        condition_clip=asked.condition_clip,
        derived=derived,
        bits=asked.bits,
    )


def _index(step: Step, option: str) -> int | None:
    """A step as records have it: ``None`` for "not noised"."""
    if step is None or step == "none":
        return None
    if isinstance(step, bool) or not isinstance(step, int):
        raise UserError(f"{option} {step!r}", expected="a step such as 600, or none for unsealed")
    return step


def _unused(level: str, condition: str) -> UserError:
    """Why a level cannot take the folder's own conditions, and both ways out."""
    return UserError(
        f"privacy {level!r} for condition {condition!r}: the folder brings its conditions, and at this level none leaves",
        expected="conditions that leave at a step of their own, or conditions that the server finds by itself",
        fix="--seal-step N --condition-step M lets yours leave, sealed; --condition canny seals at this level without them",
        privacy="a condition that leaves gives its edges away, and no level was measured with it: run sfumato attack before you upload",
    )


def supplied(condition: str) -> bool:
    """Whether a folder brings this condition, in place of an extractor that finds it."""
    return bool(getattr(registry.get("conditions", condition), "SUPPLIED", False))


def measured(level: str | None, codec: Codec, distance: Distance | None) -> list[str]:
    """What is known of these steps on these pictures, and that the owner should try."""
    if level is None:
        said = ["steps chosen by hand: how much comes back was not measured. Run sfumato attack RECORDS --truth PICTURES before you upload"]
    else:
        said = [f"--privacy {level}: {line}" for line in presets.describe(level, codec.fingerprint, codec.latent_shape)]
    if level is not None and distance is None:
        said.append("whether your pictures are like those was not measured on this base, or none of them could be read")
    if distance is not None and distance.far:
        shares = [f"by their latents {distance.beyond:.0%}" + (", which is far" if distance.by_latents else "")]
        if distance.error_beyond is not None:
            shares.append(
                f"by the error of the VAE's reconstruction {distance.error_beyond:.0%}" + (", which is far" if distance.by_error else "")
            )
        said.append(
            f"WARNING: these pictures are not like {distance.style}: of {distance.pictures} that were looked at lie beyond where 95 % of "
            f"such pictures lie {'; '.join(shares)}. "
            "No figure that was measured there holds here: see what sfumato attack gets from them before you upload"
        )
    return said
