"""Depth from a rectified stereo pair by semi-global matching.

Disparity is u in the left image minus u in the right image, pixels, positive; depth is planar,
fx * baseline / disparity, metres, 0 = invalid. The right image is matched by mirroring both images,
which makes it the left one of a pair, so all functions below handle left images only. The settings
were tuned against the LiDAR of KITTI-360 and of a synthetic street. Letters: H, W size of an image.

References:
  H. Hirschmueller, Stereo Processing by Semiglobal Matching and Mutual Information, PAMI 2008
  (implementation: OpenCV).
"""

import cv2
import numpy as np

from pnerf_jax.errors import InputError

MAX_DEPTH = 255.0  # metres, the range of the depth PNGs
_MATCHING_WIDTH = 600  # pixels; smaller images are upsampled, otherwise the matching is coarse
_BLOCK = 5  # pixels; a larger block dilates thin foreground
_MIN_SPECKLE = 0.0001  # fraction of the image below which a disparity component is noise
_SATURATED = 250  # grey level of an overexposed channel
_MIN_COST_RATIO = 1.25  # of the cost at infinity to the cost of the match


def stereo_depth(
  left: np.ndarray, right: np.ndarray, fx: float, baseline: float, min_depth: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
  """Compute the depth of both images of a rectified pair.

  Both directions are matched independently. Pixels are valid if the two agree within a pixel
  (surfaces visible to one camera are invalid) and if the match explains them better than infinity
  does (uniform sky is invalid).

  Args:
    left: [H, W, 3] uint8.
    right: [H, W, 3] uint8.
    fx: focal length of both, pixels.
    baseline: distance between the cameras, metres.
    min_depth: smallest depth that is matched, metres.

  Returns:
    Depth of the left and of the right image, [H, W] float32 metres, 0 = invalid.

  Raises:
    InputError: the depth or the baseline is out of range.
  """
  if not 0.1 <= min_depth <= MAX_DEPTH:
    raise InputError(f'--min_depth={min_depth}: out of range. Use 0.5 to {MAX_DEPTH:g} metres.')
  if not 1e-3 <= baseline <= 100:
    raise InputError(
      f'calibration: the second camera is {baseline:g} m to the right of the first,'
      ' expected 0.001 to 100. Use the calibration of KITTI-360.'
    )
  factor = int(np.ceil(_MATCHING_WIDTH / left.shape[1]))
  if factor > 1:
    left, right = (
      cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
      for image in (left, right)
    )
  disparities = disparity_range(left.shape[1], factor * fx, baseline, min_depth)
  pairs = (left, right), (_mirror(right), _mirror(left))
  matched = [match(*pair, disparities) for pair in pairs]
  depths = []
  for pair, disparity, other in zip(pairs, matched, matched[::-1]):
    invalid = (
      ~is_consistent(disparity, _mirror(other))
      | ~is_distinct(*pair, disparity)
      | (pair[0].min(-1) >= _SATURATED)
    )
    disparity = _downsample(np.where(invalid, np.nan, disparity), factor)
    depth = fx * baseline / disparity
    depths.append(np.where(depth <= MAX_DEPTH, depth, 0).astype(np.float32))  # NaN compares False
  return depths[0], _mirror(depths[1])


def disparity_range(width: int, fx: float, baseline: float, min_depth: float) -> int:
  """Return the number of disparities to search, a multiple of 16 that covers `min_depth`."""
  nearest = min(fx * baseline / min_depth, 0.5 * width)
  return max(16, 16 * int(np.ceil((nearest + 1) / 16)))


def match(left: np.ndarray, right: np.ndarray, num_disparities: int) -> np.ndarray:
  """Match two images; return the disparity [H, W] float32 of the left one, NaN = unmatched."""
  # OpenCV skips the first columns, whose matches may lie outside the image: pad, then crop.
  left, right = (
    cv2.copyMakeBorder(image, 0, 0, num_disparities, 0, cv2.BORDER_REPLICATE)
    for image in (left, right)
  )
  matcher = cv2.StereoSGBM.create(
    minDisparity=0,
    numDisparities=num_disparities,
    blockSize=_BLOCK,
    P1=8 * 3 * _BLOCK**2,
    P2=32 * 3 * _BLOCK**2,
    disp12MaxDiff=-1,
    preFilterCap=15,
    uniquenessRatio=10,
    mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
  )
  disparity = matcher.compute(left, right)  # unit: 1/16 pixel
  cv2.filterSpeckles(disparity, -16, int(_MIN_SPECKLE * disparity.size), 2 * 16)
  disparity = disparity[:, num_disparities:].astype(np.float32) / 16
  return np.where(disparity > 0, disparity, np.nan)


def is_consistent(disparity: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Return whether the right disparity at the matched pixel agrees within a pixel, [H, W] bool.

  Args:
    disparity: [H, W] of the left image, NaN = unmatched.
    other: [H, W] of the right image, NaN = unmatched.
  """
  rows, columns = np.indices(disparity.shape)
  target = np.round(columns - np.nan_to_num(disparity)).astype(int)
  back = other[rows, np.maximum(target, 0)]
  return (target >= 0) & (np.abs(back - disparity) <= 1.0)


def is_distinct(left: np.ndarray, right: np.ndarray, disparity: np.ndarray) -> np.ndarray:
  """Return whether the match fits a pixel's neighbourhood better than infinity, [H, W] bool.

  Semi-global matching fills uniform sky with the depth of the foreground. There, and on all other
  untextured surfaces, the unshifted right image fits equally well.

  Args:
    left: [H, W, 3] uint8.
    right: [H, W, 3] uint8.
    disparity: [H, W] of the left image, NaN = unmatched.
  """
  left, right = (_high_pass(image) for image in (left, right))
  grid = np.indices(disparity.shape, dtype=np.float32)  # row, column
  matched = cv2.remap(
    right,
    grid[1] - np.nan_to_num(disparity),
    grid[0],
    cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )
  cost, cost_at_infinity = (
    cv2.boxFilter(np.abs(left - image), -1, (15, 15)) for image in (matched, right)
  )
  return cost_at_infinity > _MIN_COST_RATIO * cost


def _high_pass(image: np.ndarray) -> np.ndarray:
  """Return the grey image without noise and without the brightness that differs by camera."""
  grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
  return grey - cv2.boxFilter(grey, -1, (15, 15))


def _downsample(disparity: np.ndarray, factor: int) -> np.ndarray:
  """Return the median disparity of blocks of pixels, NaN if half of a block is NaN.

  If the middle two lie on two surfaces the farther one is used, because matching dilates the nearer
  one.
  """
  if factor == 1:
    return disparity
  h, w = disparity.shape[0] // factor, disparity.shape[1] // factor
  blocks = disparity.reshape(h, factor, w, factor).swapaxes(1, 2).reshape(h, w, factor**2)
  blocks = np.sort(blocks)  # NaN come last
  count = np.isfinite(blocks).sum(-1, keepdims=True)
  low = np.take_along_axis(blocks, np.maximum(count - 1, 0) // 2, -1)
  high = np.take_along_axis(blocks, count // 2 % factor**2, -1)
  median = np.where(high - low <= 1.0, (low + high) / 2, low)
  return np.where(2 * count > factor**2, median, np.nan)[..., 0] / factor


def _mirror(image: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(image[:, ::-1])
