"""The paper's network and its training step in plain PyTorch, to compare the speed with.

Frequency encoding, a trunk of 8 layers of 256 units with a skip connection, heads for colour and
semantics, compositing, the losses of Panoptic NeRF, and Adam. Samples and their membership in the
primitives are inputs, computed by our step. The weights are copied from our network, so that both
losses must be equal.

Letters: B rays, S samples, C classes present.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def _frequency_encoding(x: torch.Tensor, octaves: int) -> torch.Tensor:
  angles = x[..., None, :] * 2.0 ** torch.arange(octaves, dtype=x.dtype)[:, None]
  waves = torch.stack([torch.sin(angles), torch.cos(angles)], dim=-2)
  return torch.cat([x, waves.flatten(-3)], dim=-1)


class PaperField(nn.Module):
  """The paper's network, with the layer names of ours."""

  def __init__(self, params: dict, scale: float, class_ids: tuple[int, ...]):
    """Copy the parameters of our network.

    Args:
      params: of our network.
      scale: far bound, metres.
      class_ids: ids of the C classes whose logits are returned.
    """
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

  def forward(
    self, points: torch.Tensor, directions: torch.Tensor
  ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Evaluate the network.

    Args:
      points: [B, S, 3], metres.
      directions: [B, 3], unit vectors.

    Returns:
      sigma [B, S] in 1/m, rgb [B, S, 3] in [0, 1], semantic logits [B, S, C].
    """
    layers = self.layers
    encoded = _frequency_encoding(points / self.scale, 15)
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
    view = _frequency_encoding(directions, 4)[:, None].expand(*points.shape[:-1], -1)
    feature = layers['feature_linear'](hidden)
    color = F.relu(layers['rgb_linears_0'](torch.cat([feature, view.to(feature.dtype)], dim=-1)))
    rgb = torch.sigmoid(layers['rgb_linear'](color))
    return F.relu(layers['alpha_linear'](hidden)[..., 0]), rgb, logits


def _masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
  return (values * mask).sum() / mask.sum().clamp(min=1)


def loss(
  network: PaperField, batch: dict[str, torch.Tensor], weights: dict[str, float], autocast: bool
) -> torch.Tensor:
  """Return the weighted loss of a batch.

  Args:
    network: the field.
    batch: from `to_tensors`.
    weights: of the loss terms.
    autocast: whether matrix products are computed in bfloat16.
  """
  b = batch
  with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
    sigma, rgb, logits = network(b['points'], b['directions'])
    sky_points = b['origins'] + (network.scale + 10.0) * b['directions']
    _, sky_rgb, _ = network(sky_points[:, None], b['directions'])
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

  def forward_corrected_nll(probabilities, label_weight):
    """Return -log P(y) of the pseudo-labels, as training.losses.forward_corrected_nll."""
    free_space = (1 - probabilities.sum(-1)).clamp(min=0)
    likelihood = b['likelihood']
    label_probability = (probabilities * likelihood[:, :-1]).sum(-1)
    nll = -torch.log((label_probability + free_space * likelihood[:, -1]).clamp(min=1e-6))
    return (nll * label_weight).sum() / (label_weight > 0).sum().clamp(min=1)

  error = (depth - b['depth']).abs()
  huber = torch.where(error < 1, 0.5 * error**2, error - 0.5)
  unambiguous = (b['fixed'].amax(-1) > 0.999) & (w.detach() > 0.05)
  cross_entropy = -(b['fixed'] * logits.log_softmax(-1)).sum(-1)
  terms = {
    'rgb': ((color - b['rgb']) ** 2).mean(),
    'depth': _masked_mean(huber, b['has_depth_loss'] & (1 - transmittance.detach() > 0)),
    'semantic_2d_fixed': forward_corrected_nll(fixed, b['label_weight']),
    'semantic_2d': forward_corrected_nll(learned, b['label_weight'] * b['label_on_ray']),
    'semantic_3d': _masked_mean(cross_entropy, unambiguous),
  }
  return sum(weights[name] * value for name, value in terms.items())


def to_tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
  """Return a batch as tensors.

  Args:
    arrays: points [B, S, 3], directions [B, 3], origins [B, 3], rgb [B, 3], t [B, S], delta [B, S],
      occupied [B, S] bool, fixed [B, S, C], likelihood [B, C + 1] of the pseudo-label, depth [B] in
      metres along the ray, has_depth_loss [B] bool, label_weight [B], label_on_ray [B] bool.
  """
  return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


class Step:
  """The optimiser step."""

  def __init__(self, network: PaperField, weights: dict[str, float], autocast: bool):
    self._network, self._weights, self._autocast = network, weights, autocast
    self._adam = torch.optim.Adam(network.parameters(), lr=5e-4, betas=(0.9, 0.99), eps=1e-8)

  def __call__(self, batch: dict[str, torch.Tensor]) -> float:
    """Make one step, and return the loss before it."""
    self._adam.zero_grad()
    value = loss(self._network, batch, self._weights, self._autocast)
    value.backward()
    self._adam.step()
    return float(value.detach())
