import signal
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from forked import ends, started, train_on
from server_support import config, records
from sfumato.core.artifact import read_json
from sfumato.core.errors import UserError
from sfumato.core.randomness import generator
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.attention import NullContexts
from sfumato.diffusion.controlnet import load_latent_controlnet
from sfumato.server import validate
from sfumato.server.export import PROVENANCE, SHARED, contents, work_folder
from sfumato.server.generate import generate
from sfumato.server.train import Captioned, objective, train
from tests_support import KILLS

WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_training_lowers_the_loss_and_writes_a_controlnet(base, tmp_path):
    losses = []
    train(records(), base, tmp_path, config(steps=30, lr=3e-3), on_step=lambda p: losses.append(p.loss))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    model, settings = load_latent_controlnet(tmp_path)
    assert settings["condition_scale"] == 1.0  # c itself is shown at generation
    assert settings["context"] == "zeros" and not model.training


def test_resume_is_bit_equal(base, tmp_path):
    train(records(), base, tmp_path / "whole", config())

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(records(), base, tmp_path / "parts", config(), on_step=kill)
    steps = []
    train(records(), base, tmp_path / "parts", config(), on_step=lambda p: steps.append(p.step))
    assert steps == [3, 4, 5, 6]
    whole, parts = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_checkpoint_of_another_run_is_not_mixed_in(base, tmp_path):
    train(records(), base, tmp_path, config())
    with pytest.raises(UserError, match="another run"):
        train(records(), base, tmp_path, config(seed=1))


def test_what_another_run_left_is_not_overwritten_unasked(base, tmp_path):
    out = tmp_path / "net"
    train(records(), base, out, config(steps=2))
    before = (out / WEIGHTS).read_bytes()
    train(records(), base, out, config(steps=2))  # the same run: nothing is left to do, and nothing is lost
    assert (out / WEIGHTS).read_bytes() == before
    with pytest.raises(UserError, match="there already, of another run") as raised:  # its checkpoint lies elsewhere
        train(records(), base, out, config(steps=2, seed=1), work=tmp_path / "other")
    assert "--overwrite" in raised.value.fix and (out / WEIGHTS).read_bytes() == before
    train(records(), base, out, config(steps=2, seed=1), overwrite=True)
    after = (out / WEIGHTS).read_bytes()
    train(records(), base, tmp_path / "fresh", config(steps=2, seed=1))
    assert after == (tmp_path / "fresh" / WEIGHTS).read_bytes() != before  # nothing of the other run's checkpoint came in


def test_an_interrupt_ends_the_step_and_leaves_its_checkpoint(base, tmp_path):
    train(records(), base, tmp_path / "whole", config())
    told = []

    def interrupted(progress):
        told.append(progress.step)
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(records(), base, tmp_path / "parts", config(checkpoint_every=100), on_step=interrupted)
    assert told == [1, 2, 3] and not (tmp_path / "parts" / WEIGHTS).exists()
    train(records(), base, tmp_path / "parts", config(checkpoint_every=100), on_step=interrupted)
    assert told == [1, 2, 3, 5, 6]  # the fourth was under way, and is not lost
    assert (tmp_path / "whole" / WEIGHTS).read_bytes() == (tmp_path / "parts" / WEIGHTS).read_bytes()


def test_a_checkpoint_that_was_cut_short_is_named(base, tmp_path):
    train(records(), base, tmp_path, config(steps=2))
    path = work_folder(tmp_path) / "checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-7], b"", whole[: len(whole) // 2], b"\x00" * 100):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged") as caught:
            train(records(), base, tmp_path, config(steps=2))
        assert "remove" in caught.value.fix and str(path) in caught.value.fix
    path.unlink()
    train(records(), base, tmp_path, config(steps=2), overwrite=True)


def test_accumulation_takes_more_records_to_a_step(base, tmp_path):
    train(records(), base, tmp_path, config(accumulation=2, steps=2))
    assert read_json(work_folder(tmp_path) / PROVENANCE, what="provenance")["train"]["accumulation"] == 2


def test_what_is_shared_names_nobody_and_the_rest_is_the_trainers_alone(base, tmp_path):
    out = train(records(), base, tmp_path / "net", config(steps=2, validate_every=1, tensorboard=True), validate=lambda *_: None)
    found = contents(out)
    assert {item.file for item in found} == set(SHARED) and not any(item.private for item in found)
    assert all(item.bytes == (out / item.file).stat().st_size for item in found)
    assert len({(out / item.file).stat().st_mode for item in found}) == 1  # as the umask says, the weights as well
    said = read_json(out / "sfumato.json", what="settings")
    assert said["records"] == 24 and said["owners"] == 0 and not {"train", "seed", "key", "settings"} & set(said)
    work = tmp_path / "net-work"
    assert work.stat().st_mode & 0o077 == 0 and (work / "checkpoint.safetensors").exists() and (work / "logs").is_dir()
    (out / "notes.txt").write_text("alice")
    (out / "link").symlink_to(out / "config.json")
    assert {item.file for item in contents(out) if item.private} == {"notes.txt", "link"}
    assert train(records(), base, tmp_path / "net", config(steps=2), work=tmp_path / "elsewhere", overwrite=True) == out
    assert (tmp_path / "elsewhere" / PROVENANCE).exists()


def test_shares_of_a_batch_add_up_to_the_batch(base):
    net = nets.new_controlnet(base, generator=generator(1))
    index, context = torch.arange(7), base.embed(["abc"] * 24)
    for captions in (None, Captioned(context)):
        whole = objective(net, base, records(), index, captions, generator(0, 2))
        parts = [objective(net, base, records(), index, captions, generator(0, 2), rows=rows) for rows in (slice(0, 3), slice(3, 7))]
        assert torch.allclose(parts[0] * 3 / 7 + parts[1] * 4 / 7, whole, rtol=1e-6)


