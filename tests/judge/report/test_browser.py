"""Pages as a browser shows them: on a telephone and on a desk, light and dark, nothing is cut off, asked for or too pale to read.

A page is put into a frame of the wanted width; a script beside it measures the frame and writes what it found into the text that
Chromium prints. Without Chromium these are skipped: ``CHROMIUM`` names the binary where it is not found.
"""

import html
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from sfumato.judge.report import pages, words
from sfumato.sharing import audit as sharing
from sfumato.sharing import formats
from sharing_support import DIALECTS, LEAKS, notes_of, write

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install it, or name it in the variable CHROMIUM")
CONTRAST = 4.5  # WCAG 2, AA, for text

_HARNESS = """<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><body>
<iframe id="f" style="border:0;width:WIDTHpx;height:800px" srcdoc="PAGE"></iframe><script>
const numbers = text => (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => { const part = x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  return .2126 * part(r) + .7152 * part(g) + .0722 * part(b); };
document.getElementById("f").onload = function () {
  const frame = this.contentWindow, page = this.contentDocument, root = page.documentElement;
  const dark = frame.matchMedia("(prefers-color-scheme: dark)").matches, bare = dark ? [18, 18, 18] : [255, 255, 255];
  const behind = element => { const layers = []; for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = numbers(frame.getComputedStyle(e).backgroundColor); if (a) layers.push([r, g, b, a]); if (a == 1) break; }
    return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((x, i) => a * x + (1 - a) * under[i]), bare); };
  let worst = [99, ""];
  for (const e of page.body.querySelectorAll("*")) if ([...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())) {
    const [a, b] = [numbers(frame.getComputedStyle(e).color), behind(e)].map(light);
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < worst[0]) worst = [contrast, e.textContent.slice(0, 60)]; }
  const asked = frame.performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:"));
  const images = [...page.images].filter(i => !i.alt || !i.naturalWidth).length;
  const cut = [...page.querySelectorAll("pre")].filter(e => e.scrollWidth > e.clientWidth).length;
  const found = document.createElement("pre"); found.id = "found";
  found.textContent = JSON.stringify({width: frame.innerWidth, scroll: root.scrollWidth, dark, asked, worst, images, cut});
  document.body.append(found); };
</script>"""


def shown(tmp_path, page, *, width, dark):
    """What the browser measured, and what it complained of."""
    harness = tmp_path / "harness.html"
    harness.write_text(_HARNESS.replace("WIDTH", str(width)).replace("PAGE", html.escape(page)))
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'browser'}",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1400,900", "--virtual-time-budget=3000",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def audit_page(folder):
    long = {"modelspec.author": "x" * 400, "a_note_with_a_very_long_name_" * 8: "y", "modelspec.description": "two words " * 60}
    file = write(folder / "zwx_dog.safetensors", DIALECTS["kohya sd1"][0], notes_of(*LEAKS) | long)
    (folder / ("z" * 200 + ".safetensors")).write_bytes(b"none")
    return formats.written(sharing.audit([file, folder / ("z" * 200 + ".safetensors")]), "html")


def attack_page(folder):
    cell = {"score": 0.5, "low": 0.4, "high": 0.6, "prior_only": 0.1, "chance": 0.01, "n": 64, "verdict": "effective",
            "beside": {f"measure_{n}": 0.123 for n in range(6)}}  # fmt: skip
    images = np.random.default_rng(0).integers(0, 255, (10, 64, 64, 3), np.uint8)
    gate = {"name": "attacks", "passed": False, "asked": "every attack that has something to work on", "found": "direct_identity: " * 9,
            "rank": 2, "unasked": False}  # fmt: skip
    values = {
        "verdict": {"state": "failed", "headline": "Do not upload these records.", "notes": ["a note " * 20],
                    "commands": [f"sfumato seal {'a' * 90} --level private"]},
        "withdrawn": "", "audited": 5, "records": 10, "leaks": {"latents": 1}, "public": "60 public pictures", "matched": "ledger",
        "candidates": 5, "pictures": 10, "gates": [gate, gate | {"passed": True}, gate | {"passed": None}], "person": "nobody is named",
        "gates_from": "gates.toml", "strips": pages.strips([("your picture", images), ("what the server sees", images)]),
        "words": words.TARGETS, "by_danger": {target: [("diffusion_prior:ddim", cell)] for target in words.TARGETS}, "ceiling": {},
        "unasked": {}, "without": [("fsha", {"outcome": "no channel", "why": "gradients"})], "knowledge": ["base"],
        "settings": {"effort": "quick"}, "interval": "bootstrap", "version": "0",
    }  # fmt: skip
    pages.write_page(folder / "attack.html", "attack.html", values)
    return (folder / "attack.html").read_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("make", [audit_page, attack_page])
def test_a_page_fits_asks_nobody_complains_of_nothing_and_can_be_read(tmp_path, make, width, dark):
    found, complaints = shown(tmp_path, make(tmp_path), width=width, dark=dark)
    assert found["width"] == width and found["dark"] == dark
    assert found["scroll"] <= width and found["asked"] == [] and complaints == [] and found["images"] == found["cut"] == 0
    assert found["worst"][0] >= CONTRAST, found["worst"]


def test_the_measure_sees_what_is_wrong(tmp_path):
    bad = '<pre style="width:90px;overflow:auto">a command that is cut off</pre><script>nothing()</script>'
    bad += '<p style="width:900px;color:#ccc;background:#fff">pale</p><img src="http://example.invalid/x.png">'
    found, complaints = shown(tmp_path, bad, width=360, dark=False)
    assert found["scroll"] > 360 and found["worst"][0] < 2 and found["images"] == found["cut"] == 1 and complaints
