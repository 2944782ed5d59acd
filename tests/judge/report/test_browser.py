"""Pages as a browser shows them: on a telephone and on a desk, light and dark, nothing is cut off, asked for, too pale or without a name.

Every page is put into frames of the wanted widths, all of them in one browser for light and one for dark; a script beside them measures
each frame and writes what it found into the text that Chromium prints. What it asks for is what axe-core asks of such pages: a language,
a title, one main part, headings in order, names for pictures, tables' heads and boxes that scroll, and the contrast of WCAG 2 (AA), also
of what a box has scrolled away. Without Chromium these are skipped: ``CHROMIUM`` names the binary where it is not found.
"""

import html
import json
import os
import re
import shutil
import subprocess

import pytest

from pages_support import PAGES

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install it, or name it in the variable CHROMIUM")
CONTRAST = 4.5  # WCAG 2, AA, for text
WIDTHS = (360, 1200)

_MEASURE = """
const numbers = text => (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => { const part = x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
  return .2126 * part(r) + .7152 * part(g) + .0722 * part(b); };
function measured(element) {
  const frame = element.contentWindow, page = element.contentDocument, root = page.documentElement;
  const dark = frame.matchMedia("(prefers-color-scheme: dark)").matches, bare = dark ? [18, 18, 18] : [255, 255, 255];
  const behind = element => { const layers = []; for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = numbers(frame.getComputedStyle(e).backgroundColor); if (a) layers.push([r, g, b, a]); if (a == 1) break; }
    return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((x, i) => a * x + (1 - a) * under[i]), bare); };
  let worst = [99, ""];
  for (const e of page.body.querySelectorAll("*")) if ([...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())) {
    const [a, b] = [numbers(frame.getComputedStyle(e).color), behind(e)].map(light);
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < worst[0]) worst = [contrast, e.textContent.slice(0, 60)]; }
  const all = query => [...page.querySelectorAll(query)], wrong = [], say = (bad, what) => bad && wrong.push(what);
  say(!root.lang, "no language"); say(!page.title.trim(), "no title"); say(all("main").length != 1, "not one main");
  say(all("h1").length != 1, "not one h1");
  let before = 0;
  for (const h of all("h1,h2,h3,h4")) { say(h.tagName[1] > before + 1, "a heading skips"); before = +h.tagName[1]; }
  for (const i of page.images) say(!i.alt.trim() || !i.naturalWidth, "a picture without name or pixels");
  for (const e of all("th,a,button,h1,h2,h3,figcaption")) say(!e.textContent.trim(), "an empty " + e.tagName);
  for (const e of all("body *")) if (e.scrollWidth > e.clientWidth && /auto|scroll/.test(frame.getComputedStyle(e).overflowX))
    say(e.tabIndex < 0 || !e.getAttribute("aria-label"), "a box scrolls that no key reaches: " + e.tagName);
  for (const a of all("a[href^='#']")) say(!page.getElementById(a.hash.slice(1)), "a link to nothing: " + a.hash);
  const ids = all("[id]").map(e => e.id); say(new Set(ids).size < ids.length, "an id twice");
  for (const e of [...page.body.children]) say(!e.matches("main,header,footer,nav,script"), "beside main: " + e.tagName);
  return { width: frame.innerWidth, scroll: root.scrollWidth, dark, worst, wrong,
    asked: frame.performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:")),
    cut: all("pre").filter(e => e.scrollWidth > e.clientWidth).length };
}
window.onload = () => { const found = document.createElement("pre"); found.id = "found";
  found.textContent = JSON.stringify(Object.fromEntries([...document.querySelectorAll("iframe")].map(f => [f.id, measured(f)])));
  document.body.append(found); };
"""


def shown(folder, sources, *, dark):
    """What the browser measured of each page and width, and what it complained of."""
    frames = "".join(
        f'<iframe id="{name} {width}" style="border:0;width:{width}px;height:800px" srcdoc="{html.escape(source)}"></iframe>'
        for name, source in sources.items() for width in WIDTHS
    )  # fmt: skip
    harness = folder / f"harness-{dark}.html"
    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><body>'
    harness.write_text(f"{head}{frames}<script>{_MEASURE}</script>")
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={folder / 'browser'}",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1400,900", "--virtual-time-budget=5000",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def browser(request, tmp_path_factory):
    """Every page at every width, in one browser; the scheme, and what was found."""
    folder = tmp_path_factory.mktemp("pages")
    sources = {name: make(folder) for name, make in PAGES.items()}
    assert all(len(source.encode()) < 3e6 for source in sources.values())
    return request.param, *shown(folder, sources, dark=request.param)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_asks_nobody_and_can_be_read_by_everybody(browser, name, width):
    dark, measured, _ = browser
    found = measured[f"{name} {width}"]
    assert found["width"] == width and found["dark"] == dark
    assert found["scroll"] <= width and found["asked"] == [] and found["cut"] == 0
    assert found["wrong"] == [] and found["worst"][0] >= CONTRAST, found["worst"]


def test_the_browser_complains_of_nothing(browser):
    assert browser[2] == []


def test_the_measure_sees_what_is_wrong(tmp_path):
    bad = '<h1>a</h1><h3 id="x"></h3><pre style="width:90px;overflow:auto">a command that is cut off</pre><script>nothing()</script>'
    bad += '<p id="x" style="width:900px;color:#ccc;background:#fff">pale</p><img src="http://example.invalid/x.png"><a href="#y">z</a>'
    measured, complaints = shown(tmp_path, {"bad": bad}, dark=False)
    found = measured["bad 360"]
    assert found["scroll"] > 360 and found["worst"][0] < 2 and found["cut"] == 1 and complaints
    told = " ".join(found["wrong"])
    for word in ("no language", "no title", "not one main", "a heading skips", "an empty H3", "without name", "no key reaches",
                 "to nothing", "an id twice", "beside main"):  # fmt: skip
        assert word in told, word
