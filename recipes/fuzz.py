"""Files from anybody, mutated by their structure: whatever comes in, a reader succeeds or says why not, soon and in little memory.

    python recipes/fuzz.py                                   # 2000 cases, each of four kinds of input in turn
    python recipes/fuzz.py --cases 100000 --seed 7           # hours; prints one JSON object, exit code 1 where something was found
    python recipes/fuzz.py --only lora:7000123               # one case again, with its traceback

Inputs: sealed records (manifests mutated and signed again, shards), LoRA files (headers, keys and notes in the conventions of eight
programs), picture folders (tables, names, small hostile pictures) and ControlNet folders (configuration, settings, tensors). A case is a
fault where anything but ``UserError`` comes out, where it takes longer than ``LIMIT`` seconds, or where the process grew by more than
``MEMORY``.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from PIL import Image

from sfumato.adapters import formats
from sfumato.adapters.lora import check_fits as adapter_fits
from sfumato.attacker.knowledge import Scenario
from sfumato.attacker.weights import base as attacks
from sfumato.attacker.weights.base import File, Guess
from sfumato.core.artifact import sha256
from sfumato.core.errors import UserError
from sfumato.diffusion import controlnet as nets
from sfumato.diffusion.base import Base, load_base
from sfumato.owner.folder import read_folder
from sfumato.owner.keys import owner_folder, signing_key
from sfumato.owner.seal import seal
from sfumato.records import manifest as manifests
from sfumato.records import privacy, reader
from sfumato.records.record import SealSettings

LIMIT = 20.0  # seconds of one case
MEMORY = 2**30
SIZE = 32  # side of pictures, in pixels
Draw = random.Random
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**80, -0.0, 0.5, 1e-320, 1e308, "", " ", "0", "NaN", "\uff11\uff12", "\x1b[2J\x1b]0;t\x07",
    "\ud800", "\0", ":x:", "[red]", "../../etc/passwd", "/dev/zero", "a" * 5000, "none", [], {}, [None], [[[]]], {"": 0}, [1, "a", None],
)  # fmt: skip


# ---------------------------------------------------------------- mutations that know the structure


def twisted(draw: Draw, value: Any) -> Any:
    """A copy of parsed JSON with one to three entries replaced, removed, renamed, repeated, nested or nudged."""
    value = copy.deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return draw.choice(ODD)
        holder, key = draw.choice(places)
        how = draw.randrange(7)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[draw.choice(["x", "", "__metadata__", key + "x", key[:-1], "caption"])] = holder.pop(key)
        elif how == 2 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif how == 3:
            for _ in range(draw.choice([1, 99, 300])):
                holder[key] = [holder[key]]
        elif how == 4 and isinstance(holder[key], int | float):
            holder[key] = draw.choice([-holder[key], holder[key] + 1, holder[key] * 1000, float(holder[key] % 10**6), str(holder[key])])
        elif how == 5 and isinstance(holder[key], str):
            at = draw.randrange(len(holder[key]) + 1)
            holder[key] = holder[key][:at] + str(draw.choice(ODD))[:50] + holder[key][at + draw.randint(0, 2) :]
        else:
            holder[key] = copy.deepcopy(draw.choice(ODD))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def written(draw: Draw, value: Any) -> bytes:
    """JSON as somebody hostile writes it: mostly well, else with what parsers disagree on."""
    text = json.dumps(value, ensure_ascii=draw.random() < 0.8).encode(errors="surrogatepass")
    how = draw.randrange(60)
    if how == 0 and text[:1] == b"{" and len(text) > 2:
        return text[:-1] + b"," + text[1:]  # every key twice
    tricks = {
        1: b"[" * 100_000,
        2: text[: draw.randrange(len(text) + 1)],
        3: b"\xef\xbb\xbf" + text,
        4: text.decode(errors="replace").encode("utf-16"),
    }
    numbers = {5: b"NaN", 6: b"-Infinity", 7: b"9" * 5000, 8: b"1e999", 9: b'{"a":' * 3000 + b"1" + b"}" * 3000}
    if how in numbers:
        return text.replace(b": ", b": " + numbers[how] + b', "q": ', 1)
    return tricks[how] if how in tricks else flipped(draw, text) if how == 10 else text


def flipped(draw: Draw, data: bytes) -> bytes:
    """A few bytes changed, added, taken off or moved."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(changed) + 1)
        how = draw.randrange(4)
        if how == 0 and at < len(changed):
            changed[at] = draw.randrange(256)
        elif how == 1:
            changed[at:at] = draw.randbytes(draw.choice([1, 8, 100]))
        elif how == 2:
            del changed[at : at + draw.choice([1, 8, 1000])]
        elif how == 3:
            changed = changed[: draw.choice([at, len(changed)])]
    return bytes(changed)


