"""Self-contained HTML pages of sections: pictures, tables and links.

All texts are escaped; parts that are empty are left out. `run_report` composes the page of a run.
"""

import base64
import dataclasses
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import jinja2

from pnerf_jax.data.files import write_bytes


@dataclasses.dataclass(frozen=True)
class Cell:
  """A text of a table.

  Attributes:
    text: the text.
    detail: small text below, such as the name of a value in a file.
    url: what the text links to, as of `url_of`; '' = no link.
  """

  text: str
  detail: str = ''
  url: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """A picture with its caption.

  Attributes:
    source: data URI as of `embed`, or URL as of `url_of`.
    title: text shown above, and instead of a picture that cannot be shown.
    note: explanation after the title.
    url: target of a click, as of `url_of`; '' = none.
  """

  source: str
  title: str
  note: str = ''
  url: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """A section of a page; without pictures, rows and links it is left out.

  Attributes:
    title: heading.
    note: paragraph below the heading.
    pictures: from left to right and top to bottom.
    header: cells of the first row of the table; () = none.
    rows: cells of the table.
    numbers: all columns but the first hold numbers, aligned right.
    links: below the table.
    wide: the section takes a whole row of the page, as those with pictures do.
    in_pairs: on a wide screen two pictures stand side by side.
  """

  title: str
  note: str = ''
  pictures: Sequence[Picture] = ()
  header: Sequence[str] = ()
  rows: Sequence[Sequence[str | Cell]] = ()
  numbers: bool = False
  links: Sequence[Cell] = ()
  wide: bool = False
  in_pairs: bool = False


def write_page(path: Path, title: str, sections: Sequence[Section], note: str = '') -> None:
  """Write a page atomically.

  Args:
    path: of the HTML file.
    title: heading.
    sections: in order; empty ones are left out.
    note: paragraph below the heading.
  """
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  shown = [section for section in sections if section.pictures or section.rows or section.links]
  html = environment.get_template('page.html').render(title=title, note=note, sections=shown)
  write_bytes(path, html.encode(errors='replace'))  # file names may be any bytes


def embed(path: Path) -> str:
  """Return a PNG file as data URI, so that a page shows it wherever it is moved."""
  return f'data:image/png;base64,{base64.b64encode(path.read_bytes()).decode("ascii")}'


def url_of(path: Path, page: Path) -> str:
  """Return the URL of a file relative to the folder of a page."""
  return urllib.parse.quote(os.fsencode(os.path.relpath(path, page.parent)))


def picture(path: Path, page: Path, title: str, note: str = '') -> Picture:
  """Return a PNG file, embedded in a page and linked from it."""
  return Picture(source=embed(path), title=title, note=note, url=url_of(path, page))


def link(path: Path, page: Path) -> Cell:
  """Return the link from a page to a file or folder, named after it."""
  return Cell(path.name, url=url_of(path, page))
