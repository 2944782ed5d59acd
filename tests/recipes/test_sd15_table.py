"""The table at Stable Diffusion's size is written whole, with its formulae and the command."""

import json

from tests_support import load_recipe


def test_the_table_is_written_and_printed(tmp_path, capsys):
    load_recipe("sd15_table").main(tmp_path / "sd15.json")
    found = json.loads((tmp_path / "sd15.json").read_text())
    assert found["command"] == "python recipes/sd15_table.py" and found["shapes"]["parameters"]["unet"] == 859_520_964
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found["schemes"]) and all(row["formula"] for row in found["schemes"].values())
    assert any(line.startswith("sealed") and "65,536 up" in line for line in lines)
