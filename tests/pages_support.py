"""One of each page that a person looks at, with made-up figures and texts that are longer than they should be."""

import numpy as np

from sfumato.judge.report import pages, words
from sfumato.sharing import audit as sharing
from sfumato.sharing import formats
from sfumato.sharing.finding import Measured, Seen, Shown
from sharing_support import DIALECTS, LEAKS, notes_of, write

IMAGES = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
STRIPS = pages.strips([("your picture", IMAGES), ("what the server sees", IMAGES)], side=48)
BAD = {"state": "failed", "headline": "Do not upload these records.", "notes": ["a note " * 20],
       "commands": [f"sfumato seal {'a' * 90} --level private"]}  # fmt: skip
OPEN = {"state": "open", "headline": "No attack got more than the base alone.", "notes": [], "commands": []}
GOOD = {"state": "passed", "headline": "Conditions are followed.", "notes": ["on a style that it knows"], "commands": []}
MEAN = {"mean": 0.391, "low": 0.29, "high": 0.49, "n": 50}


def audit_page(folder):
    long = {"modelspec.author": "x" * 400, "a_note_with_a_very_long_name_" * 8: "y", "modelspec.description": "two words " * 60}
    file = write(folder / "zwx_dog.safetensors", DIALECTS["kohya sd1"][0], notes_of(*LEAKS) | long)
    (folder / ("z" * 200 + ".safetensors")).write_bytes(b"none")
    seen = Seen(
        measured=(Measured(what="membership by pia", path=str(file), said="0.91 [0.70, 0.98] " * 9, value=0.91, low=0.7, high=0.98,
                           chance=0.5, n=40, knew="the file, the base tiny and the words " + "very " * 40),),
        shown=tuple(Shown(path=str(file), label=strip.label, url=strip.url) for strip in STRIPS),
    )  # fmt: skip
    report = sharing.audit([file, folder / ("z" * 200 + ".safetensors")], weigh=lambda path: seen)
    return formats.written(report, "html")


def attack_page(folder):
    cell = {"score": 0.5, "low": 0.4, "high": 0.6, "prior_only": 0.1, "chance": 0.01, "n": 64, "verdict": "effective",
            "beside": {f"measure_{n}": 0.123 for n in range(6)}}  # fmt: skip
    gate = {"name": "attacks", "passed": False, "asked": "every attack that has something to work on", "found": "direct_identity: " * 9,
            "rank": 2, "unasked": False}  # fmt: skip
    return _page(folder, "attack.html", {
        "verdict": BAD, "withdrawn": "", "audited": 5, "records": 10, "leaks": {"latents": 1}, "public": "60 public pictures",
        "matched": "ledger", "candidates": 5, "pictures": 10, "gates": [gate, gate | {"passed": True}, gate | {"passed": None}],
        "person": "nobody is named", "gates_from": "gates.toml", "strips": STRIPS, "words": words.TARGETS,
        "by_danger": {target: [("diffusion_prior:ddim", cell)] for target in words.TARGETS}, "ceiling": {}, "unasked": {},
        "without": [("fsha", {"outcome": "no channel", "why": "gradients"})], "knowledge": ["base"], "settings": {"effort": "quick"},
        "interval": "bootstrap", "version": "0",
    })  # fmt: skip


def demo_page(folder):
    arms = [{"label": "one-way records of both owners", "mean": 0.39, "low": 0.29, "high": 0.49, "f1": 0.4, "ssim": 0.5, "n": 50}] * 3
    return _page(folder, "demo.html", {
        "verdict": GOOD, "owners": ["clinic", "studio"], "records": 500, "private": STRIPS, "seen": STRIPS, "made": STRIPS,
        "seal_step": 600, "condition_step": None, "bytes_per_picture": 2049.0, "guarantee": "none",
        "level": "medium", "measured": ["0.035 of people"],
        "arms": arms, "f1": {"shuffled": 0.1, "vae_ceiling": 0.9}, "bars": [{"met": False, "text": "more than chance"}],
        "costs": [{"label": "sealing", "seconds": 12.0, "peak": 5e8}, {"label": "drawing", "seconds": 1.0, "peak": None}],
        "command": "sfumato demo " + "--option " * 20, "version": "0",
    })  # fmt: skip


