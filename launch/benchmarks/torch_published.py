"""The published network and one of its train steps in plain PyTorch, as a peer to be timed.

Written from the method: frequency encoding, 8 x 256 trunk with a skip, colour and semantic heads,
compositing, and the losses of Panoptic NeRF; Adam. It is given the samples and what the primitives
say of them, which our step works out itself. Weights are those of our network, so that both must
give one loss.

Letters: B rays, S samples, C classes present.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

_LAYERS = ('pts_linears', 'semantic_linears', 'rgb_linears')


def _frequency(x: torch.Tensor, octaves: int) -> torch.Tensor:
  angles = x[..., None, :] * 2.0 ** torch.arange(octaves, dtype=x.dtype)[:, None]
  waves = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-2)
  return torch.cat([x, waves.flatten(-3)], dim=-1)


class Published(nn.Module):
  """The network; parameters are named as ours."""

  def __init__(self, params: dict, scale: float, class_ids: tuple[int, ...]):
    """params: of our network. scale: metres. class_ids: the C channels that are answered."""
    super().__init__()
    self.layers = nn.ModuleDict()
    for name, layer in params.items():
      kernel = np.array(layer['kernel'])
      dense = nn.Linear(*kernel.shape)
      with torch.no_grad():
        dense.weight.copy_(torch.from_numpy(kernel.T))
        dense.bias.copy_(torch.from_numpy(np.array(layer['bias'])))
      self.layers[name] = dense
    self.scale, self.class_ids = scale, list(class_ids)

  def forward(self, points: torch.Tensor, directions: torch.Tensor):
    """points: [B, S, 3] metres; directions: [B, 3] -> sigma [B, S], rgb [B, S, 3], logits."""
    layers = self.layers
    encoded = _frequency(points / self.scale, 15)
    hidden = encoded
    for i in range(8):
      hidden = F.relu(layers[f'pts_linears_{i}'](hidden))
      if i == 4:
        hidden = torch.cat([encoded, hidden.to(encoded.dtype)], dim=-1)
    semantic = hidden
    for i in range(4):
      semantic = F.relu(layers[f'semantic_linears_{i}'](semantic))
    semantic = F.relu(layers['semantic_output1'](semantic))
    logits = layers['semantic_output2'](semantic)[..., self.class_ids]
    view = _frequency(directions, 4)[:, None].expand(*points.shape[:-1], -1)
    feature = layers['feature_linear'](hidden)
    color = F.relu(layers['rgb_linears_0'](torch.cat([feature, view.to(feature.dtype)], dim=-1)))
    rgb = torch.sigmoid(layers['rgb_linear'](color))
    return F.relu(layers['alpha_linear'](hidden)[..., 0]), rgb, logits


def _mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
  return (values * mask).sum() / mask.sum().clamp(min=1)


def loss(
  network: Published, batch: dict[str, torch.Tensor], weights: dict[str, float], autocast: bool
) -> torch.Tensor:
  """The weighted loss of a batch.

  Args:
    network: of the fields.
    batch: of `prepared`.
    weights: of the terms.
    autocast: matrix products in bfloat16.
  """
  b = batch
  with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
    sigma, rgb, logits = network(b['points'], b['directions'])
    beyond = b['origins'] + (network.scale + 10.0) * b['directions']
    _, sky_rgb, _ = network(beyond[:, None], b['directions'])
  sigma, rgb, logits, sky_rgb = (x.float() for x in (sigma, rgb, logits, sky_rgb))
  optical = sigma * b['delta']
  optical_depth = torch.cumsum(optical, -1)
  before = torch.cat([torch.zeros_like(optical_depth[:, :1]), optical_depth[:, :-1]], -1)
  w = torch.exp(-before) * -torch.expm1(-optical)
  transmittance = torch.exp(-optical_depth[:, -1])
  color = (w[..., None] * rgb).sum(1) + transmittance[:, None] * sky_rgb[:, 0]
  depth = (w * b['t']).sum(-1) / (1 - transmittance).clamp(min=1e-6)
  sky = F.one_hot(torch.tensor(logits.shape[-1] - 1), logits.shape[-1])
  learned = torch.where(b['occupied'][..., None], logits.softmax(-1), torch.zeros(()))
  learned = (w[..., None] * learned).sum(1) + transmittance[:, None] * sky
  fixed = (w[..., None] * b['fixed']).sum(1) + transmittance[:, None] * sky

  def forward_corrected_nll(mass, mask):
    """Return -log P(y) of the pseudo-labels, as training.losses.forward_corrected_nll."""
    free_space = (1 - mass.sum(-1)).clamp(min=0)
    likelihood = b['likelihood']
    probability = (mass * likelihood[:, :-1]).sum(-1) + free_space * likelihood[:, -1]
    return (-torch.log(probability.clamp(min=1e-6)) * mask).sum() / (mask > 0).sum().clamp(min=1)

  error = (depth - b['target']).abs()
  huber = torch.where(error < 1, 0.5 * error**2, error - 0.5)
  unambiguous = (b['fixed'].amax(-1) > 0.999) & (w.detach() > 0.05)
  points = -(b['fixed'] * logits.log_softmax(-1)).sum(-1)
  terms = {
    'rgb': ((color - b['rgb']) ** 2).mean(),
    'depth': _mean(huber, b['measured'] & (1 - transmittance.detach() > 0)),
    'semantic_2d_fixed': forward_corrected_nll(fixed, b['supervised']),
    'semantic_2d': forward_corrected_nll(learned, b['supervised'] * b['supported']),
    'semantic_3d': _mean(points, unambiguous),
  }
  return sum(weights[name] * value for name, value in terms.items())


def prepared(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
  """Return a batch as tensors: points [B, S, 3], directions, origins, rgb [B, 3], t, delta [B, S],
  occupied [B, S] bool, fixed [B, S, C], likelihood [B, C + 1] of the pseudo-label, target,
  supervised [B], measured, supported [B] bool."""
  return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


class Step:
  """One optimiser step at a time."""

  def __init__(self, network: Published, weights: dict[str, float], autocast: bool):
    self._network, self._weights, self._autocast = network, weights, autocast
    self._adam = torch.optim.Adam(network.parameters(), lr=5e-4, betas=(0.9, 0.99), eps=1e-8)

  def __call__(self, batch: dict[str, torch.Tensor]) -> float:
    """The loss before the step."""
    self._adam.zero_grad()
    value = loss(self._network, batch, self._weights, self._autocast)
    value.backward()
    self._adam.step()
    return float(value.detach())
