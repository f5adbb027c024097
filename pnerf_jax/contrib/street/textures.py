"""Procedural textures.

Letters: `n` rays; `uv` [n, 2] texture coordinates in metres (0..1 on panes); `sample_width` [n]
metres that a sample covers on the surface. Patterns finer than that fade to their mean, which
avoids aliasing. Colours are linear RGB.
"""

import dataclasses

import numpy as np

TEXEL = 0.02  # metres of the finest texel of the noise
_SIZE = 512


def _pyramid(seed: int, slope: float) -> tuple[np.ndarray, np.ndarray]:
  """Return the mipmap of a periodic 1/f^slope noise of unit variance: flat values and offsets."""
  rng = np.random.default_rng(seed)
  frequency = np.hypot(np.fft.fftfreq(_SIZE)[:, None], np.fft.fftfreq(_SIZE)[None])
  frequency[0, 0] = 1.0
  spectrum = np.fft.fft2(rng.normal(size=(_SIZE, _SIZE))) / frequency**slope
  spectrum[0, 0] = 0.0
  level = np.fft.ifft2(spectrum).real
  level /= level.std()
  levels, offsets = [], [0]
  while level.shape[0] >= 2:
    levels.append(level.ravel())
    offsets.append(offsets[-1] + level.size)
    level = 0.25 * (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2])
  return np.concatenate(levels).astype(np.float32), np.array(offsets[:-1])


_SOFT = _pyramid(11, 1.25)
_ROUGH = _pyramid(12, 0.75)


def noise(
  uv: np.ndarray,
  sample_width: np.ndarray,
  stretch: float = 1.0,
  rough: bool = False,
) -> np.ndarray:
  """Return band-limited noise [n] of about unit variance, with texels of TEXEL * stretch metres."""
  values, offsets = _ROUGH if rough else _SOFT
  grain = TEXEL * stretch
  level = np.clip(
    np.rint(np.log2(np.maximum(sample_width / grain, 1e-9))), 0, len(offsets) - 2
  ).astype(int)
  cells = _SIZE >> level
  position = uv / grain * (1.0 / (1 << level))[:, None] - 0.5
  low = np.floor(position)
  fraction = (position - low).astype(np.float32)
  mask = cells - 1
  u0, v0 = low[:, 0].astype(np.int64) & mask, low[:, 1].astype(np.int64) & mask
  u1, v1 = (u0 + 1) & mask, (v0 + 1) & mask
  base = offsets[level]
  row0, row1 = base + v0 * cells, base + v1 * cells
  a, b = fraction[:, 0], fraction[:, 1]
  return (1 - b) * ((1 - a) * values[row0 + u0] + a * values[row0 + u1]) + b * (
    (1 - a) * values[row1 + u0] + a * values[row1 + u1]
  )


def cell_hash(*keys: np.ndarray) -> np.ndarray:
  """Return pseudo-random numbers [n] in [0, 1), a hash of integer keys [n]."""
  state = np.zeros(keys[0].shape, np.uint32)
  for i, key in enumerate(keys):
    state = (state ^ (key.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)) * np.uint32(2654435761)
    state = (state ^ (state >> np.uint32(15))) * np.uint32(2246822519 + 2 * i)
    state ^= state >> np.uint32(13)
  return (state >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)


def mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
  """Return colours [n, 3] between `a` and `b`, by the share [n] of `b`, clipped to [0, 1]."""
  return a + np.clip(share, 0, 1)[:, None] * (b - a)


def _fade(sample_width: np.ndarray, size) -> np.ndarray:
  """Return 1 where features of `size` metres are resolved, falling to 0 where they are not."""
  return np.clip(1.5 - 1.5 * sample_width / size, 0, 1)


def _line(x: np.ndarray, width: float, sample_width: np.ndarray) -> np.ndarray:
  """Return the fraction of a sample (its width in units of x) covered by joints at integer x."""
  away = np.abs(x - np.rint(x))
  return np.clip(
    (0.5 * width + 0.5 * sample_width - away) / np.maximum(sample_width, 1e-6),
    0,
    np.minimum(1.0, width / np.maximum(sample_width, 1e-6)),
  )


@dataclasses.dataclass(frozen=True)
class SurfaceSamples:
  """Surface points with the parameters of their paint.

  Attributes:
    uv: [n, 2] texture coordinates.
    sample_width: [n] metres.
    color: [n, 3] linear RGB.
    accent: [n, 3] linear RGB.
    size: [n] metres of one repeat of the pattern.
    face: [n] triangle of the scene.
  """

  uv: np.ndarray
  sample_width: np.ndarray
  color: np.ndarray
  accent: np.ndarray
  size: np.ndarray
  face: np.ndarray

  def grain(self, amount: float, stretch: float = 1.0, rough: bool = False) -> np.ndarray:
    """Return factors [n, 1] around 1 from noise of relative `amount`."""
    return np.maximum(1 + amount * noise(self.uv, self.sample_width, stretch, rough), 0.15)[:, None]


