"""``sfumato seal`` is safe by default: a level that was measured, or a choice; and says what it took, left out and does not know."""

import json

import numpy as np
import pytest
from PIL import Image

from sfumato.diffusion.base import load_codec
from sfumato.records import manifest as manifests
from sfumato.records import presets


@pytest.fixture(scope="module")
def codec():
    return load_codec()


def sealed(run, folder, out, *how):
    code, said, err = run("seal", folder, "-o", out, "--owner", "me", *how, "--json")
    assert code == 0, err
    return json.loads(said), manifests.read(out).settings, err


def test_without_a_choice_it_is_the_level_that_was_measured(run, make_folder, tmp_path, codec):
    report, settings, _ = sealed(run, make_folder(count=3), tmp_path / "r")
    assert report["level"] == presets.DEFAULT and not report["conditions"]["leave"]
    assert settings == presets.find("medium", codec.fingerprint, codec.latent_shape, condition="canny")
    assert any("NOT MET" in line for line in report["measured"]) and any("need no owner" in line for line in report["measured"])
    row = presets.known(codec.fingerprint, codec.latent_shape)["levels"]["medium"]
    assert any(f"{row['person']['score']:.3f}" in line for line in report["measured"])


def test_where_nothing_was_measured_a_choice_is_needed(run, make_folder, mini, tmp_path):
    how = ("seal", make_folder(count=2), "-o", tmp_path / "r", "--owner", "me", "--base", mini)
    for more in ((), ("--clip", 3), ("--bits", 8), ("--condition", "scribble")):
        code, _, err = run(*how, *more)
        assert code == 2 and "no preset 'medium'" in err and "--seal-step" in err and "privacy:" in err and not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("--condition-step", 200), "no --seal-step"),
        (("--derive",), "no --seal-step"),
        (("--seal-step", "none"), "without --condition-step"),
        (("--seal-step", 900, "--condition", "given"), "without --condition-step"),
        (("--seal-step", 900, "--condition-step", 200, "--derive"), "one or the other"),
        (("--privacy", "medium", "--seal-step", 900), "one or the other"),
        (("--privacy", "medium", "--derive"), "one or the other"),
        (("--privacy", "high"), "no preset 'high'"),
        (("--condition", "scribble"), "for condition 'scribble'"),
        (("--condition", "given"), "for condition 'given'"),
    ],
)
def test_half_a_choice_is_none(run, make_folder, tmp_path, how, said):
    code, _, err = run("seal", make_folder(count=2), "-o", tmp_path / "r", "--owner", "me", *how)
    assert code == 2 and said in err and "expected:" in err and not (tmp_path / "r").exists()


def test_a_step_of_the_pictures_alone_lets_no_condition_leave(run, make_folder, mini, tmp_path):
    report, settings, _ = sealed(run, make_folder(count=2), tmp_path / "r", "--base", mini, "--seal-step", 700)
    assert settings.derived and (settings.seal_step, settings.condition_step) == (700, None)
    assert report["level"] is None and any("was not measured" in line for line in report["measured"])
    assert not any("WARNING" in line for line in report["measured"])  # of this base no style is known
    assert report["conditions"] == {"condition": "canny", "leave": False, "supplied": 0, "supplied_used": 0}


def test_a_clip_of_conditions_that_stay_is_said(run, make_folder, tmp_path):
    report, settings, _ = sealed(run, make_folder(count=2), tmp_path / "r", "--clip", 30, "--condition-clip", 30)
    assert settings.clip == 30 and settings.condition_clip is None and any("nothing to clip" in line for line in report["notes"])
    assert report["privacy"]["guarantee"] == "gaussian-dp"


def supply(folder, count, *, of=2):
    """A table that names a condition of its own for the first ``count`` of ``of`` pictures."""
    rows = []
    for i in range(of):
        Image.new("RGB", (32, 32)).save(folder / f"edges-{i}.png")
        condition = {"conditioning_image_file_name": f"edges-{i}.png"} if i < count else {}
        rows.append(json.dumps({"file_name": f"secret-{i}.png"} | condition))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder


def test_supplied_conditions_are_used_or_said_loudly_not_to_be(run, make_folder, mini, tmp_path):
    folder = supply(make_folder(count=2), 2)
    how = ("--base", mini, "--seal-step", 900)
    report, settings, _ = sealed(run, folder, tmp_path / "r", *how, "--condition-step", 900)
    assert (
        report["conditions"] == {"condition": "given", "leave": True, "supplied": 2, "supplied_used": 2} and settings.condition == "given"
    )
    code, _, err = run("seal", folder, "-o", tmp_path / "s", "--owner", "me", *how, "--condition", "canny", "--allow-rerelease")
    assert code == 0 and "THE 2 CONDITIONS OF THE FOLDER WERE NOT USED" in err and "no condition leaves" in err


def test_a_level_that_lets_no_condition_leave_is_not_taken_for_supplied_ones(run, make_folder, mini, tmp_path):
    folder = supply(make_folder(count=2), 2)
    for how in ((), ("--privacy", "low"), ("--condition", "given")):
        code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "me", *how)
        assert code == 2 and "--condition canny" in err and "--condition-step" in err and not (tmp_path / "r").exists()
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "me", "--seal-step", 900, "--base", mini)
    assert code == 2 and "--condition canny" in err and not (tmp_path / "r").exists()


