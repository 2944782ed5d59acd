"""Attacks on what owners send: one file each."""

METHOD = ("DESCRIPTION", "TARGETS", "NEEDS", "COUNT", "run")  # what every module of it has, a plug-in's too
