"""GlaS, colon glands (Warwick-QU): pictures, masks of numbered glands and a table of grades in one folder.

Grade.csv                               name, patient ID, grade (GlaS), ...; blanks after the commas
train_1.bmp     train_1_anno.bmp        image and mask
testA_1.bmp     testA_1_anno.bmp        the official test, in two parts
"""

from __future__ import annotations

import csv
from functools import cached_property

from fewslice.core.errors import DataError, few
from fewslice.data.io.access import absence, readable
from fewslice.data.readers.base import READERS, Reader, image_files
from fewslice.data.volume import Case

_MASK = "_anno"
_COLUMNS = ("name", "patient id", "grade (glas)")
_GRADES = ("benign", "malignant")
_RESTORE = "Restore the table from the archive of GlaS, or correct it."


@READERS.register("glas")
class GlasReader(Reader):
    """Reads GlaS; case ids are file stems, and so are the names in split lists, since the official lists go by image.

    Grade and patient of an image are its facts; images of patients in training and test are told.
    """

    expects = "train_1.bmp, train_1_anno.bmp, testA_1.bmp, ... and Grade.csv in one folder"

    def _find(self) -> list[Case]:
        files = image_files(self.folder)
        images = {stem: path for stem, path in files.items() if not stem.endswith(_MASK)}
        if missing := sorted(images.keys() - self._table.keys()):
            found = f"no row for {few(missing)}"
            raise DataError(self._path, expected="a row for every image", found=found, remedy=_RESTORE)
        if lonely := sorted(files.keys() - images.keys() - {f"{stem}{_MASK}" for stem in images}):
            self.notes.append(f"masks without an image were passed over: {few(lonely)}")
        return [Case(stem, stem, "", path, files.get(f"{stem}{_MASK}")) for stem, path in images.items()]

    def patient_facts(self, case: Case) -> dict[str, str | float]:
        """Returns "grade", benign or malignant, and "patient"."""
        patient, grade = self._table[case.case_id]
        return {"grade": grade, "patient": patient}

    def person(self, case: Case) -> str:
        return f"patient {self._table[case.case_id][0]}"

    def is_official_test(self, case: Case) -> bool:
        return case.case_id.lower().startswith("test")

    @property
    def _path(self):
        return self.folder / "Grade.csv"

    @cached_property
    def _table(self) -> dict[str, tuple[str, str]]:
        """Image -> patient and grade."""
        if not self._path.exists():
            found, _ = absence(self._path)
            raise DataError(self._path, expected=self.expects, found=found, remedy=_RESTORE)
        try:
            with readable(self._path), open(self._path, encoding="utf-8-sig", newline="") as file:
                rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(map(str.strip, row))]
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(self._path, expected="a table", found=str(error), remedy=_RESTORE) from error
        header = [cell.lower() for cell in rows[0]] if rows else []
        if not set(header) >= set(_COLUMNS):
            expected, found = f"the columns {', '.join(_COLUMNS)}", ", ".join(header) or "an empty file"
            raise DataError(self._path, expected=expected, found=found, remedy=_RESTORE)
        table: dict[str, tuple[str, str]] = {}
        for number, row in enumerate(rows[1:], start=2):
            cells = dict(zip(header, row, strict=False))
            name, patient, grade = (cells.get(column, "") for column in _COLUMNS)
            if not (name and patient) or grade.lower() not in _GRADES or name in table:
                expected = f"name, patient and grade ({' or '.join(_GRADES)}) of each image once"
                raise DataError(self._path, expected=expected, found=f"row {number}: {', '.join(row)}", remedy=_RESTORE)
            table[name] = (patient, grade.lower())
        return table
