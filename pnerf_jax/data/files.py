"""Writing files so that they are whole or absent."""
import os
from pathlib import Path
import tempfile


def write_bytes(path: Path, content: bytes) -> None:
  """Writes a file under a temporary name, then renames it; missing folders are made."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.stem}-', suffix='.tmp')
  try:
    with os.fdopen(handle, 'wb') as file:
      file.write(content)
    os.chmod(temporary, 0o644)  # mkstemp's own mode would hide the file from other users
    os.replace(temporary, path)
  except BaseException:
    Path(temporary).unlink(missing_ok=True)
    raise
