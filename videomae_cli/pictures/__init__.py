"""Frames -> pictures that people look at: titled panels, heat maps, films and contact sheets. Knows no model, no torch.

panels     a titled strip of frames; strips side by side, or as a contact sheet
lettering  text into arrays
heat       a map over the tokens -> colours over frames, with a legend
palette    a film's colours down to the 256 of a GIF
film       images and their times -> gif, mp4, webm, png; encoding  one image after the other
clip       a stretch of a film, frame by frame -> an mp4
timeline_chart  labels over time
picture_files   names and formats; files complete or not at all
"""
