"""From evidence to verdicts, figures and tables. No torch here: a reader needs none to check us.

- stats.py: intervals, tests, Holm, detectable effects; pure functions of numbers
- survival.py: the log-rank test of the time to an event
- measures.py: one number per arm and seed, as a claim's `measure` asks
- effects.py: what each kind of claim is judged on, by seed
- rules.py: how each kind is judged; the table RULES
- verdicts.py: all claims of an experiment judged together, Holm's correction included
- table.py: verdicts as a terminal table and as the table in README.md
- claims.py: the command (show, promote, seal, readme)
- verify.py: the command that checks the committed evidence
- report.py: the command that writes one HTML page of all evidence, from templates/
- citation.py: CITATION.cff as a sentence and as BibTeX, for the report
- prose.py: READMEs and notebooks as harmless HTML, for the report
- load.py: evidence as tidy frames, for the notebooks
- plots.py: the figures, saved as PNG and SVG
- figures.py: executes the notebooks headless
"""
