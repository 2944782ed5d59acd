"""Train and share diffusion adapters without giving the pictures away, and measure what you do.

Every name below is found when it is first asked for: ``import sfumato`` loads neither torch nor
diffusers. Each verb has a file of its own in ``sfumato.api``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato._version import __version__ as __version__

if TYPE_CHECKING:
    from sfumato.api.attack import Attacked as Attacked
    from sfumato.api.attack import attack as attack
    from sfumato.api.audit import Report as Report
    from sfumato.api.audit import audit as audit
    from sfumato.api.audit_records import AuditedRecords as AuditedRecords
    from sfumato.api.audit_records import audit_records as audit_records
    from sfumato.api.evolve import Evolved as Evolved
    from sfumato.api.evolve import next_round as next_round
    from sfumato.api.evolve import start_pool as start_pool
    from sfumato.api.finetune import FinetuneConfig as FinetuneConfig
    from sfumato.api.finetune import Finetuned as Finetuned
    from sfumato.api.finetune import LoraSettings as LoraSettings
    from sfumato.api.finetune import finetune as finetune
    from sfumato.api.generate import Generated as Generated
    from sfumato.api.generate import generate as generate
    from sfumato.api.load import load_base as load_base
    from sfumato.api.load import load_controlnet as load_controlnet
    from sfumato.api.load import load_records as load_records
    from sfumato.api.scrub import Scrubbed as Scrubbed
    from sfumato.api.scrub import scrub as scrub
    from sfumato.api.seal import Sealed as Sealed
    from sfumato.api.seal import seal as seal
    from sfumato.api.train import TrainConfig as TrainConfig
    from sfumato.api.train import Trained as Trained
    from sfumato.api.train import train as train
    from sfumato.api.vote import Voted as Voted
    from sfumato.api.vote import vote as vote

_FILES = {
    "attack": ("Attacked", "attack"),
    "audit": ("Report", "audit"),
    "audit_records": ("AuditedRecords", "audit_records"),
    "evolve": ("Evolved", "next_round", "start_pool"),
    "finetune": ("FinetuneConfig", "Finetuned", "LoraSettings", "finetune"),
    "generate": ("Generated", "generate"),
    "load": ("load_base", "load_controlnet", "load_records"),
    "scrub": ("Scrubbed", "scrub"),
    "seal": ("Sealed", "seal"),
    "train": ("TrainConfig", "Trained", "train"),
    "vote": ("Voted", "vote"),
}
_PLACES = {name: f"sfumato.api.{file}" for file, names in _FILES.items() for name in names}
__all__ = ["__version__", *sorted(_PLACES)]

if not TYPE_CHECKING:  # a type checker reads the imports above, and tells a name that is none

    def __getattr__(name: str) -> object:
        """Find a name of the face in its file, and keep it."""
        if name not in _PLACES:
            raise AttributeError(f"module 'sfumato' has no attribute {name!r}; it has {', '.join(__all__)}")
        from importlib import import_module

        found = getattr(import_module(_PLACES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
