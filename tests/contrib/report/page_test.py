"""Pages: escaped text, left-out parts, relative links, embedded pictures."""

import base64
import os
import urllib.parse

import numpy as np

from pnerf_jax.contrib.report.page import Cell, Picture, Section, embed, link, url_of, write_page
from pnerf_jax.data import image_io


def test_write_page_escapes_texts_and_leaves_out_empty_parts(tmp_path, parse_page):
  write_page(
    tmp_path / 'page.html',
    'a<b>&c',
    [
      Section(
        title='full', note='n<o>te', header=('name', 'value'), rows=[('<i>x', Cell('1', 'y'))]
      ),
      Section(title='empty', note='of nothing', header=('name', 'value')),
      Section(title='linked', links=[Cell('file', url='a%20b.json')]),
    ],
  )
  page = parse_page(tmp_path / 'page.html')
  assert page.texts[-10:] == [
    *('a<b>&c', 'full', 'n<o>te', 'name', 'value', '<i>x', '1', 'y', 'linked', 'file')
  ]
  assert page.links == ['a%20b.json'] and page.images == []
  assert list(tmp_path.iterdir()) == [tmp_path / 'page.html']


def test_pictures_are_embedded_and_linked(tmp_path, parse_page):
  path = tmp_path / 'sub' / 'picture.png'
  image_io.write_rgb(path, np.full((2, 3, 3), 7, np.uint8))
  page_path = tmp_path / 'page.html'
  pictures = [
    Picture(source=embed(path), title='own', note='big', url=url_of(path, page_path)),
    Picture(source=url_of(path, page_path), title='by reference'),
  ]
  write_page(page_path, 'title', [Section(title='pictures', pictures=pictures)], 'note')
  page = parse_page(page_path)
  kind, data = page.images[0].split(',', 1)
  assert kind == 'data:image/png;base64' and base64.b64decode(data) == path.read_bytes()
  assert page.images[1] == 'sub/picture.png' and page.links == ['sub/picture.png']
  assert page.texts[-5:] == ['title', 'note', 'pictures', 'own: big', 'by reference']
  html = page_path.read_text()
  assert html.index('own: big') < html.index(page.images[0])  # the title is above its picture


def test_links_lead_to_files_of_any_name(tmp_path, monkeypatch):
  page = tmp_path / 'a b' / 'page.html'
  name = os.fsdecode(b'[1] %20 \xff#?.json')
  found = link(tmp_path / name, page)
  assert urllib.parse.unquote_to_bytes(found.url) == b'../[1] %20 \xff#?.json'
  monkeypatch.chdir(tmp_path)
  assert url_of(page.parent / 'x', page.relative_to(tmp_path)) == 'x'
  write_page(tmp_path / 'page.html', name, [Section(title='file', links=[found])])
  assert '%20 ?#?.json' in (tmp_path / 'page.html').read_text()
