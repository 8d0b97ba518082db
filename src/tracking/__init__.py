"""Log the pipeline to MLflow.

MLflow only displays results. Training never waits for it, no stage fails because of it, and the files of a stage are
the same without it.

- ``reporter`` runs in the stage. It starts a second process, the ``recorder``, and sends it each event as a line of
  JSON. So the import of mlflow, 2 s, overlaps with the stage's work, and a slow store never delays training.
- The recorder logs the run: the curves during training, and at the end the files that the stage wrote. If the lines
  stop without an end message, the stage was killed, and the run is closed as KILLED.
- Each run of the pipeline that trains or evaluates something new has one MLflow run. The plot stage finds it by
  the model's checksum and the DVC experiment. If there is none, the same code makes it from the files.
- Every new evaluation leads to new pictures, so the plot stage logs both. The evaluate stage would be done before
  mlflow is imported, and would wait; it logs only results that were there before, as in a fresh clone.

PENDIGITS_TRACKING=off turns all of it off; PENDIGITS_TRACKING=verbose lets the recorder write to stderr.
"""
