import { type Content, type Html, html, raw } from "./html.ts";
import { styleSheet } from "./theme.ts";

export interface Section {
  /** Anchor; made from the title where missing. */
  id?: string;
  title: string;
  /** One or two sentences under the title. */
  lead?: Content;
  body: Content;
}

export interface PageInput {
  title: string;
  /** Small line above the title: what kind of page this is. */
  kicker?: string;
  summary?: Content;
  /** A boxed remark that no reader should miss (data are simulated, a research aid, ...). */
  notices?: readonly Content[];
  /** Label and value, shown as a grid under the title. */
  facts?: readonly (readonly [label: string, value: Content])[];
  /** Shown after the facts: the page's main figures at a glance. */
  highlight?: Content;
  sections: readonly Section[];
  footer?: Content;
  /** Language of the text, default "en". */
  language?: string;
}

/**
 * A complete HTML document that needs nothing beside itself: no script, no font, no image file. It follows the reader's light
 * or dark mode, fits a phone and prints. Text values are escaped; only `Html` goes in as markup.
 */
export function page(input: PageInput): string {
  const ids = new Set<string>();
  const sections = input.sections.map((section) => ({ ...section, id: uniqueId(section, ids) }));
  // The policy makes "self-contained" a rule that the browser keeps.
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
  return html`<!doctype html>
<html lang="${input.language ?? "en"}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${input.title}</title>
<style>${raw(styleSheet)}</style>
</head>
<body>
<header>
${input.kicker === undefined ? undefined : html`<p class="kicker">${input.kicker}</p>`}
<h1>${input.title}</h1>
${input.summary === undefined ? undefined : html`<p class="summary">${input.summary}</p>`}
${input.notices?.map((notice) => html`<p class="notice" role="note">${notice}</p>`)}
${input.facts && input.facts.length > 0 ? factGrid(input.facts) : undefined}
${input.highlight}
${sections.length > 2 ? contents(sections) : undefined}
</header>
<main>
${sections.map(
  ({ id, title, lead, body }) => html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${lead === undefined ? undefined : html`<p class="lead">${lead}</p>`}
${body}
</section>
`,
)}</main>
${input.footer === undefined ? undefined : html`<footer>${input.footer}</footer>`}
</body>
</html>
`.markup;
}

export const factGrid = (facts: readonly (readonly [string, Content])[]): Html =>
  html`<dl class="facts">${facts.map(([label, value]) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`)}</dl>`;

const contents = (sections: readonly { id: string; title: string }[]) =>
  html`<nav aria-label="Contents">${sections.map(({ id, title }) => html`<a href="#${id}">${title}</a>`)}</nav>`;

function uniqueId({ id, title }: Section, taken: Set<string>): string {
  const base =
    id ??
    (title
      .toLowerCase()
      .match(/[a-z0-9]+/g)
      ?.join("-") ||
      "section");
  let name = base;
  for (let n = 2; taken.has(name); n++) name = `${base}-${n}`;
  taken.add(name);
  return name;
}
