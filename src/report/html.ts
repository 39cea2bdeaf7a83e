/** HTML by tagged templates that escape every value, so that a speaker called `<script>` stays a name. */

/** Markup that is safe to put on a page as it stands. */
export class Html {
  readonly markup: string;

  constructor(markup: string) {
    this.markup = markup;
  }
}

export type Content = Html | string | number | undefined | readonly Content[];

/** Escapes text for element content and quoted attributes; control characters that no document may hold become U+FFFD. */
export function escapeHtml(text: string): string {
  return text
    .replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
    .replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, "\u{FFFD}");
}

/** Marks markup as trusted: charts and fragments that this folder made. */
export const raw = (markup: string): Html => new Html(markup);

/** Template tag: text and numbers are escaped, `Html` goes in as it is, lists are joined, undefined is nothing. */
export function html(strings: TemplateStringsArray, ...values: Content[]): Html {
  return new Html(strings.reduce((text, part, i) => text + markupOf(values[i - 1]) + part));
}

function markupOf(value: Content): string {
  if (value === undefined) return "";
  if (value instanceof Html) return value.markup;
  if (typeof value === "object") return value.map(markupOf).join("");
  return escapeHtml(String(value));
}
