import { type AlignedPair, align } from "../metrics/error-rate.ts";
import { type Content, type Html, html } from "./html.ts";

export interface Table {
  columns: readonly { label: Content; number?: boolean }[];
  /** The first cell of a row heads it. */
  rows: readonly (readonly Content[])[];
  caption?: Content;
  /** As wide as its content needs, not as the page. */
  compact?: boolean;
}

/** A table that scrolls sideways where the screen is too narrow; number columns align right. */
export function table({ columns, rows, caption, compact }: Table): Html {
  const kind = (i: number) => (columns[i].number ? html` class="number"` : undefined);
  return html`<div class="scroll"><table${compact ? html` class="compact"` : undefined}>
${caption === undefined ? undefined : html`<caption>${caption}</caption>`}
<thead><tr>${columns.map(({ label }, i) => html`<th scope="col"${kind(i)}>${label}</th>`)}</tr></thead>
<tbody>
${rows.map(
  (row) => html`<tr>${row.map((cell, i) =>
    i === 0 ? html`<th scope="row"${kind(i)}>${cell}</th>` : html`<td${kind(i)}>${cell}</td>`,
  )}</tr>
`,
)}</tbody></table></div>
`;
}

/**
 * Expected symbols above heard ones, aligned. Errors differ by border, weight and colour: a solid frame is a substitution, a
 * dashed one a deletion, a dotted one an insertion.
 */
export function alignmentTable(expected: readonly string[], heard: readonly string[]): Html {
  return alignmentColumns(align(expected, heard));
}

/** `alignmentTable` of an alignment that is there already. */
export function alignmentColumns(columns: readonly AlignedPair[]): Html {
  return html`<ol class="aligned">${columns.map(({ op, ref = "–", hyp = "–" }) =>
    op === "match"
      ? html`<li><span>${ref}</span><span class="heard">${hyp}</span></li>`
      : html`<li class="${op}" title="${op}: expected ${ref}, heard ${hyp}"><span>${ref}</span><span class="heard">${hyp}</span></li>`,
  )}</ol>
`;
}

/** Explains the marks of `alignmentTable`. */
export const alignmentKey: Html = html`<p class="note">Expected above, heard below:
<span class="key substitution">substitution</span><span class="key deletion">deletion</span><span class="key insertion">insertion</span></p>
`;
