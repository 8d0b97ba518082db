"""Stage preprocess: data/raw -> data/processed: validated tables of the training and the test rows, and what they are.

Of pen digits, each row gets its writer, and coordinates are scaled by the tablet's bounds. The ink is kept too:
augmentation makes new rows of it, and with ``features: ink`` the network reads it. Drawings that a user labelled
(``extra_ink``) are made into rows in the same way.
"""

from runtime import script

from data_sets.choice import data_set_of
from data_sets.drawings import labelled_drawings
from pen.ink import DataError
from pipeline import paths
from pipeline.errors import StageError
from pipeline.params import load_params
from pipeline.rows import strokes_npz
from pipeline.schema import FILE
from pipeline.tables import table_csv
from runtime.files import remove_other_files, write_bytes


def main() -> None:
    """Make schema.json, training.csv, test.csv, perhaps drawings.csv, and of pen digits the ink, in data/processed."""
    params = load_params()
    folder = paths.RAW / params.dataset
    try:
        schema, parts = data_set_of(params).parts(folder)
    except DataError as error:
        raise StageError(f"{error}; to get the data again, remove {folder} and run `dvc repro`") from None
    if params.extra_ink is not None:
        if schema.kind != "pen":
            raise StageError("params.yaml: extra_ink must be null for a table of your own: drawings are pen digits")
        parts["drawings"] = labelled_drawings(params.extra_ink)
    contents = {FILE: schema.to_json()}
    for name, part in parts.items():
        contents[f"{name}.csv"] = table_csv(part.table)
        if part.strokes is not None:
            contents[f"{name}_ink.npz"] = strokes_npz(part.strokes)
        script.say(f"{name}: {part.said}")
    for name, content in contents.items():
        write_bytes(paths.PROCESSED / name, content)
    remove_other_files(paths.PROCESSED, contents)


if __name__ == "__main__":
    script.run(main)
