"""Heads that detectors of the studies need and mmdetection and mmsegmentation lack; configs import those that they name."""
