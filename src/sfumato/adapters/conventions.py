"""What other programs call the parts of an adapter: which key is whose layer's, and which kinds and models are not ours to read.

Read in the sources of diffusers, PEFT, kohya's sd-scripts, LyCORIS, ai-toolkit, OneTrainer, SimpleTuner and ComfyUI. A kind is told by a
*part* of a key between dots, in its place at the end, never by letters anywhere in a name: names are free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

UNET = "unet."
TEXT = "text_encoder.text_model."
KOHYA = {UNET: "lora_unet_", TEXT: "lora_te_text_model_"}

# How the two factors of a layer are called, and its alpha: diffusers with PEFT, diffusers before, kohya.
_SUFFIXES = {
    ".lora_A.weight": "A", ".lora_B.weight": "B", ".lora.down.weight": "A", ".lora.up.weight": "B", "_lora.down.weight": "A",
    "_lora.up.weight": "B", ".lora_linear_layer.down.weight": "A", ".lora_linear_layer.up.weight": "B", ".lora_down.weight": "A",
    ".lora_up.weight": "B", ".alpha": "alpha",
}  # fmt: skip

# By what a layer's part is called, the kind of adapter that it belongs to.
_KINDS = {
    r"dora_\w+|(lora_|dora_)?magnitude(_vector)?|weight_decompose\w*": "DoRA",
    r"[ab][12]|bm|glora_\w+": "GLoRA",
    r"hada_\w+": "LoHa",
    r"lokr_\w+": "LoKr",
    r"boft_\w+": "BOFT",
    r"oft_\w+|rescale": "OFT",
    r"ia3_\w+|on_input": "IA3",
    r"w_norm|b_norm": "LyCORIS (norms)",
    r"diff|diff_[bw]|set_weight|bias_(indices|values|size)": "full-weight (diff)",
    r"lora_mid": "LoCon (CP)",
    r"scalar": "LyCORIS (scalar)",
    r"scale_weight|scale_input|weight_scale": "scaled 8-bit",
    r"lora_E": "AdaLoRA",
    r"lora_embedding_[AB]|trainable_tokens_delta": "token embedding",
    r"p?vera_\w+": "VeRA",
    r"(adamss|beft|bone|c3a|deft|delora|fourierft|frod|gralora|hira|hra|lily|ln_tuning|miss|osf|peanut|poly|psoft|randlora|road|shira"
    r"|supertuning|tinylora|unilora|vblora|waveft|xlora)_\w+": "PEFT",
}  # fmt: skip
_GROUPS = {f"kind{number}": kind for number, kind in enumerate(_KINDS.values())}
_KIND = re.compile(  # one pass over a name, however many kinds there are: a file may hold a hundred thousand
    rf"[^.].*\.(?:{'|'.join(f'(?P<kind{number}>{said})' for number, said in enumerate(_KINDS))})(?:\.[\w-]+)?(?:\.weight)?", re.DOTALL
)
_BIAS = re.compile(r".+\.(lora_(A|B|up|down)|lora\.(up|down))(\.[\w-]+)?\.bias", re.DOTALL)

# Models whose keys are called otherwise than those of Stable Diffusion 1.x and 2.x, by how a key begins.
_MODELS = {
    "Flux": r"(transformer\.|diffusion_model\.|base_model\.model\.|lora_unet_|lora_transformer_)*(double_blocks|single_blocks|"
    r"single_transformer_blocks)[._]",
    "SD 3": r"(diffusion_model\.|lora_unet_|lora_transformer_)*joint_blocks[._]",
    "SDXL": r"lora_unet_(input_blocks|output_blocks|middle_block|label_emb|time_embed)_|lora_te2_|text_encoder_2\.|lora_unet_add_embedding",
    "Stable Cascade": r"lora_prior_",
    "a diffusion transformer, such as Flux, SD 3 or PixArt": r"transformer(_\d)?\.|(base_model\.model\.)?transformer_blocks\."
    r"|lora_transformer_|lycoris_(single_)?transformer_blocks_|lora_te3_|text_encoder_3\.",
    "a diffusion transformer, such as Wan or Z-Image": r"diffusion_model\.(blocks|layers)\.|lora_unet_(blocks|layers|noise_refiner)_",
    "SDXL, or of another model in the original layout": r"(model\.)?diffusion_model\.(input_blocks|output_blocks|middle_block)\.",
    "AnimateDiff": r"(unet\.|base_model\.model\.)*(down|up|mid)_blocks?\.(\d\.)?motion_modules\.",
    "a language model": r"(base_model\.model\.)+(model|transformer|gpt_neox)\.",
}
_MODEL = re.compile("|".join(f"(?P<model{number}>{said})" for number, said in enumerate(_MODELS.values())))  # one pass: see _KIND

# kohya writes every dot as an underscore; these are the words that had one before.
_WORDS = (
    "down_blocks", "up_blocks", "mid_block", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out",
    "time_emb_proj", "time_embedding", "linear_1", "linear_2", "conv_in", "conv_out", "conv_shortcut", "self_attn", "q_proj", "k_proj",
    "v_proj", "out_proj", "token_embedding",
)  # fmt: skip
_WORD = re.compile(rf"(?<![^_])(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})(?![^_])")
_NOT_LAYERS = ("bundle_emb.",)  # OneTrainer's embeddings: what comes after is a name that somebody chose
_OF_UNET = re.compile(r"(down_blocks|up_blocks)\.\d|mid_block\.|conv_in$|conv_out$|time_embedding\.")
_OF_TEXT = re.compile(r"encoder\.layers\.\d|embeddings\.")
_WRAPPERS = 4  # at most so many names of models before a path: base_model.model.text_encoder.text_model.


def other_kind(key: str) -> str | None:
    """Which kind of adapter a key is part of, where it is none of the two matrices and the alpha of a plain LoRA."""
    if key.startswith(_NOT_LAYERS):
        return None
    if _BIAS.fullmatch(key):
        return "LoRA with biases"
    found = _KIND.fullmatch(key)
    return _GROUPS[found.lastgroup] if found and found.lastgroup else None


def other_model(keys: Iterable[str]) -> tuple[str, str] | None:
    """The model that factors are of by their names, and one such key, where it is not Stable Diffusion 1.x or 2.x."""
    for key in keys:
        if (found := _MODEL.match(key)) and suffix(key)[1] in ("A", "B"):
            number = next(number for number in range(len(_MODELS)) if found[f"model{number}"] is not None)
            return list(_MODELS)[number], key
    return None


_CONTEXTS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}  # by how many numbers its text encoder gives a word


def family(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The family of base that a file's tensors are for: by their names and, where these are of several, by the width of a word."""
    if other := other_model(shapes):
        return other[0]
    for key, shape in shapes.items():
        if len(shape) < 2 or shape[1] not in _CONTEXTS:
            continue
        layer, part = split(key)
        if part == "A" and layer is not None and (layer.startswith(TEXT) or layer.endswith((".attn2.to_k", ".attn2.to_v"))):
            return _CONTEXTS[shape[1]]
    return None


