"""``sfumato finetune`` as its users run it, on a small random base."""

import json
import signal

import pytest
import torch
from PIL import Image

from sfumato.adapters import formats, train_one
from sfumato.adapters.lora import check_fits
from sfumato.api import finetune
from sfumato.owner.folder import read_folder


@pytest.fixture
def quick(mini):
    return ("--base", mini, "--steps", 3, "--batch", 2, "--rank", 2, "--prior", 2)


def test_it_explains_itself(run):
    code, out, _ = run("finetune", "--help")
    assert code == 0 and "--trigger" in out and "leaks the pictures" in out


def test_a_file_that_others_load(run, quick, make_folder, base, tmp_path):
    out = tmp_path / "lora.safetensors"
    code, said, _ = run("finetune", make_folder(count=3), "-o", out, "--trigger", "zwx", *quick, "--json")
    report = json.loads(said)
    assert (
        code == 0 and report["pictures"] == 3 and report["prompt"] == "a photo of zwx peep" and report["privacy"] == {"guarantee": "none"}
    )
    read = formats.read(out)
    check_fits(read, base)
    assert len(read.factors) == report["layers"] and read.parameters == report["parameters"] and set(read.ranks.values()) == {2}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["lora.json", "lora.safetensors"]


def test_the_summary_says_what_leaks(run, quick, make_folder, tmp_path):
    code, said, told = run("finetune", make_folder(count=2), "-o", tmp_path / "x.safetensors", *quick)
    assert code == 0 and not said
    for words in ("guarantee    none", "leak them", "with the prompt or without it", "no captions, folder names", "load_lora_weights"):
        assert words in told


def test_nothing_of_the_folder_is_in_what_is_written(run, quick, make_folder, tmp_path):
    for captions in ((), ("--captions",)):
        run(
            "finetune",
            make_folder(f"private{len(captions)}", count=3),
            "-o",
            tmp_path / "x.safetensors",
            *quick,
            *captions,
            "--seed",
            987654,
        )
        for path in (tmp_path / "x.safetensors", tmp_path / "x.json"):
            data = path.read_bytes()
            for word in (b"secret", b"caption-of", b"private", b"987654", str(tmp_path).encode()):
                assert word not in data, (path.name, word)
        facts = json.loads((tmp_path / "x.json").read_text())
        assert facts["guarantee"] == "none" and "pictures" not in facts and "seed" not in json.dumps(facts)


