"""Make `dvc plots` work offline: `python src plots_page FOLDER`, where FOLDER contains the package vl_convert.

DVC's own page loads its drawing library, Vega, from the network. vl_convert contains Vega as one script. This module
writes it into the HTML template .dvc/plots.html and sets DVC's configuration, in this checkout only, to use the
template. `make plots` does all of this.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.errors import StageError
from runtime.files import write_bytes

TEMPLATE = Path(".dvc/plots.html")
VEGA_LITE = "5.21"  # DVC's templates are for version 5
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
{refresh_tag}
<title>DVC plots</title>
<style>body {{ font-family: sans-serif; margin: 1em }} img {{ max-width: 45vw }}</style>
<script>{vega}</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def page(vega: str) -> str:
    """The template. DVC fills in ``{refresh_tag}`` and ``{plot_divs}``; DVC's ``{scripts}`` are not used."""
    script = vega.replace("</script", "<\\/script")
    return PAGE.format(vega=script, refresh_tag="{refresh_tag}", plot_divs="{plot_divs}")


def main() -> None:
    if len(sys.argv) != 2:
        raise StageError("usage: make plots")
    sys.path.append(sys.argv[1])
    import vl_convert

    write_bytes(TEMPLATE, page(vl_convert.javascript_bundle(vl_version=VEGA_LITE)).encode())
    # Not in .dvc/config: where the file is not there, DVC would take its name for the template.
    command = [sys.executable, "-m", "dvc", "config", "--local", "plots.html_template", TEMPLATE.name]
    subprocess.run(command, check=True)  # noqa: S603 (python, with words of ours)
