"""The pipeline as seen in MLflow.

MLflow is a view: no stage waits for it, fails with it, or writes other files without it.

- ``reporter`` is the stage's end. It starts a side process, the ``recorder``, and sends it a line of JSON an event. So
  importing mlflow, 2 s, overlaps with the stage's work, and a slow store never holds up training.
- The recorder keeps the run: curves that grow while training runs, and in the end what the stage wrote to files. When
  the lines stop without a last one, the stage was killed, and the run says so.
- There is one run for each run of the pipeline that trained or evaluated anything new. Evaluate and plot find theirs by
  the model's checksum and the DVC experiment; where there is none, it is made from the files, by the same code.

PENDIGITS_TRACKING=off turns all of it off; PENDIGITS_TRACKING=verbose lets the recorder write to stderr.
"""
