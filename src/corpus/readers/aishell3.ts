import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../errors.ts";
import { readLines } from "../formats/table.ts";
import type { Utterance } from "../manifest.ts";
import { firstOf, type Reader, stem } from "./reader.ts";

const layout = "train/content.txt and train/wav/SSB0005/SSB00050001.wav, test/..., spk-info.txt";

/** AISHELL-3: Mandarin for speech synthesis, with pinyin. Text comes out as characters, phones as pinyin with tones. */
export const aishell3: Reader = {
  title: "AISHELL-3: Mandarin, 218 speakers, with pinyin",
  layout,
  options: {},
  download: {
    url: "https://www.openslr.org/93",
    licence: "Apache-2.0",
    archives: { all: { url: "https://www.openslr.org/resources/93/data_aishell3.tgz" } },
  },
  read(folder) {
    const info = firstOf(folder, "spk-info.txt");
    const speakers = new Map(
      info === undefined
        ? []
        : readLines(info)
            .filter(({ text }) => !text.startsWith("#"))
            .map(({ text }) => text.trim().split(/\s+/))
            .map(([id, age, gender, accent]) => [id, { age, gender, accent }] as const),
    );
    return ["train", "test"].flatMap((split) => {
      const content = join(folder, split, "content.txt");
      if (!existsSync(content)) return [];
      return readLines(content).map(({ line, text }): Utterance => {
        const [file, ...cells] = text.trim().split(/\s+/);
        if (!file.endsWith(".wav") || cells.length % 2 !== 0) {
          throw new UserError(
            `${content}:${line}: expected "NAME.wav character pinyin character pinyin ..."`,
          );
        }
        const id = stem(file);
        const speaker = id.slice(0, 7);
        const labels = speakers.get(speaker);
        return {
          id,
          audio: join(folder, split, "wav", speaker, file),
          speaker,
          text: cells.filter((_, i) => i % 2 === 0).join(""),
          phones: cells.filter((_, i) => i % 2 === 1),
          ...(labels !== undefined && { labels }),
          split,
        };
      });
    });
  },
};
