import { existsSync, readFileSync } from "node:fs";
import { closest, UserError } from "../../errors.ts";

/** A table with named columns; `line` is where a row begins in its file. */
export interface Table {
  file: string;
  columns: string[];
  rows: { line: number; cells: Record<string, string> }[];
}

export interface TableOptions {
  /** Default: a tab where the first line has one, else a comma. */
  delimiter?: string;
  /** Column names of a file whose first line is data already. */
  columns?: string[];
  /** Lines that begin so are comments. */
  comment?: string;
}

/** The text of a file, without a byte-order mark. */
export function readText(path: string): string {
  if (!existsSync(path)) throw new UserError(`${path}: there is no such file`);
  return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
}

/** Lines that are not blank, with their numbers. */
export function readLines(path: string): { line: number; text: string }[] {
  return readText(path)
    .split(/\r?\n/)
    .map((text, i) => ({ line: i + 1, text }))
    .filter(({ text }) => text.trim() !== "");
}

/**
 * Reads a CSV or TSV file with quoted cells (RFC 4180) and a header.
 *
 * @throws UserError with file and line where a row has another number of cells, or a quote never ends.
 */
export function readTable(path: string, options: TableOptions = {}): Table {
  const text = readText(path);
  const firstLine = text.slice(0, text.search(/\r?\n|$/));
  const delimiter = options.delimiter ?? (firstLine.includes("\t") ? "\t" : ",");
  const records = parseRecords(path, text, delimiter, options.comment);
  const columns = options.columns ?? records.shift()?.cells.map((c) => c.trim());
  if (columns === undefined) throw new UserError(`${path}: the table is empty`);
  const rows = records.map(({ line, cells }) => {
    if (cells.length !== columns.length) {
      throw new UserError(
        `${path}:${line}: expected ${columns.length} cells (${columns.join(", ")}), not ${cells.length}`,
      );
    }
    return { line, cells: Object.fromEntries(columns.map((name, i) => [name, cells[i]])) };
  });
  return { file: path, columns, rows };
}

/** Checks that columns exist. */
export function requireColumns(table: Table, names: readonly string[]): void {
  const missing = names.find((name) => !table.columns.includes(name));
  if (missing === undefined) return;
  const meant = closest(missing, table.columns);
  const hint = meant === undefined ? "" : `; did you mean "${meant}"?`;
  throw new UserError(`${table.file}: no column "${missing}"; it has ${table.columns.join(", ")}${hint}`);
}

function parseRecords(path: string, text: string, delimiter: string, comment: string | undefined) {
  // Tab-separated corpora (Common Voice, CoVoST) use quotation marks as plain characters.
  const quoting = delimiter !== "\t";
  const records: { line: number; cells: string[] }[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    const start = line;
    const cells: string[] = [];
    let cell = "";
    let quoted = false;
    for (; at < text.length; at++) {
      const character = text[at];
      if (character === "\n") line++;
      if (quoted) {
        if (character !== '"') cell += character;
        else if (text[at + 1] === '"') cell += text[++at];
        else quoted = false;
      } else if (quoting && character === '"' && cell.trim() === "") {
        quoted = true;
        cell = "";
      } else if (character === delimiter) {
        cells.push(cell);
        cell = "";
      } else if (character === "\n") {
        at++;
        break;
      } else if (character !== "\r") {
        cell += character;
      }
    }
    if (quoted) throw new UserError(`${path}:${start}: a quoted cell never ends`);
    cells.push(cell);
    const blank = cells.length === 1 && cells[0].trim() === "";
    if (!blank && !(comment !== undefined && cells[0].startsWith(comment)))
      records.push({ line: start, cells });
  }
  return records;
}
