"""Street furniture: lamps, signs, lights, bins, cabinets, shelters, fences, gates, walls.

Local frame: z up, origin on the ground, x along the street, the front looks towards -y. Metres.
Things that carry another class (a sign on its post) come as several things.
"""
import numpy as np

from pnerf_jax.street import solids
from pnerf_jax.street import things
from pnerf_jax.street.solids import Paint

_STEEL = Paint('plain', (.36, .38, .38), gloss=.1)
_DARK = Paint('plain', (.05, .06, .06))
_CONCRETE = Paint('plaster', (.46, .45, .42), (.3, .3, .29), 1.0)
_WOOD = Paint('planks', (.32, .21, .13), (.10, .07, .05), .12)
_GLASS = Paint('glass', (.05, .06, .07), gloss=.4)
_SIGNS = ((.62, .05, .06), (.05, .16, .50), (.70, .60, .08), (.68, .68, .66), (.04, .32, .14))


def street_lamp(rng: np.random.Generator, height: float) -> list[things.Thing]:
  """A mast whose arm reaches 1.4 m towards -y (pole) with its head (lamp)."""
  mast = Paint('plain', ((.38, .40, .40), (.10, .16, .13), (.50, .50, .47))[rng.integers(3)])
  pole = [solids.tube((0, 0, -.2), (0, 0, height), (.10, .06), mast, 9),
          solids.tube((0, 0, -.2), (0, 0, 1.0), .13, mast, 9),
          solids.path([(0, 0, height - .05), (0, -1.4, height + .25)], .045, mast, 6)]
  head = [solids.box((.26, .75, .14), _DARK, (0, -1.7, height + .19)),
          solids.box((.2, .6, .05), Paint('plain', (.8, .8, .75)), (0, -1.7, height + .14))]
  return [things.thing('pole', *pole), things.thing('lamp', *head)]


def lantern(rng: np.random.Generator) -> list[things.Thing]:
  """An old-town lantern of 3.6 m: post (pole) and glass head (lamp)."""
  iron = Paint('plain', ((.04, .05, .05), (.05, .10, .08))[rng.integers(2)])
  pole = [solids.tube((0, 0, -.2), (0, 0, 3.1), (.07, .045), iron, 8),
          solids.tube((0, 0, -.2), (0, 0, .8), (.13, .10), iron, 8),
          solids.ball((0, 0, 2.2), .10, iron, 0)]
  head = [solids.tube((0, 0, 3.1), (0, 0, 3.5), (.13, .20), Paint('plain', (.70, .68, .55)), 6),
          solids.tube((0, 0, 3.5), (0, 0, 3.72), (.26, .04), iron, 6)]
  return [things.thing('pole', *pole), things.thing('lamp', *head)]


def traffic_sign(rng: np.random.Generator, height: float = 2.3) -> list[things.Thing]:
  """One or two boards (traffic sign) on a thin post (smallpole); the boards look towards -x."""
  boards, z = [], height
  for _ in range(int(rng.integers(1, 3))):
    color = _SIGNS[rng.integers(len(_SIGNS))]
    paint = Paint('sign', color, (.75, .75, .73))
    shape = int(rng.integers(3))
    if shape == 0:
      board = solids.tube((-.035, 0, z), (-.055, 0, z), .32, paint, 16)
    elif shape == 1:
      board = solids.box((.02, .62, .62), paint, (-.045, 0, z - .31))
    else:
      board = solids.make([(-.05, -.38, z - .30), (-.05, .38, z - .30), (-.05, 0, z + .36)],
                          [[0, 1, 2]], paint)
    boards.append(board)
    z -= .72
  post = solids.tube((0, 0, -.2), (0, 0, height + .35), .032, _STEEL, 7)
  return [things.thing('smallpole', post), things.thing('traffic sign', *boards)]


def traffic_light(rng: np.random.Generator) -> list[things.Thing]:
  """A signal head on a pole, looking towards -x."""
  pole = solids.tube((0, 0, -.2), (0, 0, 3.4), .065, _DARK, 8)
  head = [solids.box((.28, .30, .92), _DARK, (-.20, 0, 2.45))]
  lit = int(rng.integers(3))
  colors = ((.65, .04, .03), (.60, .40, .03), (.04, .50, .20))
  for i, color in enumerate(colors):
    shown = color if i == lit else tuple(.12 * c for c in color)
    z = 3.20 - .29 * i
    head.append(solids.tube((-.34, 0, z), (-.352, 0, z), .105, Paint('plain', shown), 12))
  return [things.thing('pole', pole), things.thing('traffic light', *head)]


