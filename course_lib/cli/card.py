"""`dlpu card`: what the programmer of the camera application must know of a file."""

import json
from pathlib import Path

from course_lib.cli import dlpu
from course_lib.errors import UnusableInput

import click


@dlpu.command(short_help="Tell a camera application what a file takes and gives.")
@click.argument("model", metavar="MODEL")
@click.option("--soc", help="The chip, such as artpec8.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of an output's values, one a line.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "c"]),
    help="Default text; c is a header.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write to a file."
)
def card(
    model: str,
    soc: str | None,
    labels: Path | None,
    form: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Tell what a camera application must know of MODEL, a .tflite or .onnx file.

    Inputs and outputs are in the file's order, with shape, type, bytes, scale, zero
    point and row pitch. The file is read and never run. For CV25 and CV75 the card of
    an .onnx file tells of the .bin that Ambarella's compiler makes of it.

    \b
    Example:
      dlpu card model.tflite --soc artpec8 --labels labels.txt
      dlpu card model.tflite --soc artpec8 --format c -o model_card.h
      dlpu card model.tflite --soc artpec8 --json | jq '.inputs[0].bytes'

    \b
    Keys of the JSON object:
      file, deployed_file, soc, soc_name, device, larod_client, commands, warnings
      inputs, outputs: index, name, signature_name, shape, shape_signature, dynamic,
        dtype, file_dtype, bytes, stride, layout, row_pitch, scale, zero_point, scales,
        formula, limits [{q, real}], notes
      labels, labels_output
      facts {name: value, confidence, note, source {title, url, date, read}, others}
    """  # noqa: D301  (click needs the control character)
    from course_lib import files
    from course_lib.dlpu import contract, socs

    files.expect_other(output, model, labels)
    if as_json and form not in (None, "json"):
        raise UnusableInput(f"--json and --format {form}: choose one of them")
    if not soc:
        raise UnusableInput(
            "--soc: missing, expected a chip such as artpec8; `dlpu socs` lists them"
        )
    chip = socs.find(soc)
    made = contract.of(
        contract.read(model, soc=chip),
        soc=chip,
        file=model,
        labels=contract.read_labels(labels) if labels else None,
    )
    if as_json or form == "json":
        told = contract.as_dict(made)
        text = json.dumps(told, indent=2, sort_keys=True, allow_nan=False)
    else:
        text = contract.as_c(made) if form == "c" else contract.as_text(made)
    if output:
        files.write(output, (text + "\n").encode())
    else:
        click.echo(text)
