"""What steers a picture: one extractor per file, found by ``core.registry``; see ``canny`` for the interface."""

METHOD = ("DESCRIPTION", "extract")  # what every module of it has, a plug-in's too
