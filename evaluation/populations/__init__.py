"""Attacks that judge unlearning by many models: LiRA, U-LiRA, RMIA and KLoM, in NumPy.

They work on one number per model and image, the margin of ``scaled_logit``; ``outputs`` reads it from the
runs' files and arranges it for each attack. In all scores a larger value means "more like a member".
"""