def test_without_a_seed_nobody_can_draw_the_first_weights(run, quick, make_folder, tmp_path):
    folder = make_folder(count=2)
    for name in ("one", "two"):
        run("finetune", folder, "-o", tmp_path / f"{name}.safetensors", *quick)
    one, two = (formats.read(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert not any(torch.equal(one.factors[name][0], two.factors[name][0]) for name in one.factors)


def test_options_reach_the_training(run, quick, make_folder, tmp_path):
    out = tmp_path / "k.safetensors"
    code, said, _ = run(
        "finetune", make_folder(count=2), "-o", out, *quick, "--no-text-encoder", "--targets", "to_k, to_out.0", "--alpha", 5,
        "--format", "kohya", "--prior", 0, "--validate-every", 2, "--seed", 3, "--json",
    )  # fmt: skip
    read = formats.read(out)
    assert code == 0 and json.loads(said)["format"] == "kohya" and json.loads(said)["class_pictures"] == 0
    assert all(name.endswith((".to_k", ".to_out.0")) for name in read.factors) and set(read.alphas.values()) == {5.0}
    assert [path.name for path in (tmp_path / "k.pictures").iterdir()] == ["step-00002.png"]


def test_captions_join_the_prompts_only_when_asked(quick, make_folder, base):
    folder = make_folder(count=2)
    folder = read_folder(folder, size=base.size, condition="canny")
    plain = finetune._task(base, folder, "a sks x", "a x", captions=False, prior=0, seed=0)
    told = finetune._task(base, folder, "a sks x", "a x", captions=True, prior=0, seed=0)
    assert plain.prompts == ("a sks x",) * 2 and told.prompts == ("a sks x, caption-of-0", "a sks x, caption-of-1")
    assert torch.equal(plain.latents, told.latents) and plain.class_latents is None


def test_a_killed_run_goes_on_with_its_own_secret_seed(run, quick, make_folder, tmp_path, monkeypatch):
    folder, out, seeds = make_folder(count=2), tmp_path / "x.safetensors", []
    real, resumed = train_one.train_one, []

    def killed(base, task, *args, **how):
        seeds.append(task.seed)

        def stop(progress):
            resumed.append(progress.step)
            if len(seeds) == 1 and progress.step == 2:
                raise KeyboardInterrupt

        return real(base, task, *args, **{**how, "on_step": stop})

    monkeypatch.setattr(train_one, "train_one", killed)
    assert run("finetune", folder, "-o", out, *quick, "--checkpoint-every", 1)[0] == 130 and not out.exists()
    assert run("finetune", folder, "-o", out, *quick, "--checkpoint-every", 1)[0] == 0
    assert seeds[0] == seeds[1] and resumed == [1, 2, 3]  # a step is saved before it is told
    assert out.exists() and not out.with_suffix(".checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("-o", "lora.ckpt"), "ends in .safetensors"),
        (("-o", "x.safetensors", "--format", "zip"), "'diffusers', 'kohya'"),
        (("-o", "x.safetensors", "--trigger", " "), "a word each"),
        (("-o", "x.safetensors", "--rank", "0"), "rank 0"),
        (("-o", "x.safetensors", "--targets", "nope"), "no layer of unet"),
        (("-o", "x.safetensors", "--prior", "-1"), "from 0 up"),
        (("-o", "x.safetensors", "--lr", "0"), "above 0"),
    ],
)
def test_wrong_input_is_told_and_nothing_written(run, mini, make_folder, tmp_path, monkeypatch, wrong, said):
    folder = make_folder(count=2)
    monkeypatch.chdir(tmp_path)
    code, out, _ = (
        run("finetune", folder, "--base", mini, *wrong, "--prior", "0", "--json")
        if "--prior" not in wrong
        else run("finetune", folder, "--base", mini, *wrong, "--json")
    )
    assert code == 2 and said in json.loads(out)["error"] and [p.name for p in tmp_path.iterdir()] == ["private"]


def test_a_folder_without_pictures(run, mini, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, told = run("finetune", tmp_path / "empty", "-o", tmp_path / "x.safetensors", "--base", mini)
    assert code == 2 and "no pictures in it" in told


def test_captions_that_are_asked_for_are_found_or_missed(run, quick, make_folder, base, tmp_path):
    folder, out = make_folder(count=2), tmp_path / "x.safetensors"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]

    def prompts():
        listed = read_folder(folder, size=base.size, condition="canny")
        return finetune._task(base, listed, "a sks x", "a x", captions=True, prior=0, seed=0).prompts

    table = folder / "metadata.jsonl"
    table.write_text("\n".join(json.dumps({"file_name": row["file_name"], "caption": "c"}) for row in rows))
    assert prompts() == ("a sks x, c",) * 2
    table.write_text("\n".join(json.dumps({"file_name": row["file_name"], "prompt": "c"}) for row in rows))
    code, _, err = run("finetune", folder, "-o", out, *quick, "--captions")
    assert code == 2 and "file_name, prompt" in err and "NAME.caption" in err and not out.exists()
    table.unlink()
    code, _, err = run("finetune", folder, "-o", out, *quick, "--captions")
    assert code == 2 and "no caption" in err and not out.exists()
    (folder / "secret-1.txt").write_text("beside")
    assert prompts() == ("a sks x", "a sks x, beside")
    (folder / "captions.csv").write_text("x")
    assert run("finetune", folder, "-o", out, *quick)[0] == 2  # with captions or without


def test_an_adapter_that_is_there_is_not_overwritten_unasked(run, quick, make_folder, tmp_path):
    out, folder = tmp_path / "x.safetensors", make_folder(count=2)
    for there in (out, out.with_suffix(".json")):
        there.write_text("mine")
        code, _, err = run("finetune", folder, "-o", out, *quick)
        assert code == 2 and f"{there.name}: there already" in err and "--overwrite" in err and there.read_text() == "mine"
        there.unlink()
    out.write_text("mine")
    assert run("finetune", folder, "-o", out, *quick, "--overwrite")[0] == 0 and formats.read(out).factors


def test_an_interrupt_is_130_and_the_same_command_goes_on(run, quick, make_folder, tmp_path, monkeypatch):
    folder, out, steps = make_folder(count=2), tmp_path / "x.safetensors", []
    real = train_one.train_one

    def interrupted(*given, on_step, **how):
        def told(progress):
            steps.append(progress.step)
            if progress.step == 1:
                signal.raise_signal(signal.SIGINT)

        return real(*given, on_step=told, **how)

    monkeypatch.setattr(train_one, "train_one", interrupted)
    assert run("finetune", folder, "-o", out, *quick)[0] == 130 and not out.exists()
    assert out.with_suffix(".checkpoint.safetensors").exists()
    assert run("finetune", folder, "-o", out, *quick)[0] == 0 and steps == [1, 3] and out.exists()


def kohya(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (32, 32), (40 * i, 90, len(name))).save(root / name / f"{i}.png")
    return root


def test_folders_of_other_trainers_say_trigger_class_and_how_often(run, quick, tmp_path, monkeypatch):
    folder, seen = kohya(tmp_path / "k", **{"10_zwx dog": 2, "1_dog": 3}), []
    trained = train_one.train_one
    monkeypatch.setattr(train_one, "train_one", lambda base, task, *more, **how: seen.append(task) or trained(base, task, *more, **how))
    code, said, told = run("finetune", folder, "-o", tmp_path / "x.safetensors", *quick, "--json")
    report = json.loads(said)
    assert code == 0 and report["prompt"] == "a photo of zwx dog" and report["pictures"] == 2 and "1_dog" in told
    assert len(seen[0].latents) == 2 and seen[0].class_prompt == "a photo of dog"
    kohya(folder, **{"30_zwx dog": 1})
    code, said, _ = run("finetune", folder, "-o", tmp_path / "y.safetensors", "--class", "cat", *quick, "--json")
    assert code == 0 and json.loads(said)["prompt"] == "a photo of zwx cat" and json.loads(said)["pictures"] == 3
    assert len(seen[1].latents) == len(seen[1].prompts) == 5  # one of three times the others' weight


def test_several_subjects_need_a_name_for_all(run, quick, tmp_path):
    folder = kohya(tmp_path / "k", **{"10_zwx dog": 1, "10_other cat": 1})
    code, _, told = run("finetune", folder, "-o", tmp_path / "x.safetensors", *quick)
    assert code == 2 and "zwx dog" in told and "--trigger" in told
    code, said, _ = run("finetune", folder, "-o", tmp_path / "x.safetensors", "--trigger", "abc", "--class", "pet", *quick, "--json")
    assert code == 0 and json.loads(said)["prompt"] == "a photo of abc pet"


@pytest.mark.parametrize(("how", "code", "word"), [
    (("--lr", 100), 2, "1e-4"), (("--lr", 0), 2, "1e-4"), (("--crop", "fit"), 2, "center"), (("--crop", "none"), 2, "wide.png"),
    (("--trigger", "zwx abc"), 0, "2 words"), (("--lr", 0.5), 0, "0.5"), (("--crop", "pad"), 0, "padded to a square: 1"),
])  # fmt: skip
def test_what_is_unlikely_to_be_meant_is_said_or_refused(run, quick, make_folder, tmp_path, how, code, word):
    folder = make_folder(count=1)
    (folder / "metadata.jsonl").unlink()
    Image.new("RGB", (48, 32), "red").save(folder / "wide.png")
    got, _, told = run("finetune", folder, "-o", tmp_path / "x.safetensors", *quick, *how)
    assert got == code and word in told and (tmp_path / "x.safetensors").exists() is (code == 0)
