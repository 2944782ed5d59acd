"""What ``sfumato finetune --json`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sfumato.cli.outputs._base import Output


@dataclass(frozen=True, kw_only=True)
class NoGuarantee:
    """What the weights guarantee: nothing.

    Attributes:
        guarantee: always ``none``.
    """

    guarantee: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True)
class Finetune(Output):
    """A LoRA that was fine-tuned, and how.

    Attributes:
        out, format, bytes: the file.
        pictures, crop, captioned: what it was made from, and how many had a caption in use.
        trigger, prompt: the word, and what draws who is on the pictures.
        class_pictures: that the base drew, not to forget the class.
        layers, parameters, rank, lora_alpha: the adapter's size and scale.
        steps, loss: of the training; the loss at its end.
        privacy: the file leaks the pictures.
        seconds: what it took.
    """

    out: str
    format: str
    pictures: int
    crop: str
    trigger: str
    class_pictures: int
    prompt: str
    captioned: int
    layers: int
    parameters: int
    bytes: int
    rank: int
    lora_alpha: float
    steps: int
    loss: float
    privacy: NoGuarantee
    seconds: float


OUTPUTS = (Finetune,)
