"""Parts of a page that every report has: frame, paragraphs, notices, figures and pictures inside the file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fewslice.report.figures import style
from fewslice.report.pages.page_style import CSS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, body: str) -> str:
    """Returns a whole page that loads nothing from elsewhere. `body` is HTML, `title` is plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def paragraphs(texts: Sequence[str], css: str = "") -> str:
    """Returns a paragraph per text, escaped."""
    attribute = f' class="{css}"' if css else ""
    return "".join(f"<p{attribute}>{html.escape(text)}</p>" for text in texts)


def notice(head: str, lines: Sequence[str]) -> str:
    """Returns a box with a heading and a list, escaped."""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<div class="missing">{html.escape(head)}<ul>{items}</ul></div>'


def folded(head: str, body: str) -> str:
    """Returns HTML that opens on a click on its heading."""
    return f"<details><summary>{html.escape(head)}</summary>{body}</details>"


def figure(drawn: Figure, *, alt: str, caption: str) -> str:
    """Returns a figure as PNG inside the page."""
    return _shown(style.data_uri(style.png_bytes(drawn, colours=0)), alt=alt, caption=caption)


def picture(path: Path, *, alt: str, caption: str, widest: int = 1200) -> str:
    """Returns a picture file inside the page, as JPEG of at most `widest` pixels; a notice if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for damaged files
        return notice("No picture", [f"{path} cannot be read ({error}). Repeat the command that made it."])
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=85, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return _shown(source, alt=alt, caption=caption)


def _shown(source: str, *, alt: str, caption: str) -> str:
    image = f'<img src="{source}" alt="{html.escape(alt)}">'
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"
