"""Label transfer on one KITTI-360 window.

    python -m pnerf_jax.train --config=configs/kitti360.py --workdir=RUN \\
        --config.data.root=KITTI360 --config.data.sequence=2013_05_28_drive_0000_sync \\
        --config.data.start=3353

Variants, after a colon: `cpu` (a few minutes on 2 cores), `published` (the paper's network and
settings), `tiny` (seconds, for tests).
"""
import ml_collections


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """The config of a variant: 'default', 'cpu', 'published' or 'tiny'."""
  config = ml_collections.ConfigDict()

  data = config.data = ml_collections.ConfigDict()
  data.root = '.'  # dataset in KITTI-360's layout
  # What root is: that 'folder', one that holds a transforms.json (docs/own_data.md; 'transforms'),
  # or a window packed by prepare ('tfds').
  data.source = 'folder'  # 'folder', 'transforms' or 'tfds'
  data.derived = ''  # where pseudo labels and depth lie and go; '' = root
  data.sequence = ''  # e.g. 2013_05_28_drive_0000_sync; '' = the only one in root
  data.start = -1  # first frame; -1 = the first with an image and a pose
  data.frames = 64  # consecutive frame numbers from start
  data.cameras = ('image_00', 'image_01')  # some of the data's; transforms: () = all
  data.boxes = 'auto'  # train, train_full, union, none; auto = train_full if there, else train
  data.scale = 0.0  # of the images on disk; 0 = the largest of 1, 1/2, 1/4 within max_width
  data.max_width = 704  # pixels, for the automatic scale
  data.eval_frames = ()  # frames that eval scores; () = all that have ground truth

  scene = config.scene = ml_collections.ConfigDict()
  scene.outside = 'empty'  # space outside all primitives: 'empty' or 'void' (partial annotations)
  scene.center = ()  # x, y, z in KITTI-360's world, metres; () = mean camera position
  scene.bounds = ()  # x, y, z low, then high, of the box of samples, same world; () = derived
  scene.near = 0.3  # metres; rays start here
  scene.far = 0.0  # metres; 0 = derived from the primitives
  scene.frame_margin = 150  # frames by which an object's annotation window may miss the window's
  scene.intervals = 16  # K, primitive intervals kept a ray

  model = config.model = ml_collections.ConfigDict()
  model.network = 'hybrid'  # 'hybrid' or 'published'
  model.samples = 24  # a training ray
  model.render_samples = 48  # a ray at inference
  model.first_samples = 24  # a ray, asked for density alone, that say where to sample; 0 = none
  model.blind = 0.3  # of the samples placed without regard to the first ones
  model.share = 0.5  # of the first samples dealt evenly to the ray's intervals
  model.restrict = True  # softmax of a sample over the classes of its primitives only
  model.levels = 9  # of the hash grid
  model.features = 4  # a level
  model.log2_rows = 19  # cap of a level's table
  model.coarse_cell = 4.0  # metres
  model.fine_cell = 0.03  # metres
  model.width = 64  # of the MLPs
  model.appearance_code = 8  # numbers an image; 0 = none
  model.density_bias = -1.0  # raw density at the start
  model.compute_dtype = 'bfloat16'  # operands of the matrix products

  loss = config.loss = ml_collections.ConfigDict()
  loss.rgb = 1.0  # weight of the squared colour error
  loss.depth = 3e-4  # weight of the stereo depth
  loss.fixed = 3e-4  # weight of the fixed field's cross-entropy with the pseudo label: L_fix
  loss.semantic_2d = 1e-3  # weight of the learned field's: L_2D, times words.trust
  loss.semantic_3d = 1e-4  # weight of the per-sample cross-entropy with the fixed field: L_3D
  loss.depth_form = 'likelihood'  # or 'huber' of the mean depth
  loss.depth_max = 100.0  # metres; stereo beyond it is not used
  loss.depth_classes = ()  # the depth loss acts on rays that meet a primitive of these; () = all
  loss.depth_spread = 0.2  # of stereo; its tolerance in metres is spread * (0.3 + (z / 10)^2)
  loss.depth_outliers = 0.05  # share of stereo depths that may lie anywhere
  loss.words = 'estimated'  # what classes are called: estimated, label 'sets', or 'merged' (paper)
  loss.words_prior = 1e-4  # weight of what was thought before, as a share of all pixels
  loss.words_after = 400  # steps before words are counted where the field has its surfaces
  loss.label_floor = 0.05  # probability of any label whatever the class
  loss.posterior_first = 1.0  # weight within L_2D, until words_after, of what one label says
  loss.posterior = 0.3  # the same from then on
  loss.finish_depth = 0.1  # factor of depth's weight in the run's finish
  loss.finish_semantic_2d = 0.3  # the same of L_2D's
  loss.reachable_only = True  # mask the 2D term by u(r)

  optim = config.optim = ml_collections.ConfigDict()
  optim.learning_rate = 1e-2  # Adam's, after the warm-up
  optim.final = 0.05  # last learning rate as a share of the first
  optim.warmup = 50  # steps
  optim.epsilon = 1e-15  # Adam's; tiny, since a hash table's gradients are

  train = config.train = ml_collections.ConfigDict()
  train.steps = 10000  # optimiser steps of the whole run
  train.rays = 8192  # a step
  train.focus = 0.5  # share of the rays aimed at what looks small
  train.finish = 0.5  # last share of the steps: rays fill their pixels, labels move no density
  train.finish_side = 2  # a pixel is then the mean of this times this rays
  train.seed = 0  # of parameters, batches and noise
  train.steps_per_dispatch = 10  # steps made in one call of the device
  train.log_every = 100  # steps
  train.checkpoint_every = 1000  # steps
  train.preview_every = 2500  # steps

  evaluation = config.eval = ml_collections.ConfigDict()
  evaluation.camera = 'image_00'  # the camera that is scored; '' = the first of data.cameras
  evaluation.chunk = 8192  # rays rendered at once
  evaluation.panels = 8  # frames of which panels are written
  evaluation.labels = 'learned'  # the field that labels: 'learned' or 'fixed' (primitives alone)
  # Numbers of rendering/confidence.py: bias, learned, fixed, word, border, unseen.
  evaluation.confidence = (0.11, 0.525, 0.133, 0.708, 0.148, 0.881)  # fitted by launch/calibrate.py

  apply = {'default': lambda c: None, 'cpu': _cpu, 'published': _published, 'tiny': _tiny}
  if variant not in apply:
    raise ValueError(f'configs/kitti360.py:{variant}: no such variant. Use one of {sorted(apply)}.')
  apply[variant](config)
  return config


