"""The paper's network and its training step in plain PyTorch, to compare the speed with.

Frequency encoding, a trunk of 8 layers of 256 units with a skip connection, heads for colour and
semantics, compositing, the losses of Panoptic NeRF, and Adam. Samples and their membership in the
primitives are inputs, computed by our step. The weights are copied from our network, so that both
losses must be equal.

Letters: B rays, S samples, C = 50 channels.
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

  def __init__(self, params: dict, scale: float):
    """Copy the parameters of our network. scale: far bound, metres."""
    super().__init__()
    self.layers = nn.ModuleDict()
    for name, layer in params.items():
      kernel = np.array(layer['kernel'])
      dense = nn.Linear(*kernel.shape)
      with torch.no_grad():
        dense.weight.copy_(torch.from_numpy(kernel.T))
        dense.bias.copy_(torch.from_numpy(np.array(layer['bias'])))
      self.layers[name] = dense
    self.scale = scale

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
    logits = layers['semantic_output2'](semantic)
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
  """Return the weighted loss of a batch, in the current form of the paper's program.

  Args:
    network: the field.
    batch: from `to_tensors`.
    weights: of the loss terms.
    autocast: whether matrix products are computed in bfloat16.
  """
  b = batch
  with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
    sigma, rgb, logits = network(b['points'], b['directions'])
  sigma, rgb, logits = (x.float() for x in (sigma, rgb, logits))
  sigma = torch.where(b['is_empty'], torch.zeros(()), sigma)
  z = b['z']
  delta = torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], 1e10)], -1)
  alpha = 1 - torch.exp(-sigma * delta)
  passed = torch.cat([torch.ones_like(z[:, :1]), 1 - alpha + 1e-10], -1)
  w = alpha * torch.cumprod(passed, -1)[:, :-1]
  render = lambda values: (w[..., None] * values).sum(1)
  nll = lambda values: -values.log_softmax(-1).gather(1, b['label'][:, None])[:, 0]
  error = ((w * z).sum(-1) - b['depth']).abs()
  huber = torch.where(error < 1, 0.5 * error**2, error - 0.5)
  of_sample = -(b['hot'] * logits.log_softmax(-1)).sum(-1)
  in_one_class = (b['hot'].sum(-1) == 1) & (w.detach() > 0.05) & b['supervised'][:, None]
  terms = {
    'rgb': ((render(rgb) - b['rgb']) ** 2).mean(),
    'depth': _masked_mean(huber, b['has_depth_loss']).clamp(max=0.1),
    'semantic_2d_fixed': _masked_mean(nll(render(b['hot'])), b['supervised']),
    'semantic_2d': _masked_mean(nll(render(logits)), b['label_on_ray']),
    'semantic_3d': _masked_mean(of_sample, in_one_class),
  }
  return sum(weights[name] * value for name, value in terms.items())


def to_tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
  """Return a batch as tensors.

  Args:
    arrays: points [B, S, 3], directions [B, 3], rgb [B, 3], z [B, S] and depth [B] in planar
      metres, is_empty [B, S] bool, hot [B, S, C] fixed field of merged classes, label [B] int64
      merged, has_depth_loss, label_on_ray, supervised [B] bool.
  """
  return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


class Step:
  """The optimiser step."""

  def __init__(self, network: PaperField, weights: dict[str, float], autocast: bool):
    self._network, self._weights, self._autocast = network, weights, autocast
    self._adam = torch.optim.Adam(network.parameters(), lr=5e-4, betas=(0.9, 0.999), eps=1e-8)

  def __call__(self, batch: dict[str, torch.Tensor]) -> float:
    """Make one step, and return the loss before it."""
    self._adam.zero_grad()
    value = loss(self._network, batch, self._weights, self._autocast)
    value.backward()
    torch.nn.utils.clip_grad_value_(self._network.parameters(), 40)
    self._adam.step()
    return float(value.detach())