def _plain(s: SurfaceSamples) -> np.ndarray:
  return s.color * s.grain(0.07)


def _paint(s: SurfaceSamples) -> np.ndarray:
  return s.color * s.grain(0.05, 2.0)


def _cloth(s: SurfaceSamples) -> np.ndarray:
  return s.color * s.grain(0.22, 0.5)


def _plaster(s: SurfaceSamples) -> np.ndarray:
  streak = noise(s.uv * [2.5, 0.35], s.sample_width)
  return mix(s.color * s.grain(0.07, 1.0, True), s.accent, 0.10 * streak + 0.05) * s.grain(
    0.10, 6.0
  )


def _asphalt(s: SurfaceSamples) -> np.ndarray:
  patch = noise(s.uv * 0.35, s.sample_width, 4.0)
  crack = np.abs(noise(s.uv, s.sample_width, 2.0))
  dark = np.where((crack < 0.035) & (s.sample_width < 0.12), 0.55, 1.0)[:, None]
  return (
    s.color * s.grain(0.20, 1.0, True) * (1 + 0.13 * patch[:, None]) * s.grain(0.08, 8.0) * dark
  )


def _gravel(s: SurfaceSamples) -> np.ndarray:
  return mix(s.color, s.accent, 0.5 + 0.4 * noise(s.uv, s.sample_width, 1.5, True)) * s.grain(
    0.12, 6.0
  )


def _ground(s: SurfaceSamples) -> np.ndarray:
  tone = (
    0.45 + 0.30 * noise(s.uv, s.sample_width, 1.0, True) + 0.25 * noise(s.uv, s.sample_width, 7.0)
  )
  return mix(s.color, s.accent, tone) * s.grain(0.18, 1.0, True)


def _courses(
  s: SurfaceSamples,
  width: float,
  height: float,
  joint: float,
  spread: float,
  *,
  shift: float,
) -> np.ndarray:
  """Return courses of blocks of `width` by `height` (in units of size) with joints."""
  u, v = s.uv[:, 0] / (s.size * width), s.uv[:, 1] / (s.size * height)
  row = np.floor(v)
  u = u + shift * (row % 2)
  shade = cell_hash(np.floor(u), row) - 0.5
  seen = _fade(s.sample_width, 0.8 * s.size * height)
  tone = s.color * (1 + spread * (shade * seen)[:, None]) * s.grain(0.10, 1.0, True)
  cover = np.maximum(
    _line(u, joint / width, s.sample_width / (s.size * width)),
    _line(v, joint / height, s.sample_width / (s.size * height)),
  )
  return mix(tone, s.accent, cover) * s.grain(0.12, 8.0)


def _brick(s: SurfaceSamples) -> np.ndarray:
  return _courses(s, 1.0, 0.32, 0.05, 0.55, shift=0.5)


def _stone(s: SurfaceSamples) -> np.ndarray:
  return _courses(s, 1.0, 0.6, 0.06, 0.6, shift=0.5)


def _paver(s: SurfaceSamples) -> np.ndarray:
  return _courses(s, 1.0, 1.0, 0.05, 0.35, shift=0.5)


def _cobble(s: SurfaceSamples) -> np.ndarray:
  return _courses(s, 1.0, 1.0, 0.16, 0.5, shift=0.5)


def _tiles(s: SurfaceSamples) -> np.ndarray:
  return _courses(s, 0.7, 1.0, 0.16, 0.45, shift=0.0)


def _planks(s: SurfaceSamples) -> np.ndarray:
  u = s.uv[:, 0] / s.size
  shade = (cell_hash(np.floor(u)) - 0.5) * _fade(s.sample_width, 0.8 * s.size)
  vein = 0.16 * noise(s.uv * [4.0, 0.3], s.sample_width)
  tone = s.color * (1 + 0.5 * shade + vein)[:, None]
  return mix(tone, s.accent, _line(u, 0.10, s.sample_width / s.size))


def _ribs(s: SurfaceSamples) -> np.ndarray:
  v = s.uv[:, 1] / s.size
  return mix(s.color * s.grain(0.07), s.accent, 0.7 * _line(v, 0.16, s.sample_width / s.size))


def _stripes(s: SurfaceSamples) -> np.ndarray:
  u = s.uv[:, 0] / s.size
  share = np.where(np.abs(u - np.rint(u)) < 0.25, 1.0, 0.0)
  return mix(
    s.color, s.accent, 0.5 + (share - 0.5) * _fade(s.sample_width, 0.6 * s.size)
  ) * s.grain(0.06)