def packed(draw: Draw, tensors: dict[str, tuple[str, list[int], bytes]], notes: Any, *, honest: float = 0.0) -> bytes:
    """Safetensors by hand: by name type, shape and bytes; a share of ``honest`` as they should be, of the others some with a header that
    lies."""
    header: dict[str, Any] = {} if notes == "left out" else {"__metadata__": notes}
    body = b""
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    if draw.random() < honest:
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + body
    text = written(draw, twisted(draw, header) if draw.random() < 0.2 else header)
    size = draw.choice([len(text)] * 70 + [0, 1, len(text) - 1, len(text) + 1, 2**31, 2**63, 2**64 - 1])
    whole = (max(0, size)).to_bytes(8, "little") + text + body
    how = draw.randrange(12)
    return (
        flipped(draw, whole) if how == 0 else whole[: draw.randrange(len(whole))] if how == 1 else whole + b"x" * 9 if how == 2 else whole
    )


def numbers(draw: Draw, shape: list[int], kind: str = "F32") -> bytes:
    """Bytes of a tensor; sometimes with values that are none, or huge."""
    count = int(np.prod(shape, dtype=np.int64))
    sizes = {
        "F64": 8,
        "F32": 4,
        "F16": 2,
        "BF16": 2,
        "F8_E4M3": 1,
        "F8_E5M2": 1,
        "I64": 8,
        "I32": 4,
        "I8": 1,
        "U8": 1,
        "BOOL": 1,
        "C64": 8,
        "F4": 1,
    }
    if kind != "F32" or draw.random() < 0.1:
        return draw.randbytes(count * sizes.get(kind, 4))
    values = np.random.default_rng(draw.randrange(2**32)).normal(size=count).astype(np.float32)
    if count and draw.random() < 0.05:
        values[draw.randrange(count)] = draw.choice([np.nan, np.inf, 3e38, 1e-45])
    return values.tobytes()


# ---------------------------------------------------------------- the ground that is mutated