def test_every_parameter_that_is_trained_gets_a_gradient(base):
    net = nets.new_controlnet(base, generator=generator(1))
    null = NullContexts(base.unet, base.empty_context, net)
    with null.entered():
        objective(net, base, records(), torch.arange(4), None, generator(0, 2)).backward()
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in net.named_parameters() if p.grad is not None}
    assert len(trained) < len(list(net.parameters()))


def test_sealed_at_the_last_step_nothing_is_left(base, tmp_path):
    with pytest.raises(UserError, match="lower step"):
        train(records(n=999), base, tmp_path, config())


def test_held_out_records_are_measured_and_validation_pictures_written(base, tmp_path):
    held_out = []
    train(
        records(), base, tmp_path, config(validate_every=3, tensorboard=True),
        on_step=lambda p: held_out.append(p.held_out_loss), validate=validate.saver(records(), base, tmp_path, seed=0, count=2),
    )  # fmt: skip
    assert [h is not None for h in held_out] == [False, True, False, True, False, True]
    assert sorted(p.name for p in (tmp_path / "validation").iterdir()) == ["000003.png", "000006.png"]
    assert list((work_folder(tmp_path) / "logs").iterdir())


def test_captions_reach_the_controlnet_only_in_the_clear_arms(base, tmp_path):
    context = base.embed(["abc"] * 24)
    train(records(n=-1, m=-1), base, tmp_path, config(steps=2), captions=Captioned(context))
    settings = load_latent_controlnet(tmp_path)[1]
    assert settings["context"] == "captions" and settings["condition_scale"] == 1.0


@pytest.mark.parametrize("values", [{"steps": 0}, {"precision": "int8"}, {"ema": 1.0}, {"batch": 0}, {"held_out": -1}])
def test_senseless_settings_are_refused(values):
    with pytest.raises(ValueError, match="must|expected"):
        config(**values)


def test_arms_share_their_starting_noise(base, tmp_path):
    train(records(), base, tmp_path, config(steps=1, lr=1e-12))
    model, settings = load_latent_controlnet(tmp_path)
    conditions = np.zeros((3, 32, 32, 3), np.uint8)
    plain = generate(base, ["a"] * 3, seed=5, steps=2)
    control = generate(base, ["a"] * 3, seed=5, steps=2, controlnet=model, settings=settings, conditions=conditions)
    assert np.abs(plain.astype(int) - control).max() <= 1 and len(plain) == 3
    assert not np.array_equal(plain, generate(base, ["a"] * 3, seed=6, steps=2))


def test_generator_depends_on_every_key():
    draws = {float(torch.rand(1, generator=generator(*keys))) for keys in ((0, 1), (1, 0), (0, 1, 0), (0, 2))}
    assert len(draws) == 4


def test_kill_nine_ends_in_the_same_weights(mini, tmp_path):
    """Killed at any step, also before the first; the whole run is in a process like the others'."""
    draw, steps, kills = np.random.default_rng(1), 20 * KILLS, 0
    for name, wanted in (("whole", 0), ("killed", KILLS)):
        done = False
        while not done:
            with started(train_on, str(mini), tmp_path / name, steps) as (process, here):
                if kills < wanted:
                    for _ in range(draw.integers(0, 15)):
                        here.recv()
                    time.sleep(draw.uniform(0, 0.02))
                    process.kill()
                said = ends(process, here)
            kills += process.exitcode == -signal.SIGKILL
            assert process.exitcode in (0, -signal.SIGKILL), said
            done = process.exitcode == 0
    assert kills == KILLS
    whole, killed = (load_file(tmp_path / name / WEIGHTS) for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_every_t_lies_above_n_and_above_what_is_asked(base, tmp_path, monkeypatch):
    from sfumato.server import train as training

    drawn, real = [], training.draw_t
    monkeypatch.setattr(training, "draw_t", lambda *given, **how: drawn.append(real(*given, **how)) or drawn[-1])
    lowest = {}
    for n, above in ((-1, -1), (-1, 700), (800, 700)):
        drawn.clear()
        train(records(n=n, m=-1), base, tmp_path / f"{n} {above}", config(steps=8, batch=8, above=above))
        lowest[n, above] = min(int(t.min()) for t in drawn)  # of the held-out objective, too
    assert lowest[-1, -1] < 300 and 700 < lowest[-1, 700] <= 760 and lowest[800, 700] > 800


def test_above_changes_the_draws_and_not_what_n_says(base):
    """Clean records above a step are trained at the t of records sealed there, from a clean latent."""
    model = nets.new_controlnet(base, generator=generator(0)).to(base.unet.device)
    clean, index = records(n=-1, m=-1), torch.arange(8)
    alike = [objective(model, base, clean, index, None, generator(1), above=above) for above in (700, 700, 400)]
    assert torch.equal(alike[0], alike[1]) and not torch.equal(alike[0], alike[2])
    sealed = records(n=700, m=-1)
    assert not torch.equal(objective(model, base, sealed, index, None, generator(1), above=700), alike[0])
    assert torch.equal(
        objective(model, base, sealed, index, None, generator(1), above=700), objective(model, base, sealed, index, None, generator(1))
    )


@pytest.mark.parametrize("above", [999, 5000])
def test_above_every_step_nothing_can_be_trained(base, tmp_path, above):
    with pytest.raises(UserError, match=str(above)):
        train(records(), base, tmp_path, config(above=above))
    assert not (tmp_path / WEIGHTS).exists()


def test_no_step_lies_below_a_clean_one():
    with pytest.raises(UserError, match="above -2"):
        config(above=-2)
