import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readLines, readTable } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { choiceOption, firstOf, needFiles, type Reader } from "./reader.ts";

const layout =
  "wav/id10001/VIDEO/00001.wav (or dev/wav and test/wav), iden_split.txt, veri_test.txt, vox1_meta.csv";

/** A pair of a speaker verification list. */
export interface Trial {
  same: boolean;
  first: string;
  second: string;
}

/** Reads a verification list ("1 id10270/x/00001.wav id10270/y/00002.wav"); names as utterance ids of the reader. */
export function readTrials(path: string): Trial[] {
  return readLines(path).map(({ line, text }) => {
    const [same, first, second] = text.trim().split(/\s+/);
    if (!/^[01]$/.test(same) || second === undefined)
      throw new UserError(`${path}:${line}: expected "1 first second"`);
    return { same: same === "1", first: idOf(first), second: idOf(second) };
  });
}

const idOf = (path: string) => path.replace(/\.\w+$/, "").replaceAll("/", "-");

/** VoxCeleb1. */
export const voxceleb1: Reader = {
  title: "VoxCeleb1: celebrities in videos, speaker identification and verification",
  layout,
  options: {
    task: "identification (default): iden_split.txt decides, the same speakers everywhere; or verification: the 40 test speakers are new",
  },
  read(folder, options) {
    const task = choiceOption(options, "task", ["identification", "verification"]);
    const roots = ["wav", "dev/wav", "test/wav"]
      .map((part) => join(folder, part))
      .filter((path) => existsSync(path));
    if (roots.length === 0) throw new UserError(`${folder}: no wav folder; expected ${layout}`);
    const files = roots.flatMap((root) =>
      needFiles(root, layout, ".wav", ".m4a").map((file) => ({ root, file })),
    );
    const meta = firstOf(folder, "vox1_meta.csv");
    const people = new Map(
      meta === undefined
        ? []
        : readTable(meta, { delimiter: "\t" }).rows.map(
            ({ cells }) => [cells["VoxCeleb1 ID"], cells] as const,
          ),
    );
    const splitOf = task === "identification" ? identification(folder) : verification(folder, people);
    return files.flatMap(({ root, file }): Utterance[] => {
      const speaker = file.split("/")[0];
      const split = splitOf(file, speaker);
      if (split === undefined) return [];
      const person = people.get(speaker);
      const known = person && {
        gender: person.Gender === "f" ? "female" : "male",
        nationality: person.Nationality,
      };
      return [{ id: idOf(file), audio: join(root, file), speaker, labels: { speaker, ...known }, split }];
    });
  },
};

function identification(folder: string): (file: string) => string | undefined {
  const path = firstOf(folder, "iden_split.txt");
  if (path === undefined)
    throw new UserError(`${folder}: no iden_split.txt, which decides the parts; expected ${layout}`);
  const names = ["train", "valid", "test"];
  const parts = new Map(
    readLines(path).map(({ text }) => {
      const [part, file] = text.trim().split(/\s+/);
      return [file, names[Number(part) - 1]];
    }),
  );
  return (file) => parts.get(file);
}

/** Test speakers are those of veri_test.txt, or of the metadata's column "Set". */
function verification(folder: string, people: Map<string, Record<string, string>>) {
  const path = firstOf(folder, "veri_test.txt", "veri_test2.txt");
  const tested = new Set(
    path === undefined
      ? [...people].filter(([, cells]) => cells.Set === "test").map(([id]) => id)
      : readTrials(path).flatMap(({ first, second }) => [first.split("-")[0], second.split("-")[0]]),
  );
  if (tested.size === 0)
    throw new UserError(`${folder}: neither veri_test.txt nor vox1_meta.csv tells the test speakers`);
  return (_: string, speaker: string) => (tested.has(speaker) ? "test" : "train");
}
