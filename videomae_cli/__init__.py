"""VideoMAE on the command line and as a library: labels, embeddings and reconstructions of video.

Importing this package loads nothing heavy; `videomae_cli.model`, `videomae_cli.video` and `videomae_cli.pipeline` are
the library, `videomae_cli.cli` the command.
"""

__version__ = "0.1.0"
