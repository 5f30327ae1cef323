"""Files of columns: an example a line, its parts apart by a tab."""

from collections.abc import Collection
from pathlib import Path

from common.command import UserError
from common.corpus import read_file


def read_columns(path: Path, numbers: Collection[int], form: str, separator: str = "\t") -> list[list[str]]:
    """The columns of each line of a UTF-8 file, blanks around them dropped; blank lines are passed over.

    numbers: how many columns a line may have; all lines have as many as the first one. form: what a line is, for the
    reader of an error. UserError, with the line's number, for another number of columns, or an empty one.
    """
    rows: list[list[str]] = []
    for number, line in enumerate(read_file(path).split("\n"), start=1):
        if not line.strip():
            continue
        columns = [column.strip() for column in line.split(separator)]
        if len(columns) not in numbers or not all(columns):
            raise UserError(f"{path}, line {number}: {len(columns)} column{'s' * (len(columns) != 1)}"
                            f"{', one of them empty' * (not all(columns))}; a line is {form}")
        numbers = {len(columns)}
        rows.append(columns)
    return rows
