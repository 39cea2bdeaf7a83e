import { readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readLines, readTable, requireColumns } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { filesBelow, firstOf, need, numberOption, type Reader, stem } from "./reader.ts";

const medleyLayout =
  "Medley-solos-DB_metadata.csv (subset, instrument, instrument_id, song_id, uuid4) and Medley-solos-DB_*.wav";

/** Medley-solos-DB: eight instruments. */
export const medleySolos: Reader = {
  title: "Medley-solos-DB: single instruments, eight classes",
  layout: medleyLayout,
  options: {},
  download: {
    url: "https://zenodo.org/records/3464194",
    licence: "CC BY 4.0",
    archives: {
      audio: {
        url: "https://zenodo.org/records/3464194/files/Medley-solos-DB.tar.gz",
        hash: "md5:f5facf398793ef5c1f80c013afdf3e5f",
      },
      metadata: {
        url: "https://zenodo.org/records/3464194/files/Medley-solos-DB_metadata.csv",
        hash: "md5:fda6a589c56785f2195c9227809c521a",
      },
    },
  },
  read(folder) {
    const table = readTable(need(folder, "Medley-solos-DB_metadata.csv", medleyLayout));
    requireColumns(table, ["subset", "instrument", "instrument_id", "song_id", "uuid4"]);
    const parts: Record<string, string> = { training: "train", validation: "valid", test: "test" };
    const audio = firstOf(folder, "audio", "Medley-solos-DB") ?? folder;
    return table.rows.map(({ cells }): Utterance => {
      const { subset, instrument, instrument_id: number, song_id: song, uuid4 } = cells;
      const id = `Medley-solos-DB_${subset}-${number}_${uuid4}`;
      // Songs play the part of speakers: none may be on both sides.
      return {
        id,
        audio: join(audio, `${id}.wav`),
        speaker: `song${song}`,
        labels: { instrument },
        split: parts[subset],
      };
    });
  },
};

const openmicLayout =
  "openmic-2018-aggregated-labels.csv, partitions/split01_train.csv and split01_test.csv, audio/000/000046_3840.ogg";

/** OpenMIC-2018: 20 instruments with partial labels. */
export const openmic2018: Reader = {
  title: "OpenMIC-2018: which of 20 instruments are heard; a label is the likelihood where raters were asked",
  layout: openmicLayout,
  options: {},
  download: {
    url: "https://zenodo.org/records/1432913",
    licence: "CC BY 4.0",
    archives: {
      all: {
        url: "https://zenodo.org/records/1432913/files/openmic-2018-v1.0.0.tgz",
        hash: "md5:e4ccf187e2bb5ab2e115416e8aafe7f4",
      },
    },
  },
  read(folder) {
    const root = firstOf(folder, "openmic-2018") ?? folder;
    const table = readTable(need(root, "openmic-2018-aggregated-labels.csv", openmicLayout));
    requireColumns(table, ["sample_key", "instrument", "relevance"]);
    const labels = new Map<string, Record<string, number>>();
    for (const { cells } of table.rows) {
      const own = labels.get(cells.sample_key) ?? {};
      own[cells.instrument] = Number(cells.relevance);
      labels.set(cells.sample_key, own);
    }
    return ["train", "test"].flatMap((split) =>
      readLines(need(root, `partitions/split01_${split}.csv`, openmicLayout)).map(({ text }): Utterance => {
        const id = text.trim();
        return {
          id,
          audio: join(root, "audio", id.slice(0, 3), `${id}.ogg`),
          labels: labels.get(id) ?? {},
          split,
        };
      }),
    );
  },
};

const audiosetLayout =
  "balanced_train_segments.csv, eval_segments.csv, class_labels_indices.csv, ontology.json, and the clips as " +
  "YTID.wav or YTID_START.wav (seconds, thousandths or none) anywhere below";

interface OntologyEntry {
  id: string;
  name: string;
  child_ids: string[];
}

/** AudioSet: the part with musical instruments. Each label is 1 for a class that is heard. */
export const audioset: Reader = {
  title: "AudioSet, musical instruments",
  layout: audiosetLayout,
  options: {
    root: 'class whose descendants are wanted, default "Musical instrument"',
    tables: "segment lists to read, with commas; default balanced_train,eval",
    limit: "classes with at least so many clips only; default 1",
  },
  read(folder, options) {
    const ontology: OntologyEntry[] = JSON.parse(
      readFileSync(need(folder, "ontology.json", audiosetLayout), "utf8"),
    );
    const names = descendants(ontology, options.root ?? "Musical instrument");
    const files = new Map(
      filesBelow(folder, ".wav", ".flac", ".mp3", ".ogg", ".opus").map((file) => [stem(file), file]),
    );
    const clips = (options.tables ?? "balanced_train,eval").split(",").flatMap((name) => {
      const path = need(folder, `${name}_segments.csv`, audiosetLayout);
      return readSegments(path).flatMap(({ id, start, end, classes }) => {
        const heard = classes.flatMap((c) => names.get(c) ?? []);
        const file = [id, `${id}_${start}`, `${id}_${Math.round(start * 1000)}`].find((n) => files.has(n));
        if (heard.length === 0 || file === undefined) return [];
        // A file of the video's name alone is taken for the clip, as common downloaders cut it.
        const audio = join(folder, files.get(file)!);
        return [{ id, audio, duration: end - start, heard, split: name.includes("eval") ? "test" : "train" }];
      });
    });
    const least = numberOption(options, "limit") ?? 1;
    const counts = new Map<string, number>();
    for (const { heard } of clips) for (const name of heard) counts.set(name, (counts.get(name) ?? 0) + 1);
    return clips.flatMap(({ heard, ...clip }): Utterance[] => {
      const kept = heard.filter((name) => counts.get(name)! >= least);
      return kept.length === 0
        ? []
        : [{ ...clip, labels: Object.fromEntries(kept.map((name) => [name, 1])) }];
    });
  },
};

/** A class and all below it: identifier to name. */
function descendants(ontology: OntologyEntry[], root: string): Map<string, string> {
  const byId = new Map(ontology.map((entry) => [entry.id, entry]));
  const first = ontology.find((entry) => entry.name === root);
  if (first === undefined) throw new UserError(`ontology.json has no class named "${root}"`);
  const found = new Map<string, string>();
  const queue = [first.id];
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    const entry = byId.get(id);
    if (entry === undefined || found.has(id)) continue;
    found.set(id, entry.name);
    queue.push(...entry.child_ids);
  }
  return found;
}

/** `YTID, start, end, "class,class"`, with comments that begin with #. */
function readSegments(path: string) {
  return readLines(path)
    .filter(({ text }) => !text.startsWith("#"))
    .map(({ line, text }) => {
      const match = /^([^,]+),\s*([\d.]+),\s*([\d.]+),\s*"(.*)"\s*$/.exec(text);
      if (match === null) throw new UserError(`${path}:${line}: expected 'YTID, start, end, "class,class"'`);
      return { id: match[1], start: Number(match[2]), end: Number(match[3]), classes: match[4].split(",") };
    });
}
