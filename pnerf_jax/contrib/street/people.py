"""Pedestrians with limbs, bicycles with frames and wheels, and cyclists on them.

Local frame: x forward, y left, z up, origin on the ground. Metres.
"""

import numpy as np

from pnerf_jax.contrib.street import objects, solids
from pnerf_jax.contrib.street.solids import Paint

_SKIN = ((0.52, 0.34, 0.26), (0.60, 0.42, 0.33), (0.30, 0.18, 0.12), (0.42, 0.27, 0.19))
_HAIR = ((0.03, 0.02, 0.02), (0.12, 0.07, 0.03), (0.30, 0.22, 0.10), (0.35, 0.35, 0.34))
_CLOTH = (
  (0.45, 0.05, 0.05),
  (0.05, 0.09, 0.25),
  (0.08, 0.08, 0.09),
  (0.55, 0.53, 0.48),
  (0.10, 0.28, 0.14),
  (0.55, 0.40, 0.06),
  (0.30, 0.10, 0.28),
  (0.12, 0.30, 0.40),
  (0.60, 0.25, 0.08),
)
_TROUSERS = (
  (0.04, 0.06, 0.14),
  (0.05, 0.05, 0.05),
  (0.22, 0.19, 0.14),
  (0.13, 0.14, 0.15),
  (0.30, 0.30, 0.28),
)
# Cross-section of a torso, in units of its half widths.
_TORSO = ((-1, -0.7), (-0.6, -1), (0.6, -1), (1, -0.7), (1, 0.7), (0.6, 1), (-0.6, 1), (-1, 0.7))
_SHOE = Paint('plain', (0.03, 0.03, 0.03))
_TYRE = Paint('plain', (0.02, 0.02, 0.02))
_METAL = Paint('plain', (0.40, 0.41, 0.42), gloss=0.2)


def _pick(rng: np.random.Generator, colors) -> tuple[float, float, float]:
  return colors[rng.integers(len(colors))]


def _limb(a, b, c, radius: float, paint: Paint) -> solids.Solid:
  """Build a limb of two segments: hip-knee-ankle or shoulder-elbow-wrist."""
  return solids.join(
    solids.tube(a, b, (radius, 0.8 * radius), paint, 7),
    solids.tube(b, c, (0.8 * radius, 0.6 * radius), paint, 7),
  )


def _head(at: np.ndarray, rng: np.random.Generator) -> list[solids.Solid]:
  skin, hair = Paint('plain', _pick(rng, _SKIN)), Paint('plain', _pick(rng, _HAIR))
  return [
    solids.ball(at, (0.10, 0.085, 0.125), skin, 1),
    solids.ball(at + [-0.02, 0, 0.035], (0.105, 0.095, 0.11), hair, 1),
    solids.tube(at - [0, 0, 0.22], at - [0, 0, 0.06], 0.05, skin, 6),
  ]


def person(rng: np.random.Generator) -> objects.SceneObject:
  """Build a walking pedestrian, sometimes with a bag."""
  k = rng.uniform(0.90, 1.06)
  coat = Paint('cloth', _pick(rng, _CLOTH))
  trousers = Paint('cloth', _pick(rng, _TROUSERS))
  stride = rng.uniform(0.05, 0.30)
  pieces = []
  for side, phase in ((1.0, 1.0), (-1.0, -1.0)):
    swing = stride * phase
    hip, ankle = (0, 0.09 * side, 0.90), (swing, 0.10 * side, 0.07)
    knee = (0.5 * swing + 0.05, 0.10 * side, 0.49)
    pieces.append(_limb(hip, knee, ankle, 0.085, trousers))
    pieces.append(solids.box((0.26, 0.10, 0.08), _SHOE, (swing + 0.06, 0.10 * side, 0)))
    shoulder = (0, 0.20 * side, 1.40)
    elbow = (-0.45 * swing, 0.25 * side, 1.13)
    pieces.append(_limb(shoulder, elbow, (-0.7 * swing + 0.12, 0.24 * side, 0.88), 0.055, coat))
    pieces.append(
      solids.ball(
        (-0.7 * swing + 0.13, 0.24 * side, 0.85), 0.05, Paint('plain', _pick(rng, _SKIN)), 0
      )
    )
  pieces.append(
    solids.loft(
      [
        [(x * a, y * b, z) for x, y in _TORSO]
        for z, a, b in (
          (0.82, 0.11, 0.17),
          (1.0, 0.11, 0.165),
          (1.25, 0.125, 0.20),
          (1.44, 0.10, 0.20),
          (1.50, 0.05, 0.08),
        )
      ],
      coat,
    )
  )
  pieces += _head(np.array([0.02, 0, 1.66]), rng)
  if rng.random() < 0.4:
    pieces.append(
      solids.box((0.16, 0.30, 0.42), Paint('cloth', _pick(rng, _CLOTH)), (-0.20, 0, 1.02))
    )
  body = solids.join(*pieces)
  scaled = solids.Solid(body.vertices * k, body.faces, body.paints, body.paint, body.uv_map)
  return objects.make_object('person', scaled)


