"""Every scheme, run small: what it trains generates, what it counts is what crossed, and its ledger claims nothing that it cannot."""

import json
import math
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionControlNetPipeline

from sfumato.accounting import accountant
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.controlnet import load_controlnet, load_latent_controlnet
from sfumato.schemes import centralised, oneway, public, sealed, split, synthetic
from sfumato.schemes._wire import Job, Local, Remote, Traffic, Vanished
from sfumato.server.fit import TrainConfig
from sfumato.server.generate import generate

LATENT = 4 * 8 * 8


@pytest.fixture
def job(base, make_folder, tmp_path, monkeypatch):
    folders = {"alice": make_folder("alice", count=6), "bob": make_folder("bob", count=5, seed=1)}

    numbers = count()

    def make(steps=3, connect=Local, **options):
        config = TrainConfig(steps=steps, batch=4, warmup=1, held_out=0)
        return Job(folders=folders, base=base, out=tmp_path / f"net-{next(numbers)}", config=config, connect=connect, options=options)

    return make


PUBLIC = {"images": np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8), "captions": ["a b"] * 6}
ARMS = {
    "centralised": (centralised, {}), "public": (public, PUBLIC), "synthetic": (synthetic, {"count": 5}), "sealed": (sealed, {}),
    "derived": (sealed, {"condition": "derived"}), "oneway": (oneway, {}), "identity": (oneway, {"activation": "identity"}),
    "split": (split, {"turn": 2}), "refreshed": (sealed, {"condition": "derived", "draws": 2, "derive_steps": 2, "refresh": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", ARMS)
def test_every_scheme_trains_what_generates_and_runs_in_the_stock_pipeline(job, base, mini, name, tmp_path):
    scheme, options = ARMS[name]
    outcome = scheme.run(job(**options))
    model, settings = load_latent_controlnet(outcome.controlnet)
    for part in model.state_dict().values():
        assert bool(part.isfinite().all())
    conditions = np.zeros((2, 32, 32, 3), np.uint8)
    conditions[1, 8:24, 8:24] = 255
    with torch.no_grad():  # as after three steps nothing can be seen yet
        for block in model.controlnet_down_blocks:
            block.weight.add_(0.3 * torch.randn(block.weight.shape, generator=generator(0)))
    assert settings["scheme"] == scheme.__name__.rpartition(".")[2]
    assert settings["privacy"]["guarantee"] == ("not needed" if name in ("public", "synthetic") else "none")
    drawn = {
        which: generate(base, ["a b"] * 2, seed=0, controlnet=model, settings=settings, conditions=seen, steps=2)
        for which, seen in (("both", conditions), ("first", conditions[[0, 0]]))
    }
    assert np.array_equal(drawn["both"][0], drawn["first"][0]) and not np.array_equal(drawn["both"][1], drawn["first"][1])
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        mini, controlnet=load_controlnet(outcome.controlnet, vae=base.vae), safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    rgb = torch.from_numpy(conditions[1:]).permute(0, 3, 1, 2).float() / 255
    made = pipe("a b", image=rgb, num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="np").images
    assert made.shape == (1, 32, 32, 3) and np.isfinite(made).all()


def test_no_scheme_but_the_sealed_one_can_claim_a_number(job, base):
    clips = {"clip": 1.0, "condition_clip": 1.0, "seal_step": 900, "condition_step": 900}
    for name, (scheme, options) in ARMS.items():
        left = scheme.run(job(**options, **(clips if name in ("sealed", "derived", "refreshed") else {}))).ledger
        if name in ("public", "synthetic"):
            assert left == ()
        elif name in ("sealed", "derived", "refreshed"):
            assert math.isfinite(accountant.total(left)) and len(left) == (2 if name == "sealed" else 1)
        else:
            assert math.isinf(accountant.total(left))
            rows = accountant.card(left)
            assert rows and all(row["guarantee"] == "none" for row in rows) and "epsilon" not in json.dumps(rows)


def test_oneway_batches_join_under_bf16():
    """Its records come in halves, integers and floats, which autocast would refuse to join."""
    sent = {"h": torch.ones(5, 4, 2, 2).half(), "z_t": torch.ones(5, 4, 2, 2), "t": torch.arange(5, dtype=torch.int32)}
    peers = {name: SimpleNamespace(call=lambda *args, **facts: sent) for name in ("a", "b")}
    with torch.autocast("cpu", torch.bfloat16):
        batches = [oneway._Epochs(peers, [], 8, 0).batch(0), oneway._Epochs(peers, [], 12, 0).batch(0)]
    assert [len(batch["t"]) for batch in batches] == [8, 12]
    assert {name: value.dtype for name, value in batches[0].items()} == {name: value.dtype for name, value in sent.items()}


def test_oneway_sends_what_the_formula_says_in_every_epoch(job):
    outcome = oneway.run(job(steps=5))  # 20 records of 11: two epochs
    for owner, pictures in (("alice", 6), ("bob", 5)):
        traffic = outcome.traffic[owner]
        payload = 2 * pictures * (LATENT * (2 + 4 + 4) + 4)
        assert 0 <= traffic.bytes_up - payload <= 2 * 600 and (traffic.messages_up, traffic.messages_down) == (2, 0)
        assert traffic.bytes_down == 0 and outcome.owners[owner]["pictures"] == pictures
    assert outcome.ledger[0].times == 2 and outcome.online


def owner_of(folder, base, **options):
    from sfumato.owner.folder import read_folder

    return oneway.Owner(read_folder(folder, size=32, condition="canny"), base, **options)


@pytest.mark.parametrize("activation", ["symsigmoid", "identity"])
def test_a_one_way_record_holds_the_picture_and_the_condition(base, make_folder, activation):
    owner = owner_of(make_folder(count=8), base, activation=activation, t_min=300, insecure_seed=0)
    sent = owner.epoch({})
    assert int(sent["t"].min()) >= 300
    alpha, sigma = (x.view(-1, 1, 1, 1) for x in (base.schedule.alpha(sent["t"]), base.schedule.sigma(sent["t"])))
    z_0 = (sent["z_t"].double() - sigma * sent["eps"].double()) / alpha
    place = [int((owner.z_0 - z).flatten(1).norm(dim=1).argmin()) for z in z_0]
    assert sorted(place) == list(range(8))
    assert float((z_0 - owner.z_0[place]).norm() / owner.z_0.norm()) < 1e-3
    x = owner.c[place] + sent["z_t"]
    assert torch.allclose(sent["h"].float(), nets.ACTIVATIONS[activation](x), rtol=2e-3, atol=2e-3)


def test_eps_stays_home_when_it_is_withheld_and_then_nothing_trains(job, base, make_folder):
    assert set(owner_of(make_folder(count=2), base, withhold_eps=True).epoch({})) == {"h", "z_t", "t"}
    work = job(withhold_eps=True)
    with pytest.raises(UserError, match="withheld"):
        oneway.run(work)
    assert not work.out.exists()


@pytest.mark.parametrize("t_min", [-1, 1000, None, True])
def test_a_t_min_that_no_step_has_is_refused_before_anything_leaves(job, t_min):
    with pytest.raises(UserError, match="t_min"):
        oneway.run(job(t_min=t_min, connect=lambda *a: pytest.fail("an owner was asked")))


def test_the_activation_is_odd_increasing_and_the_papers():
    x = torch.linspace(-6, 6, 1001)
    f = nets.symsigmoid(x)
    assert torch.allclose(f, -f.flip(0), atol=1e-6) and bool((f.diff() > 0).all())
    assert torch.allclose(f, x.abs() * torch.tanh(x / 2), atol=1e-6)  # 2 sigmoid(x) - 1 = tanh(x / 2)


def test_what_the_paper_claims_is_void_at_every_step(base):
    left = [release for t_min in (0, 500, 999) for release in oneway.ledger(base, t_min=t_min, epochs=3, withhold_eps=False)]
    assert all(math.isinf(release.mu("replace-one")) and release.gap for release in left)


def test_split_learning_computes_the_gradients_of_the_whole(base, make_folder):
    """An owner's entrance and a server's rest, joined by the wire, give what one network gives."""
    from sfumato.owner.folder import read_folder

    folder = read_folder(make_folder(count=5), size=32, condition="canny")
    owner = split.Owner(folder, base, lr=1e-3, weight_decay=0.0, ema=0.9, seed=0)
    whole = nets.new_controlnet(base, generator=generator(0, 1))
    with torch.no_grad():
        for block in whole.controlnet_down_blocks:
            block.weight.add_(0.3 * torch.randn(block.weight.shape, generator=generator(0)))
    weights = nets.Entrance.of(whole).state_dict()
    owner.take({f"{part}.{k}": v.detach().clone() for part in ("weights", "average") for k, v in weights.items()})
    sent = owner.forward({}, number=0, size=4)
    owner.optimiser = torch.optim.SGD(owner.entrance.parameters(), lr=0.0)  # keeps the gradients to be compared
    owner.optimiser.zero_grad = lambda **k: None

    def error(model):
        down, mid = model(sent["z_t"], sent["t"], sent["context"], controlnet_cond=c, return_dict=False)
        output = base.unet(
            sent["z_t"], sent["t"], encoder_hidden_states=sent["context"], down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        ).sample  # fmt: skip
        return (output - sent["eps"]).square().mean()

    from sfumato.records.reader import batch_index

    c = owner.c[batch_index(5, 4, 0, seed=0)]
    error(whole).backward()
    a = sent["a"].requires_grad_()
    hook = whole.conv_in.register_forward_hook(lambda module, args, output: a)
    silent, c = whole.controlnet_cond_embedding, torch.zeros_like(c)
    whole.controlnet_cond_embedding = torch.nn.Module()
    whole.controlnet_cond_embedding.forward = lambda x: torch.zeros(4, 8, 8, 8)
    error(whole).backward()
    whole.controlnet_cond_embedding = silent
    hook.remove()
    owner.backward({"grad": a.grad / 2}, rate=1.0, step=0, last=False)
    assert torch.equal(next(owner.entrance.parameters()), weights["conv_in.weight"])  # no step before the last part
    owner._out = owner.entrance(sent["z_t"], owner.c[batch_index(5, 4, 0, seed=0)])
    owner.backward({"grad": a.grad / 2}, rate=1.0, step=0, last=True)
    total = math.sqrt(sum(float(p.grad.square().sum()) for p in owner.entrance.parameters()))
    for (name, mine), theirs in zip(owner.entrance.named_parameters(), nets.Entrance.of(whole).parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-6), (name, total)


def test_split_counts_both_ways_and_hands_the_entrance_on(job):
    outcome = split.run(job(steps=4, turn=1))
    channels = 8
    gradient = 4 * channels * 64 * 4
    for traffic in outcome.traffic.values():
        assert traffic.bytes_down > 2 * gradient and traffic.bytes_up > 2 * (gradient + 2 * 4 * LATENT * 4)
        assert traffic.messages_up >= 3
    assert outcome.online and all(release.void for release in outcome.ledger)


def test_a_sealed_owner_sends_once_however_long_the_training(job):
    short, long = (sealed.run(job(steps=steps)) for steps in (1, 4))
    for owner, pictures in (("alice", 6), ("bob", 5)):
        assert abs(short.traffic[owner].bytes_up - long.traffic[owner].bytes_up) < 64  # the decimals of a signature's JSON
        assert short.traffic[owner].bytes_down == 0 and short.traffic[owner].bytes_up > 2 * 2 * LATENT * pictures
    assert not long.online


def test_centralised_sends_the_files(job):
    outcome = centralised.run(job(steps=1))
    for owner, folder in job().folders.items():
        files = sum(path.stat().st_size for path in folder.glob("*.png"))
        assert files < outcome.traffic[owner].bytes_up < files + 200 * outcome.owners[owner]["pictures"] + 1000


class Gone(Local):
    """An owner that is gone after two calls."""

    def __init__(self, *args):
        super().__init__(*args)
        self.left = 2 if "bob" in str(args[1]) else 10**9

    def _exchange(self, request):
        self.left -= 1
        if self.left < 0:
            raise Vanished("bob is gone")
        return super()._exchange(request)


@pytest.mark.parametrize("scheme", [oneway, split])
def test_the_others_go_on_without_an_owner_that_vanished(job, scheme):
    outcome = scheme.run(job(steps=12, connect=Gone, **({"turn": 2} if scheme is split else {})))
    assert any("vanished" in note for note in outcome.notes) and load_latent_controlnet(outcome.controlnet)


@pytest.mark.parametrize("scheme", [oneway, split])
def test_without_any_owner_it_ends_with_a_clear_word(job, scheme, monkeypatch):
    class None_left(Gone):
        def __init__(self, *args):
            super().__init__(*args)
            self.left = 2

    with pytest.raises(Vanished, match="every owner is gone"):
        scheme.run(job(steps=30, connect=None_left))


def test_an_owner_in_a_process_of_its_own_answers_alike(base, mini, make_folder):
    arguments = ("oneway", make_folder(count=3), str(mini), "canny", {"insecure_seed": 1})
    near, far = Local(*arguments), Remote(*arguments)
    here, there = (peer.call("epoch", asked=False) for peer in (near, far))
    assert set(here) == set(there) and all(torch.allclose(here[name], there[name], atol=1e-5) for name in here)
    for peer in (near, far):
        with pytest.raises(UserError, match="no attribute"):
            peer.call("nonsense")
    report = far.close()
    assert near.traffic.bytes_up == far.traffic.bytes_up > 0 and isinstance(far.traffic, Traffic)
    assert (
        report["pictures"] == 3 and report["peak_bytes"] > 50e6 and report["seconds"] > 0 and report["flops"] == near.close()["flops"] > 0
    )


def test_an_owner_whose_process_dies_is_missed_and_the_others_end(job):
    """A real process, really killed."""
    peers = {}

    def connect(scheme, folder, *rest):
        peers[folder.name] = Remote(scheme, folder, *rest)
        return peers[folder.name]

    def kill(progress):
        if progress.step == 2:
            peers["bob"]._process.kill()
            peers["bob"]._process.wait()

    work = job(steps=8, connect=connect)
    object.__setattr__(work, "on_step", kill)
    outcome = oneway.run(work)
    assert any("bob vanished" in note for note in outcome.notes) and load_latent_controlnet(outcome.controlnet)
    assert outcome.owners["alice"]["pictures"] == 6 and outcome.owners["bob"] == {}


@pytest.mark.parametrize("connect", [Local, Remote])
def test_an_owner_that_cannot_open_its_folder_says_why(job, connect):
    work = job(connect=connect)
    (work.folders["bob"] / "secret-0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="bob: .*secret-0.png: could not be read"):
        oneway.run(work)


def test_a_sealed_run_goes_on_with_the_records_that_it_has(job):
    work = job(steps=2)
    first = sealed.run(work)
    records = {path.name for path in (work.out.parent / f"{work.out.name}-records").rglob("*.safetensors")}
    again = sealed.run(work)
    assert records == {path.name for path in (work.out.parent / f"{work.out.name}-records").rglob("*.safetensors")} != set()
    assert first.ledger == again.ledger


def test_misspelt_options_do_not_seal(job):
    with pytest.raises(UserError, match="clips"):
        sealed.run(job(clips=8.0))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"vary": "all"}, "noised records"),
        ({"vary": "twirl", "condition": "derived"}, "twirl"),
        ({"vary": "twirl", "seal_step": None}, "twirl"),
    ],
)
def test_what_cannot_be_varied_is_refused_before_anything_leaves(job, options, word):
    work = job(**options, connect=lambda *a: pytest.fail("an owner was asked"))
    with pytest.raises(UserError, match=word):
        sealed.run(work)


