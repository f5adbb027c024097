"""The 3D bounding primitives of KITTI-360: XML to records.

Every primitive is a closed triangle mesh (cuboid, ellipsoid or extruded polygon). Nothing is
assumed of its winding, of the handedness of its transform or of convexity.
Source: kitti360Scripts (helpers/annotation.py) and its issue threads.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import defusedxml
import defusedxml.ElementTree
import numpy as np

from pnerf_jax.data import files, kitti360, labels
from pnerf_jax.errors import InputError

MIN_EXTENT = 1e-3  # metres; a primitive thinner than this encloses no space
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
CUBE_FACES = np.array(
  [
    [0, 1, 3],
    [0, 3, 2],
    [4, 6, 7],
    [4, 7, 5],
    [0, 4, 5],
    [0, 5, 1],
    [2, 3, 7],
    [2, 7, 6],
    [0, 2, 6],
    [0, 6, 4],
    [1, 5, 7],
    [1, 7, 3],
  ],
  np.int32,
)
_MAX_ROWS = 100_000  # the largest real primitive has some hundred vertices
_MAX_BYTES = 2**30  # ten times the largest real file
_MAX_INTEGER = 2**31 - 2  # one is added to an index
MAX_INSTANCE = 999  # of a thing, since the instance maps hold id * 1000 + instanceId

# The annotation tool's words that are no names of the class table; others differ from it only in
# case and blanks ('trafficSign', 'guardrail', 'unknownVehicle').
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
    annotation: index + 1, the id of the primitive itself.
    label: class name of the label table.
    semantic: class id, 0..44.
    instance: id of the object among those of its class; 0 for stuff or unknown.
    timestamp: -1 for a static primitive, else the frame at which this moving one holds.
    start_frame, end_frame: the stretch in which it was annotated, or -1.
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
  """Whether an object was annotated for this stretch of the drive.

  A moving object belongs where its one frame is among the window's. A static one belongs where its
  annotation window comes within `margin` frames: streets are driven twice, and what was parked
  there on another pass is a ghost. Objects that name no window belong everywhere.
  """
  if timestamp >= 0:
    return timestamp in frames
  if start_frame <= 0 and end_frame <= 0:
    return True
  start, end = (start_frame, end_frame) if end_frame > 0 else (start_frame, start_frame)
  return min(start, end) - margin <= frames[-1] and max(start, end) + margin >= frames[0]


def read_primitives_xml(
  path: Path, selects: Callable[[int, int, int], bool] = lambda *_: True
) -> list[PrimitiveRecord]:
  """All primitives of an XML file that `selects(start_frame, end_frame, timestamp)` accepts.

  Those not selected are not looked at further, so a flaw of another street does no harm. Children
  of the root without a transform are no primitives and are passed over.

  Raises:
    InputError: not well-formed, with entities, a matrix whose size and numbers disagree, an unknown
      class, non-finite or degenerate geometry; the message names the object and its index.
  """
  boxes = []
  for number, element in enumerate(_parse(path)):
    if element.find('transform') is None:
      continue
    where = f'{path}: <{element.tag}>'
    index = _integer(element, 'index', number, where)
    where += f' (index {index})'
    frames = [
      _integer(element, tag, -1, where) for tag in ('start_frame', 'end_frame', 'timestamp')
    ]
    if not selects(*frames):
      continue
    semantic = _class_id(element, where)
    instance = max(_integer(element, 'instanceId', 0, where), 0)
    if labels.IS_THING[semantic] and instance > MAX_INSTANCE:
      raise InputError(f'{where}: instanceId is {instance}, beyond {MAX_INSTANCE}. Correct it.')
    vertices, faces = _mesh(element, where)
    boxes.append(
      PrimitiveRecord(
        index=index,
        annotation=index + 1,
        label=labels.BY_ID[semantic].name,
        semantic=semantic,
        instance=instance,
        timestamp=frames[2],
        start_frame=frames[0],
        end_frame=frames[1],
        vertices=vertices,
        faces=faces,
      )
    )
  return boxes


def deduplicate(boxes: list[PrimitiveRecord]) -> list[PrimitiveRecord]:
  """Keeps the first of every primitive that was written more than once.

  An object at the edge of two annotation windows is in the file twice, with one class and one
  instanceId; where two files are joined it may carry another instanceId but the same mesh.
  """
  kept: list[PrimitiveRecord] = []
  cells: dict[tuple, list[PrimitiveRecord]] = {}
  for box in boxes:
    center = box.vertices.mean(0)
    cell = np.floor(center).astype(int)
    key = (box.semantic, box.timestamp)
    near = [
      other
      for offset in np.ndindex(3, 3, 3)
      for other in cells.get((*key, *(cell + offset - 1)), ())
    ]
    if any(_same_object(box, other) for other in near):
      continue
    cells.setdefault((*key, *cell), []).append(box)
    kept.append(box)
  return kept


def _same_object(a: PrimitiveRecord, b: PrimitiveRecord) -> bool:
  """Nearly equal meshes; the same instance may differ by what two people draw."""
  if a.instance == b.instance and a.instance > 0:
    tolerance = 0.15 * float(np.linalg.norm(np.ptp(a.vertices, axis=0)))
  elif a.vertices.shape == b.vertices.shape:
    tolerance = 0.01
  else:
    return False
  return all(
    np.abs(f(a.vertices) - f(b.vertices)).max() <= tolerance
    for f in (lambda x: x.min(0), lambda x: x.max(0))
  )


def _parse(path: Path) -> ElementTree.Element:
  content = files.read_bytes(path, _MAX_BYTES, 'Copy it from KITTI-360 (data_3d_bboxes).')
  try:
    return defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
  except defusedxml.DefusedXmlException as e:
    raise InputError(
      f'{path}: refused: {type(e).__name__} (a DTD or entity has no place in this'
      ' file). Copy it from KITTI-360 again.'
    ) from None
  except (ElementTree.ParseError, LookupError, ValueError) as e:  # LookupError: an odd encoding
    raise InputError(
      f'{path}: is not well-formed XML ({e}). Copy it from KITTI-360 again.'
    ) from None


def _integer(element: ElementTree.Element, tag: str, default: int, where: str) -> int:
  text = (element.findtext(tag) or '').strip()
  if not text:
    return default
  try:
    value = int(text)
  except ValueError:
    raise InputError(f'{where}: {tag} is {text[:40]!r}, not a whole number. Correct it.') from None
  if abs(value) > _MAX_INTEGER:
    raise InputError(f'{where}: {tag} is {text[:40]}, beyond {_MAX_INTEGER}. Correct it.')
  return value


def _class_id(element: ElementTree.Element, where: str) -> int:
  """The kittiId where there is one (label names drift), else the label's name."""
  kitti_id = _integer(element, 'semanticId', 0, where)
  if kitti_id > 0:
    if kitti_id not in labels.ID_FROM_KITTI_ID:
      raise InputError(
        f'{where}: semanticId {kitti_id} is no kittiId of the label table. Correct it.'
      )
    return labels.ID_FROM_KITTI_ID[kitti_id]
  name = re.sub(r'\s', '', element.findtext('label') or '').lower()
  if name == 'ground' and kitti_id == 0:
    return labels.BY_NAME['terrain'].id  # the tool's own word, in files without semanticId
  name = _TOOL_NAMES.get(name, name).replace(' ', '')
  if name not in _CLASS_NAMES:
    raise InputError(
      f'{where}: label {name[:40]!r} is no class of KITTI-360 and semanticId is'
      ' missing or -1. Correct the label.'
    )
  return _CLASS_NAMES[name]


