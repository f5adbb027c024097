"""Records of 3D bounding primitives, and the XML files of KITTI-360 that hold them.

Every primitive is a closed triangle mesh (cuboid, ellipsoid or extruded polygon). Its winding, the
handedness of its transform and convexity are not assumed.

References:
  kitti360Scripts (helpers/annotation.py) and its issue threads.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import defusedxml
import defusedxml.ElementTree
import numpy as np

from pnerf_jax.config.spec import MAX_LENGTH
from pnerf_jax.data import files, kitti360, labels
from pnerf_jax.errors import InputError

MIN_EXTENT = 1e-3  # metres; a thinner primitive encloses no space
CUBE_VERTICES = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
_FACES = '013 032 467 475 045 051 237 276 026 064 157 173'
CUBE_FACES = np.array([[int(vertex) for vertex in face] for face in _FACES.split()], np.int32)
_MAX_ROWS = 100_000  # the largest real primitive has some hundred vertices
_MAX_BYTES = 2**29  # five times the largest real file
_MAX_INTEGER = 2**31 - 2  # one is added to an index
MAX_INSTANCE = 999  # of a thing, since instance maps hold id * 1000 + instanceId
_COPY = 'Copy the file from KITTI-360 (data_3d_bboxes) again.'
_REMOVE = 'Remove or correct the object.'

# Names of the annotation tool that are not in the class table; others differ from it only in case
# and blanks ('trafficSign', 'guardrail', 'unknownVehicle').
_TOOL_NAMES = {
  'driveway': 'parking',
  'unknownground': 'ground',
  'bigpole': 'pole',
  'pedestrian': 'person',
  'treesphere': 'vegetation',
  'treecube': 'vegetation',
  'tree': 'vegetation',
  'bush': 'vegetation',
  'grass': 'terrain',
  'van': 'car',
  'bin': 'trash bin',
}
_CLASS_NAMES = {name.replace(' ', ''): label.id for name, label in labels.BY_NAME.items()}


@dataclasses.dataclass(frozen=True)
class PrimitiveRecord:
  """One annotated primitive.

  Attributes:
    index: running number of the annotation.
    annotation: index + 1, the id of the primitive.
    label: class name of the label table.
    semantic: class id, 0..44.
    instance: id of the object within its class; 0 = stuff or unknown.
    timestamp: frame at which a dynamic primitive has this pose; -1 = static.
    start_frame: first frame of the annotated range, or -1.
    end_frame: last frame of the annotated range, or -1.
    vertices: [N, 3] float64, metres, world.
    faces: [F, 3] int32, vertex indices of the triangles.
  """

  index: int
  annotation: int
  label: str
  semantic: int
  instance: int
  timestamp: int
  start_frame: int
  end_frame: int
  vertices: np.ndarray
  faces: np.ndarray


def annotated_in_window(
  start_frame: int, end_frame: int, timestamp: int, frames: tuple[int, ...], margin: int
) -> bool:
  """Return whether an object was annotated for these frames.

  A dynamic object was if its frame is one of them. A static one was if its annotated range is
  within `margin` frames of them: streets are driven twice, and a car that was parked there on
  another pass is a ghost. An object without a range counts as annotated everywhere.
  """
  if timestamp >= 0:
    return timestamp in frames
  if start_frame <= 0 and end_frame <= 0:
    return True
  start, end = (start_frame, end_frame) if end_frame > 0 else (start_frame, start_frame)
  return min(start, end) - margin <= frames[-1] and max(start, end) + margin >= frames[0]


def read_primitives_xml(
  path: Path, predicate: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """Read the primitives for which `predicate(start_frame, end_frame, timestamp)` holds.

  The others are not checked, so that a flaw of another street does no harm. Children of the root
  without a transform are not primitives and are skipped.

  Raises:
    InputError: not well-formed, with entities, a matrix whose size and numbers disagree, an unknown
      class, non-finite or degenerate geometry; the message names the object and its index.
  """
  records = []
  for number, element in enumerate(_parse(path)):
    if element.find('transform') is None:
      continue
    where = f'{path}: <{element.tag}>'
    index = _integer(element, 'index', number, where)
    where += f' (index {index})'
    start_frame, end_frame, timestamp = (
      _integer(element, tag, -1, where) for tag in ('start_frame', 'end_frame', 'timestamp')
    )
    if not predicate(start_frame, end_frame, timestamp):
      continue
    semantic = _class_id(element, where)
    instance = max(_integer(element, 'instanceId', 0, where), 0)
    if labels.IS_THING[semantic] and instance > MAX_INSTANCE:
      raise InputError(f'{where}: instanceId is {instance}, beyond {MAX_INSTANCE}. Correct it.')
    vertices, faces = _mesh(element, where)
    records.append(
      PrimitiveRecord(
        index=index,
        annotation=index + 1,
        label=labels.BY_ID[semantic].name,
        semantic=semantic,
        instance=instance,
        timestamp=timestamp,
        start_frame=start_frame,
        end_frame=end_frame,
        vertices=vertices,
        faces=faces,
      )
    )
  return records


def deduplicate(records: list[PrimitiveRecord]) -> list[PrimitiveRecord]:
  """Keep the first of every primitive that was written more than once.

  An object at the edge of two annotation windows is in the file twice, with one class and one
  instanceId; in the union of two files it may have another instanceId but the same mesh.
  """
  bounds = np.array([[*r.vertices.min(0), *r.vertices.max(0)] for r in records]).reshape(-1, 6)
  # Those of one instance may differ as two people draw them.
  tolerances = 0.15 * np.linalg.norm(bounds[:, 3:] - bounds[:, :3], axis=-1)
  instances = np.array([r.instance for r in records])
  counts = np.array([len(r.vertices) for r in records])
  kept: list[int] = []
  cells: dict[tuple, list[int]] = {}  # cubic metres
  for i, record in enumerate(records):
    cell = np.floor(record.vertices.mean(0)).astype(int)
    key = (record.semantic, record.timestamp)
    near = [
      other
      for offset in np.ndindex(3, 3, 3)
      for other in cells.get((*key, *(cell + offset - 1)), ())
    ]
    same_instance = (instances[near] == record.instance) & (record.instance > 0)
    same_shape = np.where(counts[near] == counts[i], 0.01, -1.0)
    tolerance = np.where(same_instance, tolerances[i], same_shape)
    if not (np.abs(bounds[near] - bounds[i]).max(-1, initial=0) <= tolerance).any():
      cells.setdefault((*key, *cell), []).append(i)
      kept.append(i)
  return [records[i] for i in kept]


def _parse(path: Path) -> ElementTree.Element:
  content = files.read_bytes(path, _MAX_BYTES, _COPY)
  try:
    return defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
  except defusedxml.DefusedXmlException as e:
    raise InputError(
      f'{path}: refused: {type(e).__name__} (a DTD or an entity is not allowed). {_COPY}'
    ) from None
  except (ElementTree.ParseError, LookupError, ValueError) as e:  # LookupError: unknown encoding
    raise InputError(f'{path}: is not well-formed XML ({e}). {_COPY}') from None


def _integer(element: ElementTree.Element, tag: str, default: int, where: str) -> int:
  text = (element.findtext(tag) or '').strip()
  if not text:
    return default
  try:
    value = int(text)
  except ValueError:
    value = _MAX_INTEGER + 1
  if abs(value) > _MAX_INTEGER:
    raise InputError(
      f'{where}: {tag} is {text[:40]!r}, not an integer up to {_MAX_INTEGER}. Correct it.'
    )
  return value


def _class_id(element: ElementTree.Element, where: str) -> int:
  """Return the class of the kittiId if there is one (label names drift), else of the label."""
  kitti_id = _integer(element, 'semanticId', 0, where)
  if kitti_id > 0:
    if kitti_id not in labels.ID_FROM_KITTI_ID:
      raise InputError(
        f'{where}: semanticId {kitti_id} is no kittiId of the label table. Correct it.'
      )
    return labels.ID_FROM_KITTI_ID[kitti_id]
  name = re.sub(r'\s', '', element.findtext('label') or '').lower()
  if name == 'ground' and kitti_id == 0:
    return labels.BY_NAME['terrain'].id  # the tool's name, in files without semanticId
  name = _TOOL_NAMES.get(name, name).replace(' ', '')
  if name not in _CLASS_NAMES:
    raise InputError(
      f'{where}: label {name[:40]!r} is no class of KITTI-360 and semanticId is missing or -1.'
      f' Use one of: {", ".join(labels.CLASS_NAMES)}.'
    )
  return _CLASS_NAMES[name]


def _matrix(element: ElementTree.Element, tag: str, cols: int, where: str) -> np.ndarray:
  """Read an opencv-matrix [rows, cols] as float64."""
  matrix = element.find(tag)
  if matrix is None:
    raise InputError(f'{where}: no <{tag}>. {_COPY}')
  where = f'{where}: {tag}'
  rows, found = (_integer(matrix, name, -1, where) for name in ('rows', 'cols'))
  tokens = (matrix.findtext('data') or '').split()
  if found != cols or not 0 < rows <= _MAX_ROWS:
    raise InputError(f'{where} is {rows}x{found}, expected rows x {cols}. {_COPY}')
  values = kitti360.parse_floats(tokens, rows * cols, f'{where} ({rows}x{cols})', _COPY)
  check_range(values, where)
  return values.reshape(rows, cols)


def check_range(values: np.ndarray, where: str, hint: str = _REMOVE) -> None:
  """Raise InputError if a coordinate is not finite or too large."""
  wrong = ~(np.abs(values) <= MAX_LENGTH)
  if wrong.any():
    raise InputError(
      f'{where} holds {values[wrong][0]:g}, which is beyond {MAX_LENGTH:g} m. {hint}'
    )


def _mesh(element: ElementTree.Element, where: str) -> tuple[np.ndarray, np.ndarray]:
  """Return world vertices [N, 3] and faces [F, 3] that enclose space."""
  world_from_local = _matrix(element, 'transform', 4, where)
  vertices = _matrix(element, 'vertices', 3, where)
  faces = _matrix(element, 'faces', 3, where)
  if len(world_from_local) != 4:
    raise InputError(f'{where}: transform has {len(world_from_local)} rows, expected 4. {_COPY}')
  vertices = vertices @ world_from_local[:3, :3].T + world_from_local[:3, 3]
  check_mesh(vertices, faces, where)
  return vertices, faces.astype(np.int32)


def check_mesh(vertices: np.ndarray, faces: np.ndarray, where: str, hint: str = _REMOVE) -> None:
  """Raise InputError unless vertices [N, 3] and faces [F, 3] enclose space."""
  low, high = faces.min(initial=0), faces.max(initial=0)
  if (faces != np.round(faces)).any() or low < 0 or high >= len(vertices):
    raise InputError(f'{where}: faces refer to vertices other than 0..{len(vertices) - 1}. {hint}')
  check_range(vertices, f'{where}: transformed vertex', hint)
  # The smallest principal extent: 0 for a plane, a line or a point, whatever its direction.
  centered = vertices - vertices.mean(0)
  axes = np.linalg.svd(centered, full_matrices=False)[2]
  extent = np.ptp(centered @ axes.T, axis=0).min() if len(vertices) > 3 else 0.0
  if extent < MIN_EXTENT or len(faces) < 4:
    raise InputError(
      f'{where}: degenerate primitive: {len(vertices)} vertices, {len(faces)} faces,'
      f' {extent:.2g} m thick. {hint}'
    )
