"""The size of a study of shared weights in tests."""

from sfumato.studies.lora.people import PeopleConfig

SMALL = PeopleConfig(public=4, victims=2, each=2, rank=2, steps=2, batch=2, keep=2, together=4)
