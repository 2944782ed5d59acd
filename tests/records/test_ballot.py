"""A ballot is what its owner signed, small, and says no more than it may."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.accounting import gaussian, votes
from sfumato.core.errors import RecordError
from sfumato.records import ballot as ballots
from sfumato.records.ballot import Ballot
from sfumato.records.manifest import public_hex

KEY = Ed25519PrivateKey.generate()


def ballot(**changes):
    fields = {
        "owner": "alice", "public_key": public_hex(KEY), "menu": "b" * 64, "unit": "person", "epsilon": 1.0, "delta": 1e-5, "rounds": 2,
        "secure": True, "counts": (5, -3, ballots.LARGEST, -ballots.LARGEST),
    }  # fmt: skip
    return Ballot(**{**fields, **changes})


def test_what_is_signed_is_what_is_read(tmp_path):
    (tmp_path / "b").write_bytes(ballots.pack(ballot(), KEY))
    assert ballots.read(tmp_path / "b") == ballot()
    assert ballot().votes[:2].tolist() == [5 / 2**votes.GRID_BITS, -3 / 2**votes.GRID_BITS]


def test_a_hundred_clusters_take_less_than_a_kilobyte():
    long = ballot(owner="o" * 64, counts=(ballots.LARGEST,) * 100, epsilon=1.2345678901234567)
    assert len(ballots.pack(long, KEY)) <= 1024


def test_its_noise_follows_from_what_it_claims():
    assert 2**0.5 / ballot().noise_multiplier == pytest.approx(gaussian.target_mu(1.0, 1e-5))
    assert ballot().mu == pytest.approx(1 / ballot().noise_multiplier) and ballot(secure=False).mu == float("inf")


def test_every_changed_byte_is_noticed(tmp_path):
    data = ballots.pack(ballot(), KEY)
    body = json.loads(data)
    for name, value in {
        "owner": "bob",
        "epsilon": 2.0,
        "rounds": 1,
        "menu": "c" * 64,
        "counts": "AAAA" * 4,
        "secure": False,
        "unit": "picture",
    }.items():
        with pytest.raises(RecordError, match="signature does not fit"):
            ballots.parse(json.dumps({**body, name: value}).encode(), name="b")
    for wrong in ({"signature": None}, {"signature": "00" * 64}, {"public_key": public_hex(Ed25519PrivateKey.generate())}):
        with pytest.raises(RecordError, match="signature does not fit"):
            ballots.parse(json.dumps({**body, **wrong}).encode(), name="b")
    del body["signature"]
    with pytest.raises(RecordError, match="signature"):
        ballots.parse(json.dumps(body).encode(), name="b")


def signed(**changes):
    """A file that is signed rightly, whatever it says."""
    body = {k: v for k, v in json.loads(ballots.pack(ballot(), KEY)).items() if k != "signature"} | changes
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**body, "signature": KEY.sign(canonical).hex()}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "sfumato-records"}, {"schema": 2}, {"owner": "../x"}, {"menu": "b"}, {"unit": "house"},
        {"epsilon": -1.0}, {"epsilon": "1"}, {"epsilon": True}, {"delta": 0.0}, {"delta": 2.0}, {"rounds": 0}, {"rounds": 1.0},
        {"secure": 1}, {"counts": "AAAA"}, {"counts": "AAA"}, {"counts": [1, 2]}, {"counts": "????"}, {"counts": ""}, {"more": 1},
    ],
)  # fmt: skip
def test_what_its_owner_should_not_have_signed_is_refused_too(changes):
    with pytest.raises(RecordError):
        ballots.parse(signed(**changes), name="b")


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"kind": 1}', b"{" * 200])
def test_what_is_no_ballot_is_refused(tmp_path, data):
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(RecordError, match=str(tmp_path / "b")):
        ballots.read(tmp_path / "b")


def test_a_count_beyond_the_edge_is_brought_to_it():
    assert ballots.clamped([10**9, -(10**9), 3]) == (ballots.LARGEST, -ballots.LARGEST, 3)


def test_the_card_says_what_all_rounds_come_to_and_for_whom():
    said = "\n".join(ballots.card(ballot()))
    assert "epsilon 1 at delta 1e-05" in said and "unit: one person" in said and "add-or-remove" in said and "2 ballots" in said
    mu = gaussian.target_mu(1.0, 1e-5)
    assert f"of 200 at most {gaussian.identification(200, mu):.2g}" in said and "NOT A PERSON" not in said
    assert "NOT A PERSON" in "\n".join(ballots.card(ballot(unit="picture")))
    more = ballots.card(ballot(), before=0.5)
    assert f"epsilon {gaussian.epsilon(1e-5, gaussian.compose([mu, 0.5])):.4g}" in more[-1]


def test_without_a_guarantee_no_number_stands():
    assert not any("epsilon" in line or "chance" in line for line in ballots.card(ballot(secure=False)))
    last = ballots.card(ballot(), before=float("inf"), unbounded="sealed without a bound")[-1]
    assert "none (sealed without a bound)" in last and "epsilon" not in last and "chance" not in last
