"""Every threshold of the oracle, in one place; fixed without sight of any image made by a model.

Colours and greys are in [-1, 1], distances between colours are Euclidean over three channels.
"""

BATCH = 64  # images read at once; bounds memory, changes nothing else

# Background: which smoothed pixels may be background, and the band of stripes looked for.
CHROMA_MAX = 0.25  # max - min over channels; every colour but black and white exceeds it
GREY_MAX = 0.65  # |grey|; the world's backgrounds stay within 0.47, black and white are at 0.9
INLIER = 0.22  # greatest distance from the median grey, then from the fitted stripes
BAND = (0.35, 1.6)  # rad per px, searched in steps of BAND_STEP
BAND_STEP = 0.1
BACKGROUND_STEPS = 3  # Gauss-Newton steps

# Foreground: distance of a pixel from the background.
FLOOR = 0.24  # half of the least distance between a palette colour and a background grey
FRACTION = 0.5  # of the greatest distance within 2 px: the contour at half coverage
NOISY = 0.06  # noise level per channel above which the image is smoothed before it is segmented
NOISE_FLOOR = 3.0  # the floor is at least this multiple of the noise that smoothing leaves
FLOOR_MAX = 0.8  # ... but no more than this: fine structure is not to hide as noise
MIN_AREA = 12  # px; the smallest object of the world covers about 25, smaller components are noise

# Fits of shapes to components.
WINDOW = 23  # px, side of the patch that is fitted; larger components are no shape
COARSE = 20  # side of the normalised patch in the template match
COARSE_EXTENT = 2.2  # its half side, in radii of the disc of equal area
ANGLES = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
CANDIDATES = 3  # classes refined
FIT_STEPS = 4  # Levenberg steps
RADIUS = (3.0, 12.0)  # px, limits of a fitted radius
ANGLE_MAX = 0.45  # rad, limit of a fitted angle
SOFTENINGS = 1  # binomial blurs of both alphas before they are compared

# Confidence: P(class right) P(colour right), each a logistic function fitted by calibration.py.
SHAPE_WEIGHTS = (13.13, 3.06, -17.39)  # of 1, log(margin + MARGIN_OFFSET), misfit
COLOR_WEIGHTS = (-0.62, 10.26)  # of 1, color_lead
MARGIN_OFFSET = 0.01
