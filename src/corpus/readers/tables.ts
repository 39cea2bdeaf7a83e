import { resolve } from "node:path";
import { UserError } from "../../errors.ts";
import { readFairseq, readKaldi } from "../formats/kaldi.ts";
import { readTable, type Table } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { filesBelow, firstOf, numberOption, type Reader, stem } from "./reader.ts";

/** Names that tables give to the fields of a manifest, in order of preference. */
const aliases: Record<string, string[]> = {
  audio: ["audio", "path", "file_path", "audio_path", "wav", "wav_path", "file", "filename", "FileName"],
  id: ["id", "ID", "utt_id", "utterance", "name"],
  text: ["text", "transcript", "transcription", "sentence", "wrd"],
  phones: ["phones", "phonemes", "phn"],
  speaker: ["speaker", "speaker_id", "spk", "spk_id", "client_id"],
  split: ["split", "set", "fold", "Split_Set"],
  start: ["start", "start_seconds"],
  end: ["end", "end_seconds"],
  duration: ["duration", "duration_seconds"],
};

/** Rows of a table as utterances; columns that are no field become labels. Shared with QoLT. */
export function utterancesOf(table: Table, root: string, ignore: readonly string[] = []): Utterance[] {
  const column = Object.fromEntries(
    Object.entries(aliases).map(([field, names]) => [
      field,
      names.find((name) => table.columns.includes(name)),
    ]),
  );
  const { audio: audioColumn } = column;
  if (audioColumn === undefined) {
    throw new UserError(
      `${table.file}: no column of sound files (${aliases.audio.join(", ")}); it has ${table.columns.join(", ")}`,
    );
  }
  const used = new Set([...Object.values(column), ...ignore, ""]);
  const labelColumns = table.columns.filter((name) => !used.has(name));
  const seen = new Map<string, number>();
  return table.rows.map(({ line, cells }): Utterance => {
    const cell = (field: string) => {
      const value = column[field] === undefined ? undefined : cells[column[field]].trim();
      return value === "" ? undefined : value;
    };
    const seconds = (field: string) => {
      const value = cell(field);
      if (value === undefined) return {};
      if (Number.isFinite(Number(value))) return { [field]: Number(value) };
      throw new UserError(
        `${table.file}:${line}: "${value}" in column ${column[field]} is not a number of seconds`,
      );
    };
    const audio = cell("audio");
    if (audio === undefined) throw new UserError(`${table.file}:${line}: the column ${audioColumn} is empty`);
    const labels = Object.fromEntries(
      labelColumns
        .filter((name) => cells[name].trim() !== "")
        .map((name) => [name, labelValue(cells[name].trim())]),
    );
    const split = cell("split")?.toLowerCase();
    const name = cell("id") ?? stem(audio);
    // Rows without names of their own may share a file's name, in folders by speaker for instance.
    const times = seen.get(name) ?? 0;
    seen.set(name, times + 1);
    return {
      id: times === 0 || column.id !== undefined ? name : `${name}-${times}`,
      audio: resolve(root, audio),
      ...seconds("start"),
      ...seconds("end"),
      ...seconds("duration"),
      ...(cell("speaker") !== undefined && { speaker: cell("speaker") }),
      ...(cell("text") !== undefined && { text: cell("text") }),
      ...(cell("phones") !== undefined && { phones: cell("phones")!.split(/\s+/) }),
      ...(Object.keys(labels).length > 0 && { labels }),
      ...(split !== undefined && { split }),
    };
  });
}

/** A number where it reads back as written ("0.5", "3", but not "007"), else the text. */
const labelValue = (text: string): string | number => (String(Number(text)) === text ? Number(text) : text);

/** Any CSV or TSV table, such as s3prl's. */
export const csv: Reader = {
  title:
    "any CSV or TSV table, s3prl's too, with a column of sound files; columns that are no field become labels",
  layout: "a folder with one .csv or .tsv file, or the file named by the option table",
  options: {
    table: "the table, where the folder has several",
    root: "folder that the paths are relative to; default: the corpus folder",
  },
  read(folder, options) {
    const files = filesBelow(folder, ".csv", ".tsv").filter((file) => !file.includes("/"));
    if (options.table === undefined && files.length !== 1) {
      throw new UserError(
        `${folder}: ${files.length} tables (${files.join(", ")}); name one with the option table`,
      );
    }
    return utterancesOf(readTable(resolve(folder, options.table ?? files[0])), options.root ?? folder);
  },
};

/** A Kaldi data folder. */
export const kaldi: Reader = {
  title: "a Kaldi data folder",
  layout: "wav.scp, and perhaps segments, text, utt2spk, spk2gender, rttm",
  options: { root: "folder that paths in wav.scp are relative to; default: the data folder" },
  read: (folder, options) => readKaldi(folder, options.root),
};

/** fairseq's lists. */
export const fairseq: Reader = {
  title: "fairseq's lists of sound files with letters, words or phones",
  layout: "train.tsv, valid.tsv, test.tsv (any names) with .ltr, .wrd or .phn beside them",
  options: { rate: "Hz of the sound files, which gives the durations; default 16000" },
  read(folder, options) {
    const rate = numberOption(options, "rate");
    return filesBelow(folder, ".tsv")
      .filter((file) => !file.includes("/"))
      .flatMap((file) => {
        const name = stem(file);
        const split = name.startsWith("dev") || name.startsWith("valid") ? "valid" : name.split(/[-_.]/)[0];
        return readFairseq(resolve(folder, file), rate).map((u) => ({ ...u, id: `${name}-${u.id}`, split }));
      });
  },
};

/** QoLT: Korean dysarthric speech. It has no published layout, so this is ours. */
export const qolt: Reader = {
  title: "QoLT: Korean dysarthric speech, severity of 0 (none) to 4 (severe)",
  layout: "qolt.csv with the columns path, phones (separated by spaces), speaker, gender, severity, session",
  options: { table: "the table, where it has another name" },
  read(folder, options) {
    const path = options.table ?? firstOf(folder, "qolt.csv", "qolt.tsv");
    if (path === undefined) throw new UserError(`${folder}: no qolt.csv; expected ${qolt.layout}`);
    const table = readTable(path);
    for (const name of ["path", "phones", "speaker", "gender", "severity", "session"]) {
      if (!table.columns.includes(name))
        throw new UserError(`${path}: no column "${name}"; expected ${qolt.layout}`);
    }
    for (const { line, cells } of table.rows) {
      if (/^[0-4]$/.test(cells.severity.trim())) continue;
      throw new UserError(`${path}:${line}: severity must be 0, 1, 2, 3 or 4, not "${cells.severity}"`);
    }
    return utterancesOf(table, folder);
  },
};
