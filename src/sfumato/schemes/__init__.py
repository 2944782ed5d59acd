"""Ways to train from pictures of several owners, one file each."""

METHOD = ("DESCRIPTION", "run")  # what every module of it has, a plug-in's too
