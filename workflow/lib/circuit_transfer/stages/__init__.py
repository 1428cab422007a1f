"""What several stages share: paths in, paths out; see the scripts of the workflow."""
