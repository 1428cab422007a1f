"""The embedded models: small ones that the project trains on its own generators' text.

From words to a checkpoint: `vocabulary` makes the tokenizer, `model` the random start,
`curriculum` the texts, `objective` what is minimised, `training` the run, `state` what
an interrupted run leaves, `card` the README of a trained model.
"""
