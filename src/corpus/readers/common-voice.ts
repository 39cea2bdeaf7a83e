import { existsSync } from "node:fs";
import { join } from "node:path";
import { readKeyed } from "../formats/kaldi.ts";
import { readLines, readTable, requireColumns, type Table } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { firstOf, need, type Reader, stem } from "./reader.ts";

const layout =
  "LANGUAGE/train.tsv, dev.tsv, test.tsv with client_id, path, sentence, and LANGUAGE/clips/*.mp3";

/** The row of a Common Voice table as an utterance; shared with CoVoST, which is made of the same clips. */
export function clipOf(folder: string, cells: Record<string, string>): Utterance {
  const labels: Record<string, string> = {};
  for (const name of ["gender", "age", "accents", "accent"]) if (cells[name]) labels[name] = cells[name];
  // Early releases name clips without an ending.
  const file = /\.\w+$/.test(cells.path) ? cells.path : `${cells.path}.mp3`;
  return {
    id: stem(file),
    audio: join(folder, "clips", file),
    speaker: cells.client_id,
    text: cells.sentence,
    ...(Object.keys(labels).length > 0 && { labels }),
  };
}

const tableAt = (path: string): Table => {
  const table = readTable(path, { delimiter: "\t" });
  requireColumns(table, ["client_id", "path", "sentence"]);
  return table;
};

/** Mozilla Common Voice, one language. */
export const commonVoice: Reader = {
  title: "Common Voice: read speech of many languages, one language at a time",
  layout,
  options: {
    tables: "tables to read, with commas; default train,dev,test (validated and other are further ones)",
    phoneSplits:
      "folder with CPC's 1 h phoneme splits of this language (nl, zh-CN, es, tt, ru, it, ky, tr, sv-SE, fr): " +
      "{train,val,test}Seqs*.txt of clip names and validated_phones_reduced.txt of a clip name and its phones a line",
  },
  read(folder, options) {
    if (options.phoneSplits !== undefined) return readPhoneSplits(folder, options.phoneSplits);
    return (options.tables ?? "train,dev,test").split(",").flatMap((name) => {
      const table = tableAt(need(folder, `${name}.tsv`, layout));
      const split = name === "dev" ? "valid" : name;
      return table.rows.map(({ cells }) => ({ ...clipOf(folder, cells), split }));
    });
  },
};

/** The 1 h splits for phoneme recognition (Rivière et al., 2020), on which Common Voice phoneme results are reported. */
function readPhoneSplits(folder: string, splits: string): Utterance[] {
  const names = ["validated_phones_reduced.txt", "phones_reduced.txt"];
  const path =
    firstOf(splits, ...names) ??
    need(splits, names[0], "validated_phones_reduced.txt and trainSeqs_1.0_*.txt");
  const phones = new Map([...readKeyed(path)].map(([name, spoken]) => [stem(name), spoken]));
  const tables = ["validated.tsv", "train.tsv", "dev.tsv", "test.tsv"]
    .map((t) => join(folder, t))
    .filter(existsSync);
  const clips = new Map(
    tables.flatMap((path) =>
      tableAt(path).rows.map(({ cells }) => [stem(cells.path), clipOf(folder, cells)] as const),
    ),
  );
  const lists = {
    train: ["trainSeqs_1.0_uniform_new_version.txt", "trainSeqs_1.0.txt"],
    valid: ["valSeqs_1.0_uniform_new_version.txt", "valSeqs_1.0.txt"],
    test: ["testSeqs_uniform_new_version.txt", "testSeqs.txt"],
  };
  return Object.entries(lists).flatMap(([split, names]) => {
    const list = firstOf(splits, ...names);
    return readLines(list ?? need(splits, names[0], "CPC's lists of clip names")).map(
      ({ text }): Utterance => {
        const id = stem(text.trim());
        const clip = clips.get(id) ?? { id, audio: join(folder, "clips", `${id}.mp3`) };
        const spoken = phones.get(id)?.split(/\s+/);
        return { ...clip, split, ...(spoken !== undefined && { phones: spoken }) };
      },
    );
  });
}