@pytest.mark.parametrize("kind", ["some", "plain", "other names", "table"])
def test_conditions_that_are_partly_supplied_or_in_a_wrong_place_are_asked_about(run, make_folder, mini, tmp_path, kind):
    folder = make_folder(count=2)
    if kind == "some":
        supply(folder, 1)
    else:
        (folder / "conditions").mkdir()
        Image.new("RGB", (32, 32)).save(folder / "conditions" / "of-nobody.png")
        if kind == "plain":
            (folder / "metadata.jsonl").unlink()
        if kind == "other names":
            (folder / "metadata.jsonl").unlink()
            (folder / "images").mkdir()
            for path in folder.glob("*.png"):
                path.rename(folder / "images" / path.name)
    how = ("seal", folder, "-o", tmp_path / "r", "--owner", "me", "--base", mini, "--seal-step", 900)
    code, _, err = run(*how)
    assert code == 2 and "conditions" in err and "--condition canny" in err and not (tmp_path / "r").exists()
    code, _, err = run(*how, "--condition", "canny")  # said: then it is done
    assert code == 0 and "condition: canny" in err


def test_seal_always_says_which_condition_and_how_many_were_cropped(run, make_folder, mini, tmp_path):
    code, _, err = run("seal", make_folder(count=2), "-o", tmp_path / "r", "--owner", "me", "--base", mini, "--seal-step", 900)
    assert code == 0 and "condition: canny, found by the server; none was supplied" in err
    assert "cropped to the middle square: 0 of the 2 pictures" in err


def test_bits_that_there_are_not_and_crops_that_there_are_not_are_refused_by_name(run, make_folder, tmp_path):
    folder = make_folder(count=2)
    for how, named in ((("--bits", 4), ("--bits 4", "16", "8")), (("--crop", "fit"), ("center", "pad", "none"))):
        code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "me", *how)
        assert code == 2 and all(word in err for word in named) and not (tmp_path / "r").exists()


def test_oblong_pictures_are_cropped_padded_or_refused(run, make_folder, mini, tmp_path):
    folder = make_folder(count=2)
    Image.new("RGB", (48, 32), "red").save(folder / "secret-0.png")
    how = ("--base", mini, "--seal-step", 900)
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "me", *how, "--crop", "none")
    assert code == 2 and "secret-0.png" in err and "--crop pad" in err and not (tmp_path / "r").exists()
    report, *_ = sealed(run, folder, tmp_path / "s", *how, "--crop", "pad")
    assert (report["crop"], report["cropped"], report["padded"], report["records"]) == ("pad", 0, 1, 2)


def test_what_is_easily_overlooked_is_said(run, make_folder, mini, tmp_path):
    folder = make_folder(count=1)
    (folder / "metadata.jsonl").unlink()
    how = ("--base", mini, "--seal-step", 900)
    report, *_ = sealed(run, folder, tmp_path / "one", *how)
    assert any("one picture" in note for note in report["notes"])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    report, *_ = sealed(run, folder, tmp_path / "more", *how, "--allow-rerelease")
    assert any("dot.png" in note for note in report["notes"]) and any("moving.gif" in note for note in report["notes"])
    assert not any("one picture" in note for note in report["notes"])


def test_what_is_cropped_and_left_out_is_said(run, make_folder, mini, tmp_path):
    folder = make_folder(count=2)
    Image.fromarray(np.random.default_rng(9).integers(0, 255, (32, 48, 3), dtype=np.uint8)).save(folder / "wide.png")
    with (folder / "metadata.jsonl").open("a") as table:
        table.write('\n{"file_name": "wide.png"}')
    Image.new("RGB", (32, 32)).save(folder / "of-no-row.png")
    how = ("--base", mini, "--seal-step", 900)
    report, _, _ = sealed(run, folder, tmp_path / "r", *how)
    assert report["records"] == 3 and report["cropped"] == 1 and any("of-no-row.png" in line for line in report["notes"])
    code, _, err = run("seal", folder, "-o", tmp_path / "s", "--owner", "me", *how, "--allow-rerelease")
    assert code == 0 and "cropped to the middle square: 1" in err and "of-no-row.png" in err


def test_an_unread_table_stops_before_anything_is_sealed(run, make_folder, tmp_path):
    folder = make_folder(count=2)
    (folder / "metadata.jsonl").rename(folder / "Metadata.jsonl")
    code, _, err = run("seal", folder, "-o", tmp_path / "r", "--owner", "me")
    assert code == 2 and "Metadata.jsonl: a table that is not read" in err and not (tmp_path / "r").exists()


def test_names_are_shown_as_they_are(run, tmp_path):
    (tmp_path / "a:x:b").mkdir()
    code, _, err = run("seal", tmp_path / "a:x:b", "-o", tmp_path / "r", "--owner", "me")
    assert code == 2 and "a:x:b" in err