def bicycle(rng: np.random.Generator) -> objects.SceneObject:
  """Build an upright bicycle."""
  frame = Paint('plain', _pick(rng, _CLOTH), gloss=0.15)
  saddle, head, crank = (-0.20, 0, 0.95), (0.38, 0, 0.90), (-0.05, 0, 0.30)
  rear, front = (-0.52, 0, 0.34), (0.54, 0, 0.34)
  pieces = [solids.ring(axle, (0, 1, 0), 0.32, 0.05, _TYRE, sides=20) for axle in (rear, front)]
  for x, _, z in (rear, front):
    angles = np.arange(5) * np.pi / 5
    pieces += [
      solids.path(
        [
          (x - 0.31 * np.cos(a), 0, z - 0.31 * np.sin(a)),
          (x + 0.31 * np.cos(a), 0, z + 0.31 * np.sin(a)),
        ],
        0.006,
        _METAL,
        3,
      )
      for a in angles
    ]
  for a, b in (
    (saddle, crank),
    (crank, head),
    ((-0.17, 0, 0.84), (0.36, 0, 0.84)),
    (rear, crank),
    (rear, (-0.17, 0, 0.84)),
    (head, front),
    (head, (0.35, 0, 1.05)),
  ):
    pieces.append(solids.path([a, b], 0.022, frame))
  pieces += [
    solids.box((0.26, 0.14, 0.06), _SHOE, (-0.22, 0, 0.95)),
    solids.path([(0.28, -0.27, 1.06), (0.36, 0, 1.05), (0.28, 0.27, 1.06)], 0.018, _METAL),
    solids.path([(-0.05, -0.12, 0.42), (-0.05, 0.12, 0.18)], 0.015, _METAL),
    solids.box((0.40, 0.10, 0.02), _METAL, (-0.52, 0, 0.72)),
    solids.ball((0.40, 0, 0.86), 0.05, _METAL, 0),
  ]
  return objects.make_object('bicycle', *pieces)


def cyclist(rng: np.random.Generator) -> list[objects.SceneObject]:
  """Build two objects, a rider and the bicycle."""
  coat, trousers = (Paint('cloth', _pick(rng, c)) for c in (_CLOTH, _TROUSERS))
  hip, shoulder = np.array([-0.20, 0, 1.02]), np.array([0.08, 0, 1.48])
  pieces = []
  for side, foot in ((1.0, (0.02, 0.12, 0.46)), (-1.0, (-0.10, -0.12, 0.20))):
    knee = np.array([0.22, 0.11 * side, 0.62 + 0.5 * foot[2] * 0.4])
    pieces.append(_limb(hip + [0, 0.09 * side, 0], knee, foot, 0.08, trousers))
    pieces.append(solids.box((0.25, 0.10, 0.07), _SHOE, (foot[0] + 0.06, foot[1], foot[2] - 0.07)))
    pieces.append(
      _limb(
        shoulder + [0, 0.19 * side, -0.05],
        (0.22, 0.26 * side, 1.22),
        (0.30, 0.25 * side, 1.08),
        0.05,
        coat,
      )
    )
  lean = shoulder - hip
  pieces.append(
    solids.loft(
      [
        [tuple(hip + lean * t + [x * a, y * b, 0]) for x, y in _TORSO]
        for t, a, b in (
          (-0.1, 0.12, 0.16),
          (0.4, 0.13, 0.17),
          (0.85, 0.12, 0.20),
          (1.05, 0.06, 0.10),
        )
      ],
      coat,
    )
  )
  pieces += _head(shoulder + [0.08, 0, 0.22], rng)
  if rng.random() < 0.6:
    pieces.append(
      solids.ball(
        shoulder + [0.06, 0, 0.28], (0.14, 0.11, 0.10), Paint('plain', _pick(rng, _CLOTH)), 1
      )
    )
  return [objects.make_object('rider', *pieces), bicycle(rng)]
