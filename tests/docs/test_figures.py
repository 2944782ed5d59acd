"""No number in the README or in docs/ that is not in the JSON that was measured, and no JSON without the command that makes it again."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from sfumato.attacker.records import base as attacks
from sfumato.diffusion.base import load_base
from sfumato.diffusion.shapes import sd15
from sfumato.judge.gates import ENOUGH
from sfumato.judge.report import matrix as report
from sfumato.records import presets
from sfumato.studies import compare, footprint, frontier, redteam
from tests_support import load_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FIGURES = sorted((ROOT / "docs").glob("*.json"))
VICTIMS = {  # studies of people, each of whom is trained for; others have 64 pictures or more
    "weights.json": 100, "weights_first.json": 50, "weights_odd.json": 20, "weights_noprior.json": 20,
}  # fmt: skip


def read(name):
    return json.loads((ROOT / "docs" / name).read_text())


def said(figure):
    return f"{figure['mean']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_every_figure_names_the_command_that_makes_it_again(path):
    command = json.loads(path.read_text())["command"]
    script = re.search(r"(recipes|benchmarks)/\w+\.py", command)
    assert command.startswith("sfumato ") or (script and (ROOT / script[0]).exists())


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.name)
def test_every_mean_has_its_interval_and_its_n(path):
    least = VICTIMS.get(path.name, 64)

    def walk(value):
        if isinstance(value, dict):
            if isinstance(value.get("mean"), float):
                assert value["low"] - 1e-9 <= value["mean"] <= value["high"] + 1e-9
                assert value["n"] >= least
            for name, inner in value.items():
                if name != "gradient_matching":  # tried on some of the victims, and its n says so
                    walk(inner)

    walk(json.loads(path.read_text()))


def test_the_readme_says_what_the_demo_measured():
    figures = read("demo.json")
    text = " ".join(README.split())
    assert f"A = {said(figures['adherence']['sealed'])} from sealed records" in text
    assert f"against {said(figures['adherence']['no_control'])} without control" in text
    assert f"{figures['bytes_per_picture']:,.0f} bytes left for each picture" in text and f"{figures['seconds']:.0f} seconds" in text
    assert f"{figures['owner_peak_bytes'] / 1e6:.0f} MB at an owner and {figures['server_peak_bytes'] / 1e6:.0f} MB" in text
    assert figures["seconds"] <= 240 and max(figures["owner_peak_bytes"], figures["server_peak_bytes"]) <= 3e9


def test_the_readme_says_what_the_full_demo_measured():
    figures = read("demo_full.json")
    rows = dict(re.findall(r"^\| \**([^|*]+?)\** \| \**([\d.]+ \[[^|*]+\])\** \|$", README, flags=re.MULTILINE))
    labels = {"nothing: the base alone": "no_control", "sealed records": "sealed", "the same private pictures in the clear": "centralised",
              "as many public pictures in the clear": "public"}  # fmt: skip
    for label, arm in labels.items():
        assert rows[label] == said(figures["adherence"][arm]), label
    assert f"Sealed over clear: {said(figures['ratio'])}" in README
    assert figures["ratio"]["mean"] >= 0.9 and figures["ratio"]["low"] >= 0.8 and figures["adherence"]["centralised"]["mean"] >= 0.5


def test_the_readme_says_what_the_ways_to_generate_measured():
    ways = read("generation.json")["ways"]
    for name, label in (("alpha_m c", "alpha_m c, in all steps"), ("c", "c"), ("drawn c_m", "one drawn c_m")):
        adherence = ways[name]
        row = next(line for line in README.splitlines() if line.startswith(f"| {label}"))
        assert f"{adherence['mean']:.3f} [{adherence['low']:.3f}, {adherence['high']:.3f}]" in row


def test_the_page_on_the_sweep_says_what_was_measured():
    arms, page = read("sweep.json")["arms"], (ROOT / "docs/sweep.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    grid = {row[0]: row[1:] for row in rows if len(row) == 5}
    for n in (None, 200, 400, 600, 800):
        for column, m in enumerate((None, 200, 400, 600)):
            assert grid["unsealed" if n is None else str(n)][column] == said(arms[f"n={n} m={m}"])
    shown = {row[0]: row[1:] for row in rows if len(row) == 4}
    for m in (200, 400, 600):
        arm = arms[f"n=600 m={m}"]
        assert shown[str(m)][:2] == [said(arm), said(arm["shown_c"])]
        assert arm["shown_c"]["ratio"]["low"] > 1 and shown[str(m)][2].startswith(f"{arm['shown_c']['ratio']['mean']:.3f}")
    for name in ("no_control", "centralised", "public"):
        assert said(arms[name]) in page


def test_the_page_on_schemes_says_what_was_compared():
    found, page = read("compare.json"), (ROOT / "docs/schemes.md").read_text()
    rows = [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows if len(row) == 9}
    labels = {"no_control": "no control", "sealed": "sealed", "sealed-derived": "sealed, derived (n = 800)"}
    for name in ("no_control", "public", "synthetic", "centralised", "fedavg", "split", "oneway", "sealed", "sealed-derived"):
        own, shifted = found["schemes"][name], found["shifted"][name]
        row = {key.replace("`", ""): value for key, value in table.items()}[labels.get(name, name)]
        assert row[:2] == [said(own["adherence"]), said(shifted["adherence"])], name
        if own["private_pictures"]:
            assert row[2:4] == [f"{own[f'bytes_{way}_per_picture']:,.0f}" for way in ("up", "down")], name
            assert row[4] == f"{own['messages_up']} / {own['messages_down']}" and (row[5] == "yes") == own["online"]
            assert row[6] == f"{own['owner_peak_bytes'] / 1e6:,.0f}" and row[7] == f"{own['owner_seconds']:.1f}"


def test_the_page_on_schemes_says_what_the_long_comparison_measured():
    found, page = read("compare_full.json"), (ROOT / "docs/schemes.md").read_text()
    part = page.partition("## Measured at length")[2].partition("\n## ")[0]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
    table = {row[0].replace("`", ""): row[1:] for row in rows}
    drawn = [domain for domain in compare.DOMAINS if domain != compare.YOURS]
    labels = {"no_control": "no control", "sealed-derived": "sealed, derived (n = 800)"}
    for name in ("no_control", *compare.ARMS):
        first, second = ({domain: found["runs"][f"{domain}/{name}/{seed}"] for domain in drawn} for seed in (0, 1))
        assert all(row["adherence"]["n"] == row["fd_efflite0"]["n"] == 1000 for row in first.values())
        assert all(row["adherence"]["n"] == 200 for row in second.values())
        row = table[labels.get(name, name)]
        assert row[:3] == [f"{said(first[d]['adherence'])}; {second[d]['adherence']['mean']:.2f}" for d in drawn], name
        assert row[3] == " / ".join(f"{first[d]['fd_efflite0']['value']:.0f}" for d in drawn), name


def test_the_readme_says_where_private_pictures_are_needed():
    runs, text = read("compare_full.json")["runs"], " ".join(README.split())
    sealed, clear, without = (said(runs[f"fill50k/{name}/0"]["adherence"]) for name in ("sealed", "centralised", "synthetic"))
    assert f"on coloured circles {sealed} from sealed records, {clear} in the clear, {without} without any owner" in text


def test_the_ablations_are_those_that_ran():
    found, page = read("compare.json")["schemes"], (ROOT / "docs/schemes.md").read_text()
    rows = dict(re.findall(r"^\| `([\w-]+)`[:,][^|]*\| ([\d.]+ \[[^|]+\]) \|$", page, flags=re.MULTILINE))
    assert set(rows) == {"oneway", "oneway-identity", "oneway-empty", "unsealed", "sealed-int8", "fedprox"}
    assert all(said(found[name]["adherence"]) == text for name, text in rows.items())


def test_the_card_is_made_of_the_figures():
    evaluation = load_recipe("evaluate_tiny_base")
    base = ROOT / "src/sfumato/assets/tiny"
    figures, trained = read("tiny_base.json"), json.loads((base / "training.json").read_text())
    assert (base / "README.md").read_text() == evaluation.card(figures, trained)
    assert figures["bars"] == evaluation.BARS


def test_the_table_at_sd_size_is_what_the_shapes_give():
    found, shapes = read("sd15.json"), sd15()
    assert found["shapes"] == asdict(shapes)
    assert found["schemes"] == json.loads(json.dumps(footprint.table(shapes, pictures=found["pictures_of_an_owner"])))


def test_the_page_on_schemes_says_what_the_table_says():
    rows = read("sd15.json")["schemes"]
    page = (ROOT / "docs/schemes.md").read_text()
    table = {}
    for line in page.splitlines():
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if len(cells) == 7:
            table[cells[0].partition(",")[0] if cells[0].startswith("fedavg") else cells[0]] = cells[1:]
    names = {"oneway, sending `z_t` for `conv_in(z_t)`": "oneway"} | {
        name: name for name in ("centralised", "fedavg", "split", "oneway, as published", "sealed", "sealed, derived")
    }
    for label, name in names.items():
        up, down, *totals = table[label][:5]
        assert up.partition(" ")[0].rstrip(",") == f"{rows[name]['bytes_up_per_picture_and_epoch']:,.0f}", label
        assert down == f"{rows[name]['bytes_down_per_picture_and_epoch']:,.0f}"
        for text, value in zip(totals, rows[name]["total_after_epochs"].values(), strict=True):
            assert float(text.replace(",", "")) == pytest.approx(value / 1e6, rel=0.03)
    ratio = rows["oneway, as published"]["total_after_epochs"]
    for epochs, words in (("1", "85 times"), ("10", "851 times"), ("100", "8,511 times")):
        assert (
            round(ratio[epochs] / rows["sealed"]["total_after_epochs"][epochs]) == int(words.split()[0].replace(",", "")) and words in page
        )


def test_the_page_on_schemes_says_how_fast_a_step_is():
    page = " ".join((ROOT / "docs/schemes.md").read_text().split())
    tiny, sd = read("compare.json")["speed"], read("server_step_sd15.json")
    for found, text in ((tiny, "{:.2f} times as fast as the usual"), (sd, "{:.2f} times as fast (")):
        assert text.format(found["server_ratio"]) in page
    assert f"({sd['seconds_per_step']['sealed']:.2f} s and {sd['seconds_per_step']['usual']:.2f} s" in page
    assert min(tiny["server_ratio"], sd["server_ratio"]) >= 1.3


def test_the_page_on_attacks_says_what_was_attacked():
    figures, page = read("matrix.json"), (ROOT / "docs/attacks.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows if len(row) == 5}
    for scheme in redteam.MatrixConfig().schemes:
        columns = [("picture", "recombined"), ("condition", "recombined"), ("person", "recombined"), ("person", "unseen_part")]
        assert table[scheme] == [best_attack(figures["matrix"][scheme], *column) for column in columns]
    solved = [
        figures["matrix"][f"oneway:t_min={t},activation={f}"]["algebraic"] for t in (300, 600, 900) for f in ("symsigmoid", "identity")
    ]
    for found in (figures["matrix"]["oneway"]["algebraic"], *solved):
        for pool, kept in found["pools"].items():
            assert kept["targets"]["picture"]["beside"]["latent error"] <= 1e-3
            assert kept["targets"]["person"]["score"] == pytest.approx(figures["ceiling"][pool]["person"]["score"], abs=0.02)
    for scheme in ("sealed", "sealed-derived"):
        errors = [figures["matrix"][scheme][name]["pools"]["recombined"]["targets"]["picture"]["beside"]["latent error"]
                  for name in ("algebraic", "linear_mmse")]  # fmt: skip
        assert errors[0] > errors[1]


def test_the_readme_says_how_many_people_come_back():
    cells, text = read("matrix.json")["cells"], " ".join(README.split())
    for scheme, where in (("sealed", "{} of people from five records of each"), ("sealed-derived", "no condition leaves, {};")):
        found = cells[f"{scheme}/pooling:records"]
        assert found["budget"]["records of a person"] == 5 and found["pools"]["recombined"]["person"]["n"] == 1000
        assert where.format(person(found, "recombined")) in text


def test_the_page_on_attacks_says_how_many_people_come_back():
    cells, page = read("matrix.json")["cells"], " ".join((ROOT / "docs/attacks.md").read_text().split())
    for scheme in ("sealed", "sealed-derived", "oneway-withheld"):
        for row in ("pooling:records", "direct_identity"):
            assert person(cells[f"{scheme}/{row}"], "recombined") in page
    for scheme in ("sealed", "sealed-derived"):
        assert person(cells[f"{scheme}/pooling:records"], "unseen_part") in page
    told = cells["sealed-derived:condition=leaked/pooling:records"]
    assert f"recognises {person(told, 'recombined')} of the recombined people" in page


def test_the_page_on_attacks_says_what_a_crop_and_another_picture_give_away():
    cells, page = read("matrix.json")["cells"], " ".join((ROOT / "docs/attacks.md").read_text().split())
    for place in ("sealed/linkage:cropped", "sealed-derived/linkage:cropped", "sealed/linkage:another"):
        both = [cell_of(cells[place], pool, "candidate") for pool in ("recombined", "unseen_part")]
        assert " and ".join(both) in page, place


def test_the_page_on_attacks_says_what_twice_the_effort_gets():
    quick, full = read("matrix.json"), read("matrix_full.json")
    assert full["settings"] == {**quick["settings"], "effort": "full"}
    page, text = (ROOT / "docs/attacks.md").read_text(), " ".join(README.split())
    every = {f"{scheme}/{row}" for scheme in full["matrix"] for row in attacks.rows()}
    again = {f"{scheme}/{row}" for scheme in full["matrix"] for row in ("linkage:another", "linkage:cropped")}  # since then other attacks
    assert every - again <= set(full["cells"]) <= every and len(full["matrix"]) == 7
    assert (
        not [cell for cell in again & set(full["cells"]) if full["cells"][cell]["outcome"] == "scored"]
        and "linkage by a crop and by another picture excepted" in page
    )
    rows = re.findall(r"^\| `([\w:]+)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", page, flags=re.MULTILINE)
    assert len(rows) >= 5
    for row, *said_there in rows:
        found = [figures["cells"][f"{scheme}/{row}"] for scheme in ("sealed", "sealed-derived") for figures in (quick, full)]
        assert said_there == [person(one, "recombined") if one["outcome"] == "scored" else "-" for one in found], row
    assert f"attacks of {sum(cell.get('seconds') or 0 for cell in full['cells'].values()) / 3600:.1f} hours, summed" in page
    seconds = sum(quick["cells"][cell].get("seconds") or 0 for cell in full["cells"])
    assert f"of the seven schemes now sum to {seconds / 60:.0f} minutes" in page
    unseen = [person(figures["cells"]["sealed/pooling:records"], "unseen_part") for figures in (full, quick)]
    assert f"`pooling` {unseen[0]} against {unseen[1]}" in page
    best = [person(full["cells"][f"{scheme}/pooling:records"], "recombined") for scheme in ("sealed", "sealed-derived")]
    assert f"with twice the time get {best[0]} and {best[1]}" in text
    moved = (("split/fsha", "condition"), ("oneway/query_free", "picture"), ("oneway-withheld/inverse_network", "picture"))
    for place, target in moved:
        before, after = (cell_of(figures["cells"][place], "recombined", target) for figures in (quick, full))
        assert f"{before} to {after}" in " ".join(page.split()), place


def test_the_page_on_attacks_says_which_scores_and_verdicts_twice_the_effort_changes():
    quick, full = (dict(every_test(read(name)["matrix"])) for name in ("matrix.json", "matrix_full.json"))
    assert set(full) < set(quick)  # which has columns with options, too
    apart = {test: (quick[test], now) for test, now in full.items() if now["low"] > quick[test]["high"] or now["high"] < quick[test]["low"]}
    assert all(now["score"] > before["score"] for before, now in apart.values())
    assert {(scheme, row) for scheme, row, *_ in apart} == {
        ("split", "fsha"), *((s, "query_free") for s in ("oneway", "split", "centralised")),
        *((s, "inverse_network") for s in ("sealed", "sealed-derived", "oneway-withheld", "oneway", "centralised")),
    }  # fmt: skip
    turned = {test: now["effective"] for test, now in full.items() if now["effective"] != quick[test]["effective"]}
    assert turned == {
        **{("sealed", f"diffusion_prior:{how}", "unseen_part", "person"): True for how in ("ddim", "mean", "tuned")},
        ("sealed-derived", "direct_identity", "recombined", "person"): True,
        **{("sealed-derived", "inverse_network", pool, "condition"): True for pool in ("recombined", "unseen_part")},
        ("sealed-derived", "pooling:records", "unseen_part", "person"): False,
    }  # fmt: skip
    assert "Seven of the tests that both runs made turn. Six become effective" in (ROOT / "docs/attacks.md").read_text()


def every_test(matrix):
    """Every test of a matrix, by ``(scheme, attack and variant, pool, target)``."""
    for scheme, entries in matrix.items():
        for name, entry in entries.items():
            for variant, one in entry.get("variants", {"": entry}).items():
                for pool, found in one.get("pools", {}).items():
                    for target, test in found["targets"].items():
                        yield (scheme, f"{name}:{variant}" if variant else name, pool, target), test


def person(found, pool):
    """How many people of a pool a cell led to, as the pages say it."""
    return cell_of(found, pool, "person")


def cell_of(found, pool, target):
    cell = found["pools"][pool][target]
    return f"{cell['score']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]"


def best_attack(attacks, target, pool):
    """The best that any attack with records enough got, as the page says it."""
    found = []
    for name, entry in attacks.items():
        for variant, one in entry.get("variants", {"": entry}).items():
            cell = one["pools"].get(pool, {}).get("targets", {}).get(target)
            if cell and cell["n"] >= ENOUGH:
                row = f"`{name}:{variant}`" if variant else f"`{name}`"
                found.append((cell["score"], f"{cell['score']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}] {row}"))
    return max(found, key=lambda one: one[0])[1] if found else "-"


def test_the_committed_table_is_written_from_the_figures(tmp_path):
    report.write(tmp_path, read("matrix.json"))
    assert (tmp_path / "matrix.md").read_text() == (ROOT / "docs/matrix.md").read_text()


def test_every_file_that_the_pages_name_is_there():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def top1(person):
    return f"{person['score']:.3f} [{person['low']:.3f}, {person['high']:.3f}]"


def test_the_frontier_page_says_what_was_measured():
    figures, page = read("frontier.json"), (ROOT / "docs/frontier.md").read_text()
    for name, found in figures["points"].items():
        person = found["person"]
        assert f"| `{name}` | {said(found['adherence'])} | {top1(person)} | `{person['attack'].split(',')[0]}` |" in page
        assert found["failed"] == []
    for level, found in figures["presets"].items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {level} |"))
        second = found.get("again", found)["person"]
        assert said(found["adherence"]) in row and top1(found["person"]) in row and top1(second) in row
        assert f"{found['share_of_centralised']:.2f}" in row and said(figures["shifted"].get(found["scheme"], found["adherence"])) in row
    for name, mark in [*figures["beside"].items(), *figures["shifted"].items()]:
        assert name not in frontier.BESIDE or f"{name.replace('_', ' ')} {said(mark)}" in page
    assert {str(limit) for limit in frontier.LEVELS.values()} <= set(re.findall(r"0\.\d+", page.replace("0.30", "0.3")))


def test_the_frontier_page_says_what_was_tried_to_move_it():
    ways, page = read("moved.json")["ways"], (ROOT / "docs/frontier.md").read_text()
    recipe, compared = load_recipe("move_the_frontier"), read("compare.json")
    assert set(ways) == set(recipe.WAYS)
    for name, way in ways.items():
        person = recipe.best(way.get("people", ways[recipe.PLAIN]["people"]))
        assert f"| {name} | {said(way['own'])} | {said(way['shifted'])} | {top1(person)} |" in page, name
    rows = re.findall(r"^\| `(sealed-derived[^`]*)` \| ([^|]+) \| ([^|]+) \|$", page, flags=re.MULTILINE)
    assert len(rows) >= 5 and {name for name, *_ in rows} == {name for name in compared["schemes"] if name.startswith("sealed-derived")}
    for name, own, shifted in rows:
        assert (own, shifted) == tuple(said(compared[style][name]["adherence"]) for style in ("schemes", "shifted")), name


def test_presets_that_ship_are_those_that_were_measured(tmp_path, monkeypatch):
    figures, base = read("frontier.json"), load_base()
    assert figures["base"] == base.fingerprint and figures["latent"] == list(base.latent_shape)
    monkeypatch.setenv("SFUMATO_HOME", str(tmp_path))
    shipped = presets.known(base.fingerprint, base.latent_shape)
    frontier.install(figures)
    assert presets.path_of(base.fingerprint).exists() and presets.known(base.fingerprint, base.latent_shape) == shipped != {}


def shown(name):
    attack, _, rest = name.partition(",")
    return f"| `{attack}`{',' + rest if rest else ''} |"


@pytest.mark.parametrize(
    ("file", "heading"),
    [
        ("weights.json", "## Measured"),
        ("weights_first.json", "A first look at the first 25 of each pool"),
        ("weights_odd.json", "## Victims of another recipe"),
        ("weights_noprior.json", "## Victims without prior preservation"),
    ],
)
def test_the_page_on_weights_says_what_was_attacked(file, heading):
    figures, page = read(file), (ROOT / "docs/weights.md").read_text()
    part = page.partition(heading)[2].partition("\n## ")[0]
    assert figures["gate"]["passed"]
    rows = {"| the owner, with the trigger |": figures["owner"], "| the same prompt on the base |": figures["floor"]}
    again = read("weights.json")["attacks"] if file == "weights_first.json" else {}  # what was asked again is not said twice
    rows |= {shown(name): row for name, row in figures["attacks"].items() if name not in again}
    for label, row in rows.items():
        line = next(line for line in part.splitlines() if line.startswith(label))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == f"{row['top1']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" and cells[-1] == str(row["n"])


def test_the_page_on_weights_compares_encoders_as_they_were_compared():
    figures, page = read("weights.json"), (ROOT / "docs/weights.md").read_text()
    for encoder in ("probe", "invariant"):
        ours = f"network_autoencoder:{encoder}"
        part = page.partition(f"| `{encoder}` against |")[2].partition("\n\n")[0]
        others = [name for name in figures["attacks"] if name.startswith(("prior_sampling", "gradient_matching"))]
        others += ["network_autoencoder:hypernet", "network_autoencoder:constant", f"{ours}, of another's file"]
        for other in others:
            pair = figures["pairs"][f"{ours} / {other}"]  # the one that names more people stands first
            line = next(line for line in part.splitlines() if line.startswith(shown(other)))
            assert f"{pair['difference']:.2f} [{pair['low']:.2f}, {pair['high']:.2f}] | {pair['p']:.4f} |" in line


def test_the_pages_say_what_the_adapter_itself_gives_away():
    figures, page = read("weights_lineup.json"), (ROOT / "docs/weights.md").read_text()
    ranks = {pool: list(people.values()) for pool, people in figures["ranks"].items()}
    both = [rank for pool in ranks.values() for rank in pool]
    named = sum(rank == 1 for rank in both) / len(both)
    assert figures["all"]["n"] == len(both) and figures["all"]["top1"] == named
    line = next(line for line in page.splitlines() if line.startswith("| `lineup_likelihood:raw` |"))
    shares = " / ".join(f"{sum(rank == 1 for rank in ranks[pool]) / len(ranks[pool]):.2f}" for pool in ("recombined", "unseen_part"))
    said = f"{named:.2f} [{figures['all']['low']:.2f}, {figures['all']['high']:.2f}]"
    first_five = sum(rank <= 5 for rank in both) / len(both)
    assert line == f"| `lineup_likelihood:raw` | {said} | {shares} | {first_five:.2f} | {sum(both) / len(both):.1f} | {len(both)} |"
    assert f"so far named {said} of {len(both)} people" in " ".join(README.split())


def test_the_page_on_weights_says_how_large_files_are_at_sd_size():
    commands, page = read("sd15_weights.json")["commands"], (ROOT / "docs/weights.md").read_text()
    assert f"{commands['finetune, diffusers']['bytes'] / 1e6:.1f} MB" in page and commands["attack-weights run"]["unknown keys"] == []
    for encoder in ("hypernet", "invariant"):
        assert f"{commands[f'attack-weights train, {encoder}']['bytes'] / 1e6:.1f} MB" in page
    study = commands["attack-weights evaluate"]
    assert study["victims"] == 4 and not study["gate passed"] and "on four victims" in page  # two steps teach nothing


def test_the_readme_says_what_a_shared_lora_gives_away():
    figures, text = read("weights.json"), " ".join(README.split())
    ships, rare = (figures["attacks"][name] for name in ("network_autoencoder:invariant", "prior_sampling:rare_tokens"))
    said = f"{ships['top1']:.2f} [{ships['low']:.2f}, {ships['high']:.2f}] of {ships['n']} people"
    assert f"the attacker that ships recognises {said}" in text
    assert f"sampling under rare words {rare['top1']:.2f} [{rare['low']:.2f}, {rare['high']:.2f}]" in text
    assert f"owner's own pictures reach {figures['owner']['top1']:.2f}" in text


def test_the_page_on_weights_says_how_fast_many_adapters_are():
    figures, page = read("many_lora.json"), (ROOT / "docs/weights.md").read_text()
    for k, rate in figures["adapters_per_hour"]["stacked"].items():
        assert f"| {k} | {rate:.0f} | {figures['speedup'][k]:.2f} |" in page
    assert f"{figures['adapters_per_hour']['sequential']['two_one_thread_processes']:.0f} adapters an hour" in page


def test_the_page_on_weights_says_how_encoders_learned():
    found, page = read("weights_encoders.json")["attackers"], (ROOT / "docs/weights.md").read_text()
    part = page.partition("## Encoders")[2].partition("\n## ")[0]
    rows = {row.strip("| ").partition("`")[2].partition("`")[0]: row for row in part.splitlines() if row.startswith("| `")}
    assert set(rows) == set(found)
    for name, row in rows.items():
        best = min(found[name]["curve"], key=lambda one: one[2])
        assert f"| {best[2]:.4f} | {best[3]:.4f} | {int(best[0]):,} |" in row and f"| {found[name]['bytes'] / 1e6:.1f} MB |" in row
    hypernet = [(own, other) for _, _, own, other in found["hypernet"]["curve"]]
    assert all(abs(own / other - 1) < 0.02 for own, other in hypernet)  # it reads nothing of people that it has not seen
    published = min(found["hypernet-published"]["curve"], key=lambda one: one[2])
    assert abs(published[2] / published[3] - 1) < 0.001  # nor does it with the paper's own choices


def test_the_pages_say_how_far_other_pictures_lie():
    (found,) = json.loads((ROOT / "src/sfumato/assets/domain.json").read_text()).values()
    page = " ".join((ROOT / "docs/frontier.md").read_text().split())
    for name, words in (("other people", "{} % of other people"), ("people with parts", "{} % of people with unseen parts"),
                        ("adventurer", "{} % of `adventurer`"), ("personas", "{} % of `personas`")):  # fmt: skip
        (beyond,) = [kind["beyond"] for kind_name, kind in found["measured"].items() if kind_name.startswith(name)]
        assert words.format(f"{100 * beyond:.0f}") in page, name
    assert found["command"] in page


def test_the_readme_says_what_levels_taught():
    figures, text = read("frontier.json"), " ".join(README.split())
    low, medium = (figures["presets"][level]["shifted"][figures["presets"][level]["scheme"]]["mean"] for level in ("low", "medium"))
    assert f"{low:.2f} and {medium:.2f} in a style" in text and f"against {figures['shifted']['synthetic']['mean']:.2f})" in text
    assert not any(found["met"] for found in figures["presets"].values()) and "neither is what the other two were meant to show" in text