def compare_page(folder):
    row = {"adherence": MEAN, "ssim": 0.5, "private_pictures": 100, "bytes_up_per_picture": 2049.0, "bytes_down_per_picture": 1e6,
           "messages_up": 1, "messages_down": 0, "online": True, "owner_peak_bytes": 5e8, "owner_seconds": 2.0, "owner_flops": 1e12,
           "server_seconds_per_step": 0.2, "notes": ["a note " * 20]}  # fmt: skip
    public = {"adherence": MEAN, "ssim": 0.5, "private_pictures": 0, "notes": []}
    sd15 = {"bytes_up_per_picture_and_epoch": 1e6, "bytes_down_per_picture_and_epoch": 0.0, "owner_holds_bytes": 1e9,
            "total_after_epochs": {"1": 1e6, "10": 1e7, "100": 1e8}, "formula": "latents + condition " * 5}  # fmt: skip
    return _page(folder, "compare.html", {
        "verdict": OPEN, "folders": None, "settings": {"pictures": 250, "steps": 450, "batch": 8, "conditions": 50, "condition": "canny"},
        "tables": {"own": {"sealed_records_of_everybody": row, "public": public}}, "styles": {"own": "peeps"}, "sheets": {"own": STRIPS},
        "seeds": {"sealed": [0.3, 0.4]}, "guarantees": {"sealed": "none " * 30}, "sd15": {"sealed": sd15},
        "speed": {"seconds_per_step": {"sealed": 0.2, "usual": 0.3}, "server_ratio": 0.7, "batch": 8, "threads": 2, "precision": "no"},
        "version": "0",
    })  # fmt: skip


def weights_page(folder):
    scored = {"outcome": "scored", "top1": 0.4, "low": 0.3, "high": 0.5, "pools": {"peeps": {"top1": 0.4}}, "top5": MEAN, "rank": MEAN,
              "n": 50, "seconds": 1.0, "verdict": "effective"}  # fmt: skip
    drawn = scored | dict.fromkeys(("identity_similarity", "nearest_private", "nearest_other", "skin", "hair"), MEAN)
    return _page(folder, "weights.html", {
        "verdict": BAD, "victims": {"a": {}}, "settings": {"each": 5}, "chance": 0.005, "strips": STRIPS, "owner": drawn, "floor": scored,
        "attacks": {"network_autoencoder:invariant, steps known": drawn, "lineup_likelihood": scored,
                    "linear": {"outcome": "failed", "why": "it diverged " * 9}},
        "pairs": {"one / another": {"difference": 0.1, "low": 0.0, "high": 0.2, "adjusted_p": 0.04, "n": 50}},
        "interval": "bootstrap", "version": "0",
    })  # fmt: skip


def matrix_page(folder):
    cell = {"verdict": "effective", "n": 50, "low": 0.4, "high": 0.6, "score": 0.5, "prior_only": 0.1, "chance": 0.01}
    target = next(iter(words.TARGETS))
    entries = {"sealed": {"outcome": "scored", "pools": {"peeps": {"targets": {target: cell}}, "others": {"targets": {target: cell}}}},
               "fedavg": {"outcome": "no channel", "why": "gradients"}, "public": {"outcome": "failed", "why": "it diverged " * 9},
               "split": None}  # fmt: skip
    return _page(folder, "matrix.html", {
        "verdict": BAD, "settings": {"people": 50, "pools": ["peeps", "others"], "each": 5, "public": 60, "effort": "quick"},
        "words": {target: words.TARGETS[target]}, "matrix": dict.fromkeys(entries), "rows": ["direct:x"], "after": {target: ["direct"]},
        "entry": lambda scheme, row: entries[scheme], "ceiling": {"peeps": {target: {"score": 0.9}}}, "sheets": {"sealed": STRIPS},
        "given": {"sealed": "latents"}, "interval": "bootstrap", "correction": "Holm", "version": "0",
    })  # fmt: skip


def _page(folder, name, values):
    pages.write_page(folder / name, name, values)
    return (folder / name).read_text()


PAGES = {
    make.__name__.removesuffix("_page"): make for make in (audit_page, attack_page, demo_page, compare_page, weights_page, matrix_page)
}
