"""PSNR and SSIM of the rendered colour, per image, then averaged over images.

PSNR = -10 log10(MSE) with colours in [0, 1] and the MSE over all pixels and channels; at most
100 dB, so that an exact copy stays finite. SSIM uses a Gaussian window of sigma 1.5 and 11 pixels
per channel; images smaller than the window are skipped.

References:
  Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
"""

import dataclasses

import numpy as np
import skimage.metrics

from pnerf_jax.evaluation.metrics.counts import Counts

_MIN_MSE = 1e-10
_WINDOW = 11


@dataclasses.dataclass(frozen=True)
class ImageCounts(Counts):
  """Sums over images.

  Attributes:
    images: number of images.
    psnr_sum: sum of their PSNR in decibels.
    ssim_images: number of images large enough for SSIM.
    ssim_sum: sum of their SSIM.
  """

  images: int = 0
  psnr_sum: float = 0.0
  ssim_images: int = 0
  ssim_sum: float = 0.0

  def psnr(self) -> float | None:
    """Return the mean PSNR in decibels."""
    return self.psnr_sum / self.images if self.images else None

  def ssim(self) -> float | None:
    """Return the mean SSIM."""
    return self.ssim_sum / self.ssim_images if self.ssim_images else None


def count(rgb: np.ndarray, photo: np.ndarray) -> ImageCounts:
  """Return the sums of one image; rgb (rendered) and photo: [H, W, 3] uint8."""
  difference = (rgb.astype(np.float64) - photo) / 255
  psnr = -10 * np.log10(max(np.mean(difference**2), _MIN_MSE))
  if min(rgb.shape[:2]) < _WINDOW:
    return ImageCounts(1, float(psnr))
  ssim = skimage.metrics.structural_similarity(
    rgb,
    photo,
    data_range=255,
    channel_axis=-1,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
  )
  return ImageCounts(1, float(psnr), 1, float(ssim))
