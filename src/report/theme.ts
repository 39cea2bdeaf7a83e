/**
 * Colours, by role, and the style sheet. Series colours are Okabe and Ito's, which colour-blind readers tell apart (darkened
 * or lightened to keep contrast with the page). Charts are drawn in the light colours and then refer to the page's variables,
 * so that they follow its light and dark modes and still stand alone.
 */
export const colours = {
  ink: "#1b2430",
  muted: "#5c6773",
  rule: "#dde2e7",
  paper: "#fefefe",
  c1: "#0067a5",
  c2: "#c8530a",
  c3: "#00855f",
  c4: "#a4568a",
  c5: "#a87400",
  c6: "#3a8fc4",
} as const;

export type ColourName = keyof typeof colours;
/** Series take these in order. */
export const seriesColours = [colours.c1, colours.c2, colours.c3, colours.c4, colours.c5, colours.c6];

const dark: Record<ColourName, string> = {
  ink: "#e7ebef",
  muted: "#9aa6b2",
  rule: "#313a44",
  paper: "#12171d",
  c1: "#5cb3ec",
  c2: "#f0884a",
  c3: "#3fc79a",
  c4: "#d795c0",
  c5: "#e5b545",
  c6: "#9ed2f2",
};

/** `var(--ink,#1b2430)` for each colour of the theme in an SVG drawing. */
export function themed(svg: string): string {
  for (const [name, hex] of Object.entries(colours))
    svg = svg.replaceAll(`"${hex}"`, `"var(--${name},${hex})"`);
  return svg;
}

const variables = (set: Record<string, string>) =>
  Object.entries(set)
    .map(([name, hex]) => `--${name}:${hex}`)
    .join(";");

export const styleSheet = `
:root{color-scheme:light dark;${variables(colours)};--wash:#f4f6f8;--warn:#fdf3e3;--warn-edge:#c8530a}
@media screen and (prefers-color-scheme:dark){
:root{${variables(dark)};--wash:#1a2129;--warn:#2b2118;--warn-edge:#f0884a}
.ink-image{filter:invert(1)}
}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
font-variant-numeric:tabular-nums;overflow-wrap:break-word}
main,header,footer{max-width:50rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:3rem}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:.2rem 0 .6rem;font-weight:680}
h2{font-size:1.3rem;line-height:1.3;letter-spacing:-.01em;margin:0 0 .4rem;font-weight:650}
h3{font-size:1rem;margin:1.6rem 0 .4rem;font-weight:650}
p{margin:.5rem 0;max-width:42rem;text-wrap:pretty}
a{color:var(--c1);text-underline-offset:.15em}
.kicker{font-size:.82rem;color:var(--muted);margin:0}
.summary{font-size:1.08rem}
.lead,figcaption,.note{color:var(--muted)}
.note,figcaption{font-size:.88rem}
nav{margin:1.4rem 0 0;padding:.55rem 0;border-block:1px solid var(--rule);font-size:.9rem;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
section{margin:3rem 0;scroll-margin-top:1rem}
.notice{background:var(--warn);border-left:4px solid var(--warn-edge);padding:.7rem 1rem;margin:1.2rem 0;max-width:none}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:.9rem 1.5rem;margin:1.4rem 0 0}
.facts div{min-width:0}
dt{font-size:.8rem;color:var(--muted)}
dd{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.2rem,1fr));gap:.9rem;margin:1.8rem 0 0}
.tile{border:1px solid var(--rule);border-radius:10px;padding:.85rem 1rem}
.tile .name{font-size:.85rem;color:var(--muted)}
.tile .value{font-size:1.9rem;line-height:1.25;font-weight:650;letter-spacing:-.02em}
.tile .value small{font-size:1rem;font-weight:500;letter-spacing:0;margin-left:.15em}
.tile .range{font-size:.82rem;color:var(--muted)}
.scroll{overflow-x:auto;margin:.9rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
caption{text-align:left;color:var(--muted);font-size:.88rem;padding-bottom:.4rem}
th,td{text-align:left;padding:.4rem .9rem .4rem 0;border-bottom:1px solid var(--rule);vertical-align:baseline}
th{font-weight:550;color:var(--muted);font-size:.85rem}
table.compact{width:auto}
.compact th,.compact td{padding-right:2.5rem}
tbody th{color:var(--ink);font-size:inherit;font-weight:500}
.number{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
figure{margin:1.2rem 0 1.8rem}
figcaption{margin-top:.3rem;max-width:42rem}
svg{display:block;width:100%;height:auto;font-family:inherit}
.narrow{display:none}
.half{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:0 1.5rem}
.half figure{margin-bottom:1rem}
pre{background:var(--wash);border-radius:8px;padding:.8rem 1rem;overflow-x:auto;font-size:.86rem;line-height:1.5}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{font-size:.9em}
details{margin:.8rem 0}
summary{cursor:pointer;color:var(--c1)}
.aligned{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem .1rem;padding:0;margin:.4rem 0 1.1rem;line-height:1.3}
.aligned li{display:grid;text-align:center;min-width:1.7rem;padding:.15rem .3rem;border-radius:5px;border:1px solid transparent}
.aligned .heard{color:var(--muted)}
.aligned li[class]{border-color:currentColor}
.aligned li[class] .heard{color:inherit;font-weight:650}
.substitution{color:var(--c2)}
.deletion{color:var(--c4)}
.insertion{color:var(--c1)}
.aligned .deletion,.key.deletion{border-style:dashed}
.aligned .insertion,.key.insertion{border-style:dotted}
.utterance{font-size:.88rem;color:var(--muted);margin:.9rem 0 0;max-width:none}
.utterance b{color:var(--ink);font-weight:600}
.utterances{display:flex;flex-wrap:wrap;gap:0 2rem}
.utterances div{min-width:13rem}
.key{display:inline-block;border:1px solid;border-radius:4px;padding:0 .35rem;margin:0 .15rem;font-size:.85em}
footer{border-top:1px solid var(--rule);padding-block:1.2rem 3rem;color:var(--muted);font-size:.88rem}
@media (max-width:40rem){
body{font-size:15.5px}
header{padding-top:1.6rem}
h1{font-size:1.55rem}
section{margin:2.3rem 0}
.wide{display:none}
.narrow{display:block}
.facts{grid-template-columns:repeat(auto-fill,minmax(9rem,1fr))}
.tiles{grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem}
.tile{padding:.65rem .8rem}
.tile .value{font-size:1.55rem}
}
@media print{
:root{color-scheme:light}
body{font-size:10.5pt}
main,header,footer{max-width:none;padding-inline:0}
header{padding-top:0}
nav,summary{display:none}
section{margin:1.4rem 0}
footer{padding-block:.6rem 0}
h2,h3,caption{break-after:avoid}
figure,tr,.tile,.aligned,.notice{break-inside:avoid}
.scroll{overflow:visible}
pre{white-space:pre-wrap}
}
`;
