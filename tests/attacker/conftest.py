"""Fixtures of all attacks."""

import pytest

from sfumato.attacker import attempt as attempts


@pytest.fixture
def stub(monkeypatch):
    """Put an attack of one's own under the name ``stub``."""

    def put(run, needs, may_use=(), **more):
        module = type("Stub", (), {"NEEDS": needs, "MAY_USE": may_use, "run": staticmethod(run), **more})
        monkeypatch.setattr(attempts.registry, "get", lambda package, name: module)
        return module

    return put
