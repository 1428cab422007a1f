"""The figures of a study: frames and arrays in, Matplotlib figures out.

Every function returns a new `Figure`, without pyplot's global state or a window;
`style.save` writes it.
"""
