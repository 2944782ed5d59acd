"""Encoders of adapters, one file each: factors in, what the UNet shall see in a prompt's place out."""

METHOD = ("Encoder",)  # what every module of it has, a plug-in's too
