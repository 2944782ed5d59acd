"""What the site adds to the pages: every command, every name of the Python face, files that lie outside docs/.

MkDocs calls the ``on_...`` functions (``hooks`` in mkdocs.yml). ``<!-- commands -->`` becomes the commands and options of
the program itself, ``<!-- names -->`` the docstrings of what ``import sfumato`` offers. Neither needs torch.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md")  # pages of the site that lie outside docs/
LINK = re.compile(r"(?<!\!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside docs/."""
    from mkdocs.structure.files import File

    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill a page in, and lead its links to where things are on the site."""
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", "\n".join(commands()))
    if "<!-- names -->" in markdown:
        markdown = markdown.replace("<!-- names -->", "\n\n".join(names()))
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, source: str) -> str:
    """``markdown`` of the page ``source`` with links out of docs/ led to pages of the site, or told as paths.

    Args:
        markdown: text of the page.
        source: its path in docs/, or its name where it lies beside docs/.
    """
    if source in BESIDE:  # links there are from the project's own folder
        return re.sub(r"\]\(docs/", "](", markdown)
    folder = posixpath.dirname(source)

    def lead(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        if path in BESIDE:
            return f"[{match[1]}]({os.path.relpath(path, folder or '.')}{match[3] or ''})"
        return match[1] if match[1].strip("`") == path else f"{match[1]} (`{path}`)"

    return LINK.sub(lead, markdown)


def commands() -> Iterator[str]:
    """Every command of the program: its words, its arguments and its options, as Markdown lines."""
    import typer

    from sfumato.cli import main

    yield from _group(typer.main.get_command(main.app), "sfumato")


def _group(command: Any, path: str) -> Iterator[str]:
    yield from _command(command, path)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _group(inner, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    import click

    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from ("", f"## {path}", "", "```text", usage, "```", "", (command.help or "").replace("\f", "").strip(), "")
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    if not shown:
        return
    yield from ("| option | takes | default | what it does |", "| --- | --- | --- | --- |")
    for one in shown:
        option = getattr(one, "param_type_name", "") == "option"
        called = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts)) if option else f"`{one.human_readable_name}`"
        flag = getattr(one, "is_flag", False)
        default = "required" if one.required else _default(one.default, flag)
        cells = [called, "" if flag else one.type.name, default, " ".join((getattr(one, "help", "") or "").split())]
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(value: Any, flag: bool) -> str:
    if flag or value is None or callable(value) or value in ((), []) or "Sentinel" in type(value).__name__:
        return ""
    return f"`{value}`"


def names() -> Iterator[str]:
    """Every name of the Python face, for mkdocstrings: verbs first, then what they take and return."""
    import sfumato

    public = sorted((name for name in sfumato.__all__ if name != "__version__"), key=lambda name: (name[0].isupper(), name))
    verbs = [name for name in public if name[0].islower()]
    for title, part in (("Verbs", verbs), ("Options and results", [name for name in public if name not in verbs])):
        yield f"## {title}"
        for name in part:
            yield f"::: {sfumato._PLACES[name]}.{name}"
