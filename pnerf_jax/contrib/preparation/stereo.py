"""Depth from a rectified stereo pair by semi-global matching.

Disparity is in pixels, u in the left image minus u in the right, positive; depth is planar metres,
fx * baseline / disparity, 0 = invalid. The right image is handled by mirroring both: then it is
the left one of a pair, and every function below is written for left images only.
Source: H. Hirschmueller, Stereo Processing by Semiglobal Matching and Mutual Information (PAMI
2008), as in OpenCV. Settings chosen against the LiDAR of KITTI-360 and of a synthetic street.
"""

import cv2
import numpy as np

from pnerf_jax.errors import InputError

MAX_DEPTH = 255.0  # metres; what the depth PNGs hold
_MATCHING_WIDTH = 600  # pixels; smaller images are enlarged first, or the matching window is coarse
_BLOCK = 5  # pixels; a larger one widens thin foreground
_MIN_ISLAND = 0.0001  # share of the image below which an island of disparity is noise
_SATURATED = 250  # grey level of an overexposed channel
_DISTINCT = 1.25  # how much worse than the match infinity must explain a pixel's surroundings


def stereo_depth(
  left: np.ndarray, right: np.ndarray, fx: float, baseline: float, min_depth: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
  """Depth of both images of a rectified pair.

  Both directions are matched on their own. A pixel is kept where the two agree to a pixel (what one
  camera alone sees is invalid) and where infinity does not explain it as well (flat sky is not).

  Args:
    left, right: [H, W, 3] uint8.
    fx: focal length in pixels of both.
    baseline: metres between the cameras.
    min_depth: metres; nearer surfaces are not matched.

  Returns:
    (depth of left, depth of right), [H, W] float32, metres, 0 = invalid.

  Raises:
    InputError: numbers that are none of a stereo pair.
  """
  if not 0.1 <= min_depth <= MAX_DEPTH:
    raise InputError(f'--min_depth: {min_depth} is out of range. Use 0.5 to {MAX_DEPTH:g} metres.')
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
    doubtful = (
      ~agreeing(disparity, _mirror(other))
      | ~distinct(*pair, disparity)
      | (pair[0].min(-1) >= _SATURATED)
    )
    disparity = _shrink(np.where(doubtful, np.nan, disparity), factor)
    depth = fx * baseline / disparity
    depths.append(np.where(depth <= MAX_DEPTH, depth, 0).astype(np.float32))  # NaN compares False
  return depths[0], _mirror(depths[1])


def disparity_range(width: int, fx: float, baseline: float, min_depth: float) -> int:
  """Number of disparities to search: a multiple of 16 that covers `min_depth`."""
  nearest = min(fx * baseline / min_depth, 0.5 * width)
  return max(16, 16 * int(np.ceil((nearest + 1) / 16)))


def match(left: np.ndarray, right: np.ndarray, disparities: int) -> np.ndarray:
  """Disparity [H, W] float32 of the left image, NaN where there is none."""
  # OpenCV leaves the first columns out, for their matches may lie outside: widen, then cut.
  left, right = (
    cv2.copyMakeBorder(image, 0, 0, disparities, 0, cv2.BORDER_REPLICATE) for image in (left, right)
  )
  matcher = cv2.StereoSGBM.create(
    minDisparity=0,
    numDisparities=disparities,
    blockSize=_BLOCK,
    P1=8 * 3 * _BLOCK**2,
    P2=32 * 3 * _BLOCK**2,
    disp12MaxDiff=-1,
    preFilterCap=15,
    uniquenessRatio=10,
    mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
  )
  disparity = matcher.compute(left, right)  # in sixteenths of a pixel
  cv2.filterSpeckles(disparity, -16, int(_MIN_ISLAND * disparity.size), 2 * 16)
  disparity = disparity[:, disparities:].astype(np.float32) / 16
  return np.where(disparity > 0, disparity, np.nan)


def agreeing(disparity: np.ndarray, other: np.ndarray) -> np.ndarray:
  """[H, W] bool: the right image's disparity at the matched pixel is the same to a pixel."""
  rows, columns = np.indices(disparity.shape)
  target = np.round(columns - np.nan_to_num(disparity)).astype(int)
  back = other[rows, np.maximum(target, 0)]
  return (target >= 0) & (np.abs(back - disparity) <= 1.0)


def distinct(left: np.ndarray, right: np.ndarray, disparity: np.ndarray) -> np.ndarray:
  """[H, W] bool: the match explains the surroundings of a pixel clearly better than infinity does.

  Semi-global matching fills a cloudless sky with the depth of what stands before it. There, and on
  whatever else is flat, the right image fits without any shift just as well.
  """
  left, right = (_details(image) for image in (left, right))
  rows, columns = np.indices(disparity.shape, dtype=np.float32)
  matched = cv2.remap(
    right,
    columns - np.nan_to_num(disparity),
    rows,
    cv2.INTER_LINEAR,
    borderMode=cv2.BORDER_REPLICATE,
  )
  cost, cost_at_infinity = (
    cv2.boxFilter(np.abs(left - image), -1, (15, 15)) for image in (matched, right)
  )
  return cost_at_infinity > _DISTINCT * cost


def _details(image: np.ndarray) -> np.ndarray:
  """Grey image without its noise and without the brightness that differs between cameras."""
  grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(np.float32)
  return grey - cv2.boxFilter(grey, -1, (15, 15))


def _shrink(disparity: np.ndarray, factor: int) -> np.ndarray:
  """Disparity of the original pixels: the median of those within, NaN where half of them have none.

  Where the middle two lie on two surfaces the farther wins, for matching widens the nearer one.
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
