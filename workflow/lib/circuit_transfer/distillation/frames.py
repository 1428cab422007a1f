"""What the stages of distillation write, column by column; nothing here needs torch."""

import polars as pl

# By what heads are ranked, beside the names of methods that find circuits.
EFFECT, PATHS = "effect", "paths"

RANKED_COLUMNS = {
    "head": pl.String,
    "score": pl.Float64,
    "rank": pl.Int64,
    "critical": pl.Boolean,
}
# A row per head (and per group of heads, by path patching): its place in the ranking,
# and the metric of the model as it is (`base`) and without the head alone.
CRITICAL_COLUMNS = {
    "model": pl.String,
    "task": pl.String,
    "group": pl.String,
    **RANKED_COLUMNS,
    "metric": pl.String,
    "base": pl.Float64,
    "ablated": pl.Float64,
    "effect": pl.Float64,
}
MATCH_COLUMNS = {
    "student_head": pl.String,
    "teacher_head": pl.String,
    "distance": pl.Float64,
    "method": pl.String,
    "rank": pl.Int64,
}
# A file for every matching, a row per critical head of the student. `ancestor` is the
# teacher's head that it was made from, where the student's lineage records one.
MATCHED_COLUMNS = {
    "teacher": pl.String,
    "student": pl.String,
    "task": pl.String,
    **MATCH_COLUMNS,
    "ancestor": pl.String,
}
# States of a student: as it is given, and trained; and the teacher, for comparison.
BEFORE, AFTER, TEACHER_STATE = "before", "after", "teacher"
# A row per seed and state and evaluated task. Of the tasks that a student was not
# trained on, only the answers are measured; `cka` is the mean over the matched heads,
# debiased; `passes` are those of the training, of both models.
MEASURED_COLUMNS = {
    "teacher": pl.String,
    "student": pl.String,
    "task": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "state": pl.String,
    "evaluated_task": pl.String,
    "accuracy": pl.Float64,
    "right_above_wrong": pl.Float64,
    "task_loss": pl.Float64,
    "circuit_accuracy": pl.Float64,
    "faithfulness": pl.Float64,
    "cka": pl.Float64,
    "node_correlation": pl.Float64,
    "edge_correlation": pl.Float64,
    "steps_to_accuracy": pl.Int64,
    "seconds": pl.Float64,
    "passes": pl.Int64,
}
