"""Pages and texts made from the templates beside this module; a page holds its pictures and loads nothing."""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewslice.core.errors import plural
from fewslice.core.files import write_text
from fewslice.report.figures import style
from fewslice.report.reading.runs import Run
from fewslice.report.tables import openings, statistics, table

if TYPE_CHECKING:
    from jinja2 import Environment


@functools.cache
def _templates(*, escapes: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("fewslice.report", "pages/templates")
    how = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, autoescape=escapes, **how)
    environment.tests["finite"] = math.isfinite
    environment.globals |= {"drawing": drawing, "photographs": photographs, "file_picture": file_picture}
    environment.globals |= {name: getattr(table, name) for name in ("number", "percent", "duration")}
    environment.globals |= {"stats": statistics, "openings": openings, "plural": plural}
    return environment


def render_text(template: str, **values: Any) -> str:
    """Returns a template's text for the terminal."""
    return _templates(escapes=False).get_template(template).render(values).strip()


def write_page(template: str, out_path: str | Path, runs: Sequence[Run], **values: Any) -> Path:
    """Writes a page that loads nothing from elsewhere, atomically, and returns its path.

    Args:
        runs: Whose commands and versions stand at the end, in this order.
        **values: What the template shows; every text is escaped.
    """
    values["commands"] = list(dict.fromkeys(run.command for run in runs if run.command))
    values["versions"] = list(dict.fromkeys(f"{k} {v}" for run in runs for k, v in sorted(run.versions.items())))
    write_text(out_path, _templates(escapes=True).get_template(template).render(values))
    return Path(out_path)


def drawing(figure: style.Figure) -> str:
    """Returns a figure of lines as the address of an image."""
    return _address(style.png_bytes(figure, colours=0), "png")


def photographs(figure: style.Figure, dpi: int) -> str:
    """Returns a figure of images as an address, with few colours so that it stays small."""
    return _address(style.png_bytes(figure, dpi=dpi), "png")


def file_picture(path: Path, widest: int = 1200) -> dict[str, str]:
    """Returns a picture file as the `source` of an image (JPEG of at most `widest` pixels), or its `problem`."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for damaged files
        return {"source": "", "problem": f"{path} cannot be read ({error}). Repeat the command that made it."}
    if image.width > widest:
        image = image.resize((widest, max(1, round(image.height * widest / image.width))))
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=85, optimize=True)
    return {"source": _address(buffer.getvalue(), "jpeg"), "problem": ""}


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
