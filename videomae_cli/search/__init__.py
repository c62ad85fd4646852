"""What embeddings are good for: nearest files, near-duplicates, a map. Knows no model, no video and no command line.

    embedding_table  a file of embeddings -> unit vectors in blocks, checked (`EmbeddingTable`); `writers.vector_reading` reads it
    nearest     the files most like a vector: exact, in one pass
    duplicates  groups of files that are nearly the same: all pairs exactly, or by an index
    layout      vectors -> points in the plane: PCA, or UMAP where it is installed
    page        points -> one HTML page that needs nothing else

The modules import numpy: a command imports them when it runs, not before.
"""
