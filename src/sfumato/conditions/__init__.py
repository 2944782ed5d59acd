"""What steers a picture: one extractor per file, found by ``core.registry``; see ``canny`` for the interface."""
