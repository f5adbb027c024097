"""PSNR by hand, SSIM against its definition window by window."""

import numpy as np
import pytest

from pnerf_jax.evaluation.metrics import image


def test_psnr_is_averaged_over_images():
  photo = np.zeros((4, 4, 3), np.uint8)
  tenth = np.full((4, 4, 3), 51, np.uint8)  # 0.2 everywhere: MSE 0.04
  counts = image.count(tenth, photo).merge(image.count(photo, photo))
  assert counts.psnr() == pytest.approx((-10 * np.log10(0.04) + 100) / 2)
  assert counts.ssim() is None  # smaller than the window


def test_ssim_agrees_with_its_definition():
  rng = np.random.default_rng(0)
  photo = rng.integers(0, 256, (14, 17, 3)).astype(np.uint8)
  rgb = np.clip(photo + rng.normal(scale=40, size=photo.shape), 0, 255).astype(np.uint8)
  offset = np.arange(-5, 6)
  kernel = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
  kernel /= kernel.sum()
  c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
  values = []
  for channel in range(3):
    for row in range(5, 14 - 5):
      for column in range(5, 17 - 5):
        window = (slice(row - 5, row + 6), slice(column - 5, column + 6), channel)
        x, y = rgb[window].astype(float), photo[window].astype(float)
        mx, my = (kernel * x).sum(), (kernel * y).sum()
        vx, vy = (kernel * (x - mx) ** 2).sum(), (kernel * (y - my) ** 2).sum()
        covariance = (kernel * (x - mx) * (y - my)).sum()
        values.append(
          (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        )
  assert image.count(rgb, photo).ssim() == pytest.approx(np.mean(values), abs=1e-9)
  assert image.count(photo, photo).ssim() == pytest.approx(1)


def test_scores_are_none_without_images():
  assert image.ImageCounts().psnr() is None and image.ImageCounts().ssim() is None
