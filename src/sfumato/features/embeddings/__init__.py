"""Public frozen networks that say how alike pictures are: one file each, found by ``core.registry``.

A menu is made with one, and an owner votes with the same. ``fingerprint(codec)`` is a SHA-256 of all
that decides the numbers; ``embed(images, codec)`` takes uint8 ``(N, H, W, 3)`` to float32 ``(N, D)``.
Both are given the base's VAE, as ``base.Pictures`` describes it; most have no use for it.
"""

METHOD = ("DESCRIPTION", "fingerprint", "embed")  # what every module of it has, a plug-in's too
