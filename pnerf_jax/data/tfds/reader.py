"""A folder of files inside one large file, read as if it lay on disk.

`PackedPath` has those methods of `pathlib.Path` that the readers of this room use, so that what
they make of a packed window is what they make of the folder, to the bit.
"""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping


class PackedPath:
  """A file or folder of a packed window. Paths inside it are relative, with slashes."""

  def __init__(
    self, name: str, sizes: Mapping[str, int], read: Callable[[str], bytes], inside: str = ''
  ):
    """Binds a place in a packed window.

    Args:
      name: of the packed window, for messages.
      sizes: bytes of every file inside.
      read: gives the content of one of them.
      inside: the place; '' is the top folder.
    """
    self._name, self._sizes, self._read, self._inside = name, sizes, read, inside

  def joinpath(self, *parts: str) -> 'PackedPath':
    """A place below this one."""
    inside = '/'.join(word for word in (self._inside, *map(str, parts)) if word)
    return PackedPath(self._name, self._sizes, self._read, inside)

  @property
  def sizes(self) -> Mapping[str, int]:
    """Bytes of every file of the packed window, wherever this place is."""
    return self._sizes

  def __truediv__(self, part: str) -> 'PackedPath':
    return self.joinpath(part)

  def __str__(self) -> str:
    return '/'.join(word for word in (self._name, self._inside) if word)

  @property
  def name(self) -> str:
    """The last part."""
    return self._inside.rpartition('/')[2]

  @property
  def stem(self) -> str:
    """The last part without its ending."""
    return os.path.splitext(self.name)[0]

  @property
  def suffix(self) -> str:
    """The ending of the last part, with its dot."""
    return os.path.splitext(self.name)[1]

  @property
  def parent(self) -> 'PackedPath':
    """The folder around it."""
    return PackedPath(self._name, self._sizes, self._read, self._inside.rpartition('/')[0])

  def with_name(self, name: str) -> 'PackedPath':
    """Another one beside it."""
    return self.parent.joinpath(name)

  def is_file(self) -> bool:
    """Whether it is a file that is there."""
    return self._inside in self._sizes

  def is_dir(self) -> bool:
    """Whether it is a folder that holds anything."""
    return next(self.iterdir(), None) is not None

  def exists(self) -> bool:
    """Whether it is there."""
    return self.is_file() or self.is_dir()

  def iterdir(self) -> Iterator['PackedPath']:
    """What a folder holds."""
    start = f'{self._inside}/' if self._inside else ''
    names = {path[len(start) :].partition('/')[0] for path in self._sizes if path.startswith(start)}
    return (self.joinpath(name) for name in sorted(names))

  def stat(self) -> os.stat_result:
    """Kind and size."""
    if not self.exists():
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
    mode = stat.S_IFREG if self.is_file() else stat.S_IFDIR
    return os.stat_result((mode | 0o444, 0, 0, 1, 0, 0, self._sizes.get(self._inside, 0), 0, 0, 0))

  def read_bytes(self) -> bytes:
    """The content of a file."""
    if not self.is_file():
      raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
    return self._read(self._inside)

  def open(self, mode: str = 'rb') -> io.BytesIO:
    """A file to be read."""
    if mode != 'rb':
      raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), str(self))
    return io.BytesIO(self.read_bytes())
