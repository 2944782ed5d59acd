"""Factors are read as torch reads them, whatever type they have; what is no pair is left, and counted."""

import pytest
import torch

from sfumato.adapters import factors
from sfumato.core.errors import UserError
from sharing_support import DIALECTS, TYPES, raw, write

NAMES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.float8_e4m3fn: "F8_E4M3",
         torch.float8_e5m2: "F8_E5M2"}  # fmt: skip


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.values())
def test_numbers_of_each_type_are_those_of_torch(kind):
    raw = torch.arange(256, dtype=torch.uint8).repeat(8)
    numbers = raw.view(kind)
    found = torch.from_numpy(factors.decoded(bytes(raw.tolist()), NAMES[kind]).copy())
    assert torch.equal(found.nan_to_num(7), numbers.float().nan_to_num(7))


def test_a_type_that_holds_no_factors_is_refused():
    with pytest.raises(UserError, match="I64"):
        factors.decoded(bytes(8), "I64")


@pytest.mark.parametrize(("number", "dialect"), list(enumerate(DIALECTS)), ids=list(DIALECTS))
def test_every_dialect_gives_its_pairs_and_counts_the_rest(tmp_path, number, dialect):
    shapes, _ = DIALECTS[dialect]
    file = write(tmp_path / "a.safetensors", shapes, {}, TYPES[number % len(TYPES)])
    plain = any(word in name for name in shapes for word in ("lora_down", "lora_A", "lora.down", "_lora.down"))
    other = dialect.startswith(("dora", "lycoris mid"))
    with factors.factors(file) as held:
        assert len(held.pairs) == int(plain and not other)
        assert len(held.skipped) == int(other or dialect in ("boft", "full difference", "glora", "ia3", "lycoris loha",
                                                             "lycoris lokr", "norms", "oft"))  # fmt: skip
        for layer, pair in held.pairs.items():
            a, b = held.of(layer)
            assert len(a) == b.shape[1] == pair.rank and pair.scale > 0


def test_without_an_alpha_of_its_own_the_files_settings_say_what_multiplies_the_factors(tmp_path):
    said = write(tmp_path / "b.safetensors", DIALECTS["diffusers"][0], {"lora_adapter_metadata": '{"unet.lora_alpha": 12, "unet.r": 4}'})
    with factors.factors(said) as held:
        assert [pair.scale for pair in held.pairs.values()] == [3.0]


@pytest.mark.parametrize("shapes", [
    {"unet.mid_block.x.lora_A.weight": (4, 8)},
    {"unet.mid_block.x.lora_A.weight": (4, 8), "unet.mid_block.x.lora_B.weight": (8, 3)},
    {"unet.mid_block.x.lora_A.weight": (0, 8), "unet.mid_block.x.lora_B.weight": (8, 0)},
    {"unet.mid_block.x.lora_A.weight": (4, 8), "unet.mid_block.x.lora_B.weight": (8, 4, 3, 3)},
])  # fmt: skip
def test_what_is_no_pair_is_skipped(tmp_path, shapes):
    with factors.factors(write(tmp_path / "a.safetensors", shapes, {})) as held:
        assert not held.pairs and len(held.skipped) == 1


def test_a_factor_that_would_fill_the_memory_is_not_read(tmp_path):
    big = 2**23 * 4
    shapes = {"unet.mid_block.x.lora_A.weight": [4, 2**23], "unet.mid_block.x.lora_B.weight": [2**23, 4]}
    header = {
        name: {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [number * big, (number + 1) * big]}
        for number, (name, shape) in enumerate(shapes.items())
    }
    path = raw(tmp_path / "a.safetensors", header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2 * big)  # a file with holes, which takes no room
    with factors.factors(path) as held:
        assert not held.pairs and len(held.skipped) == 1


def test_very_large_files_are_read_in_part(tmp_path):
    shapes = {}
    for n in range(6):
        shapes |= {f"unet.mid_block.x{n}.lora_A.weight": (2, 8), f"unet.mid_block.x{n}.lora_B.weight": (8, 2)}
    with factors.factors(write(tmp_path / "a.safetensors", shapes, {})) as held:
        assert len(held.chosen(held.pairs, 6 * 32 * 2)) == 6 and len(held.chosen(held.pairs, 3 * 32 * 2)) == 3
