"""The log lines of an experiment."""

import logging

from configs import kitti360
from pnerf_jax.runs import experiment


def test_experiment_logs_the_names_of_its_classes(street, caplog):
  config = kitti360.get_config('tiny')
  config.data.root = str(street)
  with caplog.at_level(logging.INFO, experiment.__name__):
    experiment.build_experiment(config)
  (line,) = (line for line in caplog.messages if ' primitives, far ' in line)
  names = line.partition('; classes: ')[2].split(', ')
  assert names[0] == 'road' and names[-1] == 'sky' and 'building' in names
