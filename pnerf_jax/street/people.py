"""Pedestrians with limbs, bicycles with frames and wheels, and cyclists on them.

Local frame: x forward, y left, z up, origin on the ground. Metres.
"""
import numpy as np

from pnerf_jax.street import solids
from pnerf_jax.street import things
from pnerf_jax.street.solids import Paint

_SKIN = ((.52, .34, .26), (.60, .42, .33), (.30, .18, .12), (.42, .27, .19))
_HAIR = ((.03, .02, .02), (.12, .07, .03), (.30, .22, .10), (.35, .35, .34))
_CLOTH = ((.45, .05, .05), (.05, .09, .25), (.08, .08, .09), (.55, .53, .48), (.10, .28, .14),
          (.55, .40, .06), (.30, .10, .28), (.12, .30, .40), (.60, .25, .08))
_TROUSERS = ((.04, .06, .14), (.05, .05, .05), (.22, .19, .14), (.13, .14, .15), (.30, .30, .28))
_SHOE = Paint('plain', (.03, .03, .03))
_TYRE = Paint('plain', (.02, .02, .02))
_METAL = Paint('plain', (.40, .41, .42), gloss=.2)


def _pick(rng: np.random.Generator, colors) -> tuple[float, float, float]:
  return colors[rng.integers(len(colors))]


def _limb(a, b, c, radius: float, paint: Paint) -> solids.Solid:
  """Two-piece limb: hip-knee-ankle or shoulder-elbow-wrist."""
  return solids.join(solids.tube(a, b, (radius, 0.8 * radius), paint, 7),
                     solids.tube(b, c, (0.8 * radius, 0.6 * radius), paint, 7))


def _head(at: np.ndarray, rng: np.random.Generator) -> list[solids.Solid]:
  skin, hair = Paint('plain', _pick(rng, _SKIN)), Paint('plain', _pick(rng, _HAIR))
  return [solids.ball(at, (.10, .085, .125), skin, 1),
          solids.ball(at + [-.02, 0, .035], (.105, .095, .11), hair, 1),
          solids.tube(at - [0, 0, .22], at - [0, 0, .06], .05, skin, 6)]


def person(rng: np.random.Generator) -> things.Thing:
  """A pedestrian in mid-stride, sometimes with a bag."""
  k = rng.uniform(.90, 1.06)
  coat = Paint('cloth', _pick(rng, _CLOTH))
  trousers = Paint('cloth', _pick(rng, _TROUSERS))
  stride = rng.uniform(.05, .30)
  pieces = []
  for side, phase in ((1.0, 1.0), (-1.0, -1.0)):
    swing = stride * phase
    hip, ankle = (0, .09 * side, .90), (swing, .10 * side, .07)
    knee = (.5 * swing + .05, .10 * side, .49)
    pieces.append(_limb(hip, knee, ankle, .085, trousers))
    pieces.append(solids.box((.26, .10, .08), _SHOE, (swing + .06, .10 * side, 0)))
    shoulder = (0, .20 * side, 1.40)
    elbow = (-.45 * swing, .25 * side, 1.13)
    pieces.append(_limb(shoulder, elbow, (-.7 * swing + .12, .24 * side, .88), .055, coat))
    pieces.append(solids.ball((-.7 * swing + .13, .24 * side, .85), .05,
                              Paint('plain', _pick(rng, _SKIN)), 0))
  pieces.append(solids.loft([[(x * a, y * b, z) for x, y in ((-1, -.7), (-.6, -1), (.6, -1),
                                                            (1, -.7), (1, .7), (.6, 1), (-.6, 1),
                                                            (-1, .7))]
                             for z, a, b in ((.82, .11, .17), (1.0, .11, .165), (1.25, .125, .20),
                                             (1.44, .10, .20), (1.50, .05, .08))], coat))
  pieces += _head(np.array([.02, 0, 1.66]), rng)
  if rng.random() < .4:
    pieces.append(solids.box((.16, .30, .42), Paint('cloth', _pick(rng, _CLOTH)),
                             (-.20, 0, 1.02)))
  body = solids.join(*pieces)
  scaled = solids.Solid(body.vertices * k, body.faces, body.paints, body.paint, body.uv_map)
  return things.thing('person', scaled)


def bicycle(rng: np.random.Generator) -> things.Thing:
  """A bicycle standing upright."""
  frame = Paint('plain', _pick(rng, _CLOTH), gloss=.15)
  saddle, head, crank = (-.20, 0, .95), (.38, 0, .90), (-.05, 0, .30)
  rear, front = (-.52, 0, .34), (.54, 0, .34)
  pieces = [solids.ring(axle, (0, 1, 0), .32, .05, _TYRE, 20) for axle in (rear, front)]
  for x, _, z in (rear, front):
    angles = np.arange(5) * np.pi / 5
    pieces += [solids.path([(x - .31 * np.cos(a), 0, z - .31 * np.sin(a)),
                            (x + .31 * np.cos(a), 0, z + .31 * np.sin(a))], .006, _METAL, 3)
               for a in angles]
  for a, b in ((saddle, crank), (crank, head), ((-.17, 0, .84), (.36, 0, .84)), (rear, crank),
               (rear, (-.17, 0, .84)), (head, front), (head, (.35, 0, 1.05))):
    pieces.append(solids.path([a, b], .022, frame))
  pieces += [solids.box((.26, .14, .06), _SHOE, (-.22, 0, .95)),
             solids.path([(.28, -.27, 1.06), (.36, 0, 1.05), (.28, .27, 1.06)], .018, _METAL),
             solids.path([(-.05, -.12, .42), (-.05, .12, .18)], .015, _METAL),
             solids.box((.40, .10, .02), _METAL, (-.52, 0, .72)),
             solids.ball((.40, 0, .86), .05, _METAL, 0)]
  return things.thing('bicycle', *pieces)


def cyclist(rng: np.random.Generator) -> list[things.Thing]:
  """A rider and the bicycle under him: two things."""
  coat, trousers = (Paint('cloth', _pick(rng, c)) for c in (_CLOTH, _TROUSERS))
  hip, shoulder = np.array([-.20, 0, 1.02]), np.array([.08, 0, 1.48])
  pieces = []
  for side, foot in ((1.0, (.02, .12, .46)), (-1.0, (-.10, -.12, .20))):
    knee = np.array([.22, .11 * side, .62 + .5 * foot[2] * .4])
    pieces.append(_limb(hip + [0, .09 * side, 0], knee, foot, .08, trousers))
    pieces.append(solids.box((.25, .10, .07), _SHOE, (foot[0] + .06, foot[1], foot[2] - .07)))
    pieces.append(_limb(shoulder + [0, .19 * side, -.05], (.22, .26 * side, 1.22),
                        (.30, .25 * side, 1.08), .05, coat))
  lean = shoulder - hip
  pieces.append(solids.loft([[tuple(hip + lean * t + [x * a, y * b, 0])
                              for x, y in ((-1, -.7), (-.6, -1), (.6, -1), (1, -.7), (1, .7),
                                           (.6, 1), (-.6, 1), (-1, .7))]
                             for t, a, b in ((-.1, .12, .16), (.4, .13, .17), (.85, .12, .20),
                                             (1.05, .06, .10))], coat))
  pieces += _head(shoulder + [.08, 0, .22], rng)
  if rng.random() < .6:
    pieces.append(solids.ball(shoulder + [.06, 0, .28], (.14, .11, .10),
                              Paint('plain', _pick(rng, _CLOTH)), 1))
  return [things.thing('rider', *pieces), bicycle(rng)]
