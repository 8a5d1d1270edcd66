"""The style sheet of the report: quiet on a screen, on a phone and in print; nothing from elsewhere."""

CSS = """\
:root { --ink: #22303c; --quiet: #66727f; --rule: #d9dfe5; --wash: #f5f7f9; --accent: #1f6f9c }
* { box-sizing: border-box }
body { margin: 0; background: #fff; color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, Roboto, "Helvetica Neue", Arial, sans-serif }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 5rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; font-weight: 650; letter-spacing: -.01em }
h2 { font-size: 1.15rem; margin: 3rem 0 .8rem; font-weight: 650 }
h3 { font-size: 1rem; margin: 1.8rem 0 .4rem; font-weight: 600 }
p { margin: .5rem 0; max-width: 46rem }
.sub, .note, figcaption { color: var(--quiet) }
.note, figcaption { font-size: .87rem }
.finding { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem 1.1rem; margin: 1.6rem 0 }
.finding p { font-size: 1.06rem }
.missing { background: var(--wash); border-radius: 6px; padding: .7rem 1rem; color: var(--quiet);
  font-size: .92rem; margin: 1rem 0; white-space: pre-wrap }
.missing ul { margin: .2rem 0; padding-left: 1.1rem }
.scroll { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; width: 100% }
th, td { padding: .36rem 0 .36rem 1.2rem; text-align: right; vertical-align: top }
th:first-child { text-align: left; white-space: nowrap; padding-left: 0 }
thead th { color: var(--quiet); font-weight: 500; font-size: .85rem; vertical-align: bottom;
  border-bottom: 1px solid var(--ink) }
tbody th { font-weight: 500 }
tbody tr { border-bottom: 1px solid var(--rule) }
tbody tr.rule { border-top: 2px solid var(--rule) }
tbody tr.rule > * { padding-top: .7rem }
td { white-space: nowrap }
td.best { font-weight: 700 }
table.facts { width: auto }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere }
table.facts th { color: var(--quiet) }
table.methods tbody th { white-space: normal; min-width: 13rem }
table.methods :is(th, td):not(:first-child) { padding-left: .9rem }
table.methods thead th { white-space: nowrap }
table.volumes.many :is(th, td):not(:first-child) { padding-left: .55rem; font-size: .85rem }
table.volumes.many thead th { font-size: .78rem }
table.volumes tbody th { padding-right: .3rem }
h2.split { font-size: 1.5rem; margin-top: 4rem; padding-top: 1.2rem; border-top: 2px solid var(--ink) }
details { margin: .5rem 0 }
summary { cursor: pointer; color: var(--accent); font-size: .93rem }
figure { margin: 1.2rem 0 }
figcaption { margin-top: .5rem; max-width: 46rem }
img { display: block; max-width: 100%; height: auto }
pre { background: var(--wash); border-radius: 6px; padding: .8rem 1rem; margin: .4rem 0 1rem;
  font: 13px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere }
@media (max-width: 40rem) {
  main { padding: 1.6rem 1rem 3rem }
  h1 { font-size: 1.5rem }
  table { font-size: .85rem }
  figure { overflow-x: auto }
  figure img { min-width: 38rem; max-width: none }
}
@media print {
  main { max-width: none; padding: 0 }
  h2, h3 { break-after: avoid }
  figure, tr { break-inside: avoid }
  body { font-size: 10.5pt }
}
"""
