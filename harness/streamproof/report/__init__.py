"""From results to what people and machines read: one HTML file, JUnit XML, and sentences.

`render` makes the page from `templates/` and `charts`; `view` arranges the figures that it shows;
`words` says what a run found; `junit` writes for continuous integration. Nothing here measures or
judges: every verdict was given before, in `streamproof.results`.
"""
