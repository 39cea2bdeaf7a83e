import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readKaldi, readKeyed } from "../formats/kaldi.ts";
import type { Utterance } from "../manifest.ts";
import { firstOf, type Reader } from "./reader.ts";

const layout = "train and test (Kaldi data folders), WAVE/SPEAKER0001/000010011.WAV, resource/scores.json";

interface Score {
  accuracy: number;
  completeness: number;
  fluency: number;
  prosodic: number;
  total: number;
  words: { text: string; phones: string | string[]; accuracy: number }[];
}

/** speechocean762: English by Mandarin speakers, with pronunciation scores of experts. */
export const speechocean762: Reader = {
  title: "speechocean762: English of Mandarin speakers with pronunciation scores",
  layout,
  options: {},
  download: {
    url: "https://www.openslr.org/101",
    licence: "CC BY 4.0",
    archives: { all: { url: "https://www.openslr.org/resources/101/speechocean762.tar.gz" } },
  },
  read(folder) {
    const scoresPath = firstOf(folder, "resource/scores.json");
    const scores: Record<string, Score> =
      scoresPath === undefined ? {} : JSON.parse(readFileSync(scoresPath, "utf8"));
    return ["train", "test"].flatMap((split) => {
      const data = join(folder, split);
      if (!existsSync(join(data, "wav.scp")))
        throw new UserError(`${folder}: no ${split}/wav.scp; expected ${layout}`);
      const ages = existsSync(join(data, "spk2age"))
        ? readKeyed(join(data, "spk2age"))
        : new Map<string, string>();
      // Paths in wav.scp are relative to the corpus, not to the data folder.
      return readKaldi(data, folder).map((utterance): Utterance => {
        const score = scores[utterance.id];
        const age = ages.get(utterance.speaker ?? "");
        const labels: Record<string, string | number> = { ...utterance.labels };
        if (age !== undefined) labels.age = Number(age);
        if (score === undefined) return { ...utterance, labels, split };
        const { accuracy, completeness, fluency, prosodic, total } = score;
        const words = score.words.map((word): [string, string[]] => [
          word.text.toLowerCase(),
          phonesOf(word.phones),
        ]);
        return {
          ...utterance,
          words,
          phones: words.flatMap(([, phones]) => phones.map((phone) => phone.replace(/\d$/, ""))),
          labels: { ...labels, accuracy, completeness, fluency, prosodic, total },
          split,
        };
      });
    });
  },
};

/** A list, or in the first release a string with spaces. */
const phonesOf = (phones: string | string[]) =>
  typeof phones === "string" ? phones.trim().split(/\s+/) : phones;
