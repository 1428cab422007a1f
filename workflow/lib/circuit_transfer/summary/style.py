"""The style of the page: for a phone, a wide window, paper and the dark."""

STYLE = """\
:root { color-scheme: light dark; --text: #222; --page: #fff; --quiet: #555;
  --line: #bbb; --bar: #0072b2; --track: #e8e8e8; --link: #0058a0; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #161616; --quiet: #b4b4b4; --line: #555;
    --bar: #56b4e9; --track: #333; --link: #7cc4f5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; color: var(--text);
  background: var(--page); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 0 0 .5rem; }
h2 a { color: inherit; text-decoration: none; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
a { color: var(--link); }
section { padding: 1.5rem 0; border-top: 1px solid var(--line); }
p, ul.answer, dl { max-width: 48rem; }
ul { padding-left: 1.25rem; }
.answer { font-size: 1.0625rem; }
.answer li { margin-bottom: .75rem; }
.details { display: block; margin-top: .125rem; font-size: .9375rem;
  color: var(--quiet); }
.note, figcaption, dl, header p { color: var(--quiet); }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; max-height: 56rem; background: #fff; }
svg { display: block; }
.bar { display: grid; grid-template-columns: minmax(8rem, 18rem) 1fr 8rem;
  gap: .75rem; align-items: center; max-width: 60rem; margin: .25rem 0; }
.track { position: relative; height: 1rem; background: var(--track); }
.track i { position: absolute; inset: 0 auto 0 0; background: var(--bar); }
.track s { position: absolute; top: -.15rem; bottom: -.15rem;
  border-left: 2px solid var(--text); }
/* A shadow at an edge beyond which a table continues. */
.scroll { overflow-x: auto; background:
  linear-gradient(to right, var(--page), transparent) 0 / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--page), transparent) 100% / 2rem 100% no-repeat local,
  linear-gradient(to right, var(--line), transparent) 0 / .6rem 100% no-repeat,
  linear-gradient(to left, var(--line), transparent) 100% / .6rem 100% no-repeat; }
table { border-collapse: collapse; border-bottom: 2px solid; }
th, td { padding: .25rem .75rem; text-align: right; vertical-align: top;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th { border-top: 2px solid; border-bottom: 1px solid; vertical-align: bottom; }
.name { text-align: left; }
td.name { white-space: normal; min-width: 6rem; }
tr.block td { border-top: 1px solid var(--line); }
dt { font-weight: bold; }
dd { margin: 0 0 .25rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; font-weight: bold; }
@media (max-width: 40rem) {
  .bar { grid-template-columns: 1fr auto; gap: 0 .75rem; margin: .5rem 0; }
  .bar .track { grid-row: 2; grid-column: 1 / -1; }
}
@media (min-width: 75rem) {
  body { display: grid; grid-template-columns: 15rem minmax(0, 1fr);
    column-gap: 2rem; }
  header { grid-column: 1 / -1; }
  nav ul { position: sticky; top: 1rem; list-style: none; padding: 0; }
  nav li { margin-bottom: .5rem; }
}
@media print {
  :root { color-scheme: light; --text: #000; --page: #fff; --quiet: #333;
    --line: #999; --bar: #0072b2; --track: #e8e8e8; --link: #000; }
  @page { margin: 15mm; }
  html { font-size: 10pt; }
  body { display: block; padding: 0; }
  /* Links lead nowhere on paper. */
  nav, #files { display: none; }
  h2, h3, summary, figcaption { break-after: avoid; }
  figure, tr, .bar { break-inside: avoid; }
  img, svg { max-width: 100%; max-height: 230mm; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 8pt; }
  th, td { padding: .1rem .3rem; white-space: normal; }
  td.name { min-width: 0; overflow-wrap: anywhere; }
  .track, .track i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  /* Folded tables are printed too. */
  details::details-content { content-visibility: visible; height: auto; }
}
"""
