# Copyright 2026 The flare-mri authors
# SPDX-License-Identifier: Apache-2.0
"""The page's frame and looks: one style sheet for light, dark, projector, phone and paper. No script, no font file."""

from __future__ import annotations

from string import Template

LIGHT_CARD, DARK_CARD = "#ffffff", "#182027"

_STYLE = (
    """
:root{color-scheme:light dark;--page:#f3f5f8;--card:LIGHT;--ink:#17202a;--muted:#52606d;--line:#d5dce4;--accent:#175ca8;
--best:#dff3e6;--best-ink:#0b5329;--note:#fff3d6;--note-ink:#5c4300}
@media (prefers-color-scheme:dark){:root{--page:#0e1317;--card:DARK;--ink:#e9eef3;--muted:#aab6c2;--line:#35414d;
--accent:#86bdff;--best:#17412b;--best-ink:#a4ebbf;--note:#3d3214;--note-ink:#f6dd9b}}
*{box-sizing:border-box}
html{font-size:clamp(16px,.55vw + 11px,21px);-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
line-height:1.5}
header,main,footer{max-width:84rem;margin:0 auto;padding:0 clamp(.8rem,2.5vw,2rem)}
header{padding-top:1.6rem}
h1{font-size:1.75rem;line-height:1.2;margin:0}
h2{font-size:1.35rem;line-height:1.25;margin:0 0 .6rem}
h3{font-size:1.05rem;margin:1.4rem 0 .4rem}
p{margin:.4rem 0 .8rem;max-width:52rem}
a{color:var(--accent)}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;margin:.8rem 0 0;padding:0}
.muted,figcaption,.small{color:var(--muted)}
.small,figcaption{font-size:.86rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.7rem;margin:1.1rem 0;
padding:clamp(.9rem,2vw,1.6rem)}
.lead{font-size:1.22rem;line-height:1.45;max-width:62rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(11rem,100%),1fr));gap:.8rem;
margin:1rem 0 .2rem;padding:0}
.tiles div{border-left:.25rem solid var(--accent);padding:.1rem 0 .1rem .8rem}
.tiles dt{color:var(--muted);font-size:.86rem}
.tiles dd{margin:0;font-size:1.45rem;font-weight:650;line-height:1.25}
.note{background:var(--note);color:var(--note-ink);border-radius:.4rem;padding:.5rem .8rem;max-width:none}
.scroll{overflow-x:auto;max-width:100%}
.scroll:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.3rem 0 .8rem}
th,td{padding:.42rem .8rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;vertical-align:top}
th{font-weight:600}
thead th{color:var(--muted);font-size:.86rem;vertical-align:bottom}
th[scope=row],th:first-child{text-align:left;position:sticky;left:0;background:var(--card)}
table.wide{width:100%}
table.prose th{text-align:left}
td small{display:block;color:var(--muted);font-size:.8rem}
td.best{background:var(--best);color:var(--best-ink);font-weight:700}
td.best small{color:inherit;font-weight:500}
.tag{font-size:.72rem;font-weight:650;margin-right:.4rem}
td.text{text-align:left;white-space:normal;overflow-wrap:anywhere}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(21rem,100%),1fr));gap:1rem 1.4rem}
figure{margin:0;min-width:0}
figure svg{width:100%;height:auto;display:block}
.charts h3{margin:.2rem 0}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;list-style:none;padding:0;margin:.3rem 0 .8rem}
.legend svg{width:2.6rem;height:1rem;vertical-align:-.15rem;margin-right:.4rem}
.panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(11rem,46%),1fr));gap:.2rem .7rem;
margin:.4rem 0 1rem}
.panels figure{display:grid;grid-row:span 4;grid-template-rows:subgrid;max-width:23rem;margin-bottom:.7rem}
.panels img{width:100%;height:auto;display:block;background:#000;border-radius:.25rem}
.panels strong{display:block;line-height:1.25;align-self:end;overflow-wrap:anywhere}
.swatch{display:inline-block;width:1.8rem;border-top:.22rem solid;vertical-align:.25em;margin-right:.35rem}
.bar{max-width:30rem}
.map{max-width:56rem}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--accent);font-weight:600}
summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
dl.terms dt{font-weight:650}
dl.terms dd{margin:0 0 .6rem;max-width:52rem}
footer{padding-bottom:2.5rem}
@media (max-width:34rem){th,td{padding:.38rem .5rem}th[scope=row]{white-space:normal;min-width:6rem}
.lead{font-size:1.1rem}}
@media print{body{background:#fff}section{break-inside:auto;border:0;padding:0}figure,tr{
break-inside:avoid}nav{display:none}}
""".replace("LIGHT", LIGHT_CARD)
    .replace("DARK", DARK_CARD)
    .strip()
)

# The policy makes the browser itself refuse any script or outside request, whatever a file may have smuggled in.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<header>
<h1>$title</h1>
<div class="muted">$subtitle</div>
<nav aria-label="On this page"><ul>$links</ul></nav>
</header>
<main>
$content
</main>
<footer class="small">
$footer
</footer>
</body>
</html>
""")


def page(title: str, subtitle: str, links: str, content: str, footer: str) -> str:
    """The whole page; all arguments are HTML already escaped."""
    return _PAGE.substitute(title=title, subtitle=subtitle, links=links, content=content, footer=footer, style=_STYLE)
