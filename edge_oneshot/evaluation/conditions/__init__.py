"""Frames rendered from labelled pictures under controlled conditions: what `edge-oneshot evaluate conditions` measures.

scene.py places a portrait in a frame, cover.py draws on the portrait, degrade.py changes the frame, and catalogue.py names
the conditions. trials.py passes the frames through the daemon's recognition path, and rates.py counts.
"""
