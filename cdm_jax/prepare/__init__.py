"""From raw downloads to the folders that training and evaluation read, step by step.

settings.py    which steps, with which parameters                  -> Settings
template.py    which brain all others move to                      -> Template
scans.py       a subject's files, strip.py where its brain is      -> Scans
climb.py       the transform that fits best, from a start on   -> metric
turns.py       whether a turned brain would fit better
place.py       register.py the way to the template, crop.py which part of its grid -> steps, Space
resample.py    every file interpolated once, through all steps     -> arrays
bias.py        without the shading of the coil
subject.py     all of the above for one subject                    -> PreparedSubject
sidecar.py     what the way back needs, beside each image          -> JSON
manifest.py    what a finished subject was made from               -> JSON
claims.py      whose results lie already where a run would write
job.py         one subject onto the disk, done or not begun        -> Outcome
run.py         all of them in parallel (workers.py), the page     -> Report
native.py      back from the prepared grid to the raw file's
"""
