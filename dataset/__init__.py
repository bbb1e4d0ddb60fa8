"""Images and index arrays: sources, splits, and views that a device can iterate over.

``dataset.sources`` loads a data set once as uint8, or lists its files if images are to stay on disk;
``dataset.split`` divides it into retain, forget, validation and test *indices*; ``dataset.images`` and
``dataset.stream`` turn indices into batches, from memory and from disk.
"""