@pytest.mark.parametrize("clear", [{"seal_step": None, "condition_step": None}, {"condition": "derived", "derive_steps": 1}])
def test_sealed_trains_on_variations_above_the_step_that_it_is_given(job, monkeypatch, clear):
    given = []
    monkeypatch.setattr(sealed, "train", lambda pairs, base, out, config, **how: given.append((pairs, config)))
    monkeypatch.setattr(Job, "declare", lambda *a: None)
    for more in ({}, {"vary": "hue", "above": 700}):
        sealed.run(job(**clear, insecure_seed=0, **more))
    (plain, before), (varied, after) = given
    assert (before.above, after.above) == (-1, 700) and len(plain) == len(varied) == 11
    assert not torch.equal(plain.z_n[:], varied.z_n) and bool((varied.n == -1).all())


def test_synthetic_and_public_are_varied_too(job, monkeypatch):
    given = []
    for scheme in (synthetic, public):
        monkeypatch.setattr(scheme, "train", lambda pairs, *rest, captions=None, **how: given.append((pairs, captions)))
    monkeypatch.setattr(Job, "declare", lambda *a: None)
    for more in ({}, {"vary": "hue"}, {"prompts": ("a", "b")}):
        synthetic.run(job(count=3, **more))
    (plain, _), (varied, _), (prompted, _) = given
    assert not torch.equal(plain.z_n, varied.z_n) and not torch.equal(plain.z_n, prompted.z_n) and len(plain) == len(prompted) == 3
    given.clear()
    for more in ({}, {"vary": "hue"}, {"captioned": 0}):
        public.run(job(**PUBLIC, **more))
    (plain, words), (varied, _), (same, none) = given
    assert not torch.equal(plain.z_n, varied.z_n) and torch.equal(plain.z_n, same.z_n)
    assert words is not None and none is None


def test_split_learning_refuses_scaled_gradients(job):
    work = job()
    object.__setattr__(work, "config", TrainConfig(steps=1, precision="fp16"))
    with pytest.raises(UserError, match="fp16"):
        split.run(work)


def test_public_needs_public_pictures(job):
    with pytest.raises(UserError, match="public pictures"):
        public.run(job())
