"""The change of a weight by every kind of product, against the libraries that write such files."""

import pytest
import torch
from lycoris.functional import locon, loha, lokr
from peft import LoHaConfig, LoKrConfig, get_peft_model, get_peft_model_state_dict
from torch import nn

from sfumato.adapters import formats, products
from sfumato.core.artifact import to_bytes
from sfumato.core.errors import UserError

OUT, IN, R, K = 6, 8, 3, 3
LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CANONICAL = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"


def drawn(*shape, seed=[0]):  # noqa: B006 (a counter)
    seed[0] += 1
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed[0]))


def read(parts, *, layer=LAYER, alpha=2.0, notes=None, config=None):
    tensors = {f"{layer}.{part}": value for part, value in parts.items()}
    tensors |= {} if alpha is None else {f"{layer}.alpha": torch.tensor(alpha)}
    (change,) = formats.parse(to_bytes(tensors, notes), name="x", config=config).deltas().values()
    return change


def close(a, b):
    assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5, rtol=1e-4) and float(b.std()) > 1e-3


def test_loha():
    a1, b1, a2, b2 = drawn(OUT, R), drawn(R, IN), drawn(OUT, R), drawn(R, IN)
    parts = dict(zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), (a1, b1, a2, b2), strict=True))
    close(read(parts), loha.diff_weight(b1, a1, b2, a2, None, None, gamma=2.0 / R))
    c1, c2 = drawn(R, IN, K, K), drawn(R, IN, K, K)
    close(read(parts | {"hada_w1_b": c1, "hada_w2_b": c2}, layer=CONV), loha.diff_weight(c1, a1, c2, a2, None, None, gamma=2.0 / R))


def test_loha_with_cores():
    a, b, t = ([drawn(*shape) for _ in range(2)] for shape in ((R, OUT), (R, IN), (R, R, K, K)))
    parts = {f"hada_{name}": value[n] for n in range(2) for name, value in ((f"w{n + 1}_a", a), (f"w{n + 1}_b", b), (f"t{n + 1}", t))}
    expected = loha.diff_weight(b[0], a[0], b[1], a[1], t[0], t[1], gamma=torch.tensor(2.0 / R))
    close(read(parts, layer=CONV), expected)


@pytest.mark.parametrize("small", ["whole", "factored"])
@pytest.mark.parametrize("large", ["whole", "factored", "convolution", "core"])
def test_lokr(small, large):
    w1 = {"whole": (drawn(2, 4), None, None), "factored": (None, drawn(2, R), drawn(R, 4))}[small]
    w2 = {
        "whole": (drawn(3, 2), None, None, None), "factored": (None, drawn(3, R), drawn(R, 2), None),
        "convolution": (drawn(3, 2, K, K), None, None, None), "core": (None, drawn(R, 3), drawn(R, 2), drawn(R, R, K, K)),
    }[large]  # fmt: skip
    names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    parts = {name: value for name, value in zip(names, (*w1, *w2), strict=True) if value is not None}
    layer = CONV if large in ("convolution", "core") else LAYER
    close(read(parts, layer=layer), lokr.diff_weight(*w1, *w2, gamma=2.0))


def test_locon_with_a_core():
    down, up, core = drawn(R, IN, 1, 1), drawn(OUT, R, 1, 1), drawn(R, R, K, K)
    parts = {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": core}
    close(read(parts, layer=CONV), locon.diff_weight(down, up, core, gamma=2.0 / R))


def test_a_difference_is_itself_whatever_alpha_says():
    for layer, shape in ((LAYER, (OUT, IN)), (LAYER, (IN, OUT)), (CONV, (OUT, IN, K, K))):
        change = drawn(*shape)
        close(read({"diff": change}, layer=layer, alpha=None), change)
    adapter = formats.parse(to_bytes({f"{LAYER}.diff": drawn(OUT, IN), f"{LAYER}.diff_b": drawn(OUT)}), name="x")
    assert adapter.unknown == (f"{LAYER}.diff_b",)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.down_blocks = nn.ModuleList([nn.ModuleDict({"to_q": nn.Linear(IN, OUT, bias=False)})])


@pytest.mark.parametrize("config", [
    LoHaConfig(r=R, alpha=2, target_modules=["to_q"], init_weights=False),
    LoKrConfig(r=2, alpha=3, target_modules=["to_q"], init_weights=False),
    LoKrConfig(r=20, alpha=3, target_modules=["to_q"], init_weights=False),
], ids=["loha", "lokr", "lokr whole"])  # fmt: skip
def test_what_peft_saves_is_what_peft_adds(config):
    model = get_peft_model(Model(), config)
    layer = model.base_model.model.down_blocks[0]["to_q"]
    tensors = {key: value.contiguous() for key, value in get_peft_model_state_dict(model).items()}
    said = {"r": config.r, "alpha": config.alpha, "peft_type": config.peft_type.value}
    (change,) = formats.parse(to_bytes(tensors), name="x", config=said).deltas().values()
    close(change, layer.get_delta_weight("default").detach())


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"hada_w1_a": drawn(OUT, R)}, "a LoHa without hada_w1_b"),
        ({"lokr_w1": drawn(2, 2)}, "a LoKr without lokr_w2_a"),
        ({"lora_mid.weight": drawn(R, R, K, K)}, "a LoCon without A"),
        ({"lokr_w1": drawn(2, 2), "hada_w1_a": drawn(2, 2)}, "several kinds"),
        ({"diff": drawn(OUT, IN), "lora_down.weight": drawn(R, IN)}, "several kinds"),
        ({"lokr_w1": drawn(2, 2, 2), "lokr_w2": drawn(2, 2)}, "do not fit"),
        ({"lokr_w1": torch.zeros(2**15, 1), "lokr_w2": torch.zeros(2**15, 1)}, "do not fit"),
        ({"diff": drawn(OUT, IN) * float("nan")}, "no finite numbers"),
        ({"diff": drawn(OUT)}, "of shape"),
    ],
)
def test_what_is_no_product_is_refused(parts, says):
    with pytest.raises(UserError, match=says):
        read(parts)


def test_one_of_the_two_factors_is_the_smaller_identity():
    for shape in ((OUT, IN), (IN, OUT), (OUT, IN, K, K)):
        a, b = products.factors(drawn(*shape))
        eye = a if len(shape) == 2 and shape[1] < shape[0] else b
        assert len(a) == (min(shape) if len(shape) == 2 else OUT)
        assert torch.equal(eye.flatten(1) if eye.ndim == 4 else eye, torch.eye(len(eye)))
