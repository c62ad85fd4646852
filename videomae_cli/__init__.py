"""Labels, vectors, timelines and reconstructions of video with VideoMAE, from Python and on the command line.

    import videomae_cli as videomae

    model = videomae.load_classifier("camera-motion")
    print(model.classify("clip.mp4").label)

`dir(videomae_cli)` lists the public names; docs/python.md shows them at work. Names load on first use: importing the package
imports no torch, no decoder, no numpy.
"""

from videomae_cli.lazy import attach_stub

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