def suffix(key: str) -> tuple[str, str]:
    """A key without its ending, and which part of a layer the ending stands for: ``A``, ``B``, ``alpha`` or nothing.

    PEFT puts the adapter's own name (``default``) before ``weight`` where a whole model's weights are saved.
    """
    if not key.endswith((".weight", ".alpha")):
        return key, ""
    plain = re.sub(r"\.(lora_[AB])\.[\w-]+\.weight$", r".\1.weight", key) if ".lora_" in key else key
    return next(((plain.removesuffix(end), part) for end, part in _SUFFIXES.items() if plain.endswith(end)), (key, ""))


def split(key: str) -> tuple[str | None, str]:
    """A file's key to the layer's canonical name and the part of it; no name where the key is unknown.

    A key that names neither the UNet nor the text encoder (PEFT's ``save_pretrained``, diffusers' ``save_lora_adapter``) is the UNet's or
    the text encoder's by its path: no path is in both.
    """
    stem, part = suffix(key)
    if not part or key.startswith(_NOT_LAYERS):
        return None, ""
    layer = layer_of(stem)
    return (layer, part) if layer else (None, "")


def layer_of(stem: str) -> str | None:
    """The canonical name of a layer that a file calls ``stem``; nothing where neither model has such a one."""
    for prefix, short in (*KOHYA.items(), (TEXT, "lora_te1_text_model_"), (UNET, "lycoris_")):
        if stem.startswith(short):
            return prefix + _dotted(stem.removeprefix(short))
    path = stem.replace(".processor.", ".")
    model = ""
    for _ in range(_WRAPPERS):
        found = re.match(r"base_model\.model\.|unet\.|text_encoder\.|text_model\.", path)
        if not found:
            break
        model, path = (found[0] if found[0] in (UNET, "text_encoder.") else model), path[found.end() :]
    if model == UNET or (not model and _OF_UNET.match(path)):
        return UNET + re.sub(r"\.to_out$", ".to_out.0", path)
    if model or _OF_TEXT.match(path):
        return TEXT + re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", path)
    return None


def kohya_name(layer: str) -> str:
    """kohya's name of a layer by its canonical one."""
    prefix = UNET if layer.startswith(UNET) else TEXT
    return KOHYA[prefix] + layer.removeprefix(prefix).replace(".", "_")


def _dotted(flat: str) -> str:
    """kohya's underscores to dots, but for those that belong to a word."""
    return _WORD.sub(lambda found: found[0].replace("_", "\0"), flat).replace("_", ".").replace("\0", "_")
