"""Construction of a street from its parameters: objects, primitives, weather, trajectory.

Street coordinates are the world minus `Street.center`; metres.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import (
  annotation,
  boulevard,
  buildings,
  camera,
  illumination,
  layout,
  plants,
  raycast,
  suburb,
  village,
)
from pnerf_jax.contrib.street.objects import SceneObject
from pnerf_jax.errors import InputError

PRESETS = {'boulevard': boulevard, 'suburb': suburb, 'village': village}
PREDICTIONS = ('network', 'noise')
_NUM_UNANNOTATED = 2  # objects without a primitive
_NUM_DUPLICATED = 4  # objects annotated in two windows
_MAX_FRAMES, _MAX_SEED = 2000, 10**6


@dataclasses.dataclass(frozen=True)
class Parameters:
  """Parameters that determine a street.

  Attributes:
    preset: one of PRESETS.
    seed: seed of all choices.
    frames: number of stereo frames.
    scale: size of the images relative to 1408 x 376.
    moving: whether a car or a pedestrian moves during the recording.
    predictions: source of the pseudo-labels, one of PREDICTIONS.
  """

  preset: str = 'boulevard'
  seed: int = 0
  frames: int = 24
  scale: float = 0.25
  moving: bool = True
  predictions: str = 'network'

  def check(self):
    """Raise InputError, with the name of the flag, if a value is out of range."""
    if self.preset not in PRESETS:
      raise InputError(
        f'--preset: there is no preset {self.preset!r}. Use one of {", ".join(PRESETS)}.'
      )
    if not 1 <= self.frames <= _MAX_FRAMES:
      raise InputError(f'--frames: {self.frames} is out of range. Use 1 to {_MAX_FRAMES}.')
    if not 0.05 <= self.scale <= 1.0:
      raise InputError(f'--scale: {self.scale} is out of range. Use 0.05 to 1 (1 is 1408x376).')
    if self.predictions not in PREDICTIONS:
      raise InputError(
        f'--predictions: {self.predictions!r} is not one of {", ".join(PREDICTIONS)}.'
      )
    if not 0 <= self.seed <= _MAX_SEED:
      raise InputError(f'--seed: {self.seed} is out of range. Use 0 to {_MAX_SEED}.')

  @property
  def sequence(self) -> str:
    """Name of the drive, made from preset and seed."""
    drive = 1000 * (1 + list(PRESETS).index(self.preset)) + self.seed % 1000
    return f'2013_05_28_drive_{drive:04d}_sync'

  @property
  def first_frame(self) -> int:
    """Frame number of the first image."""
    return 1200 + 37 * (self.seed % 50)

  @property
  def frame_numbers(self) -> list[int]:
    """All frame numbers."""
    return list(range(self.first_frame, self.first_frame + self.frames))


@dataclasses.dataclass(frozen=True)
class Street:
  """Geometry, annotation and trajectory of a street.

  Attributes:
    center: [3] world coordinates of the street's origin.
    objects: static objects, then the moving ones in their local frames.
    instance: [n] instanceId of every object.
    annotations: the primitives.
    static: the static objects for ray casting.
    movers: the moving objects.
    road: the axis of the road.
    light: the illumination.
    street_from_pose: [frames, 4, 4], vehicle to street coordinates.
  """

  center: np.ndarray
  objects: list[SceneObject]
  instance: np.ndarray
  annotations: list[annotation.Annotation]
  static: raycast.Scene
  movers: list[layout.Mover]
  road: layout.Road
  light: illumination.Light
  street_from_pose: np.ndarray

  @property
  def names(self) -> list[str]:
    """Class name of every object."""
    return [obj.name for obj in self.objects]

  def moving(self, frame: int) -> list[SceneObject]:
    """Return the moving objects, the last ones of `objects`, at the `frame`-th frame."""
    return [obj for mover in self.movers for obj in mover.at(self.road, frame)]

  def scenes(self, frame: int) -> tuple[list[raycast.Scene], list[np.ndarray]]:
    """Return the scenes of a frame and, for each, the object index of every triangle."""
    scenes, owners = [self.static], [self.static.owner]
    moving = self.moving(frame)
    if moving:
      scene = raycast.Scene([solid for obj in moving for solid in _solids(obj)])
      scenes.append(scene)
      owners.append(_owners(moving)[scene.owner] + len(self.objects) - len(moving))
    return scenes, owners


def _solids(obj: SceneObject) -> list:
  return [part.solid for part in obj.parts]


def _owners(some: list[SceneObject]) -> np.ndarray:
  """Return the index of the object of every part."""
  return np.repeat(np.arange(len(some)), [len(obj.parts) for obj in some])


def _close_street_ends(builder: layout.Builder):
  """Place houses and trees across both ends of the street."""
  rng = builder.rng
  for s, turn in ((builder.end + 4, -np.pi / 2), (builder.start - 4, np.pi / 2)):
    for d in np.arange(-27, 28, 14.0):
      style = buildings.Style(
        buildings.wall_paint(rng, ['plaster', 'brick']),
        buildings.wall_paint(rng, ['stone']),
        int(rng.integers(2, 4)),
        roof='gable',
      )
      builder.put(buildings.house(rng, 12.0, 9.0, style), s, d, 0.1, turn)
    for d in np.arange(-24, 25, 6.0):
      toward = -3.0 if turn < 0 else 3.0
      builder.put(plants.tree(rng, rng.uniform(6, 10), 'round', 0.35), s + toward, d, 0.1)


def _drive(
  road: layout.Road, offset: float, speed: float, frames: int, rng: np.random.Generator
) -> np.ndarray:
  """Return vehicle poses [frames, 4, 4] with the small motions of a real drive."""
  phase = rng.uniform(0, 2 * np.pi, 4)
  poses = []
  for frame in range(frames):
    s = speed * frame + 0.02 * np.sin(0.7 * frame + phase[0])
    d = offset + 0.10 * np.sin(s / 9 + phase[1])
    heading = road.heading_at(s) + 0.10 / 9 * np.cos(s / 9 + phase[1])
    slope = road.slope_at(s) + 0.004 * np.sin(s / 2.3 + phase[2])
    poses.append(
      camera.vehicle_pose(
        road.at(s, d), float(heading), float(slope), 0.006 * np.sin(s / 3.1 + phase[3])
      )
    )
  return np.stack(poses)


def build(parameters: Parameters) -> Street:
  """Build a street, a pure function of its parameters."""
  preset = PRESETS[parameters.preset]
  rng = np.random.default_rng([list(PRESETS).index(parameters.preset), parameters.seed])
  travel = preset.SPEED * (parameters.frames - 1)
  heading = rng.uniform(-np.pi, np.pi)
  course = preset.alignment(rng)
  road = layout.make_road(-60.0, travel + 140.0, heading, **course)
  builder = layout.Builder(road, rng, travel)
  offset = preset.furnish(builder)
  _close_street_ends(builder)
  movers = builder.movers if parameters.moving else []
  still = builder.objects
  everything = still + [obj for mover in movers for obj in mover.objects]
  instance = annotation.instance_ids(everything)
  return Street(
    center=np.array([1200.0, 3700.0, 115.0]) + np.round(rng.uniform(-300, 300, 3) * [1, 1, 0.05]),
    objects=everything,
    instance=instance,
    annotations=_annotate(builder, everything, instance, movers, parameters, rng=rng),
    static=_static(still),
    movers=movers,
    road=road,
    light=illumination.weather(rng, heading + rng.uniform(-2.5, 2.5)),
    street_from_pose=_drive(road, offset, preset.SPEED, parameters.frames, rng),
  )


def _static(still: list[SceneObject]) -> raycast.Scene:
  scene = raycast.Scene([solid for obj in still for solid in _solids(obj)])
  scene.owner = _owners(still)[scene.owner]
  return scene


def _annotate(
  builder: layout.Builder,
  everything: list[SceneObject],
  instance: np.ndarray,
  movers: list[layout.Mover],
  parameters: Parameters,
  *,
  rng: np.random.Generator,
) -> list[annotation.Annotation]:
  """Annotate static objects, ghosts, and moving objects at every frame."""
  still = everything[: len(builder.objects)]
  middle = builder.road.at(0.5 * builder.travel + 12, 0.0)
  missing = annotation.choose_unannotated(still, middle, _NUM_UNANNOTATED, rng)
  out = []
  for index, obj in enumerate(still):
    if index not in missing:
      out += annotation.annotate(obj, int(instance[index]), rng)
  # Objects in the overlap of two windows are annotated twice, with different errors.
  parked = [i for i, obj in enumerate(still) if obj.name in ('car', 'building', 'box')]
  for index in rng.permutation(parked)[:_NUM_DUPLICATED].tolist():
    out += annotation.annotate(still[index], int(instance[index]), rng, window='next')
  counts = {
    name: int(instance[[t.name == name for t in everything]].max())
    for name in {t.name for t in everything}
  }
  for ghost in builder.ghosts:
    counts[ghost.name] = counts.get(ghost.name, 0) + 1
    out += annotation.annotate(ghost, counts[ghost.name], rng, window='ghost')
  for frame, number in enumerate(parameters.frame_numbers):
    moving = [obj for mover in movers for obj in mover.at(builder.road, frame)]
    for obj, own in zip(moving, instance[len(still) :]):
      out += annotation.annotate(obj, int(own), rng, timestamp=number)
  return out
