"""Reader of small uncompressed zip archives: .npz files and checkpoints of PyTorch.

Time and memory are proportional to the size of the archive, whatever its headers claim.
"""

import io
import zipfile

_CENTRAL_ENTRY = b'PK\1\2'  # starts the record of every member
_MAX_MEMBERS = 10_000


class RefusedError(Exception):
  """The reason why an archive is not read."""


def is_zip(content: bytes) -> bool:
  """Return whether the content ends as a zip archive does."""
  return zipfile.is_zipfile(io.BytesIO(content))


class StoredZip:
  """An archive whose members are stored uncompressed.

  Attributes:
    names: of the members.
  """

  def __init__(self, content: bytes):
    """Read the list of members.

    Raises:
      RefusedError: it has too many members, or two of one name.
      zipfile.BadZipFile: it is damaged.
    """
    # Counted before they are parsed, since a record becomes an object of many times its size.
    if (count := content.count(_CENTRAL_ENTRY)) > _MAX_MEMBERS:
      raise RefusedError(f'{count} members, expected at most {_MAX_MEMBERS}')
    self._archive = zipfile.ZipFile(io.BytesIO(content))
    self._unread = len(content)  # bytes; more are read only if members overlap
    self.names = frozenset(self._archive.namelist())
    if len(self.names) < len(self._archive.infolist()):
      raise RefusedError('two members of the archive have one name')

  def read(self, name: str, max_bytes: int) -> bytes:
    """Return the content of a member.

    Raises:
      RefusedError: it is absent, compressed, or too large.
      zipfile.BadZipFile: it is damaged.
    """
    if name not in self.names:
      raise RefusedError(f'no {name:.200} in the archive')
    info = self._archive.getinfo(name)
    limit = min(max_bytes, self._unread)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
      raise RefusedError(
        f'{name:.200}: {info.file_size} bytes, compressed to {info.compress_size}; expected'
        f' uncompressed and at most {limit}'
      )
    self._unread -= info.file_size
    return self._archive.read(info)