def bollard(rng: np.random.Generator) -> things.Thing:
  """A knee-high post."""
  paint = Paint('plain', ((.45, .44, .42), (.06, .06, .07), (.55, .08, .06))[rng.integers(3)])
  return things.thing('smallpole', solids.tube((0, 0, -.2), (0, 0, .85), .075, paint, 8),
                      solids.ball((0, 0, .88), .085, paint, 1))


def power_pole(rng: np.random.Generator, height: float) -> things.Thing:
  """A wooden mast with a cross-arm."""
  wood = Paint('bark', (.24, .18, .13), (.12, .09, .07), .3)
  return things.thing('pole', solids.tube((0, 0, -.3), (0, 0, height), (.14, .10), wood, 9),
                      solids.box((.1, 1.5, .1), wood, (0, 0, height - .6)),
                      *(solids.tube((0, y, height - .5), (0, y, height - .3), .04, _DARK, 6)
                        for y in (-.65, 0, .65)),
                      solids.box((.25, .2, .4), _STEEL, (0, -.2, rng.uniform(2.2, 3.0))))


def trash_bin(rng: np.random.Generator) -> things.Thing:
  """A wheeled bin with a lid."""
  color = ((.06, .14, .30), (.05, .16, .09), (.07, .07, .07), (.45, .33, .05), (.22, .12, .06))
  body = Paint('plain', color[rng.integers(5)], gloss=.05)
  section = lambda z, a, b: [(-a, -b, z), (a, -b, z), (a, b, z), (-a, b, z)]
  return things.thing('trash bin',
                      solids.loft([section(.06, .22, .24), section(.95, .28, .34)], body),
                      solids.box((.62, .74, .09), body, (0, 0, .95)),
                      solids.box((.5, .08, .06), _DARK, (0, .38, .92)),
                      *(solids.tube((x, .24, .1), (x + .05, .24, .1), .1, _DARK, 10)
                        for x in (-.28, .23)))


def cabinet(rng: np.random.Generator) -> things.Thing:
  """A grey junction box at the kerb."""
  width = rng.uniform(.7, 1.5)
  body = Paint('ribs', ((.42, .43, .40), (.30, .34, .30))[rng.integers(2)], (.2, .2, .2), .35)
  return things.thing('box', solids.box((width, .4, 1.2), body, (0, 0, .08)),
                      solids.box((width + .08, .46, .06), _CONCRETE, (0, 0, 1.28)),
                      solids.box((width + .04, .44, .25), _CONCRETE, (0, 0, -.15)))


def vending_machine(rng: np.random.Generator) -> things.Thing:
  """A vending machine with a lit front."""
  body = Paint('plain', ((.55, .05, .05), (.06, .16, .42), (.6, .58, .5))[rng.integers(3)])
  return things.thing('vending machine', solids.box((.95, .75, 1.85), body),
                      solids.quad([(-.36, -.385, .75), (.20, -.385, .75), (.20, -.385, 1.72),
                                   (-.36, -.385, 1.72)],
                                  Paint('shop', (.35, .33, .28), (.1, .1, .1)), unit=True),
                      solids.box((.16, .03, .5), _DARK, (.33, -.385, .9)),
                      solids.box((.5, .03, .18), _DARK, (-.06, -.385, .35)))


def shelter(rng: np.random.Generator) -> things.Thing:
  """A bus stop's glass shelter with a bench (class stop)."""
  pieces = [solids.box((3.8, 1.5, .12), _DARK, (0, 0, 2.35)),
            solids.box((2.4, .4, .06), _WOOD, (0, .35, .45))]
  for x in (-1.8, 1.8):
    pieces += [solids.box((.08, .08, 2.4), _DARK, (x, y, 0)) for y in (-.6, .6)]
    pieces.append(solids.box((.03, 1.1, 1.9), _GLASS if rng.random() < .6 else
                             Paint('sign', (.5, .2, .1), (.7, .7, .65)), (x, 0, .25)))
  pieces += [solids.box((.06, .06, .45), _DARK, (x, .35, 0)) for x in (-1.0, 1.0)]
  pieces += [solids.box((.06, .06, 2.4), _DARK, (x, .6, 0)) for x in (-.6, .6)]
  pieces.append(solids.box((3.6, .05, .9), Paint('sign', (.08, .2, .35), (.7, .7, .7)),
                           (0, .62, .9)))
  return things.thing('stop', *pieces)


