"""The verbs of ``sfumato`` for Python: one file each.

The command line parses, calls these and prints. They take paths and typed options, give typed
results, print nothing, and tell progress and notes to callbacks. What a caller can mend is a
``UserError`` (a ``ValueError``); its words name options as the command does: ``--seal-step`` is
``seal_step``.
"""
