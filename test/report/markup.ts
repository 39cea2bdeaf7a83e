const empty = new Set(["meta", "br", "!doctype"]);

/** Throws unless every element of a document is closed in order and every attribute is quoted. */
export function checkMarkup(text: string): void {
  const open: string[] = [];
  const source = text.replace(/<style>[\s\S]*?<\/style>/g, "");
  for (const [tag] of source.matchAll(/<[^>]*>/g)) {
    const [, slash, name, attributes, closed] =
      tag.match(/^<(\/?)([!\w]+)((?:\s+[\w:-]+="[^"<]*"|\s+html)*)\s*(\/?)>$/) ?? [];
    if (name === undefined) throw new Error(`not a tag: ${tag.slice(0, 200)}`);
    if (slash) {
      const last = open.pop();
      if (last !== name) throw new Error(`</${name}> closes <${last}>`);
      if (attributes) throw new Error(`attributes on ${tag}`);
    } else if (!closed && !empty.has(name)) open.push(name);
  }
  if (open.length > 0) throw new Error(`never closed: ${open.join(", ")}`);
}
