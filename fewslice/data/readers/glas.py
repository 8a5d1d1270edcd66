"""GlaS, colon glands (Warwick-QU): pictures, masks of numbered glands and a table of grades in one folder.

Grade.csv                               name, patient ID, grade (GlaS), ...; blanks after the commas
train_1.bmp     train_1_anno.bmp        image and mask
testA_1.bmp     testA_1_anno.bmp        the official test, in two parts
"""

from __future__ import annotations

import csv
from functools import cached_property

from fewslice.core.errors import DataError, few
from fewslice.data.io.access import readable
from fewslice.data.readers.base import READERS, Reader, image_files
from fewslice.data.volume import Case

_MASK = "_anno"
_COLUMNS = ("name", "patient ID", "grade (GlaS)")
_GRADES = ("benign", "malignant")


@READERS.register("glas")
class GlasReader(Reader):
    """Reads GlaS; names in split lists are file stems, since the official lists go by image.

    Grade and patient of an image are its facts.
    """

    expects = "train_1.bmp, train_1_anno.bmp, testA_1.bmp, ... and Grade.csv in one folder"

    def _find(self) -> list[Case]:
        files = image_files(self.folder)
        images = [stem for stem in files if not stem.endswith(_MASK)]
        if missing := [stem for stem in images if stem not in self._table]:
            raise self._wrong("a row for every image", f"none for {few(missing)}")
        if lonely := sorted(files.keys() - {f"{stem}{end}" for stem in images for end in ("", _MASK)}):
            self.notes.append(f"masks without an image were passed over: {few(lonely)}")
        return [Case(stem, stem, "", files[stem], files.get(f"{stem}{_MASK}")) for stem in images]

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns "grade", benign or malignant, and "patient"."""
        return dict(zip(("patient", "grade"), self._table[case.case_id], strict=True))

    def person(self, case: Case) -> str:
        return f"patient {self._table[case.case_id][0]}"

    def is_official_test(self, case: Case) -> bool:
        return case.case_id.startswith("test")

    @cached_property
    def _table(self) -> dict[str, tuple[str, str]]:
        """Image -> patient and grade."""
        table: dict[str, tuple[str, str]] = {}
        with readable(path := self.folder / "Grade.csv"):
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
        for row in [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]:
            name, patient, grade = (row.get(column, "") for column in _COLUMNS)
            if not (name and patient) or grade not in _GRADES or name in table:
                raise self._wrong(f"{', '.join(_COLUMNS)} ({' or '.join(_GRADES)}) of each image once", f"{row}")
            table[name] = (patient, grade)
        return table

    def _wrong(self, expected: str, found: str) -> DataError:
        remedy = "Restore the table from the archive of GlaS, or correct it."
        return DataError(self.folder / "Grade.csv", expected=expected, found=found, remedy=remedy)
