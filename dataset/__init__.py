"""Images and index arrays: sources, splits, and views that a device can iterate over.

``dataset.sources`` loads a data set once as uint8, ``dataset.split`` divides it into retain,
forget, validation and test *indices*, ``dataset.images`` turns indices into batches.
"""
