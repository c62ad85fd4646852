"""Searches embeddings: nearest files, near-duplicates, a map. Knows no model, no video and no command line.

    embedding_table  checks a file of embeddings and yields unit vectors in blocks; `writers.vector_reading` reads it
    nearest     the files nearest to a vector: exact, in one pass
    duplicates  groups of files that are nearly the same: all pairs exactly, or by an index
    layout      places vectors in the plane, by PCA or UMAP
    page        writes the points as one self-contained HTML page

The modules import numpy: a command imports them when it runs, not before.
"""
