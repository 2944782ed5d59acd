"""Files in the conventions of many programs, and what people leave in their headers."""

import json

import torch

from sfumato.core.artifact import to_bytes

_BLOCK = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
_DOTTED = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


def _two(stem, a, b, wide=768, rank=4):
    return {f"{stem}.{a}": (rank, wide), f"{stem}.{b}": (320, rank)}


def _kohya(stem, wide=768):
    return _two(stem, "lora_down.weight", "lora_up.weight", wide) | {f"{stem}.alpha": ()}


# By program or layout: shapes of tensors, and words that the first line of an audit has to say.
DIALECTS = {
    "kohya sd1": (_kohya(f"lora_unet_{_BLOCK}"), ("1.x", "LoRA", "rank 4")),
    "kohya sd2": (_kohya(f"lora_unet_{_BLOCK}", 1024), ("2.x", "LoRA")),
    "kohya sd1 text": (_kohya("lora_te_text_model_encoder_layers_0_self_attn_q_proj"), ("1.x",)),
    "kohya sdxl": (_kohya("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048), ("SDXL",)),
    "kohya sdxl te2": (_kohya("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280), ("SDXL",)),
    "kohya sd3": (_kohya("lora_unet_joint_blocks_0_context_block_attn_qkv", 1536), ("SD 3",)),
    "kohya flux": (_kohya("lora_unet_double_blocks_0_img_attn_qkv", 3072), ("Flux",)),
    "diffusers": (_two(f"unet.{_DOTTED}", "lora_A.weight", "lora_B.weight"), ("1.x", "LoRA")),
    "diffusers before peft": (_two(f"unet.{_DOTTED}.processor", "lora.down.weight", "lora.up.weight"), ("LoRA",)),
    "diffusers attn procs": (_two(f"{_DOTTED.removesuffix('.to_k')}.processor.to_k_lora", "down.weight", "up.weight"), ("LoRA",)),
    "peft": (_two(f"base_model.model.{_DOTTED}", "lora_A.weight", "lora_B.weight"), ("1.x", "LoRA")),
    "save_lora_adapter": (_two(_DOTTED, "lora_A.weight", "lora_B.weight"), ("1.x", "LoRA")),
    "diffusers flux": (_two("transformer.single_transformer_blocks.0.attn.to_q", "lora_A.weight", "lora_B.weight", 3072), ("Flux",)),
    "ai-toolkit flux": (_two("diffusion_model.double_blocks.0.img_attn.qkv", "lora_A.weight", "lora_B.weight", 3072), ("Flux",)),
    "onetrainer": (_kohya(f"lora_unet_{_BLOCK}") | {"bundle_emb.somebody.clip_l": (1, 768)}, ("1.x",)),
    "onetrainer transformer": (_kohya("lora_transformer_joint_blocks_0_context_block_attn_qkv", 1536), ("SD 3",)),
    "simpletuner": (_two("transformer.transformer_blocks.0.attn.to_q", "lora_A.weight", "lora_B.weight", 1536), ("transformer",)),
    "musubi": (_kohya("lora_unet_blocks_0_self_attn_q", 1536), ("Wan",)),
    "lycoris locon": (_kohya(f"lycoris_{_BLOCK}"), ("LoRA",)),
    "lycoris mid": (_kohya(f"lora_unet_{_BLOCK}") | {f"lora_unet_{_BLOCK}.lora_mid.weight": (4, 4, 3, 3)}, ("LoCon",)),
    "lycoris loha": ({f"lora_unet_{_BLOCK}.hada_w{n}_{part}": (4, 4) for n in (1, 2) for part in "ab"}, ("LoHa",)),
    "lycoris lokr": ({f"lora_unet_{_BLOCK}.lokr_{part}": shape for part, shape in
                      (("w1", (4, 4)), ("w2_a", (8, 2)), ("w2_b", (2, 8)))}, ("LoKr",)),
    "dora kohya": (_kohya(f"lora_unet_{_BLOCK}") | {f"lora_unet_{_BLOCK}.dora_scale": (320, 1)}, ("DoRA",)),
    "dora peft": (_two(_DOTTED, "lora_A.weight", "lora_B.weight") | {f"{_DOTTED}.lora_magnitude_vector.weight": (320,)}, ("DoRA",)),
    "dora ai-toolkit": (_kohya(f"lora_unet_{_BLOCK}") | {f"lora_unet_{_BLOCK}.magnitude": (320,)}, ("DoRA",)),
    "oft": ({f"lora_unet_{_BLOCK}.oft_blocks": (4, 8, 8)}, ("OFT",)),
    "boft": ({f"lora_unet_{_BLOCK}.boft_R": (4, 8, 8)}, ("BOFT",)),
    "glora": ({f"lora_unet_{_BLOCK}.{part}.weight": (4, 4) for part in ("a1", "a2", "b1", "b2")}, ("GLoRA",)),
    "ia3": ({f"lora_unet_{_BLOCK}.ia3_l": (320,)}, ("IA3",)),
    "full difference": ({f"lora_unet_{_BLOCK}.diff": (320, 768), f"lora_unet_{_BLOCK}.diff_b": (320,)}, ("diff",)),
    "norms": ({f"lora_unet_{_BLOCK}.w_norm": (320,)}, ("norms",)),
    "controlnet": ({"controlnet_down_blocks.0.weight": (32, 32, 1, 1), "conv_in.weight": (32, 4, 3, 3)}, ("ControlNet",)),
    "vae": ({"decoder.conv_in.weight": (32, 4, 3, 3), "encoder.conv_in.weight": (32, 3, 3, 3)}, ("VAE",)),
    "unet": ({"down_blocks.0.resnets.0.conv1.weight": (32, 32, 3, 3)}, ("UNet",)),
    "checkpoint": ({"model.diffusion_model.input_blocks.0.0.weight": (32, 4, 3, 3), "cond_stage_model.x": (2,)}, ("checkpoint",)),
}  # fmt: skip
TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float8_e4m3fn)

# By rule: notes that somebody's program wrote, and what of them must be shown.
LEAKS = {
    "caption": ({"ss_tag_frequency": {"5_zwx dog": {"a dog on a red sofa in our kitchen": 3}}}, "red sofa"),
    "caption-words": ({"ss_tag_frequency": {"5_zwx cat": {"sofa": 3, "kitchen": 1}}}, "sofa"),
    "person": ({"ss_training_comment": "trained for Petra Novak"}, "Petra Novak"),
    "user-path": ({"ss_sd_model_name": "/home/pnovak/models/base.safetensors"}, "pnovak"),
    "path": ({"ot_config": {"cache_dir": "D:\\training\\set 4\\cache"}}, "training"),
    "folder-name": ({"ss_dataset_dirs": {"5_zwx kitchen": {"n_repeats": 5, "img_count": 20}}}, "kitchen"),
    "prompt": ({"ot_config": {"samples": [{"prompt": "zwx on a sofa"}]}}, "zwx on a sofa"),
    "free-text": ({"ss_training_comment": "second try"}, "second try"),
    "author": ({"modelspec.author": "pn"}, "pn"),
    "header-picture": ({"modelspec.thumbnail": "data:image/jpeg;base64,/9j/4AAQSkZJRg=="}, "jpg"),
    "set-size": ({"ss_num_train_images": "100", "ss_steps": "1500"}, "1500"),
    "time": ({"ss_training_started_at": "1764000000.5"}, "2025"),
    "seed": ({"ss_seed": "4711"}, "4711"),
    "session": ({"ss_session_id": "77"}, "77"),
    "lineage": ({"ss_sd_model_hash": "abcd1234"}, "abcd1234"),
    "output-name": ({"ss_output_name": "kitchen_v3"}, "kitchen_v3"),
    "settings": ({"ss_optimizer": "prodigy(d_coef=2)"}, "prodigy"),
    "adapter-settings": ({"lora_adapter_metadata": {"r": 4, "base_model_name_or_path": "somebody/base"}}, "somebody/base"),
    "other-note": ({"my notes": "mine"}, "mine"),
}  # fmt: skip
USEFUL = {"ss_base_model_version": "sd_v1", "ss_network_dim": "4", "ss_network_alpha": "2", "modelspec.trigger_phrase": "zwx"}


def notes_of(*rules):
    """The notes of some leaks as texts, and those that users need."""
    whole = {}
    for rule in rules:
        for key, value in LEAKS[rule][0].items():
            before = whole.get(key)
            whole[key] = value if before is None else {**before, **value} if isinstance(value, dict) else f"{before}; {value}"
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in whole.items()} | USEFUL


def write(path, shapes, notes, kind=torch.float16):
    """A file of random values."""
    draws = torch.Generator().manual_seed(0)
    tensors = {name: (torch.randn(shape, generator=draws) if shape else torch.tensor(2.0)).to(kind) for name, shape in shapes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_bytes(tensors, notes))
    return path


def raw(path, header, body=b""):
    """A file with this header, whatever it says: bytes, or what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path
