"""A whole street from its parameters: things, primitives, weather, drive.

Street coordinates are the world minus `Street.center`; metres.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street import (
  annotation,
  appearance,
  boulevard,
  buildings,
  camera,
  layout,
  plants,
  raycast,
  suburb,
  things,
  village,
)
from pnerf_jax.errors import InputError

PRESETS = {'boulevard': boulevard, 'suburb': suburb, 'village': village}
PREDICTIONS = ('network', 'noise')
_FORGOTTEN = 2  # things without a primitive
_TWICE = 4  # things annotated in two windows
_MAX_FRAMES, _MAX_SEED = 2000, 10**6


@dataclasses.dataclass(frozen=True)
class Parameters:
  """What a street follows from.

  Attributes:
    preset: one of PRESETS.
    seed: of everything random.
    frames: stereo frames.
    scale: of the images, relative to 1408 x 376.
    moving: whether something moves while the frames are taken.
    predictions: where the pseudo labels come from, one of PREDICTIONS.
  """

  preset: str = 'boulevard'
  seed: int = 0
  frames: int = 24
  scale: float = 0.25
  moving: bool = True
  predictions: str = 'network'

  def check(self):
    """InputError naming the flag that is wrong."""
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
    """Name of the drive: the preset's number and the seed."""
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
  """Everything about a street but its pictures.

  Attributes:
    center: [3] world coordinates of the street's origin.
    things: static things, then the moving ones' as they are at rest (for their class).
    instance: [n] instanceId of every thing.
    annotations: the primitives.
    static: the static things for casting rays.
    movers, road: what moves, along what.
    light: weather.
    street_from_pose: [frames, 4, 4], vehicle to street coordinates.
  """

  center: np.ndarray
  things: list[things.Thing]
  instance: np.ndarray
  annotations: list[annotation.Annotation]
  static: raycast.Scene
  movers: list[layout.Mover]
  road: layout.Road
  light: appearance.Light
  street_from_pose: np.ndarray

  @property
  def names(self) -> list[str]:
    """Class name of every thing."""
    return [thing.name for thing in self.things]

  def moving(self, frame: int) -> list[things.Thing]:
    """The moving things at the `frame`-th frame; the last ones of `things`."""
    return [thing for mover in self.movers for thing in mover.at(self.road, frame)]

  def scenes(self, frame: int) -> tuple[list[raycast.Scene], list[np.ndarray]]:
    """Scenes of a frame and, for each, the index in `things` of every triangle's thing."""
    scenes, owners = [self.static], [self.static.owner]
    moving = self.moving(frame)
    if moving:
      scene = raycast.Scene([solid for thing in moving for solid in _solids(thing)])
      scenes.append(scene)
      owners.append(_owners(moving)[scene.owner] + len(self.things) - len(moving))
    return scenes, owners


def _solids(thing: things.Thing) -> list:
  return [part.solid for part in thing.parts]


def _owners(some: list[things.Thing]) -> np.ndarray:
  """Index of the thing for every part of all things."""
  return np.repeat(np.arange(len(some)), [len(thing.parts) for thing in some])


def _close_the_view(builder: layout.Builder):
  """Houses and trees across both ends, so that no street ends in nothing."""
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
  """[frames, 4, 4] vehicle poses with the small motions of a real drive."""
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
  """The street of some parameters; a pure function of them."""
  preset = PRESETS[parameters.preset]
  rng = np.random.default_rng([list(PRESETS).index(parameters.preset), parameters.seed])
  travel = preset.SPEED * (parameters.frames - 1)
  heading = rng.uniform(-np.pi, np.pi)
  course = preset.alignment(rng)
  road = layout.make_road(-60.0, travel + 140.0, heading, **course)
  builder = layout.Builder(road, rng, travel)
  offset = preset.furnish(builder)
  _close_the_view(builder)
  movers = builder.movers if parameters.moving else []
  still = builder.things
  everything = still + [thing for mover in movers for thing in mover.things]
  instance = annotation.number(everything)
  return Street(
    center=np.array([1200.0, 3700.0, 115.0]) + np.round(rng.uniform(-300, 300, 3) * [1, 1, 0.05]),
    things=everything,
    instance=instance,
    annotations=_annotate(builder, everything, instance, movers, parameters, rng),
    static=_static(still),
    movers=movers,
    road=road,
    light=appearance.weather(rng, heading + rng.uniform(-2.5, 2.5)),
    street_from_pose=_drive(road, offset, preset.SPEED, parameters.frames, rng),
  )


def _static(still: list[things.Thing]) -> raycast.Scene:
  scene = raycast.Scene([solid for thing in still for solid in _solids(thing)])
  scene.owner = _owners(still)[scene.owner]
  return scene


def _annotate(
  builder: layout.Builder,
  everything: list[things.Thing],
  instance: np.ndarray,
  movers: list[layout.Mover],
  parameters: Parameters,
  rng: np.random.Generator,
) -> list[annotation.Annotation]:
  """Primitives of static things, of ghosts, and of moving things at every frame."""
  still = everything[: len(builder.things)]
  middle = builder.road.at(0.5 * builder.travel + 12, 0.0)
  missing = annotation.forgotten(still, middle, _FORGOTTEN, rng)
  out = []
  for index, thing in enumerate(still):
    if index not in missing:
      out += annotation.enclose(thing, int(instance[index]), rng)
  # Things where two windows overlap were annotated twice, not quite equally.
  parked = [i for i, thing in enumerate(still) if thing.name in ('car', 'building', 'box')]
  for index in rng.permutation(parked)[:_TWICE].tolist():
    out += annotation.enclose(still[index], int(instance[index]), rng, window='next')
  counts = {
    name: int(instance[[t.name == name for t in everything]].max())
    for name in {t.name for t in everything}
  }
  for ghost in builder.ghosts:
    counts[ghost.name] = counts.get(ghost.name, 0) + 1
    out += annotation.enclose(ghost, counts[ghost.name], rng, window='ghost')
  for frame, number in enumerate(parameters.frame_numbers):
    moving = [thing for mover in movers for thing in mover.at(builder.road, frame)]
    for thing, own in zip(moving, instance[len(still) :]):
      out += annotation.enclose(thing, int(own), rng, timestamp=number)
  return out
