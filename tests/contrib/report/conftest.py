"""A parser of pages."""

import html.parser

import pytest


class _Page(html.parser.HTMLParser):
  """Collects image sources, links and texts, and checks that tags are nested correctly."""

  def __init__(self, text):
    super().__init__()
    self.images, self.links, self.texts, self.open = [], [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    if tag == 'img':
      self.images.append(attrs['src'])
    self.links += [attrs[key] for key in ('href', 'srcset', 'action') if key in attrs]
    if tag not in ('img', 'meta'):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if data.strip():
      self.texts.append(data.strip())

  def after(self, text):
    """Return the text that follows another one, e.g. the value of a metric."""
    return self.texts[self.texts.index(text) + 1]


@pytest.fixture
def parse_page():
  """Return the page of an HTML file, whose tags must all be closed."""

  def parse(path):
    page = _Page(path.read_text())
    assert page.open == []
    return page

  return parse
