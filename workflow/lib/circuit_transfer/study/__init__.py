"""What a study is: its configuration, checks, costs and resources."""
