"""Attacks on shared LoRA weights, one file each."""

METHOD = ("DESCRIPTION", "TARGETS", "NEEDS", "run")  # what every module of it has, a plug-in's too
