"""The spectrum is that of the change itself, and a copy is known for one in any dialect."""

import math
from dataclasses import replace

import pytest
import torch

from adapters_support import adapter_of
from sfumato.adapters import formats, spectrum
from sfumato.adapters.lora import Adapter
from sharing_support import DIALECTS, write


@pytest.fixture(scope="module")
def files(base, tmp_path_factory):
    """The same adapter in both dialects, another, one with three times the scale, and one that holds two changes."""
    folder = tmp_path_factory.mktemp("spectrum")
    one, two = adapter_of(base, 1), adapter_of(base, 2)
    both = Adapter(
        factors={name: (torch.cat([a, two.factors[name][0]]), torch.cat([b, two.factors[name][1]], dim=1))
                 for name, (a, b) in one.factors.items()},
        alphas={name: 2 * alpha for name, alpha in one.alphas.items()},
    )  # fmt: skip
    scaled = replace(one, alphas={name: 3 * alpha for name, alpha in one.alphas.items()})
    made = {"one": one, "kohya": one, "two": two, "both": both, "scaled": scaled}
    for name, adapter in made.items():
        formats.write(adapter, folder / f"{name}.safetensors", format="kohya" if name == "kohya" else "diffusers")
    return {name: (folder / f"{name}.safetensors", adapter) for name, adapter in made.items()}


def test_size_rank_and_largest_layers_are_those_of_the_change(files):
    path, adapter = files["one"]
    parts = spectrum.components(path)
    assert [part.name for part in parts] == ["UNet", "text encoder"] and not any(part.skipped for part in parts)
    for part, start in zip(parts, ("unet.", "text_encoder."), strict=True):
        deltas = {name: delta.double() for name, delta in adapter.deltas().items() if name.startswith(start)}
        squares = {name: float(delta.square().sum()) for name, delta in deltas.items()}
        values = [torch.linalg.svdvals(delta.flatten(1)).square() for delta in deltas.values()]
        effective = sorted(float(v.sum() ** 2 / v.square().sum()) for v in values)
        middle = (effective[len(effective) // 2] + effective[(len(effective) - 1) // 2]) / 2
        assert part.layers == len(deltas) and part.rank == 3
        assert part.size == pytest.approx(math.sqrt(sum(squares.values())), rel=1e-4)
        assert part.effective_rank == pytest.approx(middle, rel=1e-3) and 1 <= part.effective_rank <= 3
        name, share = part.largest[0]
        assert share == pytest.approx(max(squares.values()) / sum(squares.values()), rel=1e-3)
        assert max(squares, key=squares.get).endswith(name)


@pytest.mark.parametrize(("one", "two", "likely"), [
    ("one", "kohya", "copy"), ("one", "scaled", "copy"), ("kohya", "one", "copy"), ("both", "one", "merge"), ("two", "both", "merge"),
    ("one", "two", "unrelated"),
])  # fmt: skip
def test_files_are_told_to_be_copies_merges_or_unrelated(files, one, two, likely):
    (first, a), (second, b) = files[one], files[two]
    near = spectrum.likeness(first, second)
    x, y = (torch.cat([delta.flatten().double() for _, delta in sorted(some.deltas().items())]) for some in (a, b))
    assert near.cosine == pytest.approx(float(x @ y / (x.norm() * y.norm())), abs=1e-4)
    assert near.likely == likely and near.layers == near.of == len(a.factors) and not near.why


def test_of_kinds_that_are_not_read_a_copy_to_the_bit_is_known_and_nothing_else(tmp_path):
    first = write(tmp_path / "a.safetensors", DIALECTS["lycoris loha"][0], {"a": "b"})
    second = write(tmp_path / "b.safetensors", DIALECTS["lycoris loha"][0], {})
    assert spectrum.likeness(first, second).likely == "copy" and spectrum.components(first) == ()
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.write_bytes(data)
    near = spectrum.likeness(first, second)
    assert near.likely == "not tested" and near.cosine is None and near.why


def test_what_cannot_be_compared_is_not_unrelated(tmp_path):
    sd1 = write(tmp_path / "a.safetensors", DIALECTS["kohya sd1"][0], {})
    sd2 = write(tmp_path / "b.safetensors", DIALECTS["kohya sd2"][0], {})
    zero = write(tmp_path / "c.safetensors", DIALECTS["kohya sd1"][0], {})
    data = zero.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    zero.write_bytes(data[:start] + bytes(len(data) - start))
    assert spectrum.likeness(sd1, sd2).likely == spectrum.likeness(sd1, zero).likely == "not tested"
    (part,) = spectrum.components(zero)
    assert part.size == part.effective_rank == 0 and part.largest == ()