class Ground:
    """Good inputs of every kind for one base, made once in ``folder``."""

    def __init__(self, folder: Path, base: Base) -> None:
        self.base, self.folder = base, folder
        self.pictures = folder / "pictures"
        self.pictures.mkdir(parents=True)
        grain = np.random.default_rng(0)
        for name in ("a", "b", "c"):
            pixels = np.kron(grain.integers(0, 255, (4, 4, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            Image.fromarray(pixels).save(self.pictures / f"{name}.png")
        rows = [{"file_name": f"{name}.png", "text": f"a {name}", "person": name} for name in "abc"]
        (self.pictures / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        store, settings = (
            folder / "home",
            SealSettings(condition="canny", seal_step=600, condition_step=200, clip=30.0, condition_clip=30.0),
        )
        found = read_folder(self.pictures, size=base.size, condition="canny")
        seal(found, folder / "records", owner="clinic", codec=base, settings=settings, store=store)
        self.key = signing_key(owner_folder("clinic", store))
        model = nets.new_controlnet(base, generator=torch.Generator().manual_seed(0))
        nets.save_controlnet(model, folder / "net", nets.describe(base, condition="canny", captioned=False, train={"steps": 2}))
        self.layers = {
            path: [module.out_features, module.in_features]
            for path, module in base.unet.named_modules()
            if isinstance(module, torch.nn.Linear) and path.endswith(("to_q", "to_v", "to_out.0"))
        }


def records_case(draw: Draw, ground: Ground, at: Path) -> None:
    """A release whose manifest was mutated and signed again, or whose shards were, named by their new hash."""
    folder = Path(shutil.copytree(ground.folder / "records", at / "records"))
    body = json.loads((folder / manifests.NAME).read_text())
    body.pop("signature")
    if draw.random() < 0.4:
        entry = draw.choice(body["shards"])
        old = folder / f"{entry['sha256']}.safetensors"
        data = old.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        tensors = {
            name: (e["dtype"], e["shape"], data[8 + size :][slice(*e["data_offsets"])]) for name, e in header.items() if name[:2] != "__"
        }
        if draw.random() < 0.3:
            name = draw.choice(sorted(tensors))
            kind = draw.choice(["F16", "I8", "F32", "F64", "BF16"])
            tensors[name] = (kind, tensors[name][1], numbers(draw, tensors[name][1], kind))
        new = packed(draw, tensors, draw.choice(["left out", {"caption": "a"}, None]))
        if draw.random() < 0.8:
            old.unlink()
            entry |= {"sha256": sha256(new), "bytes": len(new)}
        (folder / f"{entry['sha256']}.safetensors").write_bytes(new)
    if draw.random() < 0.7:
        body = twisted(draw, body)
    if isinstance(body, dict) and draw.random() < 0.9:
        with_sign = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        body = {**body, "signature": ground.key.sign(with_sign).hex()}
    (folder / manifests.NAME).write_bytes(written(draw, body))
    found = manifests.read(folder)
    privacy.describe(found.privacy)
    privacy.card(found.privacy)
    loaded = reader.load([folder], codec=ground.base)
    loaded.z_n[:]
    loaded.level_conditions(ground.base.schedule, seed=0).c_m[:]


_STEMS = (
    *("unet.{}", "base_model.model.{}", "{}", "lora_unet_{_}") * 4, "lycoris_{_}", "base_model.model.unet.{}", "transformer.{}",
    "lora_te1_text_model_{_}", "text_encoder.text_model.{}", "lora_te2_{_}", "diffusion_model.{}", "bundle_emb.soft_sitter",
)  # fmt: skip
_PAIRS = (
    (".lora_A.weight", ".lora_B.weight"), (".lora_A.default.weight", ".lora_B.default.weight"), (".lora_down.weight", ".lora_up.weight"),
    (".lora.down.weight", ".lora.up.weight"), (".processor.to_q_lora.down.weight", ".processor.to_q_lora.up.weight"),
)  # fmt: skip
_MORE = (
    ".dora_scale", ".magnitude", ".lora_magnitude_vector", ".a1.weight", ".b2.weight", ".hada_w1_a", ".lokr_w1", ".oft_blocks", ".diff",
    ".oft_R.weight", ".boft_R", ".ia3_l", ".on_input", ".diff_b", ".w_norm", ".lora_mid.weight", ".lora_B.bias", ".scalar", ".weight", "",
    *(".alpha",) * 20,
)  # fmt: skip
_NOTES: dict[str, Any] = {
    "ss_steps": "1500", "ss_epoch": "10", "ss_num_train_images": "120", "ss_training_started_at": "1700000000.5", "ss_output_name": "jane",
    "ss_tag_frequency": {"10_sks woman": {"jane doe in her garden": 3}},
    "ss_dataset_dirs": {"10_sks woman": {"n_repeats": 10, "img_count": 12}},
    "ss_datasets": [{"subsets": [{"img_count": 12, "image_dir": "10_sks", "class_tokens": "sks", "is_reg": False}]}],
    "modelspec.trigger_phrase": "sks", "modelspec.thumbnail": "data:image/jpeg;base64,/9j/", "training_info": {"step": 1500, "epoch": 30},
    "ot_config": {"concepts": [{"path": "/home/jane/me"}], "samples": [{"prompt": "jane"}], "epochs": 3},
    "lora_adapter_metadata": {"unet.r": 2, "unet.lora_alpha": 4, "unet.use_rslora": True, "unet.alpha_pattern": {"to_q": 3}},
    "adapter_config": {"r": 2, "lora_alpha": 4, "use_rslora": True, "rank_pattern": {}, "init_lora_weights": True},
}  # fmt: skip


def lora_case(draw: Draw, ground: Ground, at: Path) -> None:
    """An adapter in somebody's convention, mutated."""
    called, (down, up) = draw.choice(_STEMS), draw.choice(_PAIRS)
    tensors: dict[str, tuple[str, list[int], bytes]] = {}
    kind = draw.choice(["F32"] * 20 + ["F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "F64", "C64", "BOOL", "F4", "U8", "I64"])
    for path in draw.sample(sorted(ground.layers), k=draw.randint(1, 4)):
        rank, (high, wide) = draw.choice([*[1, 2, 4] * 5, 0]), ground.layers[path]
        stem = called.replace("{_}", path.replace(".", "_")).replace("{}", path)
        for ending, shape in ((down, [rank, wide]), (up, [high, rank])):
            if draw.random() < 0.03:
                shape = draw.choice([shape[:1], [*shape, 1, 1], shape[::-1], [0, *shape], [2**62, 0], []])
            tensors[stem + ending] = (kind, shape, b"" if 0 in shape else numbers(draw, shape, kind))
        if draw.random() < 0.3:
            tensors[stem + draw.choice(_MORE)] = ("F32", [], np.float32(draw.choice([1, 2, 4, 8, 0, -1, 1e30, np.nan])).tobytes())
    notes: Any = {key: _NOTES[key] for key in draw.sample(sorted(_NOTES), k=draw.randint(0, 5))}
    if notes and draw.random() < 0.7:
        notes = twisted(draw, notes)
    if isinstance(notes, dict) and draw.random() < 0.97:
        notes = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in notes.items()}
    file = at / draw.choice(["x.safetensors", "adapter_model.safetensors"])
    told = notes if draw.random() < 0.9 else draw.choice([None, "left out", 7, []])
    file.write_bytes(packed(draw, tensors, told, honest=0.6))
    if draw.random() < 0.2:
        (at / "adapter_config.json").write_bytes(written(draw, twisted(draw, _NOTES["adapter_config"])))
    data = formats.read_file(file)
    found = attacks.attempt("metadata", Scenario(File(data)))
    if isinstance(found, Guess):
        json.dumps(found.facts)
    adapter = formats.parse(data, name=str(file), config=formats.config_beside(file))
    if not all(bool(value.isfinite().all()) for value in adapter.deltas().values()):
        raise ArithmeticError("an adapter that adds what is no number")
    adapter_fits(adapter, ground.base)


def pictures_case(draw: Draw, ground: Ground, at: Path) -> None:
    """A folder of pictures with a table, captions and files that somebody damaged or thought out."""
    folder = Path(shutil.copytree(ground.pictures, at / "pictures"))
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    if draw.random() < 0.3:
        rows = [{**row, "conditioning_image_file_name": row["file_name"]} for row in rows]
    rows = [twisted(draw, row) if draw.random() < 0.4 else row for row in rows]
    how = draw.randrange(6)
    if how == 0:
        (folder / "metadata.jsonl").unlink()
    elif how == 1:
        (folder / "metadata.jsonl").unlink()
        text = io.StringIO()
        csv.writer(text).writerows(
            [
                list(row) if i == 0 else [str(v) for v in row.values()]
                for i, row in enumerate(r for r in [*rows[:1], *rows] if isinstance(r, dict))
            ]
        )
        (folder / draw.choice(["metadata.csv", "Metadata.csv", "metadata.json"])).write_bytes(
            flipped(draw, text.getvalue().encode(errors="replace"))
        )
    else:
        (folder / "metadata.jsonl").write_bytes(b"\n".join(written(draw, row) for row in rows))
    for path in sorted(folder.glob("*.png")):
        change = draw.randrange(8)
        if change == 0:
            path.write_bytes(flipped(draw, path.read_bytes()))
        elif change == 1:
            _odd_picture(draw, path)
        elif change == 2:
            path.rename(
                folder / draw.choice(["\x1b[2J.png", "a:x:.png", "\u202egnp.png", "x" * 200 + ".png", "b.PNG", "c.jfif", "d.webp", ".png"])
            )
        elif change == 3:
            path.unlink()
            _no_file(draw, path)
        elif change == 4:
            path.with_suffix(".txt").write_bytes(draw.choice([b"a caption", b"\xff\xfe", b"\x1b[2J", b""]))
    found = read_folder(folder, size=SIZE, condition=draw.choice(["canny", "canny", "given"]))
    for example in found:
        _read(example)


def _no_file(draw: Draw, path: Path) -> None:
    """Something else under a file's name, or nothing."""
    how = draw.choice(["folder", "pipe", "/dev/zero", path.name, "nowhere", ""])
    if how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how:
        path.symlink_to(how)


def _read(example: Any) -> None:
    try:
        for part in (example.image, example.condition):
            pixels = part()
            assert pixels is None or pixels.shape == (SIZE, SIZE, 3)
        assert isinstance(example.caption, str) and isinstance(example.cropped, bool)
    except UserError:
        return


def _odd_picture(draw: Draw, path: Path) -> None:
    mode = draw.choice(["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "RGB"])
    size = draw.choice([(1, 1), (1, 3000), (3000, 1), (700, 700), (5000, 4000)])
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG", "F": "TIFF", "I": "TIFF"}.get(mode, draw.choice(["PNG", "PNG", "GIF", "BMP", "TIFF"]))
    data = io.BytesIO()
    try:
        Image.new(mode, size).save(data, kind)
    except (OSError, ValueError, KeyError):
        data.write(b"GIF89a")
    path.write_bytes(data.getvalue() if draw.random() < 0.7 else flipped(draw, data.getvalue()))


def controlnet_case(draw: Draw, ground: Ground, at: Path) -> None:
    """A ControlNet's folder with another configuration, other settings or other tensors."""
    folder = Path(shutil.copytree(ground.folder / "net", at / "net"))
    for name, chance in ((nets.SETTINGS, 0.3), ("config.json", 0.6)):
        if draw.random() < chance:
            (folder / name).write_bytes(written(draw, twisted(draw, json.loads((folder / name).read_text()))))
    file = folder / "diffusion_pytorch_model.safetensors"
    if draw.random() < 0.4:
        data = file.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = {name: entry for name, entry in json.loads(data[8 : 8 + size]).items() if name != "__metadata__"}
        tensors = {name: (e["dtype"], e["shape"], data[8 + size :][slice(*e["data_offsets"])]) for name, e in header.items()}
        for name in draw.sample(sorted(tensors), k=draw.randint(0, 2)):
            kind, shape, _ = tensors.pop(name)
            if draw.random() < 0.7:
                kind = draw.choice(["F32", "F16", "I32", "F64"])
                shape = draw.choice([shape, shape[::-1], [*shape, 1], shape[1:]])
                tensors[draw.choice([name, name + "x"])] = (kind, shape, numbers(draw, shape, kind))
        file.write_bytes(packed(draw, tensors, draw.choice([{"format": "pt"}, None, "left out"])))
    if draw.random() < 0.1:
        gone = draw.choice(sorted(folder.iterdir()))
        gone.unlink()
        _no_file(draw, gone)
    model, settings = nets.load_latent_controlnet(folder)
    nets.check_fits(model, ground.base)
    draws = torch.Generator().manual_seed(0)
    side = ground.base.side
    z = torch.randn((1, 4, side, side), generator=draws)
    with torch.no_grad():
        model(z, torch.tensor([500]), ground.base.empty_context, controlnet_cond=settings["condition_scale"] * z, return_dict=False)


KINDS: dict[str, Callable[[Draw, Ground, Path], None]] = {
    "records": records_case, "lora": lora_case, "pictures": pictures_case, "controlnet": controlnet_case,
}  # fmt: skip


# ---------------------------------------------------------------- running


class TooLong(BaseException):
    """Not an Exception: no reader may take it for an error of its own."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise ``TooLong`` inside after so many seconds. In the main thread alone."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def one(kind: str, seed: int, ground: Ground) -> BaseException | None:
    """Run a case; what came out of it: nothing, a refusal as it should be, or a fault."""
    with tempfile.TemporaryDirectory(prefix="sfumato-fuzz-") as at, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with limited(LIMIT):
                KINDS[kind](Draw(f"{kind}:{seed}"), ground, Path(at))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return error
    return None


def peak() -> int:
    """The most memory that this process ever took, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(ground: Ground, *, cases: int, seed: int, kinds: tuple[str, ...] = tuple(KINDS)) -> dict[str, Any]:
    """``cases`` cases, each kind in turn: how many were refused, the faults by kind and seed, and by how much memory grew."""
    faults, before, refused = [], peak(), 0
    for number in range(cases):
        kind, grown = kinds[number % len(kinds)], peak()
        error = one(kind, seed * 1_000_000 + number, ground)
        if peak() - grown > MEMORY:
            error = MemoryError(f"grew by {peak() - grown} bytes")
        if isinstance(error, UserError):
            refused += 1
        elif error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
            faults.append(
                {"case": f"{kind}:{seed * 1_000_000 + number}", "error": f"{type(error).__name__}: {str(error)[:200]}", "where": where}
            )
    return {"cases": cases, "refused": refused, "seed": seed, "faults": faults, "grew_bytes": peak() - before}


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe. Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of them, with commas")
    parser.add_argument("--only", help="one case, KIND:SEED")
    parser.add_argument("--base", default="tiny")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sfumato-fuzz-ground-") as at:
        ground = Ground(Path(at) / "ground", load_base(chosen.base))
        if chosen.only:
            kind, _, seed = chosen.only.partition(":")
            error = one(kind, int(seed), ground)
            if error is not None:
                traceback.print_exception(error)
            return int(not isinstance(error, UserError | None))
        found = run(ground, cases=chosen.cases, seed=chosen.seed, kinds=tuple(chosen.kinds.split(",")))
    print(json.dumps(found, indent=1))
    return int(bool(found["faults"]) or found["grew_bytes"] > MEMORY)


if __name__ == "__main__":
    sys.exit(main())
