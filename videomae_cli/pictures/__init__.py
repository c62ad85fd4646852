"""Makes pictures, animations and charts of frames, attention maps and metrics. Imports no torch.

panels          titled strips of frames, side by side or as a contact sheet
lettering       draws text into arrays
heat            a map over the tokens as colours over frames, with a legend
hues            the colour of each label
palette         reduces a film to the 256 colours of a GIF
film            images with durations -> gif, mp4, webm, png
encoding        encodes a film one image at a time
clip            writes a part of a film as mp4
strip           a small filmstrip for the report
scenes          panels -> files; used by `reconstruct` and `attend`
charts          charts of training and evaluation
timeline_chart  a chart of labels over time
picture_files   names and formats of picture files
"""
