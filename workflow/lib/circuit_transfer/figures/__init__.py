"""The figures of a study: frames and arrays in, Matplotlib figures out.

Nothing here opens a window or keeps a global figure: every function returns a
`Figure` of its own, and `style.save` writes it.
"""