def _matrix(element: ElementTree.Element, tag: str, cols: int, where: str) -> np.ndarray:
  """An opencv-matrix [rows, cols] as float64."""
  matrix = element.find(tag)
  if matrix is None:
    raise InputError(f'{where}: no <{tag}>. Copy the file from KITTI-360 again.')
  rows, found = (_integer(matrix, name, -1, f'{where}: {tag}') for name in ('rows', 'cols'))
  words = (matrix.findtext('data') or '').split()
  if found != cols or not 0 < rows <= _MAX_ROWS or len(words) != rows * cols:
    raise InputError(
      f'{where}: {tag} says {rows}x{found} and holds {len(words)} numbers, expected'
      f' rows x {cols}. Copy the file from KITTI-360 again.'
    )
  try:
    values = np.array(words, np.float64).reshape(rows, cols)
  except ValueError as e:
    raise InputError(f'{where}: {tag}: {e}. Copy the file from KITTI-360 again.') from None
  wrong = ~(np.abs(values) <= kitti360.FAR_AWAY)  # not finite, too
  if wrong.any():
    raise InputError(
      f'{where}: {tag} holds {values[wrong][0]}, which is not finite or beyond'
      f' {kitti360.FAR_AWAY:g} m. Remove or correct the object.'
    )
  return values


def _mesh(element: ElementTree.Element, where: str) -> tuple[np.ndarray, np.ndarray]:
  """World vertices [N, 3] and faces [F, 3], checked to enclose space."""
  world_from_box = _matrix(element, 'transform', 4, where)
  vertices = _matrix(element, 'vertices', 3, where)
  faces = _matrix(element, 'faces', 3, where)
  if world_from_box.shape[0] != 4:
    raise InputError(
      f'{where}: transform has {world_from_box.shape[0]} rows, expected 4.'
      ' Copy the file from KITTI-360 again.'
    )
  if (faces != np.round(faces)).any() or faces.min() < 0 or faces.max() >= len(vertices):
    raise InputError(
      f'{where}: faces name vertices that are not there (0..{len(vertices) - 1}).'
      ' Remove or correct the object.'
    )
  vertices = vertices @ world_from_box[:3, :3].T + world_from_box[:3, 3]
  if np.abs(vertices).max() > kitti360.FAR_AWAY:
    raise InputError(
      f'{where}: transform puts a vertex at {np.abs(vertices).max():.2g} m, beyond'
      f' {kitti360.FAR_AWAY:g} m. Remove or correct the object.'
    )
  # The smallest principal extent: 0 for a plane, a line or a point, whatever its direction.
  centered = vertices - vertices.mean(0)
  axes = np.linalg.svd(centered, full_matrices=False)[2]
  extent = np.ptp(centered @ axes.T, axis=0).min() if len(vertices) > 3 else 0.0
  if extent < MIN_EXTENT or len(faces) < 4:
    raise InputError(
      f'{where}: degenerate primitive: {len(vertices)} vertices, {len(faces)} faces,'
      f' {extent:.2g} m thick. Remove or correct the object.'
    )
  return vertices, faces.astype(np.int32)
