"""How fast is the library beside bare passes of the same model?

`cases` says what is measured and what it would ideally cost, `measure` takes the time
and the memory, `scaling` varies the size of one thing at a time.
"""
