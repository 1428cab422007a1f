"""The page of a study: its questions, each answered from the statistics.

The modules that are named after a question make its answer and its table; `page` makes
HTML of them. All are pure functions of frames. A difference is stated as a fact only
where its test is significant; where it is not, the sentence says `not shown`.
"""
