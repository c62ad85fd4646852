"""What `import videomae_cli` offers: everything the commands do, as functions and objects. Prints nothing, exits never.

    footage     what callers give for videos, and which frames they want      loaded    what every loaded model has
    classifier  labels, values, timelines (`load_classifier`)                 embedder  vectors (`load_embedder`)

The package itself, `videomae_cli/__init__.pyi`, is the list of public names.
"""
