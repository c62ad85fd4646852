"""The Python API: everything the commands do, as functions and objects. Never prints or exits.

footage     videos as arguments, and sampling options        loaded    base class of loaded models
classifier  labels, values, timelines (`load_classifier`)    embedder  vectors (`load_embedder`)

`videomae_cli/__init__.pyi` lists the public names.
"""
