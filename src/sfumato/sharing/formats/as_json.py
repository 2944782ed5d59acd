"""JSON: the report's own fields."""

from __future__ import annotations

import json

from sfumato.sharing.finding import Report


def write(report: Report) -> str:
    """One JSON object."""
    return json.dumps(report.as_json(), indent=1) + "\n"
