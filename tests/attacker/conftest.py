"""Fixtures of all attacks."""

import pytest

from sfumato.attacker import attempt as attempts


@pytest.fixture
def stub(monkeypatch):
    """Put an attack of one's own under the name ``stub``."""

    def put(run, needs):
        module = type("Stub", (), {"NEEDS": needs, "run": staticmethod(run)})
        monkeypatch.setattr(attempts.registry, "get", lambda package, name: module)

    return put