def bench(rng: np.random.Generator) -> things.Thing:
  """A park bench of slats (class unknown object)."""
  slats = [solids.box((1.7, .1, .04), _WOOD, (0, y, .44)) for y in (-.2, -.06, .08)]
  back = [solids.box((1.7, .04, .1), _WOOD, (0, .24, z)) for z in (.56, .72, .88)]
  legs = [solids.box((.06, .5, .44), _DARK, (x, 0, 0)) for x in (-.7, .7)]
  uprights = [solids.box((.06, .05, .95), _DARK, (x, .22, 0)) for x in (-.7, .7)]
  return things.thing('unknown object', *slats, *back, *legs, *uprights)


def fence(rng: np.random.Generator, length: float, kind: str) -> things.Thing:
  """A fence along x: 'picket', 'boards', 'mesh' or 'iron', with real gaps."""
  xs = lambda step: np.arange(-length / 2 + step / 2, length / 2, step)
  half = length / 2
  if kind == 'boards':
    pieces = [solids.box((.155, .03, rng.uniform(1.55, 1.62)), _WOOD, (x, -.03, .05))
              for x in xs(.17)]
    rails, height = (.35, 1.3), 1.7
  elif kind == 'picket':
    white = Paint('plain', ((.66, .65, .60), (.33, .22, .13))[rng.integers(2)])
    pieces = [solids.box((.10, .03, rng.uniform(.93, .97)), white, (x, -.03, .06))
              for x in xs(.19)]
    rails, height = (.28, .75), 1.05
  elif kind == 'iron':
    iron = Paint('plain', ((.05, .07, .06), (.09, .09, .10))[rng.integers(2)])
    pieces = [solids.box((.035, .035, 1.25), iron, (x, 0, .10)) for x in xs(.15)]
    pieces.append(solids.box((length, .3, .35), _CONCRETE, (0, 0, -.25)))
    rails, height = (.25, 1.2), 1.3
  else:
    wire = Paint('plain', (.12, .22, .16))
    pieces = [solids.box((.018, .012, 1.2), wire, (x, 0, .05)) for x in xs(.22)]
    pieces += [solids.box((length, .012, .018), wire, (0, 0, z)) for z in (.3, .5, .7, .9, 1.1)]
    rails, height = (.06, 1.22), 1.3
  timber = _WOOD if kind in ('boards', 'picket') else _DARK
  pieces += [solids.box((length, .045, .06), timber, (0, .01, z)) for z in rails]
  for x in np.linspace(-half + .04, half - .04, max(2, int(length / 2.2) + 1)):
    pieces.append(solids.box((.09, .09, height + .25), timber, (x, .03, -.2)))
  return things.thing('fence', *pieces)


def gate(rng: np.random.Generator, width: float) -> things.Thing:
  """Two leaves of bars between stone posts."""
  iron = Paint('plain', ((.06, .08, .07), (.30, .20, .12), (.55, .55, .52))[rng.integers(3)])
  pieces = [solids.box((.06, .04, 1.15), iron, (x, 0, .1))
            for x in np.arange(-width / 2 + .1, width / 2 - .05, .17)]
  pieces += [solids.box((width - .1, .05, .08), iron, (0, 0, z)) for z in (.12, .65, 1.18)]
  pieces += [solids.box((.32, .32, 1.65), _CONCRETE, (x, 0, -.2)) for x in (-width / 2, width / 2)]
  return things.thing('gate', *pieces)


def guard_rail(rng: np.random.Generator, length: float) -> things.Thing:
  """A crash barrier along x."""
  pieces = [solids.box((length, .06, .14), _STEEL, (0, 0, z)) for z in (.46, .64)]
  pieces.append(solids.box((length, .03, .06), _DARK, (0, .02, .59)))
  pieces += [solids.box((.1, .12, .85), _STEEL, (x, .08, -.2))
             for x in np.arange(-length / 2 + .3, length / 2, 2.0)]
  return things.thing('guard rail', *pieces)


def wall(rng: np.random.Generator, length: float, height: float, paint: Paint) -> things.Thing:
  """A garden wall along x with a coping and piers."""
  pieces = [solids.box((length, .26, height + .6), paint, (0, 0, -.6)),
            solids.box((length, .36, .08), _CONCRETE, (0, 0, height))]
  for x in np.arange(-length / 2 + .2, length / 2, 3.0):
    pieces.append(solids.box((.40, .38, height + .7), paint, (x, 0, -.6)))
    pieces.append(solids.box((.48, .46, .08), _CONCRETE, (x, 0, height + .1)))
  return things.thing('wall', *pieces)
