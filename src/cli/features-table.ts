import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { UserError } from "../errors.ts";

/** A table that is written row by row and appears under its name only when it is whole. */
export interface TableWriter {
  /** One row: the cells of the text columns, then those of the number columns (NaN: not defined). */
  add(texts: readonly string[], numbers: ArrayLike<number>): void;
  finish(): void;
  /** Leaves nothing behind; without effect after `finish`. */
  discard(): void;
}

export interface TableColumns {
  /** Text columns, with the most characters that a cell has (.npy has cells of a fixed width). */
  texts: { name: string; width: number }[];
  numbers: string[];
}

interface Format {
  /** What comes before the rows; asked for again at the end, and of the same size, where it tells their number. */
  head(rows: number): string | Uint8Array;
  countsRows?: boolean;
  row(texts: readonly string[], numbers: ArrayLike<number>): string | Uint8Array;
}

const formats: Record<string, (columns: TableColumns) => Format> = {
  ".csv": csv,
  ".jsonl": jsonLines,
  ".npy": numpy,
};

/** Throws a UserError unless the ending of `path` is one of those that can be written. */
export function checkTablePath(path: string): void {
  if (formats[extname(path).toLowerCase()] === undefined)
    throw new UserError(`--out ${path}: the ending must be .csv, .jsonl or .npy`);
}

/** Opens a table file; the format follows from the ending. */
export function openTable(path: string, columns: TableColumns): TableWriter {
  checkTablePath(path);
  const format = formats[extname(path).toLowerCase()](columns);
  mkdirSync(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const file = openSync(temporary, "w");
  let open = true;
  let rows = 0;
  const put = (data: string | Uint8Array, at?: number) => {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    for (let done = 0; done < bytes.length; )
      done += writeSync(file, bytes, done, bytes.length - done, at === undefined ? null : at + done);
  };
  put(format.head(0));
  return {
    add(texts, numbers) {
      put(format.row(texts, numbers));
      rows++;
    },
    finish() {
      if (format.countsRows) put(format.head(rows), 0);
      fsyncSync(file);
      closeSync(file);
      open = false;
      renameSync(temporary, path);
    },
    discard() {
      if (!open) return;
      closeSync(file);
      open = false;
      rmSync(temporary, { force: true });
    },
  };
}

/** Writes CSV to standard output as it comes. */
export function printTable(columns: TableColumns): TableWriter {
  const { head, row } = csv(columns);
  process.stdout.write(head(0));
  return {
    add: (texts, numbers) => process.stdout.write(row(texts, numbers)),
    finish() {},
    discard() {},
  };
}

/** Nine digits give any 32-bit float back; more would show noise only. */
const rounded = (x: number) => Number(x.toPrecision(9));

function csv({ texts: textColumns, numbers: names }: TableColumns): Format {
  const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (cells: string[]) => `${cells.join(",")}\n`;
  return {
    head: () => line([...textColumns.map(({ name }) => name), ...names].map(cell)),
    row: (texts, numbers) =>
      line([...texts.map(cell), ...Array.from(numbers, (x) => (Number.isNaN(x) ? "" : String(rounded(x))))]),
  };
}

function jsonLines(columns: TableColumns): Format {
  return {
    head: () => "",
    row: (texts, numbers) => `${JSON.stringify(rowObject(columns, texts, numbers))}\n`,
  };
}

/** A row by column names; what is not defined is null. */
export function rowObject(
  { texts: textColumns, numbers: names }: TableColumns,
  texts: readonly string[],
  numbers: ArrayLike<number>,
): Record<string, string | number | null> {
  return Object.fromEntries([
    ...textColumns.map(({ name }, i) => [name, texts[i]] as const),
    ...names.map((name, i) => [name, Number.isNaN(numbers[i]) ? null : rounded(numbers[i])] as const),
  ]);
}

/**
 * A structured array of NumPy (format 1.0 of numpy.lib.format), whose fields are the columns: `np.load(path)["file"]`.
 * Text is UTF-32 of a fixed width, numbers are float64, both little-endian.
 */
function numpy({ texts: textColumns, numbers: names }: TableColumns): Format {
  const fields = [
    ...textColumns.map(({ name, width }) => `('${name}', '<U${Math.max(1, width)}')`),
    ...names.map((name) => `('${name}', '<f8')`),
  ];
  const widths = textColumns.map(({ width }) => Math.max(1, width));
  const textBytes = 4 * widths.reduce((sum, width) => sum + width, 0);
  const head = (rows: number) => {
    // The number of rows has room to grow, so that the head can be written again at the end.
    const shape = `(${rows},), `.padEnd(24);
    const description = `{'descr': [${fields.join(", ")}], 'fortran_order': False, 'shape': ${shape}}`;
    const size = 64 * Math.ceil((10 + description.length + 1) / 64);
    const bytes = Buffer.alloc(size, " ");
    bytes.write("\x93NUMPY\x01\x00", "latin1");
    bytes.writeUInt16LE(size - 10, 8);
    bytes.write(description, 10, "latin1");
    bytes.write("\n", size - 1);
    return bytes;
  };
  return {
    head,
    countsRows: true,
    row(texts, numbers) {
      const bytes = Buffer.alloc(textBytes + 8 * names.length);
      let at = 0;
      texts.forEach((text, i) => {
        [...text].forEach((character, k) => {
          bytes.writeUInt32LE(character.codePointAt(0)!, at + 4 * k);
        });
        at += 4 * widths[i];
      });
      for (let i = 0; i < names.length; i++) bytes.writeDoubleLE(numbers[i], at + 8 * i);
      return bytes;
    },
  };
}
