"""The computed table against published sizes, against paper 1's own figure, and against bytes counted on the wire."""

import pytest

from sfumato.diffusion.shapes import sd15, shapes_of
from sfumato.schemes import oneway, sealed, split
from sfumato.schemes._wire import Job, Local
from sfumato.server.fit import TrainConfig
from sfumato.studies.training import footprint


@pytest.fixture(scope="module")
def sd():
    return sd15()


def test_stable_diffusions_shapes_are_the_published_ones(sd):
    assert (sd.parameters["unet"], sd.parameters["vae"], sd.parameters["text_encoder"]) == (859_520_964, 83_653_863, 123_060_480)
    assert (sd.latent, sd.activation, sd.context) == (4 * 64 * 64, 320 * 64 * 64, 77 * 768)
    assert sd.parameters["entrance"] < sd.parameters["controlnet"] < sd.parameters["unet"]


def test_the_table_at_sd_size(sd):
    rows = footprint.table(sd, pictures=1000)
    assert rows["oneway, as published"]["bytes_up_per_picture_and_epoch"] == pytest.approx(5.6e6, rel=0.01)  # measured on its code
    assert rows["sealed"]["bytes_up_per_picture_and_epoch"] == 2 * 4 * 64 * 64 * 2
    for epochs, ratio in ((1, 85), (10, 851), (100, 8511)):
        totals = {name: row["total_after_epochs"][str(epochs)] for name, row in rows.items()}
        assert totals["oneway, as published"] / totals["sealed"] == pytest.approx(ratio, rel=0.01)
    assert rows["sealed"]["total_after_epochs"]["1"] == rows["sealed"]["total_after_epochs"]["100"]
    assert rows["fedavg"]["bytes_up_per_picture_and_epoch"] == 4 * sd.parameters["controlnet"] / 1000
    assert rows["fedavg"]["owner_holds_bytes"] > 8e9 > 1e9 > rows["split"]["owner_holds_bytes"] > rows["sealed"]["owner_holds_bytes"] > 1e8
    assert {name for name, row in rows.items() if not row["online"]} == {"centralised", "sealed", "sealed, derived"}


@pytest.mark.parametrize("scheme", [oneway, split, sealed])
def test_what_is_predicted_is_what_was_counted(base, make_folder, tmp_path, scheme):
    """The framing of a message, and what goes only once, are all that may come on top."""
    name, pictures, steps = scheme.__name__.rpartition(".")[2], 64, 2
    config = TrainConfig(steps=steps, batch=pictures, warmup=1, held_out=0)
    job = Job(folders={"a": make_folder("a", count=pictures)}, base=base, out=tmp_path / "net", config=config, connect=Local)
    traffic = scheme.run(job).traffic["a"]
    shapes, formula = shapes_of(base), footprint.FORMULAE[name]
    epochs = 1 if formula.once else steps
    hand_over = 4 * shapes.parameters["entrance"] * (4 if name == "split" else 0)  # weights, average, two moments at the end
    up, down = (side(shapes) * pictures * epochs for side in (formula.up, formula.down))
    assert 0 <= traffic.bytes_up - up - hand_over <= 0.02 * up + 6000
    assert 0 <= traffic.bytes_down - down <= 0.02 * down + hand_over + 3000
