"""The committed schemas are those of the types; what commands print is held against them in tests/cli/conftest.py."""

import json

import jsonschema
import pytest

from sfumato.cli import _help, outputs
from sfumato.cli.main import app
from sfumato.sharing import finding
from tests_support import load_recipe

recipe = load_recipe("docs_schemas")
COMMANDS = {" ".join(path) for path, _ in _help.walk(_help.built(app))}


def test_the_committed_schemas_are_fresh():
    assert not recipe.stale(recipe.FOLDER), "run python recipes/docs_schemas.py"


@pytest.mark.parametrize("name", sorted(recipe.schemas()))
def test_a_schema_is_one_of_a_command_and_asks_for_its_version(name):
    schema = json.loads((recipe.FOLDER / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert name.removesuffix(".json") in {*COMMANDS, "error"}
    (kinds,) = [kinds for command, kinds in outputs.known() if f"{command}.json" == name]
    for kind in kinds:
        part = schema["$defs"][kind.__name__]
        assert "schema" in part["required"] and part["properties"]["schema"]["enum"] == [kind.schema]
        assert part["description"] and not part["description"].startswith(f"{kind.__name__}(")  # what Python makes up
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 1}, schema)


def test_an_audit_of_files_has_one_version_in_both_places():
    (kinds,) = [kinds for command, kinds in outputs.known() if command == "audit"]
    assert kinds[0].schema == finding.SCHEMA


def test_what_is_stale_is_written_and_what_is_of_no_command_goes(tmp_path, monkeypatch, capsys):
    assert recipe.write(tmp_path) == sorted(recipe.schemas()) and not recipe.stale(tmp_path)
    (tmp_path / "seal.json").write_text("{}")
    (tmp_path / "gone.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["docs_schemas", "--check", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        recipe.main()
    assert capsys.readouterr().out.split() == ["gone.json", "seal.json"]
    monkeypatch.setattr("sys.argv", ["docs_schemas", "--folder", str(tmp_path)])
    recipe.main()
    assert not recipe.stale(tmp_path) and not (tmp_path / "gone.json").exists()