def _bark(s: SurfaceSamples) -> np.ndarray:
  vein = 0.5 + 0.5 * noise(s.uv * [2.0, 0.5], s.sample_width, 1.0, True)
  return mix(s.accent, s.color, vein) * s.grain(0.10, 4.0)


def _foliage(s: SurfaceSamples) -> np.ndarray:
  own = cell_hash(s.face)
  tone = 0.35 + 0.65 * own + 0.28 * noise(s.uv, s.sample_width, 1.0, True)
  return mix(s.accent, s.color, tone) * (0.75 + 0.5 * cell_hash(s.face, s.face >> 3))[:, None]


def _glass(s: SurfaceSamples) -> np.ndarray:
  return s.color * s.grain(0.35, 5.0)


def _window(s: SurfaceSamples) -> np.ndarray:
  """Return a window: frame in the accent colour, a curtain or a dark room behind the glass."""
  u, v = s.uv[:, 0], s.uv[:, 1]
  frame = (np.minimum(u, 1 - u) < 0.07) | (np.minimum(v, 1 - v) < 0.06) | (np.abs(u - 0.5) < 0.03)
  room = cell_hash(s.face // 2)
  curtain = (room < 0.55) & ((np.abs(u - 0.5) > 0.22 + 0.2 * room) | (v > 0.62 + 0.3 * room))
  inside = (
    np.where(curtain[:, None], 0.30 * s.accent, s.color)
    * (1 + 0.25 * noise(np.stack([3 * u, v], 1), s.sample_width))[:, None]
  )
  return np.where(frame[:, None], s.accent, inside)


def _shop(s: SurfaceSamples) -> np.ndarray:
  """Return a shop window: goods in many colours behind glass."""
  u, v = s.uv[:, 0], s.uv[:, 1]
  frame = (np.minimum(u, 1 - u) < 0.03) | (np.minimum(v, 1 - v) < 0.05)
  column, row = np.floor(u * 7), np.floor(v * 4)
  goods = np.stack([cell_hash(column, row + k, s.face // 2) for k in (0, 17, 31)], 1)
  lit = (v < 0.75) & (cell_hash(column + 5, row, s.face // 2) < 0.6)
  inside = np.where(lit[:, None], 0.22 * goods, s.color)
  return np.where(frame[:, None], s.accent, inside)


def _door(s: SurfaceSamples) -> np.ndarray:
  u, v = s.uv[:, 0], s.uv[:, 1]
  pane = (np.abs(u - 0.5) < 0.28) & (np.abs(v - 0.72) < 0.16)
  panel = (np.abs(u - 0.5) < 0.30) & (np.abs(v - 0.28) < 0.20)
  tone = np.where(panel, 0.8, 1.0)[:, None] * s.color
  return np.where(pane[:, None], s.accent, tone)


def _sign(s: SurfaceSamples) -> np.ndarray:
  """Return a board with lettering in the accent colour."""
  u, v = s.uv[:, 0] * 4, s.uv[:, 1] * 6
  letter = (cell_hash(np.floor(2 * u), np.floor(v), s.face) < 0.45) & (np.abs(v - np.rint(v)) < 0.3)
  return np.where((letter & (s.sample_width < 0.1))[:, None], s.accent, s.color)


PATTERNS = {
  'plain': _plain,
  'paint': _paint,
  'cloth': _cloth,
  'plaster': _plaster,
  'asphalt': _asphalt,
  'gravel': _gravel,
  'ground': _ground,
  'brick': _brick,
  'stone': _stone,
  'paver': _paver,
  'cobble': _cobble,
  'tiles': _tiles,
  'planks': _planks,
  'ribs': _ribs,
  'stripes': _stripes,
  'bark': _bark,
  'foliage': _foliage,
  'glass': _glass,
  'window': _window,
  'shop': _shop,
  'door': _door,
  'sign': _sign,
}
PATTERN_NAMES = tuple(PATTERNS)


def albedo(pattern: np.ndarray, samples: SurfaceSamples) -> np.ndarray:
  """Return the albedo [n, 3] of surface points; `pattern` [n] indexes PATTERN_NAMES."""
  out = np.empty_like(samples.color)
  for index in np.unique(pattern):
    chosen = np.flatnonzero(pattern == index)
    part = SurfaceSamples(
      *(getattr(samples, f.name)[chosen] for f in dataclasses.fields(SurfaceSamples))
    )
    out[chosen] = PATTERNS[PATTERN_NAMES[index]](part)
  return np.clip(out, 0, 1)
