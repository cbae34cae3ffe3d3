"""Every fault of a data folder at once.

tables.py     who stands in which split            -> Row
cases.py      which files belong together          -> Case
file.py       one file, looked at alone            -> Opened
subject.py    a subject's files side by side       -> Facts
outliers.py   scans unlike nearly all others
leaks.py      who, or what, stands twice
copies.py     who stays where, of those in two data sets
fault.py      what is said about a fault, and the way out
listing.py    all of them as text or JSON
"""

from cdm_jax.data.check.fault import Fault
from cdm_jax.data.check.folder import Report, check, write_leak_free
from cdm_jax.data.check.listing import as_json, as_text

__all__ = ["Fault", "Report", "as_json", "as_text", "check", "write_leak_free"]
