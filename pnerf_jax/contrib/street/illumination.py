"""Sun, sky, shading and camera response.

Letters: `n` rays. Colours are linear RGB until `develop`.
"""

import dataclasses

import numpy as np

from pnerf_jax.contrib.street.textures import mix, noise


@dataclasses.dataclass(frozen=True)
class Light:
  """Weather and illumination.

  Attributes:
    sun: [3] unit vector towards the sun.
    sunlight: [3] linear RGB.
    skylight: [3] linear RGB.
    horizon: [3] colour of the sky at the horizon.
    zenith: [3] colour of the sky at the zenith.
    cloud: cloud cover, about 0..1.
    haze: metres after which 63 % of the colour is haze.
    shift: [2] offset of the clouds.
  """

  sun: np.ndarray
  sunlight: np.ndarray
  skylight: np.ndarray
  horizon: np.ndarray
  zenith: np.ndarray
  cloud: float
  haze: float
  shift: np.ndarray


def weather(rng: np.random.Generator, azimuth: float) -> Light:
  """Sample a dry day with the sun near `azimuth` (radians from +x)."""
  azimuth = azimuth + rng.uniform(-0.4, 0.4)
  height = rng.uniform(0.65, 1.0)
  sun = np.array(
    [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
  )
  strength = rng.uniform(1.15, 1.5)
  return Light(
    sun,
    strength * np.array([1.0, 0.95, 0.86]),
    np.array([0.52, 0.57, 0.66]),
    np.array([0.82, 0.86, 0.90]),
    np.array([0.28, 0.44, 0.74]) * rng.uniform(0.9, 1.1),
    rng.uniform(0.2, 0.7),
    700.0,
    rng.uniform(0, 50, 2),
  )


def sky(light: Light, directions: np.ndarray) -> np.ndarray:
  """Return the colour [n, 3] of the sky along unit directions [n, 3]."""
  up = np.clip(directions[:, 2], 0, 1)
  color = mix(np.broadcast_to(light.horizon, directions.shape), light.zenith, np.sqrt(up) * 1.15)
  plane = directions[:, :2] / (up + 0.12)[:, None] * 2.2 + light.shift
  shape = noise(plane, np.full(len(plane), 0.03), 1.0) + 0.5 * noise(
    plane, np.full(len(plane), 0.01), 0.5
  )
  cover = np.clip(0.9 * shape - 1.0 + 1.9 * light.cloud, 0, 1) * np.clip(5 * up, 0, 1)
  return mix(color, np.array([0.96, 0.96, 0.97]), cover)


def shade(
  light: Light,
  surface: np.ndarray,
  normal: np.ndarray,
  directions: np.ndarray,
  gloss: np.ndarray,
  *,
  lit: np.ndarray,
  distance: np.ndarray,
) -> np.ndarray:
  """Return the radiance [n, 3] of surface points.

  Args:
    light: the illumination.
    surface: [n, 3] albedo.
    normal: [n, 3] unit normals towards the viewer.
    directions: [n, 3] unit viewing rays.
    gloss: [n] weight of the mirrored sky.
    lit: [n] bool, not in shadow.
    distance: [n] metres.
  """
  facing = np.clip(normal @ light.sun, 0, 1) * lit
  ambient = (0.62 + 0.38 * normal[:, 2])[:, None] * light.skylight
  bounce = 0.10 * np.clip(-normal[:, 2] + 0.3, 0, 1)[:, None] * light.sunlight
  color = surface * (ambient + bounce + facing[:, None] * light.sunlight)
  cosine = np.einsum('ij,ij->i', directions, normal)
  mirror = directions - 2 * cosine[:, None] * normal
  shiny = np.flatnonzero(gloss > 0)
  if len(shiny):
    seen = sky(light, mirror[shiny])
    # Near the horizon the mirror image is the other side of the street, which is darker.
    seen *= np.clip(0.22 + 1.1 * mirror[shiny, 2], 0.22, 1.0)[:, None]
    grazing = gloss[shiny] + (1 - gloss[shiny]) * 0.3 * (1 - np.abs(cosine[shiny])) ** 5
    color[shiny] = mix(color[shiny], seen, grazing)
  return mix(color, 0.9 * light.horizon, 1 - np.exp(-distance / light.haze))


def develop(radiance: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
  """Return the uint8 image [h, w, 3] of linear radiance: exposure, sensor noise, tone curve."""
  signal = np.maximum(radiance * gain, 0)
  signal = signal + rng.normal(size=signal.shape) * np.sqrt(2.0e-5 + 1.6e-4 * signal)
  signal = np.clip(signal, 0, None)
  # Linear, then a soft shoulder that keeps contrast in a bright sky.
  signal = np.where(signal < 0.6, signal, 0.6 + 0.4 * (1 - np.exp(-(signal - 0.6) / 0.4)))
  return np.clip(255 * np.clip(signal, 0, 1) ** (1 / 2.2) + 0.5, 0, 255).astype(np.uint8)
