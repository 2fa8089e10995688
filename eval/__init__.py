"""Scoring of video object segmentation: DAVIS J and F, reports, and tracking with scoring in one go.

`eval.metrics` stands alone (NumPy and OpenCV); `eval.davis`, `eval.scoring` and `eval.report` build on it.
"""

from __future__ import annotations
