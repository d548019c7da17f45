"""From evidence to verdicts, figures and tables. No torch here: a reader needs none to check us.

- stats.py: intervals, tests, Holm, detectable effects; pure functions of numbers
- measures.py: one number per arm and seed, as a claim's `measure` asks
- verdicts.py: the rules that turn those numbers into a verdict per claim
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
