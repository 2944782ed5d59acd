from __future__ import annotations

import io
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sfumato.core.errors import UserError
from sfumato.core.outside import DEPTH, parse_json, printable, read_bytes


class TestReadBytes:
    def test_a_file_as_it_is(self, tmp_path):
        (tmp_path / "a").write_bytes(b"abc")
        assert read_bytes(tmp_path / "a", what="notes", limit=3) == b"abc"

    def test_too_large_is_refused_before_it_is_read(self, tmp_path):
        with open(tmp_path / "big", "wb") as file:
            file.truncate(2**40)  # a hole: takes no disk, and would take a terabyte of memory
        with pytest.raises(UserError, match="1099511627776 bytes"):
            read_bytes(tmp_path / "big", what="notes", limit=100)

    def test_a_pipe_does_not_wait(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        seen: list[object] = []

        def look() -> None:
            try:
                read_bytes(tmp_path / "pipe", what="notes", limit=100)
            except UserError as error:
                seen.append(error)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(10)
        assert seen and "not a file" in str(seen[0])

    def test_a_device_and_a_link_to_one(self, tmp_path):
        (tmp_path / "endless").symlink_to("/dev/zero")
        with pytest.raises(UserError, match="not a file"):
            read_bytes(tmp_path / "endless", what="notes", limit=100)

    def test_missing_folder_and_long_names(self, tmp_path):
        for name, said in (("no", "no notes there"), (".", "not a file|a folder"), ("x" * 300, "cannot be read")):
            with pytest.raises(UserError, match=said):
                read_bytes(tmp_path / name, what="notes", limit=100)


class TestParseJson:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_reads_what_json_writes(self, value):
        assert parse_json(json.dumps(value), name="x") == value

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('{"a": 1, "a": 2}', "'a' twice"),
            ('[{"b": {"a": 1, "a": 1}}]', "'a' twice"),
            ("[" * 100_000 + "]" * 100_000, "nested"),
            ('{"a":' * 5000 + "1" + "}" * 5000, "nested"),
            ('["\\"[", ' + "[" * 200 + "]" * 200 + "]", "nested"),
            ("9" * 5000, "5000 digits"),
            ("NaN", "NaN"),
            ("[-Infinity]", "Infinity"),
            ("1e999", "beyond"),
            (b"\xff", "UTF-8"),
            ("{", "x: not a readable JSON"),
        ],
    )
    def test_refuses(self, text, said):
        with pytest.raises(UserError, match=said):
            parse_json(text, name="x")

    def test_brackets_in_text_are_no_nesting(self):
        value = ["[" * (2 * DEPTH), '\\"{' * DEPTH, "\\"]
        assert parse_json(json.dumps(value), name="x") == value


class TestPrintable:
    @pytest.mark.parametrize(
        "sequence", ["\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\r", "\x08", "\x7f", "\u202egnp.exe", "\u2028", "\ud800"]
    )
    def test_escapes_what_moves_or_hides(self, sequence):
        shown = printable(f"a{sequence}b")
        assert shown.startswith("a\\") and shown.endswith("b") and shown.encode("utf-8")
        assert not set(shown) & set("\x1b\x9b\x07\r\x08\x7f\u202e\u2028")

    def test_leaves_words_alone(self):
        for text in ("a photo", "Äpfel, naïve, 日本語, 🎨", "two\nlines\tand a tab", "back\\slash"):
            assert printable(text) == text

    @given(st.text())
    def test_a_terminal_gets_no_control(self, text):
        shown = io.StringIO()
        Console(file=shown).print(printable(text), markup=False, emoji=False)
        assert "\x1b" not in shown.getvalue()