def _cpu(config: ml_collections.ConfigDict) -> None:
  """At most five minutes of training on two cores."""
  config.model.compute_dtype = 'float32'  # bfloat16 gains nothing in XLA's backward pass on CPU
  config.model.samples = config.model.first_samples = 16
  config.model.render_samples = 32
  config.model.levels = 7
  config.model.log2_rows = 18
  config.eval.chunk = 512
  config.train.rays = 1024
  config.train.steps = 8000
  config.train.log_every = 50
  config.train.checkpoint_every = 500
  config.train.preview_every = 1000


def _published(config: ml_collections.ConfigDict) -> None:
  """The paper's network, weights and schedule (method.md); sampling is guided as everywhere."""
  config.data.scale = 0.5
  config.model.network = 'published'
  config.model.compute_dtype = 'float32'
  config.model.samples = 148
  config.model.first_samples = 0
  config.model.render_samples = 148
  config.model.restrict = False
  config.loss.rgb = 1.0
  config.loss.depth = 0.1
  config.loss.fixed = 0.01
  config.loss.semantic_2d = 0.01
  config.loss.semantic_3d = 0.01
  config.loss.depth_form = 'huber'
  config.loss.depth_classes = (9, 12, 35)
  config.loss.words = 'merged'
  config.loss.label_floor = 0.0
  config.loss.posterior_first = config.loss.posterior = 0.0
  config.optim.learning_rate = 5e-4
  config.optim.final = 0.5
  config.optim.epsilon = 1e-8
  config.train.rays = 2048
  config.train.steps = 80000
  config.train.focus = 0.0
  config.train.finish = 0.0


def _tiny(config: ml_collections.ConfigDict) -> None:
  """Seconds, for tests."""
  _cpu(config)
  config.model.samples = config.model.first_samples = 8
  config.model.render_samples = 8
  config.model.levels = 3
  config.model.log2_rows = 12
  config.model.width = 16
  config.train.rays = 64
  config.train.steps = 4
  config.train.steps_per_dispatch = 2
  config.train.log_every = 2
  config.train.checkpoint_every = 2
  config.train.preview_every = 4
