"""How are the faults of a folder told?"""

from collections import Counter
from pathlib import Path

from cdm_jax.data.check.fault import WAYS_OUT, Fault
from cdm_jax.data.check.folder import Report
from cdm_jax.data.faults import FAULTS


def as_text(report: Report) -> str:
    """One line a fault, grouped by code, each group under its meaning and its way out; a summary line last."""
    blocks = [_block(report, code) for code in FAULTS]
    return "\n\n".join([*filter(None, blocks), _summary(report)])


def as_json(report: Report) -> dict[str, object]:
    """{"data", "counts", "faults"}; files are given from the data folder on."""
    return {
        "data": str(report.root),
        "counts": {
            "files": report.files,
            "subjects": report.subjects,
            "errors": report.errors,
            "warnings": len(report.faults) - report.errors,
            "codes": dict(Counter(fault.code for fault in report.faults)),
        },
        "faults": [
            {
                "file": _below(report.root, fault.file),
                "code": fault.code,
                "severity": fault.severity,
                "subject": fault.subject,
                "detail": fault.detail,
            }
            for fault in report.faults
        ],
    }


def _block(report: Report, code: str) -> str:
    """The heading of a code and a line for each of its faults; "" without any."""
    faults = [fault for fault in report.faults if fault.code == code]
    if not faults:
        return ""
    files = [_below(report.root, fault.file) for fault in faults]
    widths = max(map(len, files)), max(len(fault.subject) for fault in faults)
    lines = [_line(file, fault, *widths) for file, fault in zip(files, faults, strict=True)]
    heading = f"{code} ({_count(len(faults), faults[0].severity)}): {FAULTS[code]}"
    return "\n".join([heading, f"  -> {WAYS_OUT[code]}", *lines])


def _line(file: str, fault: Fault, width: int, subject_width: int) -> str:
    return f"  {file:{width}}  {fault.subject:{subject_width}}  {fault.what}"


def _summary(report: Report) -> str:
    where = f"in {_count(report.files, 'file')} of {_count(report.subjects, 'subject')}"
    if not report.faults:
        return f"no faults {where}"
    return (
        f"{_count(report.errors, 'error')}, {_count(len(report.faults) - report.errors, 'warning')} {where}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _below(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
