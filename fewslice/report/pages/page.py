"""What every page shares: its templates, pictures inside the file, and where numbers come from."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewslice.core.files import write_text
from fewslice.report.figures import style
from fewslice.report.reading.runs import Run

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        source: Its address, which holds it; "" if it cannot be shown.
        alt: For those who do not see it.
        caption: Below it, or why it cannot be shown.
        is_picture: Whether it is made of photographs, not of lines.
    """

    source: str
    alt: str
    caption: str
    is_picture: bool = False


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("fewslice.report", "pages/templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def write_page(template: str, out_path: str | Path, runs: Sequence[Run], **values: Any) -> Path:
    """Writes a page that loads nothing from elsewhere, atomically, and returns its path.

    Args:
        template: Its name in `templates/`.
        out_path: The HTML file.
        runs: Whose commands and versions stand at the end, in this order.
        **values: What the template shows; every text is escaped.
    """
    values["commands"] = list(dict.fromkeys(run.command for run in runs if run.command))
    values["versions"] = list(dict.fromkeys(f"{k} {v}" for run in runs for k, v in sorted(run.versions.items())))
    write_text(out_path, _templates().get_template(template).render(values))
    return Path(out_path)


def drawing(figure: Figure | None, *, alt: str, caption: str) -> Picture | None:
    """Returns a figure of lines; None without one."""
    return None if figure is None else Picture(_address(style.png_bytes(figure, colours=0), "png"), alt, caption)


def photographs(figure: Figure, *, alt: str, caption: str, dpi: int) -> Picture:
    """Returns a figure of images, with few colours so that it stays small."""
    return Picture(_address(style.png_bytes(figure, dpi=dpi), "png"), alt, caption, is_picture=True)


def file_picture(path: Path, *, alt: str, caption: str, widest: int = 1200) -> Picture:
    """Returns a picture file as JPEG of at most `widest` pixels."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for damaged files
        return Picture("", alt, f"{path} cannot be read ({error}). Repeat the command that made it.")
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=85, optimize=True)
    return Picture(_address(buffer.getvalue(), "jpeg"), alt, caption)


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
